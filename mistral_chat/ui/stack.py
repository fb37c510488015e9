"""Blocks one under another, as the rows of one widget.

A widget for each block would be laid out anew with every row that a reply gains, so that a long reply would cost more for each
row than a short one. Here a row that is added costs what its own block costs from its last line on.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from textual.content import Content

from mistral_chat.ui.code import highlighted
from mistral_chat.ui.markdown import Code, Line, Prose, Rule, Table
from mistral_chat.ui.rows import LineRows, Row, RuleRows, TableRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mistral_chat.ui.markdown import Block
    from mistral_chat.ui.rows import Rows

_EMPTY: Final = Content("")
_FRAME: Final = 4
"""Cells that a frame takes from a row: a line and a space on each side."""
_NARROWEST_FRAME: Final = 12


class CodeRows(LineRows):
    """Code in a frame that says its language."""

    def __init__(self, code: Code, *, coloured: bool) -> None:
        """Draw `code`, with colours where it is `coloured`."""
        mark = Content.styled("↳ ", ".prose--line")
        lines = highlighted(code.text, code.language if coloured else "")
        super().__init__([Line(line, rest=mark) for line in lines], keep_spaces=True)
        self.language = code.language

    def lay_out(self, width: int, first: int = 0) -> Iterator[Row]:
        """Wrap each line between the sides of the frame; there is none where it would leave no room."""
        if width < _NARROWEST_FRAME:
            yield from super().lay_out(width, first)
            return
        left, right = Content.styled("│ ", ".prose--frame"), Content.styled(" │", ".prose--frame")
        if first == 0:
            yield Row(self._top(width), _EMPTY, 0, 0)
        for row in super().lay_out(width - _FRAME, first):
            yield row._replace(prefix=left + row.prefix, suffix=right)
        yield Row(Content.styled("╰" + "─" * (width - 2) + "╯", ".prose--frame"), _EMPTY, 0, self.count)

    def follow(self, before: Rows) -> int | None:
        """Keep the rows of the lines that are the same, unless the language is another."""
        if not isinstance(before, CodeRows) or before.language != self.language:
            return 0
        return super().follow(before)

    def _top(self, width: int) -> Content:
        label = Content(f" {self.language} ") if self.language else _EMPTY
        label = label.truncate(width - _FRAME, ellipsis=True).stylize(".prose--language")
        line = Content.styled("─" * (width - 3 - label.cell_length) + "╮", ".prose--frame")
        return Content.styled("╭─", ".prose--frame") + label + line


class Place(NamedTuple):
    """Where a row belongs."""

    row: Row | None
    """None between two blocks."""
    above: int
    """How many lines of the whole text come before the row's block."""


class _Part(NamedTuple):
    block: Block
    coloured: bool
    rows: Rows


class Stack:
    """Blocks with empty rows under each. Any of them may be replaced; those that stay are not laid out again."""

    def __init__(self, gap: int = 1) -> None:
        """Begin with none. `gap` is how many rows are left empty under each, and lines in what is copied."""
        self._gap = gap
        self._parts: list[_Part] = []
        self._width = 0
        self._ends: list[int] = []
        """How many rows there are up to each block's end, as far as they are known for this width."""
        self._lines: list[int] = []
        """How many lines there are up to each block's end, with the empty ones between them."""

    @property
    def blocks(self) -> Sequence[Block]:
        """What is drawn."""
        return [part.block for part in self._parts]

    @property
    def plain(self) -> str:
        """The text as it is copied."""
        return ("\n" * (1 + self._gap)).join(part.rows.plain for part in self._parts)

    def put(self, number: int, block: Block, *, coloured: bool = True) -> int | None:
        """Draw `block` in the place `number`, which may be the one after the last.

        Returns:
            The first row that is another now, for the width that was fitted last; None when nothing changed.
        """
        if number == len(self._parts):
            self._parts.append(_Part(block, coloured, _rows(block, coloured=coloured)))
            return self._start(number)
        old = self._parts[number]
        if block is old.block and coloured == old.coloured:
            return None
        part = _Part(block, coloured, _rows(block, coloured=coloured))
        stay = part.rows.follow(old.rows)
        self._parts[number] = part
        if stay is None:
            return None
        del self._ends[number:], self._lines[number:]
        return self._start(number) + stay

    def drop(self, kept: int) -> bool:
        """Take the blocks from the place `kept` on away; gives whether there were any."""
        gone = len(self._parts) > kept
        del self._parts[kept:], self._ends[kept:], self._lines[kept:]
        return gone

    def fit(self, width: int) -> int:
        """Lay out what is not laid out for this width, and say how many rows there are."""
        if width != self._width:
            self._width = width
            self._ends.clear()
            self._lines.clear()
        for part in self._parts[len(self._ends) :]:
            known, lines = (self._ends[-1], self._lines[-1]) if self._ends else (0, 0)
            self._ends.append(known + len(part.rows.fit(width)) + self._gap)
            self._lines.append(lines + max(1, part.rows.count) + self._gap)
        return self._ends[-1] if self._ends else 0

    def place(self, y: int) -> Place:
        """Say what stands in row `y` for the width that was fitted last."""
        number = bisect_right(self._ends, y)
        if number >= len(self._parts):
            return Place(None, self._lines[-1] if self._lines else 0)
        rows = self._parts[number].rows.fit(self._width)
        y -= self._start(number)
        if y >= len(rows):
            return Place(None, self._lines[number] - self._gap)
        return Place(rows[y], self._lines[number - 1] if number else 0)

    def lines_of(self, y: int) -> tuple[int, int]:
        """Say which lines the block in row `y` has: the first one, and the one after the last."""
        number = min(bisect_right(self._ends, y), len(self._lines) - 1)
        first = self._lines[number - 1] if number else 0
        return first, self._lines[number] - self._gap

    def _start(self, number: int) -> int:
        """The row that a block begins on, or the last one known that it cannot be above."""
        known = min(number, len(self._ends))
        return self._ends[known - 1] if known else 0


def _rows(block: Block, *, coloured: bool) -> Rows:
    match block:
        case Prose(lines=lines):
            return LineRows(lines)
        case Code():
            return CodeRows(block, coloured=coloured)
        case Table():
            return TableRows(block)
        case Rule():
            return RuleRows()
