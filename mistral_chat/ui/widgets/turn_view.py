"""A turn: what was said and what came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.widgets import Static

from mistral_chat.ui.content import literal_line
from mistral_chat.ui.widgets.bare import Bare
from mistral_chat.ui.widgets.message_view import MessageView
from mistral_chat.ui.widgets.reply_view import ReplyView
from mistral_chat.ui.widgets.turn_head import TurnHead

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mistral_chat.conversation import Turn
    from mistral_chat.ui.shown import ShownTurn


class TurnView(Vertical, Bare):
    """Shows one turn. The transcript mounts and unmounts whole turns.

    Its class `-left` dims it: the model does not see it. `-edge` draws the line where the model's memory begins. `-chosen` marks
    the turn that the next key is meant for.
    """

    DEFAULT_CSS = """
    TurnView {
        height: auto;
        max-width: 102;
        margin: 0 1;

        .details { height: auto; padding: 0 1 0 2; margin-bottom: 1; color: $foreground 65%; }
        &.-chosen MessageView { background: $primary 20%; border-left: outer $primary; }
        &.-found MessageView { background: $primary 25%; }
        &.-left { opacity: 55%; }
        &.-left.-chosen { opacity: 85%; }
        &.-edge {
            border-top: solid $primary 50%;
            border-title-color: $foreground 65%;
            border-title-align: center;
            margin: 1 1 0 1;
        }
    }
    """

    def __init__(self, shown: ShownTurn, *, growing: bool = False) -> None:
        """Show `shown`; a `growing` one has a reply that is still being written."""
        super().__init__()
        self.shown = shown
        self.border_title = " what the model sees begins here "
        self._head = TurnHead(shown)
        self._details: Static | None = None
        self.reply = ReplyView(shown.turn, growing=growing)
        """The model's side."""

    def compose(self) -> ComposeResult:
        """What there is to say of the turn, the person's side, then the model's."""
        yield self._head
        yield MessageView(self.shown.turn.user)
        yield self.reply

    def mark(self, *, left: bool, edge: bool, chosen: bool, details: bool, tokens: int | None) -> None:
        """Show what is known of the turn.

        Args:
            left: whether the model does not see it.
            edge: whether it is the first one that the model sees.
            chosen: whether it is the turn that the next key is meant for.
            details: whether what the reply took is shown under it.
            tokens: how many tokens it takes; None while nobody knows.
        """
        self.set_class(left, "-left")
        self.set_class(edge, "-edge")
        self.set_class(chosen, "-chosen")
        self._head.show(self.shown, chosen=chosen, tokens=tokens)
        self._show_details(_told(self.shown.turn) if details else "")

    def finish(self, shown: ShownTurn) -> None:
        """Show the turn as it was kept."""
        self.shown = shown
        self.reply.finish(shown.turn)

    def _show_details(self, told: str) -> None:
        if self._details is None:
            if not told:
                return
            self._details = Static(markup=False, classes="details")
            self.mount(self._details)
        self._details.update(literal_line(told))
        self._details.display = bool(told)


def _told(turn: Turn) -> str:
    """What a reply took, and how it ended; empty where nothing is known."""
    parts = [turn.model] if turn.model and turn.reply else []
    if (usage := turn.usage) is not None:
        parts.append(f"{usage.completion_tokens:,} tokens")
        parts.append(f"prompt {usage.prompt_tokens:,}, of them {usage.cached_tokens:,} cached")
        parts.append(f"first token after {usage.time_to_first_token:.1f} s")
        if usage.tokens_per_second:
            parts.append(f"{usage.tokens_per_second:.1f} tokens/s")
    ended = {"stop": "ended by itself", "length": "cut at the longest length", "cancelled": "stopped"}
    if turn.finish_reason is not None:
        parts.append(ended[turn.finish_reason])
    return " · ".join(parts)
