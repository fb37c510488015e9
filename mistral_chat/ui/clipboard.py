"""Putting text on the clipboard: the platform's own program first, the terminal as a fallback."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS: Final = 2.0
"""How long a program may take; one that hangs must not hold the screen up."""


def clipboard_program(environ: Mapping[str, str], platform: str = sys.platform) -> list[str] | None:
    """Find the program that sets the clipboard here; None where there is none, as over SSH."""
    candidates: list[list[str]] = []
    if platform == "darwin":
        candidates = [["pbcopy"]]
    elif environ.get("WAYLAND_DISPLAY"):
        candidates = [["wl-copy"]]
    if environ.get("DISPLAY") and platform != "darwin":
        candidates += [["xclip", "-selection", "clipboard"], ["xsel", "--clipboard", "--input"]]
    return next((command for command in candidates if shutil.which(command[0], path=environ.get("PATH"))), None)


async def set_clipboard(text: str, environ: Mapping[str, str], platform: str = sys.platform) -> str:
    """Put `text` on the clipboard with the platform's program; gives its name, or nothing when there is none or it failed."""
    command = clipboard_program(environ, platform)
    if command is None:
        return ""
    try:
        program = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(environ),
        )
    except OSError:
        return ""
    try:
        await asyncio.wait_for(program.communicate(text.encode("utf-8", "replace")), _SECONDS)
    except (TimeoutError, OSError):
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        await program.wait()
        return ""
    return command[0] if program.returncode == 0 else ""
