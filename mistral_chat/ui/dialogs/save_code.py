"""Saving a code block to a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mistral_chat.errors import UsageError
from mistral_chat.paths import output_path, private_opener
from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog
from mistral_chat.ui.dialogs.input import InputDialog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import App

    from mistral_chat.ui.markdown import Code

_SUFFIXES: Final = {"c", "cpp", "css", "go", "html", "java", "js", "json", "py", "sh", "sql", "toml", "ts", "yaml"}
"""Languages after the fence that are the suffix of their files."""

_SUFFIX_OF: Final = {
    "bash": "sh",
    "c++": "cpp",
    "javascript": "js",
    "markdown": "md",
    "python": "py",
    "rust": "rs",
    "shell": "sh",
    "typescript": "ts",
}
"""The suffixes of other languages. One that is not listed either gives a text file."""


async def save_code(app: App[Any], blocks: Sequence[Code], first: int = 0) -> Path | None:
    """Ask which of `blocks` to save and where; return the path of the file written, or None.

    Call it from a worker: it waits for its dialogs. An existing file is never overwritten.
    """
    number = first
    if len(blocks) > 1:
        chosen = await app.push_screen_wait(choose_code("Save a code block", blocks, first))
        if chosen is None:
            return None
        number = int(chosen)
    block = blocks[number]
    name = await app.push_screen_wait(name_file(block))
    return None if name is None else output_path(name)


def choose_code(title: str, blocks: Sequence[Code], selected: int = 0) -> ChoiceDialog:
    """Return a dialog that lists code `blocks`; its result is the number of one, from 0."""
    choices = []
    for number, block in enumerate(blocks):
        lines = block.text.rstrip("\n").count("\n") + 1
        label = " · ".join(filter(None, [str(number + 1), block.language, f"{lines:,} line{'s' if lines != 1 else ''}"]))
        choices.append(Choice(str(number), label, block.text.strip().partition("\n")[0] or "empty"))
    return ChoiceDialog(title, choices, selected=str(selected))


def name_file(block: Code) -> InputDialog:
    """Return a dialog that asks for a file name and writes `block` to that file."""

    async def write(name: str) -> str:
        return await asyncio.to_thread(_write, name, block.text)

    language = block.language.lower()
    suffix = language if language in _SUFFIXES else _SUFFIX_OF.get(language, "txt")
    return InputDialog(
        "Save the code block",
        label="File name",
        value=f"code.{suffix}",
        about="A new file, in the current folder unless the name says otherwise.",
        confirm="Save",
        check=lambda name: "" if name else "Type a file name.",
        submit=write,
    )


def _write(name: str, text: str) -> str:
    """Write a new file that only its owner can read; returns an error message, or an empty string."""
    try:
        with open(output_path(name), "x", encoding="utf-8", newline="", opener=private_opener) as file:
            file.write(text if text.endswith("\n") else text + "\n")
    except FileExistsError:
        return f"{name} exists. Choose another name."
    except UsageError as error:
        return str(error)
    except (OSError, ValueError) as error:  # no such folder, a name no system takes
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not a file name"
        return f"Cannot write {name}: {why}. Choose another name."
    return ""
