"""Renders a template, and locates the messages' own text in the result."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_chat.conversation import Role
from mistral_chat.engine.encoding.special_tokens import SpecialTokenMatcher, outside, unbroken
from mistral_chat.engine.encoding.text import overlapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mistral_chat.engine.encoding.merge import MergedMessage
    from mistral_chat.engine.encoding.renderer import Renderer

_THOUGHT_ENDS = "</think>"
_STEPS = 200_000
"""Maximum attempts to locate the contents; a few are needed for each message."""


@dataclass(frozen=True, slots=True)
class ContentSpan:
    """Text of a block in the prompt: ``text[start:end]`` is the block's text from `offset` on."""

    start: int
    end: int
    block: int
    offset: int


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A rendered prompt that distinguishes message text from the template's text."""

    text: str
    written: tuple[ContentSpan, ...]
    """In order. Empty pieces are left out."""
    by_block: Mapping[int, Sequence[ContentSpan]]
    """The same, by block."""
    parts: tuple[str, ...]
    """The template's own text, in pieces, if it is known."""
    allowed: Callable[[int, int], bool]
    """Whether a special token may be matched between two positions of the text."""
    exact: bool
    """Whether all message text is where `written` says, or the template rewrote some of it."""

    def find(self, block: int, start: int, end: int) -> tuple[int, int] | None:
        """Where a block's text from `start` to `end` is; None if it is not in the prompt.

        Where the layout is not exact, that is the whole block, because its parts cannot be told from each other.
        """
        pieces = self.by_block.get(block)
        if not pieces:
            return None
        if not self.exact:
            return pieces[0].start, max(piece.end for piece in pieces)
        first, last = len(self.text), 0
        for piece in pieces:
            shift = piece.start - piece.offset
            from_, to = max(piece.start, start + shift), min(piece.end, end + shift)
            if from_ < to:
                first, last = min(first, from_), max(last, to)
        return (first, last) if first < last else None


@dataclass(frozen=True, slots=True)
class _Field:
    """A text given to a template, taken from a block's text at `offset`."""

    block: int
    name: str
    text: str
    offset: int


def locate_contents(
    renderer: Renderer, specials: SpecialTokenMatcher, blocks: Sequence[MergedMessage], *, generation: bool, tail: str | None
) -> RenderedPrompt:
    """Render `blocks` and locate their texts in the result.

    With `tail`, the last block is not given to the template but follows the rendered text after `tail`: a reply to continue.

    Raises:
        PromptFormatError: the template refuses the blocks or does not work.
    """
    given = len(blocks) if tail is None else len(blocks) - 1
    sources = [renderer.source] * given + [""]  # no template cuts the tail
    fields = [field for place, block in enumerate(blocks) for field in _fields(place, block, sources[place])]
    open_, close, again, break_ = _unused(block.text for block in blocks)

    def rendered(write: Callable[[int, _Field], str]) -> str:
        messages: list[dict[str, str]] = [{"role": str(block.role), "content": ""} for block in blocks[:given]]
        texts = [write(i, field) if field.text else "" for i, field in enumerate(fields)]
        for field, text in zip(fields, texts, strict=True):
            if field.block < given:
                messages[field.block][field.name] = text
        return renderer.render(messages, generation=generation) + ("" if tail is None else tail + texts[-1])

    text = rendered(lambda _, field: field.text)
    outline = rendered(lambda i, _: f"{open_}{i}{close}")
    pieces = re.split(f"{open_}(\\d+){close}", outline)
    found = _align(text, pieces, fields, blocks)
    if found is not None:
        spans = [(piece.start, piece.end) for piece in found]
        return _layout(text, found, pieces[0::2], outside(spans), exact=True)

    def marked(edges: bool) -> Callable[[int, _Field], str]:  # noqa: FBT001 (two ways of one thing)
        def write(i: int, field: _Field) -> str:
            reply = blocks[field.block].role is Role.ASSISTANT
            broken = _broken(field.text, specials.breakable_in_reply if reply else specials.breakable, break_)
            return _edged(broken, f"{open_}{i}{close}", f"{open_}{i}{again}") if edges else broken

        return write

    marks = re.compile(f"{open_}(\\d+)([{close}{again}])|{break_}")
    layout = _unmark(rendered(marked(edges=True)), marks, fields, close)
    return layout if layout.text == text else _unmark(rendered(marked(edges=False)), marks, fields, close)


def _fields(place: int, block: MergedMessage, source: str) -> Iterator[_Field]:
    """The fields a template is given for a block: its content, and its reasoning if the template would cut that off itself."""
    text = block.text
    if block.role is Role.ASSISTANT and _THOUGHT_ENDS in text and _THOUGHT_ENDS in source and "reasoning_content" in source:
        thought = text[: text.index(_THOUGHT_ENDS)].rstrip("\n")
        start = thought.rfind("<think>") + len("<think>") if "<think>" in thought else 0
        start += len(thought[start:]) - len(thought[start:].lstrip("\n"))
        yield _Field(place, "reasoning_content", thought[start:], start)
        answer = text[text.rindex(_THOUGHT_ENDS) + len(_THOUGHT_ENDS) :].lstrip("\n")
        yield _Field(place, "content", answer, len(text) - len(answer))
    else:
        yield _Field(place, "content", text, 0)


