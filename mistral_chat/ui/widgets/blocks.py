"""The blocks of a message (prose, code, tables and rules), drawn by one widget; and widgets that are cheap to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from rich.segment import Segment
from textual.content import Content
from textual.geometry import Offset, Region
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

from mistral_chat.ui.block_layout import BlockLayout
from mistral_chat.ui.markdown import Line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual import events
    from textual.color import Color
    from textual.geometry import Size

    from mistral_chat.ui.markdown import Block

LARGEST_SHOWN: Final = 256 * 1024
"""Maximum characters of a message that are drawn; the rest stays in the store."""

_MOST_DRAWN: Final = 256
"""Rendered rows that are cached."""


def cut_note(text: str) -> list[Line]:
    """What is said below a message that is too long to be drawn whole; nothing below another one."""
    more = len(text) - LARGEST_SHOWN
    return [Line(Content(f"… {more:,} more characters. Export the conversation to read them."))] if more > 0 else []


class FastWidget(Widget):
    """A container that draws its own background rows while it has neither border nor transparency; otherwise Textual does.

    Textual renders every row of a widget again when the widget changes its size. A growing reply does that eight times a second,
    and so do all containers around it. A row that is the same object as before costs next to nothing on its way to the terminal.
    """

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:  # noqa: FBT001, FBT002 (Textual's own signature)
        """Take a size without a second layout of the screen; scroll bars that come or go ask for one themselves."""
        del layout
        return super()._size_updated(size, virtual_size, container_size, layout=False)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Render the rows of `crop`; Textual does where the widget needs what it puts around them."""
        if crop.x or crop.width != self.outer_size.width or self.styles.border or self.opacity < 1:
            return super().render_lines(crop)
        _, background = self.background_colors
        strips = self.rows_of(crop, background)
        for line_filter in self.get_line_filters():
            strips = [strip.apply_filter(line_filter, background) for strip in strips]
        return strips

    def rows_of(self, crop: Region, background: Color) -> list[Strip]:
        """Render rows from edge to edge: blank ones."""
        return [Strip.blank(crop.width, Style(background=background).rich_style)] * crop.height


class BlocksView(Widget):
    """Draws blocks one below another, row by row as they become visible. Any of them can be replaced, and more can be added.

    Its rows are those of a `FastWidget`, which its subclasses are too.
    """

    DEFAULT_CSS = """
    BlocksView {
        height: auto;

        & > .prose--bar { color: $primary; }
        & > .prose--code { color: $text-accent; }
        & > .prose--emphasis { text-style: italic; }
        & > .prose--frame { color: $border-blurred; }
        & > .prose--heading { text-style: bold; }
        & > .prose--language { color: $text-quiet; }
        & > .prose--line { color: $border; }
        & > .prose--link { text-style: underline; }
        & > .prose--mark { color: $text-quiet; }
        & > .prose--quote { color: $text-quiet; }
        & > .prose--strong { text-style: bold; }
        & > .prose--struck { text-style: strike; }
        & > .prose--target { color: $text-quiet; }
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
        self._blocks = BlockLayout(gap)
        for number, block in enumerate(blocks):
            self._blocks.put(number, block)
        self._drawn: dict[int, Strip] = {}
        self._look: tuple[int, Style, Selection | None] | None = None
        self._clicked = 0
        self._all = False

    def put(self, first: int, blocks: Iterable[tuple[Block, bool]]) -> None:
        """Set the blocks from index `first` on, each with whether its code is coloured, and remove those after them."""
        width = self.content_size.width
        height = self._blocks.fit(width) if width else 0
        changed, end = [], first
        for end, (block, coloured) in enumerate(blocks, first + 1):
            row = self._blocks.put(end - 1, block, coloured=coloured)
            if row is not None:
                changed.append(row)
        dropped = self._blocks.drop(end)
        if not changed and not dropped:
            return
        rows = self._blocks.fit(width) if width else 0
        top = min([*changed, rows])
        for y in [y for y in self._drawn if y >= top]:
            del self._drawn[y]
        # A layout of the screen is most of the cost of a growing reply, and most pieces add no row.
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
        return self._blocks.fit(width) if width else 0

    def notify_style_update(self) -> None:
        """Forget what was drawn in other colours."""
        super().notify_style_update()
        self._drawn.clear()

    def render_line(self, y: int) -> Strip:
        """Draw one row. Each segment carries its offset in the text, which the selection needs."""
        width, style, selection = self.content_size.width, self.visual_style, self._selection
        self._blocks.fit(width)
        row, above = self._blocks.locate(y)
        if row is None:
            # So that a selection drawn between two blocks ends there.
            return Strip.blank(width, style.rich_style_with_offset(0, above))
        text, y = row.text, row.y + above
        if selection is not None and (span := selection.get_span(y)) is not None:
            start, end = span
            end = len(text) if end == -1 else max(0, end - row.x)
            selected = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            text = text.stylize(selected, max(0, start - row.x), end)
        if row.suffix:
            text = text.pad_right(max(0, width - row.prefix.cell_length - text.cell_length - row.suffix.cell_length))
        segments: list[Segment] = []
        x, end = row.x, row.x + len(row.text)
        for content, advance in ((row.prefix, 0), (text, 1), (row.suffix, 0)):
            for piece, look in content.render(style, end="", parse_style=self._resolve):
                segments.append(Segment(piece, (style + look).rich_style_with_offset(min(x, end), y)))
                x += len(piece) * advance
        strip = Strip(segments, row.prefix.cell_length + text.cell_length + row.suffix.cell_length)
        return strip.adjust_cell_length(width, style.rich_style)

    def rows_of(self, crop: Region, background: Color) -> list[Strip]:
        """Render rows with their padding; cached rows are the same objects as before."""
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
        """The selection; empty for a removed view that is rendered a last time."""
        return self.text_selection if self.is_attached else None

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return the selected text as it was written."""
        return self._blocks.extract(selection), "\n"

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
        first, end = self._blocks.lines_of(self._clicked)
        length = len(self._blocks.plain.split("\n")[end - 1])
        self.screen.selections = {self: Selection(Offset(0, first), Offset(length, end - 1))}

    def _resolve(self, style: str | Style) -> Style:
        """Find what a style's name means in the current theme."""
        if isinstance(style, Style):
            return style
        if style.startswith("."):
            return self.get_visual_style(style[1:], partial=True)
        return Style.parse(style)
