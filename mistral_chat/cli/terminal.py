"""The terminal: whether it can show the chat, and a progress line that is erased afterwards."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import TextIO

import click

from mistral_chat.text import one_line

EVERY = 0.1
"""Seconds between two updates of the line."""

ASK = 'Without one, run: mistral-chat ask "…"'


def require_screen(environ: Mapping[str, str]) -> None:
    """Make sure that the chat can be shown.

    Raises:
        click.UsageError: there is no terminal, or one that cannot move the cursor or show the characters.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"The chat needs a terminal. {ASK}")
    if is_dumb(environ):
        raise click.UsageError(f"The chat needs a terminal that can move the cursor, but TERM is “dumb”. {ASK}")
    encoding = (sys.stderr.encoding or "").lower().replace("-", "").replace("_", "")
    if encoding not in {"utf8", "utf16", "cp65001"}:
        raise click.UsageError(
            f"The chat needs UTF-8, but the locale uses {sys.stderr.encoding}. Run: LC_ALL=C.UTF-8 mistral-chat. {ASK}"
        )


def is_dumb(environ: Mapping[str, str]) -> bool:
    """Whether the terminal cannot move its cursor."""
    return environ.get("TERM") == "dumb"


class Progress:
    """One line that is overwritten and erased; silent if it would not be seen."""

    def __init__(self, out: TextIO) -> None:
        """Write to `out` if that is a terminal that can erase a line."""
        self._out = out
        self._live = out.isatty() and not is_dumb(os.environ)
        self._shown = False
        self._next = 0.0

    def show(self, text: str) -> None:
        """Replace the line by `text`, cleaned and cut to the terminal's width, at most ten times a second."""
        if self._live and time.monotonic() >= self._next:
            self._out.write(f"\r\x1b[K{one_line(text, max(20, shutil.get_terminal_size().columns - 3))} …")
            self._out.flush()
            self._shown = True
            self._next = time.monotonic() + EVERY

    def clear(self) -> None:
        """Erase the line."""
        if self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._shown = False