def _unused(texts: Iterable[str]) -> list[str]:
    """Four private-use characters that occur in none of `texts`."""
    used = set().union(*texts)
    free = (chr(code) for code in range(0x100000, 0x10FFFE) if chr(code) not in used)
    return [next(free) for _ in range(4)]


def _variants(field: _Field, block: MergedMessage) -> Iterator[tuple[str, int]]:
    """Yield a content as templates render it: unchanged, stripped, or without reasoning; and where each starts in the block."""
    texts = [(field.text, field.offset)]
    yield texts[0]
    if block.role is Role.ASSISTANT and _THOUGHT_ENDS in field.text:
        answer = field.text.rsplit(_THOUGHT_ENDS, 1)[1]
        texts.append((answer, field.offset + len(field.text) - len(answer)))
    found = texts[:1]
    for text, base in texts:
        for strip in (None, " ", "\n"):
            start = base + len(text) - len(text.lstrip(strip))
            found += [(text.strip(strip), start), (text.lstrip(strip), start), (text.rstrip(strip), base)]
    yield from list(dict.fromkeys([*found, *texts]))[1:]


def _align(
    text: str, pieces: Sequence[str], fields: Sequence[_Field], blocks: Sequence[MergedMessage]
) -> list[ContentSpan] | None:
    """Match `text` with the template's own pieces and the contents between them; None if nothing matches.

    `pieces` alternates between the template's text and the number of the field that follows it.
    """
    if not text.startswith(pieces[0]):
        return None
    order = [int(number) for number in pieces[1::2]]
    after = pieces[2::2]
    chosen: list[ContentSpan] = []
    untried: list[Iterator[tuple[str, int]]] = []
    place = len(pieces[0])
    for _ in range(_STEPS + len(order)):
        step = len(chosen)
        if step == len(order) and place == len(text):
            return chosen
        if step == len(untried) < len(order):
            field = fields[order[step]]
            untried.append(_variants(field, blocks[field.block]))
        found = next(_matching(text, place, untried[step], after[step]), None) if step < len(order) else None
        if found is not None:
            end, offset = found
            chosen.append(ContentSpan(place, end, fields[order[step]].block, offset))
            place = end + len(after[step])
            continue
        del untried[step:]
        if not chosen:
            return None
        place = chosen.pop().start
    return None


def _matching(text: str, place: int, variants: Iterator[tuple[str, int]], after: str) -> Iterator[tuple[int, int]]:
    """Where each of `variants` that matches at `place` and is followed by `after` ends, and its offset."""
    for variant, offset in variants:
        end = place + len(variant)
        if text.startswith(variant, place) and text.startswith(after, end):
            yield end, offset


def _broken(text: str, pattern: re.Pattern[str] | None, mark: str) -> str:
    """Insert a mark inside everything that `pattern` finds in `text`."""
    cuts = [start + 1 for start in overlapping(pattern, text)]
    return mark.join(text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True))


def _edged(text: str, before: str, after: str) -> str:
    """Add a mark to each end of `text`, inside the white space that a template may strip."""
    left = len(text) - len(text.lstrip())
    right = len(text.rstrip())
    return text[:left] + before + text[left:right] + after + text[right:] if left < right else text


def _unmark(marked: str, marks: re.Pattern[str], fields: Sequence[_Field], close: str) -> RenderedPrompt:
    """Remove the marks from the text, and return what they mark."""
    text: list[str] = []
    holes: list[int] = []
    starts: dict[int, int] = {}
    written: list[ContentSpan] = []
    length = end = 0
    for match in marks.finditer(marked):
        text.append(marked[end : match.start()])
        length += match.start() - end
        end = match.end()
        holes.append(length)
        if match.group(1) is None:
            continue
        number = int(match.group(1))
        if match.group(2) == close:
            starts[number] = length
        elif starts.get(number, length) < length:
            written.append(ContentSpan(starts[number], length, fields[number].block, fields[number].offset))
    text.append(marked[end:])
    return _layout("".join(text), written, (), unbroken(holes), exact=False)


def _layout(
    text: str, written: Iterable[ContentSpan], parts: Iterable[str], allowed: Callable[[int, int], bool], *, exact: bool
) -> RenderedPrompt:
    """Make a layout with its pieces in order and by block."""
    filled = sorted((piece for piece in written if piece.start < piece.end), key=lambda piece: piece.start)
    by_block: defaultdict[int, list[ContentSpan]] = defaultdict(list)
    for piece in filled:
        by_block[piece.block].append(piece)
    return RenderedPrompt(text, tuple(filled), dict(by_block), tuple(parts), allowed, exact)
