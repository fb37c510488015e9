"""What the store does to text at its border, and how titles are made.

Text is kept as it was written but for two things that SQLite cannot hold faithfully: lone surrogates (they have no UTF-8)
and NUL (SQL functions stop at it). Both become U+FFFD, the replacement character, rather than an error: nobody loses a
message over one character. A high and a low surrogate that stand together are joined to the character they spell.
"""

from __future__ import annotations

import unicodedata

TITLE_LENGTH = 80
"""The longest title taken from a message, in characters."""

_LONGEST_TITLE = 200
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def sanitise_for_sqlite(text: str) -> str:
    """`text` as the database can hold it. The same as `text` in all but hostile or broken cases, and stable when repeated."""
    if text.isascii():
        return text.replace("\x00", _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\x00", _REPLACEMENT)


def decode_lossy(raw: bytes) -> str:
    """Text as the database gives it back. Damaged letters become U+FFFD: one of them must not hide a whole conversation."""
    return raw.decode("utf-8", "replace")


def one_line(text: str, limit: int = _LONGEST_TITLE) -> str:
    """`text` on one line without control and format characters, cut to `limit` characters with an ellipsis."""
    line = " ".join("".join(map(_visible, sanitise_for_sqlite(text[: 8 * limit]))).split())
    if len(line) <= limit:
        return line
    cut = line[: limit - 1]
    space = cut.rfind(" ", limit // 2)
    return (cut[:space] if space > 0 else cut).rstrip() + "…"


def first_line(message: str) -> str:
    """The title that a conversation has from its first message: the first line that says something, at most `TITLE_LENGTH`."""
    for line in message[:10_000].splitlines():
        title = one_line(line.strip().lstrip("#>*-`~ \t"), TITLE_LENGTH)
        if title:
            return title
    return ""


def tag_name(text: str) -> str:
    """A tag as it is kept: one line in lower case, at most 40 characters, without commas; empty when nothing is left."""
    return one_line(text.replace(",", " "), 40).lower()


def _visible(character: str) -> str:
    """The character, a space where it breaks the line, or nothing where it is only there to steer what is shown."""
    category = unicodedata.category(character)
    if category in {"Cc", "Zl", "Zp"}:
        return " "
    return "" if category == "Cf" and character not in _JOINERS else character
