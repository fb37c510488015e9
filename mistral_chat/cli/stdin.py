"""Text from standard input and from arguments, and JSON lists of messages."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mistral_chat.conversation import Message, Role
from mistral_chat.errors import InvalidText, UsageError
from mistral_chat.session.attachments import LARGEST_FILE, decode, read_text

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
        return decode(sys.stdin.buffer.read(LARGEST_FILE + 1), "Standard input")  # a byte too many is refused


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


def _tell(notice: str) -> None:
    sys.stderr.write(f"mistral-chat: {notice}\n")
    sys.stderr.flush()


def read_messages(file: Path) -> list[Message]:
    """Read the messages in a JSON `file`; ``-`` is standard input. A bare string is a user message.

    Raises:
        UsageError: it contains no such list; the sentence says which message is wrong.
    """
    name = source_name(file)
    try:
        found = json.loads(standard_input(typed=True) if str(file) == "-" else read_text(file))
    except InvalidText as error:
        raise UsageError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not valid JSON: {error}") from error
    if not isinstance(found, list) or not found:
        raise UsageError(f'{name} must be a list of messages, such as [{{"role": "user", "content": "…"}}].')
    return [_message(name, number, each) for number, each in enumerate(found, 1)]


def source_name(file: Path) -> str:
    """How errors name `file`."""
    return "Standard input" if str(file) == "-" else str(file)


def _message(name: str, number: int, found: object) -> Message:
    given = found if isinstance(found, dict) else {"role": "user", "content": found}
    role = next((role for role in Role if role == given.get("role")), None)
    content = given.get("content")
    if role is None or not isinstance(content, str):
        raise UsageError(
            f"{name}: message {number} must be a string, or an object with a role (system, user or assistant) "
            "and a content (a string)."
        )
    return Message(role, content)
