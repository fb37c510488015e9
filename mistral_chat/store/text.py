"""Normalises text for storage, and makes titles.

Text is stored as it was written except for two things that SQLite cannot store: lone surrogates (they have no UTF-8) and NUL
(SQL functions stop at it). Both become U+FFFD, the replacement character, so that a message is not lost over one character. A
high surrogate followed by a low one becomes the character they encode.
"""

from __future__ import annotations

import unicodedata

from mistral_chat.message_form import split_message

TITLE_LENGTH = 80
"""Maximum characters of a title taken from a message."""

_LONGEST_TITLE = 200
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def sanitise_for_sqlite(text: str) -> str:
    """Make `text` storable: unchanged except in hostile or broken cases. Idempotent."""
    if text.isascii():
        return text.replace("\x00", _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\x00", _REPLACEMENT)


def decode_lossy(raw: bytes) -> str:
    """Decode text of the database. Damaged letters become U+FFFD, so that one does not hide a whole conversation."""
    return raw.decode("utf-8", "replace")


def stored_line(text: str, limit: int = _LONGEST_TITLE) -> str:
    """Reduce `text` to one line without control and format characters, cut to `limit` characters with an ellipsis."""
    line = " ".join("".join(map(_visible, sanitise_for_sqlite(text[: 8 * limit]))).split())
    if len(line) <= limit:
        return line
    cut = line[: limit - 1]
    space = cut.rfind(" ", limit // 2)
    return (cut[:space] if space > 0 else cut).rstrip() + "…"


def first_line(message: str) -> str:
    """The title from a first message: the first line of its question, cut to `TITLE_LENGTH`."""
    for line in split_message(message).question[:10_000].splitlines():
        title = stored_line(line.strip().lstrip("#>*-`~ \t"), TITLE_LENGTH)
        if title:
            return title
    return ""


def tag_name(text: str) -> str:
    """A tag as stored: one line in lower case of at most 40 characters, without commas; may be empty."""
    return stored_line(text.replace(",", " ").lower(), 40)


def _visible(character: str) -> str:
    """`character`, a space if it breaks the line, or nothing for an invisible control character."""
    category = unicodedata.category(character)
    if category in {"Cc", "Zl", "Zp"}:
        return " "
    return "" if category == "Cf" and character not in _JOINERS else character
