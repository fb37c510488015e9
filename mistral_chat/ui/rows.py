"""Blocks laid out as rows of the screen: wrapped once for a width, with hanging indents, selected as they were written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from textual.content import Content
from textual.strip import Strip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from textual.selection import Selection
    from textual.style import Style

    from mistral_chat.ui.markdown import Line, Table

_EMPTY: Final = Content("")
_NARROWEST_COLUMN: Final = 4


class Row(NamedTuple):
    """One row of the screen."""

    prefix: Content
    text: Content
    x: int
    """How many characters of its line come before this row's text."""
    y: int
    """The number of its line."""
    suffix: Content = _EMPTY
    """Stands at the right edge."""


class Laid(NamedTuple):
    """The rows of a block's first lines."""

    width: int
    lines: int
    rows: list[Row]


class Paint(NamedTuple):
    """How rows are coloured."""

    base: Style
    get_style: Callable[[str | Style], Style]
    selection: Selection | None
    selected: Style


class Rows(ABC):
    """A block's rows, which know what characters of which line they show."""

    def __init__(self) -> None:
        """Make rows that are laid out when their width is known."""
        self._width = 0
        self._rows: list[Row] = []
        self._laid = 0

    @property
    @abstractmethod
    def plain(self) -> str:
        """The text as it is copied."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many lines `plain` has."""

    @abstractmethod
    def lay_out(self, width: int, first: int = 0) -> Iterator[Row]:
        """Give the rows of the lines from `first` on, for a width of `width` cells."""

    def fit(self, width: int) -> list[Row]:
        """Give the rows for a width. Only what is new since the last time is laid out, unless the width has changed."""
        if width != self._width:
            self._rows, self._laid = [], 0
            self._width = width
        if self._laid < self.count:
            self._rows += self.lay_out(max(1, width), self._laid)
            self._laid = self.count
        return self._rows

    @property
    def laid(self) -> Laid:
        """All that is laid out."""
        return Laid(self._width, self._laid, self._rows)

    def first(self, lines: int) -> Laid:
        """Give what is laid out of the first `lines` lines."""
        lines = min(lines, self._laid)
        return Laid(self._width, lines, self._rows[: bisect_left(self._rows, lines, key=lambda row: row.y)])

    def take(self, laid: Laid) -> int:
        """Go on from what is laid out; gives how many rows that is."""
        self._width, self._laid, self._rows = laid
        return len(self._rows)

    def follow(self, before: Rows) -> int | None:
        """Take over from what was drawn in this place before; gives how many of its rows stay, or None when nothing changed.

        A block that grows is laid out anew from its last line on, however long it is.
        """
        del before
        return 0


def draw(row: Row, width: int, paint: Paint, above: int = 0) -> Strip:
    """Draw one row, `width` cells wide. Each piece tells the selection where in the text it stands.

    Args:
        row: what to draw.
        width: cells from edge to edge.
        paint: the colours, and what is selected.
        above: how many lines of the whole text come before the row's block.
    """
    text, y = row.text, row.y + above
    if paint.selection is not None and (span := paint.selection.get_span(y)) is not None:
        start, end = span
        end = len(text) if end == -1 else max(0, end - row.x)
        text = text.stylize(paint.selected, max(0, start - row.x), end)
    if row.suffix:
        text = text.pad_right(max(0, width - row.prefix.cell_length - text.cell_length - row.suffix.cell_length))
    segments: list[Segment] = []
    x, end = row.x, row.x + len(row.text)
    for content, advance in ((row.prefix, 0), (text, 1), (row.suffix, 0)):
        for piece, style in content.render(paint.base, end="", parse_style=paint.get_style):
            segments.append(Segment(piece, (paint.base + style).rich_style_with_offset(min(x, end), y)))
            x += len(piece) * advance
    strip = Strip(segments, row.prefix.cell_length + text.cell_length + row.suffix.cell_length)
    return strip.adjust_cell_length(width, paint.base.rich_style)


class LineRows(Rows):
    """Lines that wrap at words and hang under their bullet."""

    def __init__(self, lines: Sequence[Line], *, keep_spaces: bool = False) -> None:
        """Draw `lines`; `keep_spaces` leaves every space in its place, as code wants it, except where a line wraps."""
        super().__init__()
        self.lines = lines
        self.keep_spaces = keep_spaces

    @property
    def plain(self) -> str:
        """The lines with their bullets, without what wrapping added."""
        return "\n".join(line.first.plain + line.text.plain for line in self.lines)

    @property
    def count(self) -> int:
        """One for each line."""
        return len(self.lines)

    def lay_out(self, width: int, first: int = 0) -> Iterator[Row]:
        """Wrap each line beside its indent; an indent that leaves no room is dropped."""
        for y, line in enumerate(self.lines[first:], first):
            indent = max(line.first.cell_length, line.rest.cell_length)
            prefix, rest = (line.first, line.rest) if indent < width - _NARROWEST_COLUMN else (_EMPTY, _EMPTY)
            x = len(line.first.plain)
            if prefix.cell_length + line.text.cell_length <= width:
                yield Row(prefix, line.text, x, y)
                continue
            room = width - max(prefix.cell_length, rest.cell_length)
            for text, skipped in _wrap(line.text, room, keep_spaces=self.keep_spaces):
                x += skipped
                yield Row(prefix, text, x, y)
                x += len(text)
                prefix = rest

    def follow(self, before: Rows) -> int | None:
        """Keep the rows of the lines that are the same from the beginning on."""
        if not isinstance(before, LineRows) or before.keep_spaces != self.keep_spaces:
            return 0
        pairs = zip(self.lines, before.lines, strict=False)
        same = next((y for y, (new, old) in enumerate(pairs) if not _is_same(new, old)), min(self.count, before.count))
        if same == self.count == before.count:
            self.take(before.laid)
            return None
        return self.take(before.first(same))


