"""The queued messages, above the message box."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 3
"""Messages with a row of their own."""


class QueuedMessages(Static):
    """One greyed row for each queued message. Hidden without messages."""

    DEFAULT_CSS = """
    QueuedMessages {
        height: auto;
        max-width: 102;
        padding: 0 2;
        color: $foreground 50%;
        text-wrap: nowrap;
        text-overflow: ellipsis;
    }
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__(id="queued", markup=False)
        self.display = False

    def show(self, messages: Sequence[str]) -> None:
        """Show `messages`, the next one first; untrusted."""
        rows = [f"queued: {one_line(text, 200)}" for text in messages[:_SHOWN]]
        if len(messages) > _SHOWN:
            rows.append(f"and {len(messages) - _SHOWN} more")
        self.update(Content("\n".join(rows)))
        self.display = bool(rows)
