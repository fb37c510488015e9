"""Text files attached to a message: reading them, and their form in the message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mistral_chat.errors import InvalidText

LARGEST_FILE = 4 * 1024 * 1024
"""Bytes; no model's context holds more text than this."""


@dataclass(slots=True, eq=False)
class Attachment:
    """A file of a draft, with the text it had when it was attached."""

    name: str
    text: str
    tokens: int | None = None
    """What it takes in the message; None until a model can count."""

    @property
    def bytes(self) -> int:
        """The size of its text in UTF-8."""
        return len(self.text.encode())


def read_text(path: Path) -> str:
    """Read the text file at `path`.

    Raises:
        InvalidText: it cannot be read, is too large, or is not text.
    """
    try:
        if not path.is_file():
            raise InvalidText(f"{path} is not a file that can be read. Check the path.")
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidText(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > LARGEST_FILE:
        raise InvalidText(f"{path} is larger than {LARGEST_FILE // 1024**2} MB, too large for any model. Attach a part of it.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidText(f"{path} is not text in UTF-8. Only text files can be attached.") from error
    if "\0" in text:
        raise InvalidText(f"{path} is not a text file. Only text files can be attached.")
    return text


def build_message(files: Sequence[tuple[str, str]], piped: str, prompt: str) -> str:
    """Join files (each a name and a text), piped text and the prompt, in this order.

    The question comes last, where models attend to it most. A single part keeps its form, without its last line break.
    """
    parts = [format_attachment(name, text) for name, text in files]
    parts += [part for part in (piped.rstrip("\r\n"), prompt) if part.strip()]
    return "\n\n".join(parts)


def format_attachment(name: str, text: str) -> str:
    """A file's form in a message: its name, and its text in a code fence longer than any fence inside."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{name}\n{fence}\n{text.rstrip()}\n{fence}"
