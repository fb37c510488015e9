"""What fills the model's window, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult, RenderResult

    from mistral_chat.session.context import ContextUsage

_NAMED: Final = 3
"""Turns that left which are named."""

_STYLES: Final = {
    "█": "$secondary",
    "▓": "$primary",
    "▒": "$success",
    "░": "$warning",
    "-": "$foreground 50%",
    "·": "$foreground 40%",
}
"""Each part has a pattern of its own, so that it can be told without colour."""


class WindowBar(Widget):
    """The window as one row, each part as wide as it is large."""

    DEFAULT_CSS = """
    WindowBar { height: 1; margin-bottom: 1; }
    """

    def __init__(self, amounts: Sequence[tuple[str, int]]) -> None:
        """Draw `amounts`: each with its pattern, one character; together they are the whole row."""
        super().__init__()
        self._amounts = amounts

    def render(self) -> RenderResult:
        """Give each part its share; what is there at all gets a cell."""
        width = self.content_size.width
        total = max(1, sum(amount for _, amount in self._amounts))
        cells = [max(1, round(amount / total * width)) if amount else 0 for _, amount in self._amounts]
        cells[cells.index(max(cells))] += width - sum(cells)
        return Content("").join(
            [Content.styled(mark * count, _STYLES[mark]) for (mark, _), count in zip(self._amounts, cells, strict=True)]
        )


class PartsView(VerticalScroll):
    """The numbers; scrolls where the screen is small."""

    HELP = "## The window\n\nScroll with the arrows. **Escape** goes back.\n"


class ContextScreen(ModalScreen[None]):
    """Shows the window's parts, how many turns are seen, and what left."""

    CSS_PATH = "dialog.tcss"
    DEFAULT_CSS = """
    ContextScreen {
        align: center middle;

        PartsView { max-height: 92%; scrollbar-size-vertical: 1; }
        .parts, .seen { height: auto; margin-bottom: 1; }
        .left { height: auto; color: $foreground 65%; }
    }
    """
    HELP = "## The window\n\nWhat the model sees at once, in tokens. **Escape** goes back.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,alt+w", "leave", "Back", tooltip="Go back to the chat", id="context.cancel"),
    ]

    def __init__(self, parts: ContextUsage, *, turns: int, excluded: int, left: Sequence[str]) -> None:
        """Show `parts`.

        Args:
            parts: what fills the window.
            turns: how many turns the conversation has.
            excluded: how many of them a person hid from the model.
            left: the messages of turns that left, oldest first, as far as they are known; may be anything.
        """
        super().__init__()
        self._parts = parts
        self._turns = turns
        self._excluded = excluded
        self._left = left

    def compose(self) -> ComposeResult:
        """The bar, the numbers, the turns."""
        parts = self._parts
        over = max(0, parts.used + parts.draft + parts.reserve - parts.window)
        amounts = [
            ("█", "system prompt", parts.system),
            ("▓", "pinned turns", parts.pinned),
            ("▒", "conversation", parts.conversation),
            ("░", "draft", parts.draft),
            ("-", "kept free for the reply", parts.reserve),
            ("·", "free", parts.free),
        ]
        with PartsView(classes="dialog"):
            yield Static(Content(f"The window holds {parts.window:,} tokens"), classes="heading")
            yield WindowBar([(mark, amount) for mark, _, amount in amounts])
            yield Static(
                Content("\n").join([_row(mark, name, amount, parts.window) for mark, name, amount in amounts]), classes="parts"
            )
            if not parts.fits:
                yield Static(Content(f"The draft does not fit: a message may take {parts.room:,} tokens."), classes="seen")
            elif over:
                yield Static(Content(f"Together that is {over:,} too many: the oldest turns leave first."), classes="seen")
            yield Static(Content(self._seen()), classes="seen")
            if self._left:
                yield Static(self._gone(), classes="left")

    def action_leave(self) -> None:
        """Go back."""
        self.dismiss(None)

    def _seen(self) -> str:
        if not self._turns:
            return "Nothing has been said yet."
        words = [f"The model sees {self._parts.seen:,} of {self._turns:,} turn{'s' if self._turns != 1 else ''}."]
        if self._excluded:
            words.append(f"You excluded {self._excluded:,}.")
        return " ".join(words)

    def _gone(self) -> Content:
        named = [f"  {one_line(text, 48)}" for text in self._left[-1 : -_NAMED - 1 : -1]]
        more = len(self._left) - len(named)
        lines = [
            f"{len(self._left):,} turns left the window, the last of them:" if more or len(named) > 1 else "One turn left:",
            *named,
        ]
        return Content("\n".join([*lines, *([f"  and {more:,} before"] if more else [])]))


def _row(mark: str, name: str, amount: int, window: int) -> Content:
    return Content.assemble(
        (f"{mark}{mark} ", _STYLES[mark]), f"{name:<24}{amount:>9,}  ", (f"{amount / window:>4.0%}", "$foreground 65%")
    )
