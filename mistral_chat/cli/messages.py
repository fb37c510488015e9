"""Reads JSON lists of messages for `prompt` and `bench`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mistral_chat.cli.stdin import standard_input
from mistral_chat.conversation import Message, Role
from mistral_chat.errors import InvalidText, UsageError
from mistral_chat.session.attachments import read_text

if TYPE_CHECKING:
    from pathlib import Path


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
