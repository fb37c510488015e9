"""Dialogs for saving a code block to a file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mistral_chat.errors import UsageError
from mistral_chat.formatting import counted
from mistral_chat.paths import write_new
from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog
from mistral_chat.ui.dialogs.input import InputDialog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.ui.markdown import Code


def choose_code(title: str, blocks: Sequence[Code], selected: int = 0) -> ChoiceDialog:
    """Return a dialog that lists code `blocks`; its result is the number of one, from 0."""
    choices = []
    for number, block in enumerate(blocks):
        lines = counted(block.text.rstrip("\n").count("\n") + 1, "line")
        label = " · ".join(filter(None, [str(number + 1), block.language, lines]))
        choices.append(Choice(str(number), label, block.text.strip().partition("\n")[0] or "empty"))
    return ChoiceDialog(title, choices, selected=str(selected))


def name_file(block: Code) -> InputDialog:
    """Return a dialog that asks for a file name and writes `block` to that file, which may not exist yet."""

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
