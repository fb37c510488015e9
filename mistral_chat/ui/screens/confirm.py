"""The dialog for a question that is answered with yes or no."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from mistral_chat.text import clean, one_line

if TYPE_CHECKING:
    from textual.app import ComposeResult


class ConfirmScreen(ModalScreen[bool]):
    """Asks a question; ends with whether it was answered with yes. Escape is no."""

    CSS_PATH = "dialog.tcss"
    HELP = "## A question\n\n**Tab** goes from one answer to the other, **Enter** takes it. **Escape** changes nothing.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "refuse", "No", tooltip="Change nothing", id="confirm.refuse"),
    ]

    def __init__(self, heading: str, text: str, *, yes: str, no: str) -> None:
        """Ask `heading`, explained by `text`; both may quote anything. `yes` and `no` are the buttons' words."""
        super().__init__()
        self._heading, self._text, self._yes, self._no = heading, text, yes, no

    def compose(self) -> ComposeResult:
        """The question and two buttons; the cautious one has the focus."""
        with Vertical(classes="dialog"):
            yield Static(Content(one_line(self._heading)), classes="heading")
            yield Static(Content(clean(self._text)), classes="explained")
            with Horizontal(classes="buttons"):
                yield Button(Content(self._no), id="no", variant="primary", compact=True)
                yield Button(Content(self._yes), id="yes", compact=True)

    def action_refuse(self) -> None:
        """Answer with no."""
        self.dismiss(False)  # noqa: FBT003 (the answer itself)

    @on(Button.Pressed)
    def _answer(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
