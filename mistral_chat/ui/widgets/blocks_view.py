"""The blocks of a message: prose, code, tables and rules, drawn by one widget."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from rich.segment import Segment
from textual.geometry import Offset, Region
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style

from mistral_chat.ui.rows import Paint, draw
from mistral_chat.ui.stack import Stack
from mistral_chat.ui.widgets.bare import Bare

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual import events
    from textual.color import Color
    from textual.geometry import Size
    from textual.widget import Widget

    from mistral_chat.ui.markdown import Block

_MOST_DRAWN: Final = 256
"""Rows that are kept as they were drawn."""


class BlocksView(Bare):
    """Draws blocks one under another, row by row as they come into view. Each can be replaced, and more can come."""

    DEFAULT_CSS = """
    BlocksView {
        height: auto;

        & > .prose--bar { color: $primary; }
        & > .prose--code { color: $text-accent; }
        & > .prose--emphasis { text-style: italic; }
        & > .prose--frame { color: $border-blurred; }
        & > .prose--heading { text-style: bold; }
        & > .prose--language { color: $foreground 65%; }
        & > .prose--line { color: $border; }
        & > .prose--link { text-style: underline; }
        & > .prose--mark { color: $foreground 65%; }
        & > .prose--quote { color: $foreground 65%; }
        & > .prose--strong { text-style: bold; }
        & > .prose--struck { text-style: strike; }
        & > .prose--target { color: $foreground 65%; }
        & > .prose--title { text-style: bold; color: $text-primary; }
    }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "prose--bar",
        "prose--code",
        "prose--emphasis",
        "prose--frame",
        "prose--heading",
        "prose--language",
        "prose--line",
        "prose--link",
        "prose--mark",
        "prose--quote",
        "prose--strong",
        "prose--struck",
        "prose--target",
        "prose--title",
    }

    def __init__(self, blocks: Iterable[Block] = (), *, gap: int = 1) -> None:
        """Draw `blocks` with `gap` empty rows under each."""
        super().__init__()
        self._stack = Stack(gap)
        for number, block in enumerate(blocks):
            self._stack.put(number, block)
        self._drawn: dict[int, Strip] = {}
        self._look: tuple[int, Style, Selection | None] | None = None
        self._clicked = 0
        self._all = False

    def put(self, first: int, blocks: Iterable[tuple[Block, bool]]) -> None:
        """Draw `blocks` from the place `first` on, each with whether its code is coloured, and none after them."""
        width = self.content_size.width
        height = self._stack.fit(width) if width else 0
        changed, end = [], first
        for end, (block, coloured) in enumerate(blocks, first + 1):
            row = self._stack.put(end - 1, block, coloured=coloured)
            if row is not None:
                changed.append(row)
        dropped = self._stack.drop(end)
        if not changed and not dropped:
            return
        rows = self._stack.fit(width) if width else 0
        top = min([*changed, rows])
        for y in [y for y in self._drawn if y >= top]:
            del self._drawn[y]
        # Laying the screen out anew is most of the cost of a growing reply, and most pieces add no row.
        if not width or rows != height:
            self.refresh(layout=True)
        else:
            self.refresh(Region(0, top, width, rows - top))

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """Take the width there is."""
        del viewport
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Count the rows."""
        del container, viewport
        return self._stack.fit(width) if width else 0

    def notify_style_update(self) -> None:
        """Forget what was drawn in other colours."""
        super().notify_style_update()
        self._drawn.clear()

    def render_line(self, y: int) -> Strip:
        """Draw one row."""
        width, style, selection = self.content_size.width, self.visual_style, self._selection
        self._stack.fit(width)
        row, above = self._stack.place(y)
        if row is None:
            # So that a selection that is drawn between two blocks ends there.
            return Strip.blank(width, style.rich_style_with_offset(0, above))
        selected = Style() if selection is None else Style.from_styles(self.screen.get_component_styles("screen--selection"))
        return draw(row, width, Paint(style, self._resolve, selection, selected), above)

    def bare_lines(self, crop: Region, background: Color) -> list[Strip]:
        """Give rows with the padding around them; those that were drawn before are the same objects."""
        look = (crop.width, self.visual_style, self._selection)
        if look != self._look or len(self._drawn) > _MOST_DRAWN:
            self._drawn.clear()
            self._look = look
        above, right, _, left = self.styles.padding
        edge = Style(background=background).rich_style
        strips = []
        for y in range(crop.y - above, crop.bottom - above):
            if (strip := self._drawn.get(y)) is None:
                segments = [Segment(" " * left, edge), *self.render_line(y), Segment(" " * right, edge)]
                strip = self._drawn[y] = Strip([segment for segment in segments if segment.text], crop.width)
            strips.append(strip)
        return strips

    @property
    def _selection(self) -> Selection | None:
        """What is selected; a view that has just been taken away may be drawn once more, and knows nothing of it."""
        return self.text_selection if self.is_attached else None

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Give the selected text as it was written: wrapping and indents of wrapped rows are left out."""
        return selection.extract(self._stack.plain), "\n"

    def on_click(self, event: events.Click) -> None:
        """Note which block two clicks select; three select all."""
        self._clicked, self._all = event.y - self.gutter.top, event.chain > 2  # noqa: PLR2004 (three clicks)

    @property
    def select_container(self) -> Widget:
        """What three clicks select."""
        return self

    def text_select_all(self) -> None:
        """Select the block that was clicked, or all of them after three clicks."""
        if self._all:
            super().text_select_all()
            return
        first, end = self._stack.lines_of(self._clicked)
        length = len(self._stack.plain.split("\n")[end - 1])
        self.screen.selections = {self: Selection(Offset(0, first), Offset(length, end - 1))}

    def _resolve(self, style: str | Style) -> Style:
        """Find what a style's name means in the current theme."""
        if isinstance(style, Style):
            return style
        if style.startswith("."):
            return self.get_visual_style(style[1:], partial=True)
        return Style.parse(style)
