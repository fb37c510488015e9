"""The text in the middle of an empty screen: how to start, or what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.content import Content
from textual.widgets import Static

from mistral_chat.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.geometry import Size

_MEASURE: Final = 84
"""Columns of a line that is still easy to read."""


class EmptyState(Static):
    """A heading, a few plain lines, and keys with what they do."""

    def __init__(self) -> None:
        """Make an empty text, which is hidden."""
        super().__init__(id="empty", markup=False)
        self.display = False

    def show(self, heading: str, lines: Sequence[str], keys: Sequence[tuple[str, str]], *, trouble: bool = False) -> None:
        """Show a text. `lines` may quote anything; `trouble` colours the heading."""
        wide = max(len(key) for key, _ in keys)
        rows = [Content.styled(one_line(heading), "bold $text-error" if trouble else "bold $text-primary"), Content("")]
        rows += [Content(clean(line)) for line in lines]
        rows.append(Content(""))
        rows += [Content.assemble((key.ljust(wide + 3), "$text-accent"), (does, "$text-quiet")) for key, does in keys]
        self.update(Content("\n").join(rows))
        self.display = True

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """Limit the text to a readable measure."""
        return min(super().get_content_width(container, viewport), _MEASURE)
