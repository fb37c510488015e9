"""The dialog for what stands behind a slash command, for those who come from the list of all commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from mistral_chat.text import clean, one_line
from mistral_chat.ui.widgets.keys_in_order import KeysInOrder

if TYPE_CHECKING:
    from textual.app import ComposeResult

_LONGEST = 4000


class AskInput(KeysInOrder, Input):
    """The field."""

    HELP = "## A command\n\nType what is asked for. **Enter** does it, **Escape** does nothing.\n"


class AskScreen(ModalScreen["str | None"]):
    """Asks for one line; ends with it, or with None when nothing is to be done."""

    CSS_PATH = "dialog.tcss"
    HELP = "## A command\n\n**Enter** does it, **Escape** does nothing.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", tooltip="Do nothing", id="ask.cancel"),
    ]

    def __init__(self, heading: str, about: str, value: str = "") -> None:
        """Ask for what `heading` names and `about` explains, with `value` to begin with; each may quote anything."""
        super().__init__()
        self._heading, self._about, self._value = heading, about, value

    def compose(self) -> ComposeResult:
        """The question, the field and two buttons."""
        with Vertical(classes="dialog"):
            yield Static(Content(one_line(self._heading)), classes="heading")
            yield Static(Content(clean(self._about)), classes="explained")
            yield AskInput(one_line(self._value, _LONGEST), select_on_focus=True, compact=True)
            with Horizontal(classes="buttons"):
                yield Button("Do it", variant="primary", id="do", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def action_leave(self) -> None:
        """Do nothing."""
        self.dismiss(None)

    @on(Input.Submitted)
    @on(Button.Pressed, "#do")
    def _done(self) -> None:
        self.dismiss(self.query_one(AskInput).value.strip())

    @on(Button.Pressed, "#cancel")
    def _cancelled(self) -> None:
        self.action_leave()
