"""The line above a turn: which branch it is, whether it is pinned or excluded, and whether it is the chosen one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual import message
from textual.content import Content
from textual.widget import Widget

if TYPE_CHECKING:
    from textual import events
    from textual.app import RenderResult

    from mistral_chat.ui.shown import ShownTurn

_BEFORE: Final = "◂"
_AFTER: Final = "▸"
_SEPARATOR: Final = Content.styled("  ·  ", "$foreground 65%")


class TurnHead(Widget):
    """One row that is empty unless there is something to say, so that nothing moves when there is."""

    DEFAULT_CSS = """
    TurnHead { height: 1; padding: 0 1 0 2; }
    """

    class Walked(message.Message):
        """An arrow was clicked: another branch is wanted at this turn."""

        def __init__(self, turn_id: str, step: int) -> None:
            """Go `step` branches on at the turn `turn_id`."""
            super().__init__()
            self.turn_id = turn_id
            self.step = step

    def __init__(self, shown: ShownTurn) -> None:
        """Make the line of the turn `shown`."""
        super().__init__()
        self._shown = shown
        self._chosen = False
        self._tokens: int | None = None

    def show(self, shown: ShownTurn, *, chosen: bool, tokens: int | None) -> None:
        """Say what is so now. `tokens` is the turn's cost; None while nobody knows, and then nothing is said of it."""
        now = (shown, chosen, tokens)
        if now != (self._shown, self._chosen, self._tokens):
            self._shown, self._chosen, self._tokens = now
            self.refresh()

    def render(self) -> RenderResult:
        """Put the parts on one row."""
        turn, parts = self._shown.turn, []
        if self._branches:
            parts.append(Content.styled(self._branches, "$foreground 65%"))
        if self._chosen:
            parts.append(Content.styled("chosen", "bold $text-accent"))
        if turn.pinned:
            parts.append(Content.styled("◆ pinned", "$text-primary"))
        if turn.excluded:
            parts.append(Content.styled("◇ the model does not see this", "$text-warning"))
        if self._tokens is not None and (self._chosen or turn.pinned or turn.excluded):
            parts.append(Content.styled(f"{self._tokens:,} tokens", "$foreground 65%"))
        if self._chosen:
            parts.append(Content.assemble(("Enter", "$text-accent"), (" what to do", "$foreground 65%")))
        width = self.content_size.width
        while parts and (line := _SEPARATOR.join(parts)).cell_length > width:
            parts.pop()
        return line if parts else ""

    def on_click(self, event: events.Click) -> None:
        """Walk to the branch that an arrow points to. A click elsewhere goes on to the transcript."""
        place = event.x - self.styles.padding.left
        if self._branches and 0 <= place < len(self._branches):
            event.stop()
            self.post_message(self.Walked(self._shown.turn_id, -1 if place < len(self._branches) // 2 else 1))

    @property
    def _branches(self) -> str:
        shown = self._shown
        return f"{_BEFORE} {shown.sibling}/{shown.siblings} {_AFTER}" if shown.siblings > 1 else ""
