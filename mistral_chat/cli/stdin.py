"""What a person gave on the command line, as text: standard input and arguments."""

from __future__ import annotations

import sys


def standard_input() -> str:
    """The text on standard input; empty when that is a terminal. Bytes that are no UTF-8 become U+FFFD."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    return sys.stdin.buffer.read().decode("utf-8-sig", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def typed_text(argument: str) -> str:
    """An argument of the command line as text: bytes that the locale did not know are read as UTF-8."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
