"""A turn: what was said and what came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical

from mistral_chat.ui.widgets.message_view import MessageView
from mistral_chat.ui.widgets.reply_view import ReplyView

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mistral_chat.ui.shown import ShownTurn


class TurnView(Vertical):
    """Shows one turn. The transcript mounts and unmounts whole turns."""

    DEFAULT_CSS = """
    TurnView { height: auto; max-width: 102; margin: 1 1 0 1; }
    """

    def __init__(self, shown: ShownTurn, *, growing: bool = False) -> None:
        """Show `shown`; a `growing` one has a reply that is still being written."""
        super().__init__()
        self.shown = shown
        self.reply = ReplyView(shown.turn, growing=growing)
        """The model's side."""

    def compose(self) -> ComposeResult:
        """The person's side, then the model's."""
        yield MessageView(self.shown.turn.user)
        yield self.reply

    def finish(self, shown: ShownTurn) -> None:
        """Show the turn as it was kept."""
        self.shown = shown
        self.reply.finish(shown.turn)
