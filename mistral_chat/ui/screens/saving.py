"""The dialog that writes a code block to a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from mistral_chat.paths import private_opener
from mistral_chat.text import one_line
from mistral_chat.ui.widgets.keys_in_order import KeysInOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

    from mistral_chat.ui.markdown import Code

_ENDINGS: Final = {
    "bash": "sh",
    "c": "c",
    "c++": "cpp",
    "cpp": "cpp",
    "css": "css",
    "go": "go",
    "html": "html",
    "java": "java",
    "javascript": "js",
    "js": "js",
    "json": "json",
    "markdown": "md",
    "py": "py",
    "python": "py",
    "rust": "rs",
    "sh": "sh",
    "shell": "sh",
    "sql": "sql",
    "toml": "toml",
    "ts": "ts",
    "typescript": "ts",
    "yaml": "yaml",
}
"""How a file's name ends, by the word after the fence. Any other word may be anything, and makes a text file."""


class FileInput(KeysInOrder, Input):
    """The field for the file's name."""

    HELP = """\
    ## File

    Type a file's name; it is made in the folder the program was started in, unless the name says another. **Enter** writes it,
    **Up** and **Down** choose another code block of the reply, **Escape** writes nothing.
    """


class SavingScreen(ModalScreen["Path | None"]):
    """Asks for a name and writes the file; ends with its path, or None when nothing was written. It never overwrites a file."""

    CSS_PATH = "dialog.tcss"
    DEFAULT_CSS = """
    SavingScreen {
        align: center middle;

        #told { color: $text-warning; height: auto; max-height: 3; margin-bottom: 1; display: none; }
        .which { color: $foreground 65%; margin-bottom: 1; }
    }
    """
    HELP = "## Save a code block\n\n**Enter** writes the file, **Escape** writes nothing.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", tooltip="Write nothing", id="saving.cancel"),
        Binding("up", "block(-1)", "Block before", tooltip="Choose the code block before", id="saving.before", show=False),
        Binding("down", "block(1)", "Block after", tooltip="Choose the code block after", id="saving.after", show=False),
    ]

    def __init__(self, found: Sequence[Code], place: int) -> None:
        """Offer the code blocks `found`, beginning with the one at `place`."""
        super().__init__()
        self._found = found
        self._place = place

    def compose(self) -> ComposeResult:
        """Which block, the field, what is wrong with the name, and two buttons."""
        with Vertical(classes="dialog"):
            yield Static("Save a code block", classes="heading")
            yield Static(self._which(), classes="which", markup=False)
            yield FileInput(self._proposed(), placeholder="File name", compact=True)
            yield Static("", id="told", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Save", variant="primary", id="save", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def action_leave(self) -> None:
        """Write nothing."""
        self.dismiss(None)

    def action_block(self, step: int) -> None:
        """Choose another block; a name that was not changed follows it."""
        field = self.query_one(Input)
        untouched = field.value == self._proposed()
        self._place = (self._place + step) % len(self._found)
        self.query_one(".which", Static).update(Content(self._which()))
        if untouched:
            field.value = self._proposed()

    @on(Input.Submitted)
    @on(Button.Pressed, "#save")
    async def _save(self) -> None:
        name = self.query_one(Input).value.strip()
        if not name:
            self._tell("Type a name for the file.")
            return
        try:
            path = await asyncio.to_thread(_write, name, self._found[self._place].text)
        except FileExistsError:
            self._tell(f"{name} exists already, and is left as it is. Choose another name.")
        except (
            OSError,
            ValueError,
            RuntimeError,
        ) as error:  # a folder that is not there, a name no system takes, an unknown ~user
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no file's name"
            self._tell(f"{name} cannot be written ({why}). Choose another name.")
        else:
            self.dismiss(path)

    @on(Input.Changed)
    def _changed(self) -> None:
        self.query_one("#told").display = False

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

    def _tell(self, text: str) -> None:
        told = self.query_one("#told", Static)
        told.update(Content(one_line(text)))
        told.display = True

    def _which(self) -> str:
        code = self._found[self._place]
        lines = code.text.rstrip("\n").count("\n") + 1
        many = f"Block {self._place + 1} of {len(self._found)} (Up, Down)" if len(self._found) > 1 else "One block"
        return one_line(" · ".join(filter(None, [many, code.language, f"{lines:,} line{'s' if lines != 1 else ''}"])), 58)

    def _proposed(self) -> str:
        return f"code.{_ENDINGS.get(self._found[self._place].language.lower(), 'txt')}"


def _write(name: str, text: str) -> Path:
    """Write a new file that only its owner can read; give its path.

    Raises:
        OSError: it is there already, or cannot be written.
        ValueError: no file can have this name.
        RuntimeError: it begins with the home folder of nobody.
    """
    path = Path(name).expanduser().absolute()
    with open(path, "x", encoding="utf-8", newline="", opener=private_opener) as file:
        file.write(text if text.endswith("\n") else text + "\n")
    return path
