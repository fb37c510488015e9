"""Writing to the terminal: replies as they grow, and a line of progress that leaves nothing behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

EVERY = 0.1
"""Seconds between two updates of the line."""


def write_reply(text: str, out: TextIO) -> None:
    """Write a piece of a reply at once: exactly to a file or a pipe, and with control characters made visible to a terminal."""
    if out.isatty():
        from mistral_chat.text import clean

        text = clean(text)
    out.write(text)
    out.flush()


class Progress:
    """One line that is written over and erased; silent where it would not be seen."""

    def __init__(self, out: TextIO) -> None:
        """Write to `out` when that is a terminal."""
        self._out = out
        self._live = out.isatty()
        self._shown = False
        self._next = 0.0

    def show(self, text: str) -> None:
        """Put `text` in the place of the last one, ten times a second at most."""
        if self._live and time.monotonic() >= self._next:
            self._out.write(f"\r\x1b[K{text} …")
            self._out.flush()
            self._shown = True
            self._next = time.monotonic() + EVERY

    def clear(self) -> None:
        """Erase the line."""
        if self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._shown = False
