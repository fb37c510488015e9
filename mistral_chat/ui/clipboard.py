"""Copies text to the clipboard: with a program of the platform if there is one, otherwise through the terminal."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS: Final = 2.0
"""Maximum seconds for a program; one that hangs must not block the screen."""


def clipboard_programs(environ: Mapping[str, str], platform: str = sys.platform) -> list[list[str]]:
    """The programs that set the user's clipboard and are installed, the most trusted first.

    Over SSH only a forwarded display leads to the user's machine: the others would set the remote machine's clipboard.
    """
    candidates: list[list[str]] = []
    if not any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY")):
        if platform == "darwin":
            candidates.append(["pbcopy"])
        if platform == "win32" or environ.get("WSL_DISTRO_NAME"):
            candidates.append(["clip.exe"])
        if environ.get("WAYLAND_DISPLAY"):
            candidates.append(["wl-copy"])
    if environ.get("DISPLAY") and platform not in {"darwin", "win32"}:
        candidates += [["xclip", "-selection", "clipboard"], ["xsel", "--clipboard", "--input"]]
    return [command for command in candidates if shutil.which(command[0], path=environ.get("PATH"))]


def terminal_way(environ: Mapping[str, str]) -> str:
    """Describe a copy through the terminal: it gives no answer, and some terminals ignore it."""
    if environ.get("TERM_PROGRAM") == "Apple_Terminal":
        return "via the terminal (OSC 52), which Terminal.app does not support"
    return "via the terminal (OSC 52), if it supports that"


async def set_clipboard(text: str, environ: Mapping[str, str], platform: str = sys.platform) -> str:
    """Put `text` on the clipboard; the name of the program that did it, or nothing if none could."""
    for command in clipboard_programs(environ, platform):
        # Windows' own program reads its code page or UTF-16, the others UTF-8.
        encoding = "utf-16-le" if command[0] == "clip.exe" else "utf-8"
        if await asyncio.to_thread(_accepts, command, text.encode(encoding, "replace"), environ):
            return command[0]
    return ""


def _accepts(command: list[str], content: bytes, environ: Mapping[str, str]) -> bool:
    try:
        done = subprocess.run(
            command,
            input=content,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environ,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
