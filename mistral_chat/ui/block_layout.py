"""Blocks laid out as rows of the screen: wrapped for a width, with hanging indents, and selected as they were written.

One widget draws all blocks of a message. A widget for each block would be laid out again with every row that a reply gains, so a
long reply would cost more for each row than a short one. Here a new row costs what its own block costs from its last line on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Offset
from textual.selection import Selection

from mistral_chat.ui.highlight import highlight_lines
from mistral_chat.ui.markdown import Code, Line, Prose, Rule, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mistral_chat.ui.markdown import Block

_EMPTY: Final = Content("")
_NARROWEST_COLUMN: Final = 4
_FRAME: Final = 4
"""Cells that a frame takes in a row: a line and a space on each side."""
_NARROWEST_FRAME: Final = 12


class WrappedLine(NamedTuple):
    """One row of the screen."""

    prefix: Content
    text: Content
    x: int
    """The index of this row's first character in its line."""
    y: int
    """The number of its line."""
    suffix: Content = _EMPTY
    """Aligned to the right edge."""


class LineBlock:
    """Lines that wrap at words, with hanging indents. Blocks of other kinds lay out lines of their own."""

    def __init__(self, lines: Sequence[Line]) -> None:
        """Lay out `lines`, once the width is known."""
        self.lines = lines
        self.width = 0
        self.rows: list[WrappedLine] = []
        """The rows of the lines wrapped so far, for this width."""
        self.laid = 0
        """How many lines those are."""

    @property
    def plain(self) -> str:
        """The text as it is drawn, without what wrapping adds."""
        return "\n".join(line.first.plain + line.text.plain for line in self.lines)

    def wrap(self, width: int, first: int = 0) -> Iterator[WrappedLine]:
        """Yield the rows of the lines from `first` on, for a width of `width` cells."""
        yield from _hanging(self.lines, width, first)

    def fit(self, width: int) -> list[WrappedLine]:
        """Return the rows for a width. Only lines that are new since the last call are wrapped, unless the width has changed."""
        if width != self.width:
            self.rows, self.laid = [], 0
            self.width = width
        if self.laid < len(self.lines):
            self.rows += self.wrap(max(1, width), self.laid)
            self.laid = len(self.lines)
        return self.rows

    def same_lines(self, before: LineBlock) -> int:
        """Count the lines from the beginning on that have the rows they have in `before`."""
        return _same(self.lines, before.lines) if type(before) is type(self) else 0

    def reuse_layout(self, before: LineBlock) -> int | None:
        """Take over rows of the block that was drawn here before; returns how many stay, or None when nothing changed.

        A block that grows is wrapped again from its last line on, however long it is.
        """
        same = self.same_lines(before)
        self.width, self.laid, self.rows = before.width, before.laid, before.rows
        if same == len(self.lines) == len(before.lines):
            return None
        self.laid = min(same, before.laid, len(self.lines) - 1)  # a frame ends with the last line, which may be another now
        self.rows = before.rows[: bisect_left(before.rows, self.laid, key=lambda row: row.y)]
        return len(self.rows)


def _same(new: Sequence[Line], old: Sequence[Line]) -> int:
    """Count the lines that are drawn alike from the beginning on."""
    for y, (one, other) in enumerate(zip(new, old, strict=False)):
        if not (one.text.is_same(other.text) and one.first.is_same(other.first) and one.rest.is_same(other.rest)):
            return y
    return min(len(new), len(old))


def _hanging(lines: Sequence[Line], width: int, first: int, *, keep_spaces: bool = False) -> Iterator[WrappedLine]:
    """Wrap the lines from `first` on with hanging indents; an indent that leaves no width is dropped.

    With `keep_spaces` every space is kept, as code needs it, except where a line wraps.
    """
    for y, line in enumerate(lines[first:], first):
        indent = max(line.first.cell_length, line.rest.cell_length)
        prefix, rest = (line.first, line.rest) if indent < width - _NARROWEST_COLUMN else (_EMPTY, _EMPTY)
        x = len(line.first.plain)
        if prefix.cell_length + line.text.cell_length <= width:
            yield WrappedLine(prefix, line.text, x, y)
            continue
        room = width - max(prefix.cell_length, rest.cell_length)
        for text, skipped in _wrap(line.text, room, keep_spaces=keep_spaces):
            x += skipped
            yield WrappedLine(prefix, text, x, y)
            x += len(text)
            prefix = rest


def _wrap(text: Content, width: int, *, keep_spaces: bool) -> Iterator[tuple[Content, int]]:
    """Wrap one line, which is too wide; yields each row with the number of characters left out before it."""
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
    """Find the end of a row of `width` cells that starts at `begin`; it has one character at least."""
    end = min(len(plain), begin + width)
    while end > begin + 1 and cell_len(plain[begin:end]) > width:
        end -= 1
    return end


