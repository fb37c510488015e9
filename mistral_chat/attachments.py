"""Text files that go along with a message: how they are read, and how they stand in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mistral_chat.errors import InvalidText

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LARGEST_FILE = 4 * 1024 * 1024
"""Bytes; no model's window holds more text than this."""


def read_text(path: Path) -> str:
    """The text of the file at `path`.

    Raises:
        InvalidText: it cannot be read, is too large, or is no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidText(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > LARGEST_FILE:
        raise InvalidText(f"{path} is larger than {LARGEST_FILE // 1024**2} MB, too much for any model. Send a part of it.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidText(f"{path} is not text in UTF-8. Only text files can be sent.") from error
    if "\0" in text:
        raise InvalidText(f"{path} is not a text file. Only text files can be sent.")
    return text


def compose(files: Sequence[tuple[str, str]], piped: str, prompt: str) -> str:
    """Join files (each a name and a text), piped text and the prompt, in this order.

    What is asked comes last, where models mind it most. A single part stays as it is, but for the line break at its end.
    """
    parts = [attached(name, text) for name, text in files]
    parts += [part for part in (piped.rstrip("\r\n"), prompt) if part.strip()]
    return "\n\n".join(parts)


def attached(name: str, text: str) -> str:
    """A file as it stands in a message: its name, and its text inside a fence that is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{name}\n{fence}\n{text.rstrip()}\n{fence}"