def _is_same(new: Line, old: Line) -> bool:
    return new.text.is_same(old.text) and new.first.is_same(old.first) and new.rest.is_same(old.rest)


def _wrap(text: Content, width: int, *, keep_spaces: bool) -> Iterator[tuple[Content, int]]:
    """Wrap one line; yields each row with the number of characters left out before it."""
    if text.cell_length <= width:
        yield text, 0
        return
    if keep_spaces:
        yield from _wrap_code(text, max(2, width))
        return
    plain = text.plain
    place = 0
    for piece in text.wrap(width):
        found = plain.find(piece.plain, place)
        found = place if found < 0 else found
        yield piece, found - place
        place = found + len(piece)


def _wrap_code(text: Content, width: int) -> Iterator[tuple[Content, int]]:
    """Wrap a line of code at its spaces, and in mid-word only where a word fits on no row. The indent is never a row."""
    plain = text.plain
    begin = skipped = 0
    while begin < len(plain):
        end = after = _fitting(plain, begin, width)
        space = plain.rfind(" ", begin, end + 1) if end < len(plain) else -1
        if space > begin and plain[begin:space].strip():
            word_end = plain.find(" ", end)
            word = plain[space + 1 : word_end if word_end >= 0 else None]
            if len(word) <= width and cell_len(word) <= width:
                end = begin + len(plain[begin:space].rstrip())
                after = len(plain) - len(plain[space:].lstrip())
        yield text[begin:end], skipped
        skipped = after - end
        begin = after


def _fitting(plain: str, begin: int, width: int) -> int:
    """Say where a row of `width` cells that begins at `begin` must end; it holds one character at least."""
    end = min(len(plain), begin + width)
    while end > begin + 1 and cell_len(plain[begin:end]) > width:
        end -= 1
    return end


class TableRows(Rows):
    """A table in as many columns as fit; one that is too wide becomes one line for each cell."""

    def __init__(self, table: Table) -> None:
        """Draw `table`."""
        super().__init__()
        self.table = table

    @property
    def plain(self) -> str:
        """The cells, with a tab between them, as spreadsheets take them."""
        return "\n".join("\t".join(cell.plain for cell in row) for row in (self.table.header, *self.table.rows))

    @property
    def count(self) -> int:
        """The header and the rows."""
        return 1 + len(self.table.rows)

    def lay_out(self, width: int, first: int = 0) -> Iterator[Row]:
        """Give each column what it needs, and less to the widest where there is not enough room."""
        del first  # every column's width depends on all rows
        table = self.table
        columns = len(table.header)
        room = width - 3 * (columns - 1)
        if room < columns * _NARROWEST_COLUMN:
            yield from self._one_by_one(width)
            return
        widths = _share(
            [max(cell.cell_length for cell in column) for column in zip(table.header, *table.rows, strict=True)], room
        )
        yield from self._row([cell.stylize(".prose--strong") for cell in table.header], widths, 0)
        yield Row(_EMPTY, Content.styled("─┼─".join("─" * size for size in widths), ".prose--line"), 0, 0)
        for y, row in enumerate(table.rows, 1):
            yield from self._row(row, widths, y)

    def follow(self, before: Rows) -> int | None:
        """Keep everything, or nothing: a new row may change every column's width."""
        if not isinstance(before, TableRows) or before.count != self.count or before.table.align != self.table.align:
            return 0
        mine, theirs = (chain(table.header, *table.rows) for table in (self.table, before.table))
        if not all(new.is_same(old) for new, old in zip(mine, theirs, strict=True)):
            return 0
        self.take(before.laid)
        return None

    def _row(self, cells: Sequence[Content], widths: Sequence[int], y: int) -> Iterator[Row]:
        wrapped = [cell.wrap(size) if cell else [_EMPTY] for cell, size in zip(cells, widths, strict=True)]
        line = Content.styled(" │ ", ".prose--line")
        for number in range(max(map(len, wrapped))):
            parts = [
                _aligned(rows[number] if number < len(rows) else _EMPTY, size, side)
                for rows, size, side in zip(wrapped, widths, self.table.align, strict=True)
            ]
            yield Row(_EMPTY, line.join(parts), 0, y)

    def _one_by_one(self, width: int) -> Iterator[Row]:
        """Draw each cell on a line of its own, after its column's name."""
        for y, row in enumerate(self.table.rows, 1):
            for name, cell in zip(self.table.header, row, strict=True):
                for text in (name.stylize(".prose--strong") + ": " + cell).wrap(width):
                    yield Row(_EMPTY, text, 0, y)
            yield Row(_EMPTY, _EMPTY, 0, y)


def _share(wanted: list[int], room: int) -> list[int]:
    """Cut the widest columns until all fit in `room` cells."""
    widths = [max(1, width) for width in wanted]
    if sum(widths) <= room:
        return widths
    low, high = _NARROWEST_COLUMN, max(widths)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(width, middle) for width in widths) <= room:
            low = middle
        else:
            high = middle - 1
    return [min(width, low) for width in widths]


def _aligned(text: Content, width: int, side: str) -> Content:
    gap = max(0, width - text.cell_length)
    left = {"right": gap, "center": gap // 2}.get(side, 0)
    return text.pad_left(left).pad_right(gap - left) if gap else text


class RuleRows(Rows):
    """A line across."""

    @property
    def plain(self) -> str:
        """A rule as Markdown writes it."""
        return "---"

    @property
    def count(self) -> int:
        """One line."""
        return 1

    def lay_out(self, width: int, first: int = 0) -> Iterator[Row]:
        """One row of dashes."""
        del first
        yield Row(_EMPTY, Content.styled("─" * width, ".prose--line"), 0, 0)