class TableBlock(LineBlock):
    """A table in as many columns as fit; one that is too wide shows one line for each cell.

    Its lines have a tab between cells, as spreadsheets take them.
    """

    def __init__(self, table: Table) -> None:
        """Lay out `table`."""
        super().__init__([Line(Content("\t").join(row)) for row in (table.header, *table.rows)])
        self.table = table

    def wrap(self, width: int, first: int = 0) -> Iterator[WrappedLine]:
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
        yield WrappedLine(_EMPTY, Content.styled("─┼─".join("─" * size for size in widths), ".prose--line"), 0, 0)
        for y, row in enumerate(table.rows, 1):
            yield from self._row(row, widths, y)

    def same_lines(self, before: LineBlock) -> int:
        """Count all lines, or none: a new row may change every column's width."""
        same = super().same_lines(before)
        align = before.table.align if isinstance(before, TableBlock) else ()
        return same if align == self.table.align and same == len(self.lines) == len(before.lines) else 0

    def _row(self, cells: Sequence[Content], widths: Sequence[int], y: int) -> Iterator[WrappedLine]:
        wrapped = [cell.wrap(size) if cell else [_EMPTY] for cell, size in zip(cells, widths, strict=True)]
        line = Content.styled(" │ ", ".prose--line")
        for number in range(max(map(len, wrapped))):
            parts = [
                _aligned(rows[number] if number < len(rows) else _EMPTY, size, side)
                for rows, size, side in zip(wrapped, widths, self.table.align, strict=True)
            ]
            yield WrappedLine(_EMPTY, line.join(parts), 0, y)

    def _one_by_one(self, width: int) -> Iterator[WrappedLine]:
        """Draw each cell on a line of its own, after its column's name."""
        for name in self.table.header if not self.table.rows else ():
            for text in name.stylize(".prose--strong").wrap(width):
                yield WrappedLine(_EMPTY, text, 0, 0)
        for y, row in enumerate(self.table.rows, 1):
            for name, cell in zip(self.table.header, row, strict=True):
                for text in (name.stylize(".prose--strong") + ": " + cell).wrap(width):
                    yield WrappedLine(_EMPTY, text, 0, y)
            yield WrappedLine(_EMPTY, _EMPTY, 0, y)


def _share(wanted: list[int], room: int) -> list[int]:
    """Cut the widest columns until all fit in `room` cells."""
    widths = [max(1, width) for width in wanted]
    fitting = (most for most in range(room, _NARROWEST_COLUMN, -1) if sum(min(width, most) for width in widths) <= room)
    most = next(fitting, _NARROWEST_COLUMN)
    return [min(width, most) for width in widths]


