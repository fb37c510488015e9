"""A dialog to choose a file for the next message."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual import on, work
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from mistral_chat.errors import MistralChatError
from mistral_chat.text import clean, one_line
from mistral_chat.ui.dialogs.base import Dialog, frame, status_line
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.path_completion import complete_path, path_from_input, split_typed
from mistral_chat.ui.widgets.ordered_keys import OrderedKeys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.app import ComposeResult

_LISTED: Final = 500
"""Names that are listed."""

_NOT_TEXT: Final = re.compile(
    r"\.(7z|avi|bin|bmp|bz2|db|dll|dylib|exe|gguf|gif|gz|ico|iso|jar|jpe?g|mkv|mov|mp[34]|o|og[gv]|otf|parquet|pickle|pkl|png|pt"
    r"|pyc|safetensors|so|sqlite|tar|tgz|tiff?|ttf|wasm|wav|webm|webp|woff2?|xz|zip|zst)",
    re.IGNORECASE,
)
"""Suffixes of files that are not text and are not listed."""


class PathInput(OrderedKeys, Input):
    """The path of the file. Its help is that of the dialog around it."""

    @property
    def _value(self) -> Text:
        """The path as it is drawn: a completed name may contain characters that act on the terminal."""
        return Text("".join(clean(letter).strip("\n") or "·" for letter in self.value), no_wrap=True, overflow="ignore", end="")


class AttachDialog(Dialog[str]):
    """Asks for a file until one is attached; the result is the folder it was found in."""

    HELP = """\
    ## Attach a file

    Type a path, or go through the list with **Up** and **Down**. **Enter** opens the selected folder, or attaches the selected
    file. **Tab** completes the path as far as it is unambiguous. **Esc** attaches nothing.
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("attach.down", "down", "mark(1)", "Next name", "Go to the next name"),
        key_binding("attach.up", "up", "mark(-1)", "Previous name", "Go to the previous name"),
        key_binding("attach.complete", "tab", "complete", "Complete", "Complete the path as far as it is unambiguous"),
    ]

    def __init__(self, attach: Callable[[Path], Awaitable[None]], folder: str = "") -> None:
        """Ask for a file.

        Args:
            attach: attaches a file; raises `MistralChatError` where that cannot be done.
            folder: the folder to start in, with a slash at its end; empty is the current one.
        """
        super().__init__()
        self._take_file = attach
        self._folder = folder
        self.left = ""
        """What was typed when it was closed without a file."""

    def compose(self) -> ComposeResult:
        """Show the field, how many names there are or what is wrong, and the names."""
        hints = (("Enter", "attach"), ("Tab", "complete"), ("Esc", "cancel"))
        with frame("Attach a file", hints=hints, classes="tall"):
            yield PathInput(self._folder, placeholder="Path", select_on_focus=False, compact=True)
            yield status_line()
            names = OptionList(markup=False, compact=True)
            names.can_focus = False  # the field keeps the focus
            yield names

    def on_mount(self) -> None:
        """List the folder."""
        self._list_names()

    def action_cancel(self) -> None:
        """Attach nothing."""
        self.left = self._typed.removeprefix(self._folder)
        self.dismiss(self._folder)

    async def action_complete(self) -> None:
        """Complete the path as far as it is unambiguous."""
        typed = self._typed
        path, _ = await asyncio.to_thread(complete_path, typed)
        if typed == self._typed:
            self._set_path(path)

    @property
    def _typed(self) -> str:
        return self.query_one(PathInput).value

    def _set_path(self, path: str) -> None:
        field = self.query_one(PathInput)
        field.value = path
        field.cursor_position = len(path)

    @on(Input.Changed)
    @work(group="look", exclusive=True, exit_on_error=False)
    async def _list_names(self) -> None:
        """List the names that the path may continue with."""
        folder, _ = split_typed(typed := self._typed)
        _, found = await asyncio.to_thread(complete_path, typed)
        found = [name for name in found if not _NOT_TEXT.fullmatch(Path(name).suffix)]
        self.listed.set_options(Option(Content(one_line(name, 80)), id=folder + name) for name in found[:_LISTED])
        self.listed.highlighted = 0
        more = f", the first {_LISTED} listed" if len(found) > _LISTED else ""
        nothing = "No such file" if self._typed else "No text files here"
        self.show_status(f"{len(found):,} found{more}" if found else nothing)

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def _take(self) -> None:
        """Open the selected folder, or attach the selected file."""
        typed = self._typed
        if self.marked is not None and self.marked.startswith(typed):  # else the text was changed in the meantime
            typed = self.marked
        folder, name = split_typed(typed)
        if folder and not name:
            self._set_path(typed)
        elif name.strip():
            self._read(typed)

    @work(group="attach", exclusive=True, exit_on_error=False)
    async def _read(self, typed: str) -> None:
        """Attach a file, which Esc stops."""
        folder, name = split_typed(typed)
        self.show_status(f"Reading {name}…")
        try:
            await self._take_file(path_from_input(typed))
        except MistralChatError as error:
            self.show_status(str(error), warning=True)
        else:
            self.dismiss(folder)
