"""The dialog that lets a person choose one of a few things."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from textual import on
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList

if TYPE_CHECKING:
    from textual.app import ComposeResult


class ChoiceScreen(ModalScreen["str | None"]):
    """Lists what can be chosen below what is said of it; ends with the id of what was, or with None."""

    CSS_PATH = "dialog.tcss"
    DEFAULT_CSS = """
    ChoiceScreen {
        align: center middle;

        .dialog { max-height: 90%; padding: 1 2 0 2; }
    }
    """

    @abstractmethod
    def above(self) -> ComposeResult:
        """What stands above the list."""

    @abstractmethod
    def choices(self) -> OptionList:
        """The list; the ids of its options are what can be chosen."""

    def compose(self) -> ComposeResult:
        """What is to be known, and the list."""
        with Vertical(classes="dialog"):
            yield from self.above()
            yield self.choices()

    def action_leave(self) -> None:
        """Choose nothing."""
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)
