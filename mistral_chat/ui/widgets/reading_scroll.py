"""A scrolling container in which the line being read stays in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.containers import VerticalScroll
from textual.scrollbar import ScrollBar
from textual.widget import Widget

if TYPE_CHECKING:
    from textual.geometry import Size
    from textual.layout import DockArrangeResult


class ReadingScroll(VerticalScroll):
    """Follows its end while it is anchored there; else the line at the top edge stays, whatever changes above it."""

    def __init__(self, **attributes: Any) -> None:
        """Read nothing yet."""
        super().__init__(**attributes)
        self.reading: tuple[Widget, float] | None = None
        """The child at the top edge and the rows of it above the edge, while the end is not followed."""
        self._thumb = 0.0
        """The position of the scroll bar at the last layout."""

    @property
    def following(self) -> bool:
        """Whether the end stays in view as it grows."""
        return self.is_anchored and not self._anchor_released

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Remember the line being read."""
        super().watch_scroll_y(old_value, new_value)
        if self.following:
            self.reading = None
        else:
            self.note_reading()

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:  # noqa: FBT001, FBT002 (Textual's own signature)
        """Lay the children out, and keep the line being read in place."""
        result = super().arrange(size, optimal)
        if self.reading is not None and not self.following:
            widget, offset = self.reading
            for placement in result.placements:
                if placement.widget is widget:
                    most = max(0, result.total_region.bottom - self.container_size.height)
                    target = min(max(0.0, placement.region.y + offset), most)
                    if round(target) != round(self.scroll_y):
                        self.set_reactive(Widget.scroll_y, target)
                        self.set_reactive(Widget.scroll_target_y, target)
                        self.vertical_scrollbar.set_reactive(ScrollBar.position, target)
                    break
        return result

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:  # noqa: FBT001, FBT002 (Textual's own signature)
        """Take a size, and draw the scroll bar if the layout moved it."""
        updated = super()._size_updated(size, virtual_size, container_size, layout)
        if self._thumb != self.scroll_y:
            self._thumb = self.scroll_y
            self.vertical_scrollbar.refresh()
        return updated

    def note_reading(self) -> None:
        """Remember the child at the top edge, and how far it is scrolled past the edge."""
        self.reading = None  # asking for a region may lay the children out, which must not scroll back to the old anchor
        for view in self.children:
            region = view.virtual_region
            if region.bottom > self.scroll_y:
                self.reading = (view, self.scroll_y - region.y)
                return
