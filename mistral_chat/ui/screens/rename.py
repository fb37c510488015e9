"""The dialog for a conversation's title."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from mistral_chat.text import one_line
from mistral_chat.ui.widgets.keys_in_order import KeysInOrder

if TYPE_CHECKING:
    from textual.app import ComposeResult

LONGEST_TITLE = 200
"""Characters of a title."""


class TitleInput(KeysInOrder, Input):
    """The field for the title."""

    HELP = "## Title\n\nType the conversation's new title. **Enter** keeps it, **Escape** leaves the old one.\n"


class RenameScreen(ModalScreen[str | None]):
    """Asks for a title; ends with it, or with None when the old one is to stay."""

    CSS_PATH = "dialog.tcss"
    HELP = "## Rename\n\n**Enter** keeps the new title, **Escape** leaves the old one.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", tooltip="Leave the old title", id="dialog.cancel"),
    ]

    def __init__(self, title: str) -> None:
        """Ask, with the present `title` as the answer to change."""
        super().__init__()
        self._old = one_line(title, LONGEST_TITLE)

    def compose(self) -> ComposeResult:
        """The field and two buttons."""
        with Vertical(classes="dialog"):
            yield Static("Rename the conversation", classes="heading")
            yield TitleInput(self._old, max_length=LONGEST_TITLE, placeholder="Title", select_on_focus=True, compact=True)
            with Horizontal(classes="buttons"):
                yield Button("Rename", variant="primary", id="rename", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def action_leave(self) -> None:
        """Leave the old title."""
        self.dismiss(None)

    @on(Input.Submitted)
    @on(Button.Pressed, "#rename")
    def _rename(self) -> None:
        title = one_line(self.query_one(Input).value, LONGEST_TITLE)
        self.dismiss(title if title and title != self._old else None)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)
