"""A question with two answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.content import Content
from textual.widgets import Checkbox

from mistral_chat.text import one_line
from mistral_chat.ui.dialogs.base import Dialog, button_row, frame, paragraph

if TYPE_CHECKING:
    from textual.app import ComposeResult


class ConfirmDialog(Dialog[bool]):
    """Asks a question; the result says whether it was confirmed. Escape does not confirm."""

    HELP = "## Confirm\n\nThe arrow keys move between the answers, **Enter** takes the focused one. **Esc** changes nothing.\n"

    def __init__(self, title: str, text: str, *, yes: str, no: str, also: str = "") -> None:
        """Ask `title`, explained by `text`; both may quote anything. `yes` and `no` label the buttons.

        `also` is something that is done as well unless the user unchecks it; empty for nothing.
        """
        super().__init__()
        self._title, self._text, self._yes, self._no = title, text, yes, no
        self._also = also
        self.also = bool(also)
        """Whether the user wants that, too."""

    def compose(self) -> ComposeResult:
        """Show the question and two buttons; the safe one has the focus."""
        with frame(self._title, hints=(("Enter", "choose"), ("Esc", self._no.lower()))):
            if self._text:
                yield paragraph(self._text)
            if self._also:
                yield Checkbox(Content(one_line(self._also, 200)), value=True, compact=True)
            yield button_row([("cancel", self._no), ("yes", self._yes)])

    def on_mount(self) -> None:
        """Begin at the cautious answer."""
        self.query_one("#cancel").focus()

    @on(Checkbox.Changed)
    def _checked(self, event: Checkbox.Changed) -> None:
        self.also = event.value

    def action_cancel(self) -> None:
        """Close without confirming."""
        self.dismiss(False)  # noqa: FBT003 (the result itself)

    def action_yes(self) -> None:
        """Confirm."""
        self.dismiss(True)  # noqa: FBT003 (the result itself)
