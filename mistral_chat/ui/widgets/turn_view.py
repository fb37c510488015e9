"""A turn: what was said and what came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.widgets import Static

from mistral_chat.ui.widgets.message_view import MessageView
from mistral_chat.ui.widgets.reply_view import ReplyView

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mistral_chat.ui.shown import ShownTurn


class TurnView(Vertical):
    """Shows one turn. The transcript mounts and unmounts whole turns.

    Its class `-left` dims it: the model no longer sees it. `-edge` draws the line where the model's memory begins.
    """

    DEFAULT_CSS = """
    TurnView {
        height: auto;
        max-width: 102;
        margin: 1 1 0 1;

        .branch { color: $foreground 65%; padding: 0 2; height: 1; }
        &.-found MessageView { background: $primary 25%; }
        &.-left { opacity: 55%; }
        &.-edge {
            border-top: solid $primary 50%;
            border-title-color: $foreground 65%;
            border-title-align: center;
            padding-top: 1;
        }
    }
    """

    def __init__(self, shown: ShownTurn, *, growing: bool = False) -> None:
        """Show `shown`; a `growing` one has a reply that is still being written."""
        super().__init__()
        self.shown = shown
        self.border_title = "what the model sees begins here"
        self.reply = ReplyView(shown.turn, growing=growing)
        """The model's side."""

    def compose(self) -> ComposeResult:
        """The person's side, then the model's."""
        if self.shown.siblings > 1:
            yield Static(f"◂ {self.shown.sibling}/{self.shown.siblings} ▸", classes="branch", markup=False)
        yield MessageView(self.shown.turn.user)
        yield self.reply

    def mark_memory(self, *, left: bool, edge: bool) -> None:
        """Say whether the turn has left the model's window, and whether it is the first one in it."""
        self.set_class(left, "-left")
        self.set_class(edge, "-edge")

    def finish(self, shown: ShownTurn) -> None:
        """Show the turn as it was kept."""
        self.shown = shown
        self.reply.finish(shown.turn)
