"""Files attached to a message."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_chat.documents.kinds import LARGEST_TEXT, kind_of
from mistral_chat.errors import DocumentUnreadable, InvalidText
from mistral_chat.message_form import PASTED, FileText, build_message, format_attachment, split_message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mistral_chat.documents.reader import DocumentReader

WHOLE_SHARE = 2
"""Files that take at most this fraction of the context (one in so many tokens) are attached in full."""

LARGEST_FILE = 4 * 1024 * 1024
"""Maximum bytes; no model's context can hold more text."""

LARGEST_SAVED = 256 * 1024
"""Maximum characters of an attachment that is saved with its draft, which is written every second while someone types."""


@dataclass(slots=True, eq=False)
class Attachment:
    """A file attached to a draft, with the text it had then."""

    name: str
    text: str
    tokens: int | None = None
    """Its tokens in the message; None until a model can count them."""
    pasted: bool = False
    """Whether it was pasted and is not a file."""
    collection: str = ""
    """The collection with its passages; empty if the file is sent whole."""

    @classmethod
    def of_message(cls, file: FileText) -> Attachment:
        """A file of a message that was sent."""
        return cls(file.name, file.text, pasted=file.name.startswith(PASTED))

    @property
    def saved(self) -> bool:
        """Whether it is saved with its draft, which must tell it from what was written."""
        short = not self.collection and len(self.text) <= LARGEST_SAVED
        return short and bool(split_message(format_attachment(self.name, self.text)).files)

    @property
    def bytes(self) -> int:
        """The size of its text in UTF-8."""
        return len(self.text.encode())


def draft_of(files: Iterable[Attachment], text: str) -> str:
    """A draft as it is saved: the message that it would be."""
    saved = [(file.name, file.text) for file in files if file.saved]
    return build_message(saved, "", text) if saved else text


def read_document(path: Path, reader: DocumentReader) -> Attachment:
    """The document at `path` with its text: a text file unchanged, a PDF or another container as extracted for the index.

    Raises:
        InvalidText: it cannot be read, is too large, or contains no text.
    """
    if kind_of(path) not in {"pdf", "docx", "odt", "epub"}:
        return Attachment(path.name, read_text(path, LARGEST_TEXT))
    try:
        text = "\n\n".join(block.text for block in reader.read_all(path) if block.text)
    except DocumentUnreadable as error:
        raise InvalidText(str(error)) from error
    if not text.strip():
        raise InvalidText(f"{path} contains no text. Scanned pages are not supported.")
    return Attachment(path.name, text)


def read_text(path: Path, largest: int = LARGEST_FILE) -> str:
    """Read the text file at `path`, of at most `largest` bytes.

    Raises:
        InvalidText: it cannot be read, is too large, or is not text.
    """
    try:
        if not path.is_file():
            raise InvalidText(f"{path} is not a readable file. Check the path.")
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise InvalidText(f"{path} cannot be read: {error.strerror}.") from error
    return decode(content, str(path), largest)


def decode(content: bytes, name: str, largest: int = LARGEST_FILE) -> str:
    """Decode `content` as UTF-8, or as UTF-16 with a byte order mark. `name` says where it came from.

    Raises:
        InvalidText: it is larger than `largest`, or not text.
    """
    if len(content) > largest:
        raise InvalidText(f"{name} is larger than {largest // 1024**2} MB. Send part of it.")
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidText(f"{name} is not UTF-8 or UTF-16 text. Only text can be sent.") from error
    if "\0" in text:
        raise InvalidText(f"{name} is binary data. Only text can be sent.")
    return text
