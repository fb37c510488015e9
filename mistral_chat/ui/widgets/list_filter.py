"""The field that narrows the list of conversations down."""

from __future__ import annotations

from typing import ClassVar

from textual import message
from textual.binding import Binding, BindingType
from textual.widgets import Input

from mistral_chat.ui.widgets.ordered_keys import OrderedKeys


class ListFilter(OrderedKeys, Input):
    """Takes what the titles must hold. Out of sight until it is asked for."""

    DEFAULT_CSS = """
    ListFilter {
        height: 1;
        margin: 0 1 1 1;
        padding: 0 1;
        background: $panel;
    }
    """

    HELP = """\
    ## Filter

    Type a part of a title; **#tag** keeps the conversations that bear a tag. **Down** goes to the list, **Enter** opens the
    first, **Escape** shows all again.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Show all", tooltip="Show all conversations again", id="filter.leave", show=False),
        Binding("down", "down", "Go to the list", tooltip="Go to what was found", id="filter.down", show=False),
    ]

    class Left(message.Message):
        """All conversations are to be listed again."""

    class ListWanted(message.Message):
        """The list is to have the focus."""

    def __init__(self) -> None:
        """Make an empty field."""
        super().__init__(id="filter", placeholder="Filter titles, or #tag", compact=True)
        self.display = False

    def action_leave(self) -> None:
        """Show all conversations again."""
        self.post_message(self.Left())

    def action_down(self) -> None:
        """Go to the list."""
        self.post_message(self.ListWanted())
