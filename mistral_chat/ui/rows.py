"""Blocks laid out as rows of the screen: wrapped once for a width, with hanging indents, selected as they were written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, NamedTuple

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

    @property
    @abstractmethod
    def plain(self) -> str:
        """The text as it is copied."""

    @abstractmethod
    def lay_out(self, width: int) -> Iterator[Row]:
        """Give the rows for a width of `width` cells."""

    def fit(self, width: int) -> list[Row]:
        """Give the rows for a width, laid out anew only when it changes."""
        if width != self._width:
            self._rows = list(self.lay_out(max(1, width)))
            self._width = width
        return self._rows


def draw(row: Row, width: int, paint: Paint) -> Strip:
    """Draw one row, `width` cells wide. Each piece tells the selection where in the text it stands."""
    text = row.text
    if paint.selection is not None and (span := paint.selection.get_span(row.y)) is not None:
        start, end = span
        end = len(text) if end == -1 else max(0, end - row.x)
        text = text.stylize(paint.selected, max(0, start - row.x), end)
    segments: list[Segment] = []
    x = row.x
    for content, advance in ((row.prefix, 0), (text, 1)):
        for piece, style in content.render(paint.base, end="", parse_style=paint.get_style):
            segments.append(Segment(piece, (paint.base + style).rich_style_with_offset(x, row.y)))
            x += len(piece) * advance
    strip = Strip(segments, row.prefix.cell_length + text.cell_length)
    return strip.adjust_cell_length(width, paint.base.rich_style)


class LineRows(Rows):
    """Lines that wrap at words and hang under their bullet."""

    def __init__(self, lines: Sequence[Line], *, keep_spaces: bool = False) -> None:
        """Draw `lines`; `keep_spaces` wraps anywhere, as code wants it, instead of at words."""
        super().__init__()
        self._lines = lines
        self._keep_spaces = keep_spaces

    @property
    def plain(self) -> str:
        """The lines with their bullets, without what wrapping added."""
        return "\n".join(line.first.plain + line.text.plain for line in self._lines)

    def lay_out(self, width: int) -> Iterator[Row]:
        """Wrap each line beside its indent; an indent that leaves no room is dropped."""
        for y, line in enumerate(self._lines):
            indent = max(line.first.cell_length, line.rest.cell_length)
            first, rest = (line.first, line.rest) if indent < width - _NARROWEST_COLUMN else (_EMPTY, _EMPTY)
            room = width - max(first.cell_length, rest.cell_length)
            x = len(line.first.plain)
            prefix = first
            for text, skipped in _wrap(line.text, room, keep_spaces=self._keep_spaces):
                x += skipped
                yield Row(prefix, text, x, y)
                x += len(text)
                prefix = rest


def _wrap(text: Content, width: int, *, keep_spaces: bool) -> Iterator[tuple[Content, int]]:
    """Wrap one line; yields each row with the number of characters left out before it."""
    if text.cell_length <= width:
        yield text, 0
        return
    pieces = text.fold(width) if keep_spaces else text.wrap(width)
    plain = text.plain
    place = 0
    for piece in pieces:
        found = plain.find(piece.plain, place)
        found = place if found < 0 else found
        yield piece, found - place
        place = found + len(piece)


class TableRows(Rows):
    """A table in as many columns as fit; one that is too wide becomes one line for each cell."""

    def __init__(self, table: Table) -> None:
        """Draw `table`."""
        super().__init__()
        self._table = table

    @property
    def plain(self) -> str:
        """The cells, with a tab between them, as spreadsheets take them."""
        return "\n".join("\t".join(cell.plain for cell in row) for row in (self._table.header, *self._table.rows))

    def lay_out(self, width: int) -> Iterator[Row]:
        """Give each column what it needs, and less to the widest where there is not enough room."""
        table = self._table
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

    def _row(self, cells: Sequence[Content], widths: Sequence[int], y: int) -> Iterator[Row]:
        wrapped = [cell.wrap(size) if cell else [_EMPTY] for cell, size in zip(cells, widths, strict=True)]
        line = Content.styled(" │ ", ".prose--line")
        for number in range(max(map(len, wrapped))):
            parts = [
                _aligned(rows[number] if number < len(rows) else _EMPTY, size, side)
                for rows, size, side in zip(wrapped, widths, self._table.align, strict=True)
            ]
            yield Row(_EMPTY, line.join(parts), 0, y)

    def _one_by_one(self, width: int) -> Iterator[Row]:
        """Draw each cell on a line of its own, after its column's name."""
        for y, row in enumerate(self._table.rows, 1):
            for name, cell in zip(self._table.header, row, strict=True):
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

    def lay_out(self, width: int) -> Iterator[Row]:
        """One row of dashes."""
        yield Row(_EMPTY, Content.styled("─" * width, ".prose--line"), 0, 0)