def _aligned(text: Content, width: int, side: str) -> Content:
    gap = max(0, width - text.cell_length)
    left = {"right": gap, "center": gap // 2}.get(side, 0)
    return text.pad_left(left).pad_right(gap - left) if gap else text


class RuleBlock(LineBlock):
    """A horizontal rule; its text is that of Markdown."""

    def __init__(self) -> None:
        """Lay out a rule."""
        super().__init__([Line(Content("---"))])

    def wrap(self, width: int, first: int = 0) -> Iterator[WrappedLine]:
        """One row of dashes."""
        del first
        yield WrappedLine(_EMPTY, Content.styled("─" * width, ".prose--line"), 0, 0)


class CodeBlock(LineBlock):
    """Code in a frame with its language, indented like the list item or quote that contains it."""

    def __init__(self, code: Code, *, coloured: bool) -> None:
        """Lay out `code`, with colours where it is `coloured`."""
        mark = Content.styled("↳ ", ".prose--line")
        lines = zip(highlight_lines(code.text, code.language if coloured else ""), code.text.split("\n"), strict=True)
        super().__init__([Line(line, rest=mark, source=source if "\t" in source else "") for line, source in lines])
        self.code = code

    def wrap(self, width: int, first: int = 0) -> Iterator[WrappedLine]:
        """Wrap each line between the sides of the frame; there is none where it would leave no room."""
        indent = self.code.rest
        if width - indent.cell_length < _NARROWEST_FRAME:
            yield from _hanging(self.lines, width, first, keep_spaces=True)
            return
        width -= indent.cell_length
        left, right = indent + Content.styled("│ ", ".prose--frame"), Content.styled(" │", ".prose--frame")
        if first == 0:
            yield WrappedLine(self.code.first + self._top(width), _EMPTY, 0, 0)
        for row in _hanging(self.lines, width - _FRAME, first, keep_spaces=True):
            yield row._replace(prefix=left + row.prefix, suffix=right)
        yield WrappedLine(indent + Content.styled("╰" + "─" * (width - 2) + "╯", ".prose--frame"), _EMPTY, 0, len(self.lines))

    def same_lines(self, before: LineBlock) -> int:
        """Count no line where the language or the indent is another."""
        if not isinstance(before, CodeBlock) or before.code.language != self.code.language:
            return 0
        indented = before.code.first.is_same(self.code.first) and before.code.rest.is_same(self.code.rest)
        return super().same_lines(before) if indented else 0

    def _top(self, width: int) -> Content:
        label = Content(f" {self.code.language} ") if self.code.language else _EMPTY
        label = label.truncate(width - _FRAME, ellipsis=True).stylize(".prose--language")
        line = Content.styled("─" * (width - 3 - label.cell_length) + "╮", ".prose--frame")
        return Content.styled("╭─", ".prose--frame") + label + line


class RowLocation(NamedTuple):
    """The block that a row belongs to."""

    row: WrappedLine | None
    """None between two blocks."""
    above: int
    """How many lines of the whole text come before the row's block."""


class _Part(NamedTuple):
    block: Block
    coloured: bool
    rows: LineBlock


class BlockLayout:
    """Blocks one below another, with empty rows in between. Replacing one does not wrap the others again."""

    def __init__(self, gap: int = 1) -> None:
        """Start without blocks. `gap` is the number of empty rows under each block, and of empty lines in copied text."""
        self._gap = gap
        self._parts: list[_Part] = []
        self._width = 0
        self._ends: list[int] = []
        """How many rows there are up to each block's end, as far as they are known for this width."""
        self._lines: list[int] = []
        """How many lines there are up to each block's end, with the empty ones between them."""

    @property
    def plain(self) -> str:
        """The text as it is drawn, without what wrapping adds; offsets of a selection count in it."""
        return ("\n" * (1 + self._gap)).join(part.rows.plain for part in self._parts)

    def extract(self, selection: Selection) -> str:
        """Return the selected text as it was written: without wrapping, frames and indents, and with its tabs."""
        lines = self.plain.split("\n")
        start, end = selection.start, selection.end
        above = 0
        for part in self._parts:
            for line, written in enumerate(part.rows.lines, above):
                if not written.source:
                    continue
                source = lines[line] = written.first.plain + written.source
                if start is not None and start.y == line:
                    start = Offset(_source_index(source, start.x), line)
                if end is not None and end.y == line:
                    end = Offset(_source_index(source, end.x), line)
            above += max(1, len(part.rows.lines)) + self._gap
        return Selection(start, end).extract("\n".join(lines))

    def put(self, number: int, block: Block, *, coloured: bool = True) -> int | None:
        """Set the block at index `number`, which may be the one after the last.

        Returns:
            The first row that changed, for the width of the last `fit`; None when nothing changed.
        """
        if number == len(self._parts):
            self._parts.append(_Part(block, coloured, _rows(block, coloured=coloured)))
            return self._start(number)
        old = self._parts[number]
        if block is old.block and coloured == old.coloured:
            return None
        part = _Part(block, coloured, _rows(block, coloured=coloured))
        stay = part.rows.reuse_layout(old.rows)
        self._parts[number] = part
        if stay is None:
            return None
        del self._ends[number:], self._lines[number:]
        return self._start(number) + stay

    def drop(self, kept: int) -> bool:
        """Remove the blocks from index `kept` on; returns whether there were any."""
        gone = len(self._parts) > kept
        del self._parts[kept:], self._ends[kept:], self._lines[kept:]
        return gone

    def fit(self, width: int) -> int:
        """Wrap what is not wrapped for this width yet; returns the number of rows."""
        if width != self._width:
            self._width = width
            self._ends.clear()
            self._lines.clear()
        for part in self._parts[len(self._ends) :]:
            known, lines = (self._ends[-1], self._lines[-1]) if self._ends else (0, 0)
            self._ends.append(known + len(part.rows.fit(width)) + self._gap)
            self._lines.append(lines + max(1, len(part.rows.lines)) + self._gap)
        return self._ends[-1] if self._ends else 0

    def locate(self, y: int) -> RowLocation:
        """Find row `y`, for the width of the last `fit`."""
        number = bisect_right(self._ends, y)
        if number >= len(self._parts):
            return RowLocation(None, self._lines[-1] if self._lines else 0)
        rows = self._parts[number].rows.fit(self._width)
        y -= self._start(number)
        if y >= len(rows):
            return RowLocation(None, self._lines[number] - self._gap)
        return RowLocation(rows[y], self._lines[number - 1] if number else 0)

    def lines_of(self, y: int) -> tuple[int, int]:
        """Return the lines of the block in row `y`: the first one, and the one after the last."""
        number = min(bisect_right(self._ends, y), len(self._lines) - 1)
        first = self._lines[number - 1] if number else 0
        return first, self._lines[number] - self._gap

    def _start(self, number: int) -> int:
        """Return the first row of a block, or the last known row that it cannot be above."""
        known = min(number, len(self._ends))
        return self._ends[known - 1] if known else 0


def _source_index(source: str, x: int) -> int:
    """Find the index in `source`, whose tabs are drawn as spaces, of the character drawn at `x`."""
    column = 0
    for index, character in enumerate(source):
        column += 4 - column % 4 if character == "\t" else 1
        if column > x:
            return index
    return len(source)


def _rows(block: Block, *, coloured: bool) -> LineBlock:
    match block:
        case Prose(lines=lines):
            return LineBlock(lines)
        case Code():
            return CodeBlock(block, coloured=coloured)
        case Table():
            return TableBlock(block)
        case Rule():
            return RuleBlock()
