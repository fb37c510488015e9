"""Edits the draft in an external editor."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from textual.app import SuspendNotSupported

from mistral_chat.errors import InvalidText, UsageError
from mistral_chat.paths import expanded
from mistral_chat.session.attachments import read_text
from mistral_chat.ui.widgets.composer import LARGEST_PASTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from textual.app import App

_USUAL: Final = ("sensible-editor", "nano", "vi") if sys.platform != "win32" else ("notepad",)
"""Editors to try if none is configured."""


async def edit_externally(app: App[Any], text: str, environ: Mapping[str, str]) -> str:
    """Edit `text` in ``$VISUAL`` or ``$EDITOR`` while the app is suspended; returns what was written.

    The file is in a folder that only its owner can read, and is deleted afterwards. Replies continue meanwhile.

    Raises:
        UsageError: there is no editor, or no message came of it.
    """
    command = editor_command(environ)
    try:
        with tempfile.TemporaryDirectory(prefix="mistral-chat-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "message.md"
            await asyncio.to_thread(path.write_text, text, encoding="utf-8")
            await _run(app, [*command, str(path)])
            return await asyncio.to_thread(_written, path)
    except OSError as error:
        raise UsageError(f"Cannot write a file for the editor: {error.strerror}. The draft is unchanged.") from error


def editor_command(environ: Mapping[str, str]) -> list[str]:
    """Return the editor's command.

    Raises:
        UsageError: none is configured or installed, or the configured one is no command.
    """
    wanted, search = (environ.get("VISUAL") or environ.get("EDITOR") or "").strip(), environ.get("PATH")
    if not wanted:
        found = next((name for name in _USUAL if shutil.which(name, path=search)), None)
        if found is None:
            raise UsageError("No editor found. Set EDITOR, for instance to nano.")
        return [found]
    if shutil.which(str(expanded(wanted)), path=search):  # Python 3.11 takes no path on Windows
        return [str(expanded(wanted))]
    try:
        first, *options = shlex.split(wanted, posix=sys.platform != "win32")
    except ValueError as error:
        raise UsageError(f"EDITOR is not a command ({error}): {wanted}") from error
    return [str(expanded(first)), *options]


async def _run(app: App[Any], command: list[str]) -> None:
    code = None
    try:
        with contextlib.ExitStack() as suspended:
            if sys.platform != "win32":  # editors open windows there, and the chat stays on the screen
                # Textual keeps drawing while it is suspended, for a thread that has ended: with its queue full, the app would
                # freeze. It does not take the terminal back when an exception passes through `App.suspend`.
                suspended.enter_context(app.batch_update())
                suspended.enter_context(app.suspend())
            suspended.enter_context(_interrupts_ignored())
            suspended.enter_context(contextlib.suppress(OSError, ValueError))
            program = await asyncio.create_subprocess_exec(*command)
            code = await program.wait()
    except SuspendNotSupported as error:
        raise UsageError("This terminal cannot run an editor.") from error
    if code is None:
        raise UsageError(f"Cannot start the editor {command[0]!r}. Set EDITOR to an installed one.")
    if code:
        raise UsageError(f"The editor exited with code {code}. The draft is unchanged.")


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Leave Ctrl+C to the editor, to whose terminal this process belongs too."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # unlike SIG_IGN, the editor does not inherit it
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _written(path: Path) -> str:
    try:
        text = read_text(path).replace("\r\n", "\n").rstrip("\n")
    except InvalidText as error:
        raise UsageError(f"{error} The draft is unchanged.") from error
    if len(text) > LARGEST_PASTE:
        too_long = f"The text has {len(text):,} characters, more than a message may have ({LARGEST_PASTE:,})."
        raise UsageError(f"{too_long} The draft is unchanged.")
    return text
