"""A dialog with one text field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual import on, work
from textual.content import Content
from textual.widgets import Input, Static

from mistral_chat.text import one_line
from mistral_chat.ui.dialogs.base import Dialog, button_row, frame, paragraph, status_line
from mistral_chat.ui.widgets.ordered_keys import Field

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.app import ComposeResult
    from textual.worker import Worker

LONGEST: Final = 4000
"""Maximum characters of a value that is typed."""


class InputDialog(Dialog[str]):
    """Asks for one line of text; the result is the line without surrounding white space, or None."""

    HELP = "## Enter a value\n\nType a value. **Enter** confirms it, **Esc** cancels.\n"

    def __init__(
        self,
        title: str,
        *,
        label: str,
        value: str = "",
        about: str = "",
        confirm: str = "OK",
        longest: int = LONGEST,
        submit: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        """Ask for a value.

        Args:
            title: the dialog's title; like `label`, `value` and `about` it may quote anything.
            label: the field's label.
            value: the text in the field at first.
            about: a line of explanation above the field.
            confirm: the label of the button that confirms.
            longest: the most characters the field takes.
            submit: called with the confirmed text; returns why it failed and keeps the dialog open, or returns an empty string.
        """
        super().__init__()
        self._title, self._label, self._about, self._confirm = title, label, about, confirm
        self._value = one_line(value, longest)
        self._longest = longest
        self._submit = submit
        self._passing: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """Show the explanation, the labelled field, what is wrong with its text, and two buttons."""
        with frame(self._title, hints=(("Enter", self._confirm.lower()), ("Esc", "cancel"))):
            if self._about:
                yield paragraph(self._about)
            yield Static(Content(one_line(self._label, 60)), classes="label")
            yield Field(self._value, max_length=self._longest, select_on_focus=True, compact=True)
            yield status_line()
            yield button_row([("confirm", self._confirm), ("cancel", "Cancel")])

    @on(Input.Changed)
    def _changed(self) -> None:
        self.show_status("")

    @on(Input.Submitted)
    def action_confirm(self) -> None:
        """Close the dialog with the text, unless something is wrong with it."""
        text = self.query_one(Field).value.strip()
        if self._submit is None:
            self.dismiss(text)
        elif self._passing is None or self._passing.is_finished:
            self._passing = self._pass_on(self._submit, text)

    @work(exit_on_error=False)
    async def _pass_on(self, submit: Callable[[str], Awaitable[str]], text: str) -> None:
        problem = await submit(text)
        self.show_status(problem, warning=True)
        if not problem:
            self.dismiss(text)
