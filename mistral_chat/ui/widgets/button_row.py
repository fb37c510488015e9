"""A row of buttons that the arrow keys move along."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Button


class ButtonRow(Horizontal):
    """A row of buttons. Left and Right go to the others, past the ends to the other end."""

    DEFAULT_CSS = "ButtonRow { height: 1; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Previous button", tooltip="Go to the button before", id="buttons.previous", show=False),
        Binding("right", "move(1)", "Next button", tooltip="Go to the button after", id="buttons.next", show=False),
    ]

    def action_move(self, step: int) -> None:
        """Focus the button `step` places on."""
        buttons = [button for button in self.query(Button) if button.focusable]
        if self.screen.focused in buttons:
            # Widget.focus would take effect only after a key that was typed ahead.
            self.screen.set_focus(buttons[(buttons.index(self.screen.focused) + step) % len(buttons)])
