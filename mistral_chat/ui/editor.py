"""Edits the draft in an external editor."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from textual.app import SuspendNotSupported

from mistral_chat.errors import InvalidText
from mistral_chat.session.attachments import read_text
from mistral_chat.ui.widgets.composer import LARGEST_PASTE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from textual.app import App

_USUAL: Final = ("sensible-editor", "nano", "vi") if sys.platform != "win32" else ("notepad",)
"""Editors to try if none is configured."""


async def edit_externally(app: App[Any], text: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Edit `text` in ``$VISUAL`` or ``$EDITOR`` while the app is suspended.

    The file is in a folder that only its owner can read, and is deleted afterwards. Replies continue meanwhile.

    Returns:
        The text, and what went wrong; one of them is empty.
    """
    command, problem = editor_command(environ)
    if problem:
        return "", problem
    try:
        with tempfile.TemporaryDirectory(prefix="mistral-chat-", ignore_cleanup_errors=True) as folder:
            return await _edited(app, command, Path(folder) / "message.md", text)
    except OSError as error:
        return "", f"Cannot write a file for the editor: {error.strerror}. The draft is unchanged."


async def _edited(app: App[Any], command: list[str], path: Path, text: str) -> tuple[str, str]:
    await asyncio.to_thread(path.write_text, text, encoding="utf-8")
    try:
        with app.suspend() if sys.platform != "win32" else contextlib.nullcontext():  # editors open windows there
            code = await _run([*command, str(path)])
    except SuspendNotSupported:
        return "", "This terminal cannot run an editor."
    if code is None:
        return "", f"Cannot start the editor {command[0]!r}. Set EDITOR to an installed one."
    return (
        await asyncio.to_thread(_written, path)
        if code == 0
        else ("", f"The editor ended with code {code}. The draft is unchanged.")
    )


def _written(path: Path) -> tuple[str, str]:
    """Read the text that the editor saved at `path`; returns the text and an error message, one of which is empty."""
    try:
        text = read_text(path).replace("\r\n", "\n").rstrip("\n")
    except InvalidText as error:
        return "", f"{error} The draft is unchanged."
    if len(text) > LARGEST_PASTE:
        return (
            "",
            f"The text has {len(text):,} characters, more than a message may have ({LARGEST_PASTE:,}). The draft is unchanged.",
        )
    return text, ""


def editor_command(environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the editor's command and an empty string, or an empty list and the reason."""
    wanted, search = (environ.get("VISUAL") or environ.get("EDITOR") or "").strip(), environ.get("PATH")
    if not wanted:
        found = next((name for name in _USUAL if shutil.which(name, path=search)), None)
        return ([found], "") if found else ([], "No editor found. Set EDITOR, for instance to nano.")
    if shutil.which(str(Path(wanted).expanduser()), path=search):
        return [str(Path(wanted).expanduser())], ""
    try:
        first, *options = shlex.split(wanted, posix=sys.platform != "win32")
    except ValueError as error:
        return [], f"EDITOR is not a command ({error}): {wanted}"
    return [str(Path(first).expanduser()), *options], ""


async def _run(command: list[str]) -> int | None:
    """Run a program to its end; returns its exit code, or None where it cannot be started.

    Textual does not take the terminal back when an exception passes through `App.suspend`: none may leave here.
    """
    try:
        program = await asyncio.create_subprocess_exec(*command)
        return await program.wait()
    except (OSError, ValueError):
        return None
