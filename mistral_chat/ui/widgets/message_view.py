"""What a person said, as it was typed."""

from __future__ import annotations

from typing import Final

from mistral_chat.ui.content import literal
from mistral_chat.ui.markdown import Line, Prose, plain
from mistral_chat.ui.widgets.blocks_view import BlocksView

LARGEST_SHOWN: Final = 256 * 1024
"""Characters of one message that are drawn; the rest stays in the store."""


class MessageView(BlocksView):
    """Shows a person's message. It is never read as Markdown: what was typed is what is seen."""

    DEFAULT_CSS = """
    MessageView {
        height: auto;
        padding: 0 1;
        margin-bottom: 1;
        background: $surface;
        border-left: thick $primary;
    }
    """

    def __init__(self, text: str) -> None:
        """Show `text`, which may be anything; one that is cut says so."""
        shown = plain(text[:LARGEST_SHOWN])
        if (more := len(text) - LARGEST_SHOWN) > 0:
            note = Line(literal(f"… {more:,} more characters. Export the conversation to read them."))
            shown = Prose((*shown.lines, note))
        super().__init__([shown], gap=0)
