"""Context usage, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mistral_chat.formatting import counted
from mistral_chat.text import one_line
from mistral_chat.ui.dialogs.base import Dialog, frame
from mistral_chat.ui.keymap import key_binding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult, RenderResult

    from mistral_chat.session.context import ContextUsage

_NAMED: Final = 3
"""Turns outside the context that are named."""

_STYLES: Final = {
    "█": "$secondary",
    "▓": "$primary",
    "▒": "$success",
    "▚": "$accent",
    "░": "$warning",
    "-": "$text-quiet",
    "·": "$text-quiet",
}
"""Each part has its own pattern, so that it can be recognised without colour."""


class ContextBar(Widget):
    """The context as one row, each part as wide as its share."""

    DEFAULT_CSS = """
    ContextBar { height: 1; margin-bottom: 1; }
    """

    def __init__(self, amounts: Sequence[tuple[str, int]]) -> None:
        """Draw `amounts`, each with its pattern of one character; together they fill the row."""
        super().__init__()
        self._amounts = amounts

    def render(self) -> RenderResult:
        """Give each part its share, and at least one cell."""
        width = self.content_size.width
        total = max(1, sum(amount for _, amount in self._amounts))
        cells = [max(1, round(amount / total * width)) if amount else 0 for _, amount in self._amounts]
        cells[cells.index(max(cells))] += width - sum(cells)
        return Content("").join(
            [Content.styled(mark * count, _STYLES[mark]) for (mark, _), count in zip(self._amounts, cells, strict=True)]
        )


class ContextDialog(Dialog[None]):
    """Shows the parts of the context, how many turns are in it, and which dropped out."""

    HELP = "## Context usage\n\nThe tokens in the model's context window. The arrow keys scroll, **Esc** closes.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("context.cancel", "enter,alt+w", "cancel", "Close", "Close the context usage"),
    ]

    def __init__(self, usage: ContextUsage, *, turns: int, excluded: int, left: Sequence[str], older: int = 0) -> None:
        """Show `usage`.

        Args:
            usage: the tokens of each part.
            turns: how many turns the conversation has.
            excluded: how many of them the user excluded.
            left: the messages of the turns that dropped out, oldest first, as far as they are loaded; untrusted.
            older: how many others dropped out before them.
        """
        super().__init__()
        self._usage, self._turns, self._excluded = usage, turns, excluded
        self._left, self._older = left, older

    def compose(self) -> ComposeResult:
        """Show the bar, the numbers and the turns."""
        usage = self._usage
        amounts = [
            ("█", "system prompt", usage.system),
            ("▓", "pinned messages", usage.pinned),
            ("▒", "conversation", usage.conversation),
            ("▚", "recalled and documents", usage.passages),
            ("░", "draft", usage.draft),
            ("-", "reserved for the reply", usage.reserve),
            ("·", "free", usage.free),
        ]
        rows = [_row(mark, name, amount, usage.window) for mark, name, amount in amounts]
        with frame(f"Context: {usage.window:,} tokens", hints=(("Esc", "close"),), classes="context"), VerticalScroll():
            yield ContextBar([(mark, amount) for mark, _, amount in amounts])
            yield Static(Content("\n").join(rows), classes="paragraph")
            if advice := _advice(usage):
                yield Static(Content(advice), classes="paragraph")
            yield Static(Content(self._summary()), classes="paragraph")
            if self._left:
                yield Static(self._dropped(), classes="quiet")

    def _summary(self) -> str:
        if not self._turns:
            return "No messages yet."
        summary = f"The model sees {self._usage.seen:,} of {counted(self._turns, 'message')}."
        return f"{summary} You excluded {self._excluded:,}." if self._excluded else summary

    def _dropped(self) -> Content:
        named = [f"  {one_line(text, 48)}" for text in self._left[-1 : -_NAMED - 1 : -1]]
        count = len(self._left) + self._older
        more = count - len(named)
        heading = "1 message dropped from context:" if count == 1 else f"{count:,} messages dropped, most recent first:"
        return Content("\n".join([heading, *named, *([f"  and {more:,} earlier"] if more else [])]))


def _advice(usage: ContextUsage) -> str:
    """What happens to a draft that is too long or evicts messages; empty for others."""
    if not usage.fits:
        return f"Too long: {usage.draft:,} tokens, {usage.max_message_tokens:,} available."
    over = usage.used + usage.draft + usage.reserve - usage.window
    return f"{over:,} tokens too many: the oldest messages will drop out." if over > 0 else ""


def _row(mark: str, name: str, amount: int, window: int) -> Content:
    share = f"{amount / window:>4.0%}"
    return Content.assemble((f"{mark}{mark} ", _STYLES[mark]), f"{name:<24}{amount:>9,}  ", (share, "$text-quiet"))
