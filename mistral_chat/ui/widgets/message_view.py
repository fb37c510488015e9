"""What a person said, as it was typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.containers import Vertical

from mistral_chat.ui.markdown import Line, Prose, plain
from mistral_chat.ui.text import literal
from mistral_chat.ui.widgets.block_view import BlockView

if TYPE_CHECKING:
    from textual.app import ComposeResult

LARGEST_SHOWN: Final = 256 * 1024
"""Characters of one message that are drawn; the rest stays in the store."""


class MessageView(Vertical):
    """Shows a person's message. It is never read as Markdown: what was typed is what is seen."""

    DEFAULT_CSS = """
    MessageView {
        height: auto;
        padding: 0 1;
        margin-bottom: 1;
        background: $surface;
        border-left: thick $primary;

        BlockView { margin-bottom: 0; }
    }
    """

    def __init__(self, text: str) -> None:
        """Show `text`, which may be anything."""
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """One block, and a line that says so when the text is cut."""
        yield BlockView(plain(self._text[:LARGEST_SHOWN]))
        if (more := len(self._text) - LARGEST_SHOWN) > 0:
            yield BlockView(Prose((Line(literal(f"… {more:,} more characters. Export the conversation to read them.")),)))
