"""Text files attached to a message."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from mistral_chat.errors import InvalidText

LARGEST_FILE = 4 * 1024 * 1024
"""Maximum bytes; no model's context can hold more text."""


@dataclass(slots=True, eq=False)
class Attachment:
    """A file attached to a draft, with the text it had then."""

    name: str
    text: str
    tokens: int | None = None
    """Its tokens in the message; None until a model can count them."""
    pasted: bool = False
    """Whether it was pasted and is not a file."""

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
            raise InvalidText(f"{path} is not a readable file. Check the path.")
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidText(f"{path} cannot be read: {error.strerror}.") from error
    return decode(content, str(path))


def decode(content: bytes, name: str) -> str:
    """Decode `content` as UTF-8, or as UTF-16 with a byte order mark. `name` says where it came from.

    Raises:
        InvalidText: it is larger than `LARGEST_FILE`, or not text.
    """
    if len(content) > LARGEST_FILE:
        raise InvalidText(f"{name} is larger than {LARGEST_FILE // 1024**2} MB, too large for any model. Send a part of it.")
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidText(f"{name} is not UTF-8 or UTF-16 text. Only text can be sent.") from error
    if "\0" in text:
        raise InvalidText(f"{name} is binary data. Only text can be sent.")
    return text
