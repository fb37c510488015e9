"""Widgets whose rows need nothing of what Textual can put around them: a great part of what drawing a screen costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

if TYPE_CHECKING:
    from textual.color import Color
    from textual.geometry import Region, Size


class Bare(Widget):
    """A widget that draws its rows itself while it has neither border nor transparency; otherwise Textual does.

    Textual makes every row of a widget anew when the widget changes its size. A growing reply does that eight times a second, and
    so does all that it stands in. A row that is the same object as before costs next to nothing on its way to the terminal.
    """

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:  # noqa: FBT001, FBT002 (Textual's own signature)
        """Take a size. Textual would lay the whole screen out a second time for it; scroll bars that come or go ask for that."""
        del layout
        return super()._size_updated(size, virtual_size, container_size, layout=False)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw the rows of `crop`."""
        if crop.x or crop.width != self.outer_size.width or self.styles.border or self.opacity < 1:
            return super().render_lines(crop)
        _, background = self.background_colors
        filters = self.get_line_filters()
        strips = self.bare_lines(crop, background)
        for line_filter in filters:
            strips = [strip.apply_filter(line_filter, background) for strip in strips]
        return strips

    def bare_lines(self, crop: Region, background: Color) -> list[Strip]:
        """Give the rows of `crop` from edge to edge; nothing but `background` here."""
        return [Strip.blank(crop.width, Style(background=background).rich_style)] * crop.height
