"""A dialog with a list to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from textual import on
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from mistral_chat.text import one_line
from mistral_chat.ui.dialogs.base import Dialog, frame, paragraph
from mistral_chat.ui.widgets.ordered_keys import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult

_QUIET: Final = "$text-quiet"
_WIDEST: Final = 80
"""Characters of a label or a detail."""
_KEY_COLUMN: Final = 38
"""Cells of a label that has its key behind it."""


class Choice(NamedTuple):
    """One entry of the list; its texts may quote anything."""

    value: str
    """The dialog's result when it is chosen; differs from that of every other entry."""
    label: str
    detail: str = ""
    """A second line that explains it."""
    key: str = ""
    """The key that does the same outside the dialog; a single letter chooses the entry here too."""


class ChoiceDialog(Dialog[str]):
    """Lists choices; the result is the value of the chosen one, or None."""

    HELP = "## Choose\n\nThe arrow keys move through the list, **Enter** chooses. **Esc** changes nothing.\n"

    def __init__(
        self, title: str, choices: Sequence[Choice], *, text: str = "", selected: str | None = None, filterable: bool = False
    ) -> None:
        """List `choices`.

        Args:
            title: the dialog's title; like `text` it may quote anything.
            choices: what to choose from, at least one.
            text: an explanation above the list.
            selected: the value the cursor starts at; otherwise it starts at the first.
            filterable: whether typing narrows the list.
        """
        super().__init__()
        self._title, self._choices, self._text = title, tuple(choices), text
        self._selected = selected
        self._filterable = filterable

    def compose(self) -> ComposeResult:
        """Show the explanation, the filter and the list."""
        with frame(self._title, hints=(("Enter", "choose"), ("Esc", "cancel")), classes="choice"):
            if self._text:
                yield paragraph(self._text)
            if self._filterable:
                yield Field(placeholder="Type to filter", compact=True)
            yield OptionList(*map(_option, self._choices), markup=False, compact=True)

    def on_mount(self) -> None:
        """Put the cursor on the selected choice."""
        values = [choice.value for choice in self._choices]
        self.listed.highlighted = values.index(self._selected) if self._selected in values else 0
        (self.query_one(Field) if self._filterable else self.listed).focus()

    def action_move(self, step: int) -> None:
        """Move the cursor of the list while the filter has the focus."""
        self.action_mark(step)

    def on_key(self, event: events.Key) -> None:
        """Choose the entry whose letter is pressed, where letters do not filter."""
        chosen = next((each for each in self._choices if len(each.key) == 1 and each.key == event.character), None)
        if chosen is not None and not self._filterable:
            event.stop()
            self.dismiss(chosen.value)

    @on(Input.Changed)
    def _filtered(self, event: Input.Changed) -> None:
        words = event.value.casefold().split()
        shown = [
            choice for choice in self._choices if all(word in f"{choice.label} {choice.detail}".casefold() for word in words)
        ]
        self.listed.set_options(map(_option, shown))
        self.listed.highlighted = 0

    @on(Input.Submitted)
    def _entered(self) -> None:
        self.listed.action_select()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)


def _option(choice: Choice) -> Option:
    label = one_line(choice.label, _WIDEST)
    line = Content.styled(label, "bold" if choice.detail else "")
    if choice.key:
        line = Content.assemble(
            line.pad_right(max(0, _KEY_COLUMN - line.cell_length)), (one_line(choice.key, 20), "$text-accent")
        )
    if choice.detail:
        line += Content.assemble("\n  ", (one_line(choice.detail, _WIDEST), _QUIET))
    return Option(line, id=choice.value)
