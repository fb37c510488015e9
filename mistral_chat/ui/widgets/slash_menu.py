"""The slash menu above the message box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from textual import message, on
from textual.content import Content
from textual.widgets.option_list import Option

from mistral_chat.text import one_line
from mistral_chat.ui.widgets.plain_list import PlainList

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME_COLUMN = (18, 48)
"""The fewest and the most cells of a name with its argument."""


class SlashRow(NamedTuple):
    """One command of the menu."""

    name: str
    """Its slash name, as typed in the draft."""
    argument: str
    help: str


class SlashMenu(PlainList, can_focus=False):
    """Lists the commands that match the draft. The message box keeps the focus."""

    DEFAULT_CSS = """
    SlashMenu {
        height: auto;
        max-height: 40vh;
        max-width: 102;
        padding: 0 2;

        & > .option-list--option-highlighted { background: $primary 35%; color: $text; text-style: bold; }
    }
    """

    @dataclass
    class Taken(message.Message):
        """A command was clicked."""

        name: str
        """Its slash name."""

    def __init__(self) -> None:
        """Make an empty, hidden menu."""
        super().__init__(id="slash")
        self.display = False
        self._rows: dict[Option, SlashRow] = {}
        """The commands by their rows."""

    @property
    def selected(self) -> SlashRow | None:
        """The highlighted row; None without one."""
        option = self.highlighted_option
        return self._rows[option] if option is not None and self.display else None

    def show(self, rows: Sequence[SlashRow]) -> None:
        """List `rows`, hidden if there are none; a single one is highlighted."""
        if list(rows) != list(self._rows.values()):
            widest = max((len(row.name) + len(row.argument) + 4 for row in rows), default=0)
            column = min(_NAME_COLUMN[1], max(_NAME_COLUMN[0], widest))
            self._rows = {Option(_line(row, column)): row for row in rows}
            self.set_options(self._rows)
            self.highlighted = 0 if len(rows) == 1 else None
        self.display = bool(rows)

    def move(self, step: int) -> None:
        """Move the highlight by one row; it goes round."""
        if self._rows:
            first = 0 if step > 0 else len(self._rows) - 1
            self.highlighted = first if self.highlighted is None else (self.highlighted + step) % len(self._rows)

    @on(PlainList.OptionSelected)
    def _clicked(self, event: PlainList.OptionSelected) -> None:
        event.stop()
        if (row := self._rows.get(event.option)) is not None:  # else the draft was changed in the meantime
            self.post_message(self.Taken(row.name))


def _line(row: SlashRow, column: int) -> Content:
    argument = (f" {row.argument}" if row.argument else "", "$foreground 65%")
    name = Content.assemble((f"/{one_line(row.name, 80)}", "$text-accent"), argument)
    return Content.assemble(name.pad_right(max(1, column - name.cell_length)), one_line(row.help, 120))
