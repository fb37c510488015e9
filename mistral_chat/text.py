"""Sanitises every untrusted string before it is shown.

Textual and print() pass text to the terminal nearly unchanged: an escape sequence in a reply, a title or a file name could set
the clipboard, clear the screen or rename the window. Every string written by a model, a file or a user passes `clean` or
`one_line` before a widget or the command line shows it. Stored text is not changed.

Cleaning is stateless: each character is judged alone, so streamed text may be cleaned piece by piece. The only exception are
the flags of England, Scotland and Wales, which contain tag characters: `unfinished_flag` finds one that is cut at the end of a
piece.
"""

from __future__ import annotations

import re
from typing import Final

_REMOVED: Final = (
    (0x00AD, 0x00AE),  # the soft hyphen: terminals disagree about its width
    (0x061C, 0x061D),  # bidi mark
    (0x180E, 0x180F),  # a vowel separator without width
    (0x200B, 0x200C),  # zero width space; the joiners beside it make emoji and Indic letters and stay
    (0x200E, 0x2010),  # bidi marks
    (0x202A, 0x202F),  # bidi embeddings and overrides
    (0x2060, 0x2070),  # word joiner, invisible operators, bidi isolates
    (0xFEFF, 0xFF00),  # byte order mark
    (0xFFF9, 0xFFFC),  # interlinear annotation
    (0xE0000, 0xE0080),  # tag characters: invisible text
)

_TABLE: Final[dict[int, int | None]] = {
    **{code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)},  # control pictures
    0x0D: None,
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),  # C1: terminals take some for CSI and OSC
    **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD),  # lone surrogates cannot be encoded
    **dict.fromkeys((code for low, high in _REMOVED for code in range(low, high)), None),
    0x2028: 0x0A,
    0x2029: 0x0A,
}

_FLAG: Final = re.compile(
    "\U0001f3f4(?:"
    + "|".join("".join(chr(0xE0000 + ord(letter)) for letter in name) for name in ("gbeng", "gbsct", "gbwls"))
    + ")\U000e007f"
)
"""The flags that are written with tag characters. Other sequences of tags are invisible text."""

_UNFINISHED_FLAG: Final = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{0,5}$")

_SPACE: Final = re.compile(r"\s+")
_PLAIN: Final = re.compile(r"[\t\n -~]*")


def clean(text: str) -> str:
    """Make `text` safe to show: no character in the result acts on the terminal, reorders its line or is hidden.

    Control characters become visible pictures of themselves, so that quoted escape sequences can still be read. Line breaks and
    tabs stay. A carriage return goes, because only its line feed matters here.
    """
    if _PLAIN.fullmatch(text):
        return text
    if "\U0001f3f4" not in text:
        return text.translate(_TABLE)
    cleaned, start = [], 0
    for flag in _FLAG.finditer(text):
        cleaned += [text[start : flag.start()].translate(_TABLE), flag.group()]
        start = flag.end()
    return "".join([*cleaned, text[start:].translate(_TABLE)])


def unfinished_flag(text: str) -> int:
    """Return the index where a flag that may continue in the next piece starts; the length of `text` where there is none."""
    found = _UNFINISHED_FLAG.search(text[-6:])
    return len(text) if found is None else len(text) - len(found.group())


def one_line(text: str, limit: int = 200) -> str:
    """Make `text` safe to draw on one line: cleaned, white space folded, and cut to `limit` characters with an ellipsis."""
    head = text[: limit * 4]
    folded = _SPACE.sub(" ", clean(head)).strip()
    if len(folded) <= limit and len(head) == len(text):
        return folded
    return clean(folded[: limit - 1]).rstrip() + "…"


def break_words(text: str, longest: int = 2000, at: str = "\n") -> str:
    """Insert the line break `at` into every word longer than `longest` characters.

    A text field wraps line by line; one word of a megabyte would block it for seconds at each key.
    """
    if len(text) <= longest:
        return text
    return re.sub(rf"\S{{{longest}}}(?=\S)", lambda match: match.group() + at, text)


SOFT_BREAK: Final = "\u200b\n"
"""A line break that is only there for the view. Cleaned text has no zero width space, which would mark one."""


def join_words(text: str) -> str:
    """Remove the breaks that `break_words` inserted with `SOFT_BREAK`, and what an edit left of one."""
    return text.replace(SOFT_BREAK, "").replace(SOFT_BREAK[0], "")
