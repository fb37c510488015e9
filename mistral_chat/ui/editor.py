"""Writing the draft in the person's own editor."""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from textual.app import App


async def edited(app: App[Any], text: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Let the person change `text` in ``$VISUAL`` or ``$EDITOR``, with the app out of the way.

    The file lies in a folder that only its owner can read, and is gone afterwards. Replies go on meanwhile.

    Returns:
        The text, and what went wrong; one of them is empty.
    """
    command = shlex.split(environ.get("VISUAL") or environ.get("EDITOR") or "")
    if not command:
        return "", "There is no editor to use. Set the variable EDITOR, for instance to nano."
    with tempfile.TemporaryDirectory(prefix="mistral-chat-") as folder:
        path = Path(folder) / "message.md"
        path.write_text(text, encoding="utf-8")
        try:
            with app.suspend():
                program = await asyncio.create_subprocess_exec(*command, str(path))
                code = await program.wait()
        except SuspendNotSupported:
            return "", "This terminal cannot be lent to an editor."
        except OSError:
            return "", f"The editor {command[0]!r} could not be started. Set EDITOR to one that is installed."
        if code != 0:
            return "", f"The editor ended with code {code}; the draft was left as it was."
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\n"), ""
