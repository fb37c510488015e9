"""Saving a code block to a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_chat.errors import UsageError
from mistral_chat.formatting import counted
from mistral_chat.paths import output_path, write_new
from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog
from mistral_chat.ui.dialogs.input import InputDialog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import App

    from mistral_chat.ui.markdown import Code


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
        lines = counted(block.text.rstrip("\n").count("\n") + 1, "line")
        label = " · ".join(filter(None, [str(number + 1), block.language, lines]))
        choices.append(Choice(str(number), label, block.text.strip().partition("\n")[0] or "empty"))
    return ChoiceDialog(title, choices, selected=str(selected))


def name_file(block: Code) -> InputDialog:
    """Return a dialog that asks for a file name and writes `block` to that file."""

    async def write(name: str) -> str:
        if not name:
            return "Type a file name."
        try:
            await asyncio.to_thread(write_new, name, block.text.removesuffix("\n") + "\n")
        except UsageError as error:
            return str(error)
        return ""

    return InputDialog(
        "Save the code block",
        label="File name",
        value=f"code.{_suffix(block.language)}",
        about="A new file, in the current folder unless the name says otherwise.",
        confirm="Save",
        submit=write,
    )


def _suffix(language: str) -> str:
    """The suffix of files in a language; that of text for an unknown one."""
    from pygments.lexers import find_lexer_class_by_name
    from pygments.util import ClassNotFound

    try:
        patterns: list[str] = find_lexer_class_by_name(language).filenames  # type: ignore[no-untyped-call]  # Pygments has no types
    except ClassNotFound:
        patterns = []
    return next((each[2:] for each in patterns if each.startswith("*.") and each[2:].isalnum()), "txt")
