"""The dialog for a file that goes along with the next message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.errors import MistralChatError
from mistral_chat.text import clean, one_line
from mistral_chat.ui.path_completion import complete_path, path_from_input
from mistral_chat.ui.widgets.ordered_keys import OrderedKeys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from textual.app import ComposeResult

_LISTED: Final = 500
"""Names that are listed."""


class PathInput(OrderedKeys, Input):
    """The path of the file."""

    HELP = """\
    ## A file to send

    Type a path, or go through the list with **Up** and **Down**. **Enter** opens the folder that is marked, or attaches the
    file. **Tab** completes what is typed as far as it is clear. **Escape** attaches nothing.
    """

    @property
    def _value(self) -> Text:
        """The path as it is drawn: completing it may bring in a name that would act on the terminal."""
        return Text("".join(clean(letter).strip("\n") or "·" for letter in self.value), no_wrap=True, overflow="ignore", end="")


class NameList(OptionList, can_focus=False):
    """What the path may go on with. The keys stay with the field."""


class AttachScreen(ModalScreen[str]):
    """Asks for a text file until one can be attached; ends with the folder it was looked for in."""

    CSS_PATH = "dialog.tcss"
    HELP = "## Attach a file\n\n**Enter** attaches what is marked, **Escape** attaches nothing.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", tooltip="Attach nothing", id="attach.cancel"),
        Binding("down", "mark(1)", "Next name", tooltip="Mark the next name", id="attach.down", show=False),
        Binding("up", "mark(-1)", "Name before", tooltip="Mark the name before", id="attach.up", show=False),
        Binding("tab", "complete", "Complete", tooltip="Complete the path as far as it is clear", id="attach.complete"),
    ]

    def __init__(self, attach: Callable[[Path], Awaitable[None]], folder: str = "") -> None:
        """Ask for a file.

        Args:
            attach: takes the file; raises `MistralChatError` where it cannot be sent.
            folder: the folder to begin in, with a slash at its end; empty is the one the program was started in.
        """
        super().__init__()
        self._send_along = attach
        self._folder = folder
        self._names: list[str] = []

    def compose(self) -> ComposeResult:
        """The field, what is wrong with it or how many there are, and the names."""
        with Vertical(classes="dialog tall"):
            yield PathInput(self._folder, placeholder="Path of a text file to send along", select_on_focus=False, compact=True)
            yield Static("", id="told", markup=False)
            yield NameList(markup=False, compact=True)

    def on_mount(self) -> None:
        """List what is in the folder."""
        self._look()

    def action_leave(self) -> None:
        """Attach nothing."""
        self.dismiss(self._folder)

    def action_mark(self, step: int) -> None:
        """Go through the names."""
        names = self.query_one(NameList)
        names.action_cursor_down() if step > 0 else names.action_cursor_up()

    async def action_complete(self) -> None:
        """Complete the path as far as it is clear."""
        typed = self._typed
        path, _ = await asyncio.to_thread(complete_path, typed)
        if typed == self._typed:
            self._type(path)

    @property
    def _typed(self) -> str:
        return self.query_one(PathInput).value

    def _type(self, path: str) -> None:
        field = self.query_one(PathInput)
        field.value = path
        field.cursor_position = len(path)

    @on(Input.Changed)
    def _changed(self) -> None:
        self._look()

    @work(group="look", exclusive=True, exit_on_error=False)
    async def _look(self) -> None:
        """List what the path may go on with."""
        _, self._names = await asyncio.to_thread(complete_path, self._typed)
        names = self.query_one(NameList)
        names.set_options([Option(Content(one_line(name, 80))) for name in self._names[:_LISTED]])
        names.highlighted = 0 if self._names else None
        more = f", the first {_LISTED} of them here" if len(self._names) > _LISTED else ""
        self._tell(f"{len(self._names):,} found{more}" if self._names else "There is no such file.")

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    async def _take(self) -> None:
        """Open the folder that is marked, or attach the file."""
        typed, marked = self._typed, self.query_one(NameList).highlighted
        if marked is not None and marked < len(self._names):
            typed = typed[: typed.rfind("/") + 1] + self._names[marked]
        if typed.endswith("/"):
            self._type(typed)
            return
        if not typed.strip():
            return
        try:
            await self._send_along(path_from_input(typed))
        except MistralChatError as error:
            self._tell(str(error), trouble=True)
        else:
            self.dismiss(typed[: typed.rfind("/") + 1])

    def _tell(self, text: str, *, trouble: bool = False) -> None:
        told = self.query_one("#told", Static)
        told.update(Content(one_line(text, 300)))
        told.set_class(trouble, "-trouble")
