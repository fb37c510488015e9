"""Where a rendered prompt holds special tokens: found as llama.cpp finds them, but only in the template's own text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_chat.engine.encoding.text import any_of
from mistral_chat.engine.encoding.tokenizer import CONTROLS, Attribute, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_SPACES = " \t\n\v\f\r"
"""What C's ``isspace`` takes for white space."""

_KEPT = 1000
"""How many of a template's texts are remembered. One has a handful, unless it counts or prints the time."""

_MARKS = ("<|", "<\uff5c", "[/", "</", "<start_of", "<end_of", "<bos", "<eos", "<pad", "<unk", "<s>", "[INST", "<im_")
"""How texts begin that are meant as control tokens, though some files declare them as user-defined."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a rendered prompt: a special token, or text between two."""

    start: int
    end: int
    token: int | None = None


class SpecialTokenMatcher:
    """The texts that llama.cpp takes for special tokens in one vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Gather the control and user-defined tokens of `tokenizer`, longest first, which is llama.cpp's order."""
        self._tokenizer = tokenizer
        self._tokens = {**tokenizer.user_defined, **tokenizer.controls}
        self._ordered = sorted(self._tokens, key=lambda text: -len(text.encode("utf-8", "surrogateescape")))
        self._found: dict[str, tuple[str, ...]] = {}
        self._outlines: dict[str, list[int]] = {}
        self.breakable = any_of(text for text in self._ordered if not text.isspace())
        """Finds any special text that is not white space alone."""
        thoughts = {"<think>", "</think>"} & tokenizer.user_defined.keys()
        self.breakable_in_reply = any_of(text for text in self._ordered if not text.isspace() and text not in thoughts)
        """The same, but for the marks around a thought, which templates look for in a reply."""
        self.markers = frozenset(text for text in tokenizer.user_defined if text.startswith(_MARKS))
        """User-defined texts that look as if they were meant as control tokens."""

    def within(self, parts: Iterable[str]) -> list[str]:
        """The special texts that any of `parts` holds, in llama.cpp's order."""
        found: set[str] = set()
        for part in set(parts):
            known = self._found.get(part)
            if known is None:
                if len(self._found) >= _KEPT:
                    self._found.clear()
                known = self._found[part] = tuple(text for text in self._ordered if text in part)
            found.update(known)
        return [text for text in self._ordered if text in found] if len(found) > 1 else list(found)

    def split(self, text: str, candidates: Iterable[str], allowed: Callable[[int, int], bool], start: int = 0) -> list[Fragment]:
        """Cut `text` from `start` at the `candidates`, where a match from one place to another is `allowed`.

        This follows llama.cpp's ``tokenizer_st_partition``: one special text after the other, not the leftmost first, and
        white space next to it is dropped where the token asks for that.
        """
        fragments = [Fragment(start, len(text))] if start < len(text) else []
        for special in candidates:
            token = self._tokens[special]
            flags = self._tokenizer.attributes[token]
            cut: list[Fragment] = []
            for fragment in fragments:
                if fragment.token is not None:
                    cut.append(fragment)
                else:
                    cut += _cut_one(text, fragment, (special, token, flags), allowed)
            fragments = cut
        return fragments

    def controls(self, fragments: Iterable[Fragment]) -> list[int]:
        """The control tokens among `fragments`."""
        tokens = (each.token for each in fragments if each.token is not None)
        return [token for token in tokens if self._tokenizer.attributes[token] & CONTROLS]

    def token_skeleton(self, part: str) -> list[int]:
        """The control tokens in a template's own text."""
        known = self._outlines.get(part)
        if known is None:
            if len(self._outlines) >= _KEPT:
                self._outlines.clear()
            known = self._outlines[part] = self.controls(self.split(part, self.within([part]), lambda _start, _end: True))
        return known


def _cut_one(text: str, fragment: Fragment, wanted: tuple[str, int, int], allowed: Callable[[int, int], bool]) -> list[Fragment]:
    """Cut one fragment of text at each allowed match of a special text, given with its token and the token's flags."""
    special, token, flags = wanted
    strips_left, strips_right = bool(flags & int(Attribute.LSTRIP)), bool(flags & int(Attribute.RSTRIP))
    cut: list[Fragment] = []
    begin = search = fragment.start
    while (place := text.find(special, search, fragment.end)) >= 0:
        after = place + len(special)
        if not allowed(place, after):
            search = place + 1
            continue
        end = place
        while strips_left and end > begin and text[end - 1] in _SPACES:
            end -= 1
        if end > begin:
            cut.append(Fragment(begin, end))
        cut.append(Fragment(place, after, token))
        while strips_right and after < fragment.end and text[after] in _SPACES:
            after += 1
        begin = search = after
    if begin < fragment.end:
        cut.append(Fragment(begin, fragment.end))
    return cut


def outside(spans: Sequence[tuple[int, int]]) -> Callable[[int, int], bool]:
    """Whether a match touches none of `spans`, which are in order and do not overlap."""
    filled = [span for span in spans if span[0] < span[1]]
    starts = [span[0] for span in filled]

    def allowed(start: int, end: int) -> bool:
        place = bisect_left(starts, end)
        return place == 0 or filled[place - 1][1] <= start

    return allowed


def unbroken(holes: Sequence[int]) -> Callable[[int, int], bool]:
    """Whether a match holds none of the places in `holes`, which are in order, strictly inside it."""

    def allowed(start: int, end: int) -> bool:
        place = bisect_right(holes, start)
        return place == len(holes) or holes[place] >= end

    return allowed
