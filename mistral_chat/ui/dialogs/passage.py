"""A passage of a document, or an attached file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import VerticalScroll

from mistral_chat.ui.dialogs.base import Dialog, frame, paragraph
from mistral_chat.ui.widgets.blocks import LARGEST_SHOWN

if TYPE_CHECKING:
    from textual.app import ComposeResult


class PassageDialog(Dialog[None]):
    """Shows a passage or an attached file exactly as given to the model."""

    HELP = "## Passage\n\nThe arrow keys scroll. **Esc** goes back.\n"

    def __init__(self, source: str, text: str) -> None:
        """Show `text`, which is from `source`; both are untrusted."""
        super().__init__()
        self._source, self._text = source, text

    def compose(self) -> ComposeResult:
        """Show the text in a scrolling area."""
        with frame(self._source, hints=(("↑↓", "scroll"), ("Esc", "close")), classes="passage"), VerticalScroll():
            yield paragraph(self._text[:LARGEST_SHOWN])
            if (more := len(self._text) - LARGEST_SHOWN) > 0:
                yield paragraph(f"… {more:,} more characters, which are not shown here.")

    def on_mount(self) -> None:
        """Let the arrow keys scroll."""
        self.query_one(VerticalScroll).focus()
