"""A question with two answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.ui.dialogs.base import Dialog, button_row, frame, paragraph

if TYPE_CHECKING:
    from textual.app import ComposeResult


class ConfirmDialog(Dialog[bool]):
    """Asks a question; the result says whether it was confirmed. Escape does not confirm."""

    HELP = "## Confirm\n\nThe arrow keys move between the answers, **Enter** takes the focused one. **Esc** changes nothing.\n"

    def __init__(self, title: str, text: str, *, yes: str, no: str) -> None:
        """Ask `title`, explained by `text`; both may quote anything. `yes` and `no` label the buttons."""
        super().__init__()
        self._title, self._text, self._yes, self._no = title, text, yes, no

    def compose(self) -> ComposeResult:
        """Show the question and two buttons; the cautious one has the focus."""
        with frame(self._title, hints=(("Enter", "choose"), ("Esc", self._no.lower()))):
            if self._text:
                yield paragraph(self._text)
            yield button_row([("cancel", self._no), ("yes", self._yes)])

    def action_cancel(self) -> None:
        """Close without confirming."""
        self.dismiss(False)  # noqa: FBT003 (the result itself)

    def action_yes(self) -> None:
        """Confirm."""
        self.dismiss(True)  # noqa: FBT003 (the result itself)
