"""Finds special tokens in a rendered prompt as llama.cpp does, but only in the template's own text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from mistral_chat.engine.encoding.text import any_of
from mistral_chat.engine.encoding.tokenizer import CONTROLS, Attribute, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_SPACES = " \t\n\v\f\r"
"""White space according to C's ``isspace``."""

_KEPT = 1000
"""Number of a template's texts that are cached. One has a handful, unless it counts or prints the time."""

_MARKS = ("<|", "<\uff5c", "[/", "</", "<start_of", "<end_of", "<bos", "<eos", "<pad", "<unk", "<s>", "[INST", "<im_")
"""Prefixes of texts meant as control tokens, although some files declare them as user-defined."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a rendered prompt: a special token, or the text between two."""

    start: int
    end: int
    token: int | None = None


class SpecialTokenMatcher:
    """The special tokens of one vocabulary, as llama.cpp matches them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Collect the control and user-defined tokens of `tokenizer`, longest first, which is llama.cpp's order."""
        self._tokenizer = tokenizer
        self._tokens = {**tokenizer.user_defined, **tokenizer.controls}
        self._ordered = sorted(self._tokens, key=lambda text: -len(text.encode("utf-8", "surrogateescape")))
        self._within = lru_cache(_KEPT)(lambda part: [text for text in self._ordered if text in part])
        self.token_skeleton = lru_cache(_KEPT)(self._token_skeleton)
        """The control tokens in a template's own text."""
        self.breakable = any_of(text for text in self._ordered if not text.isspace())
        """Matches any special token that is not only white space."""
        thoughts = {"<think>", "</think>"} & tokenizer.user_defined.keys()
        self.breakable_in_reply = any_of(text for text in self._ordered if not text.isspace() and text not in thoughts)
        """The same, except for the tags around reasoning, which templates look for in a reply."""
        self.markers = frozenset(text for text in tokenizer.user_defined if text.startswith(_MARKS))
        """User-defined tokens that look as if they were meant as control tokens."""

    def within(self, parts: Iterable[str]) -> list[str]:
        """The special tokens that occur in `parts`, in llama.cpp's order."""
        found = {text for part in set(parts) for text in self._within(part)}
        return [text for text in self._ordered if text in found] if len(found) > 1 else list(found)

    def split(self, text: str, candidates: Iterable[str], allowed: Callable[[int, int], bool], start: int = 0) -> list[Fragment]:
        """Split `text` from `start` on at the `candidates`, where a match between two positions is `allowed`.

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

    def _token_skeleton(self, part: str) -> list[int]:
        return self.controls(self.split(part, self.within([part]), lambda _start, _end: True))


def _cut_one(text: str, fragment: Fragment, wanted: tuple[str, int, int], allowed: Callable[[int, int], bool]) -> list[Fragment]:
    """Split one fragment of text at each allowed match of a special token, given with its id and flags."""
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
    """A predicate: whether a match overlaps none of `spans`, which are in order and do not overlap."""
    filled = [span for span in spans if span[0] < span[1]]
    starts = [span[0] for span in filled]

    def allowed(start: int, end: int) -> bool:
        place = bisect_left(starts, end)
        return place == 0 or filled[place - 1][1] <= start

    return allowed


def unbroken(holes: Sequence[int]) -> Callable[[int, int], bool]:
    """A predicate: whether none of the positions in `holes`, which are in order, is strictly inside a match."""

    def allowed(start: int, end: int) -> bool:
        place = bisect_right(holes, start)
        return place == len(holes) or holes[place] >= end

    return allowed
