"""Text from standard input and from arguments."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mistral_chat.session.attachments import LARGEST_FILE, decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

PATIENCE = 2.0
"""Seconds until a notice says that the program waits for standard input."""

WAITING = "waiting for standard input to end (Ctrl+D ends it; `< /dev/null` skips it)"


def standard_input(*, typed: bool = False) -> str:
    """Read the text on standard input; empty if it is a terminal, unless it may be `typed` there.

    A pipe that stays open is waited for. After `PATIENCE` seconds, a line on standard error says so.

    Raises:
        InvalidText: it is larger than any model's context window, or not text.
    """
    if sys.stdin is None or (sys.stdin.isatty() and not typed):
        return ""
    with waiting_told(WAITING):
        return decode(_read(sys.stdin.buffer), "Standard input")


@contextmanager
def waiting_told(notice: str) -> Iterator[None]:
    """Write `notice` to standard error if the block takes longer than `PATIENCE` seconds."""
    timer = threading.Timer(PATIENCE, _tell, [notice])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def argument_text(argument: str) -> str:
    """Decode an argument of the command line; bytes unknown to the locale are read as UTF-8."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _read(stream: BinaryIO) -> bytes:
    """Read all of `stream`, or slightly more than the largest usable amount."""
    return stream.read(LARGEST_FILE + 1)


def _tell(notice: str) -> None:
    sys.stderr.write(f"mistral-chat: {notice}\n")
    sys.stderr.flush()
