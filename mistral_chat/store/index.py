"""The full-text index of titles and turns.

The table `found` has an entry for each turn (with the turn's rowid) and for each title set by the user or a model (with the
conversation's rowid, negated); a title taken from the first message is found in its turn. The entry of a turn has the user's
text, and the reply once it has ended: while `turns.writer` is set the reply is not indexed, so that a streaming reply is
indexed once and not every second.

FTS5 keeps no copy of the text here, so an entry is removed by inserting the same text again. `space_out_cjk` is therefore part
of the file format: changing it requires a migration that rebuilds the index.

SQLite's unicode61 tokenizer splits at spaces and punctuation, so a sentence in a script without spaces would be one word.
Characters of such scripts, and symbols such as emoji, become words of their own; a search for several of them is a phrase
search.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

_UNSPACED: Final = re.compile(
    "(["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u2fdf"  # radicals
    "\u3005-\u3007\u3021-\u3029"  # iteration mark, numerals
    "\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\uff66-\uff9d"  # half-width kana
    "\U0001b000-\U0001b16f"  # old kana
    "\U00020000-\U000323af"  # more Han
    "\u2190-\u23ff\u2460-\u2bff"  # arrows, signs, dingbats
    "\U0001f000-\U0001faff"  # emoji
    "])"
)


def space_out_cjk(text: str) -> str:
    """Put spaces around each character of `text` that is a word of its own."""
    return text if text.isascii() else _UNSPACED.sub(r" \1 ", text)


def add_turn(connection: sqlite3.Connection, row: int, user: str, reply: str = "") -> None:
    """Add a turn to the index."""
    _change(connection, None, row, "", user, reply)


def drop_turn(connection: sqlite3.Connection, row: int, user: str, reply: str = "") -> None:
    """Remove a turn; `user` and `reply` are the texts it was added with."""
    _change(connection, "delete", row, "", user, reply)


def add_title(connection: sqlite3.Connection, conversation: int, title: str, by: str) -> None:
    """Add a conversation's title to the index, unless it comes from the first message."""
    if by != "first_line":
        _change(connection, None, -conversation, title, "", "")


def drop_title(connection: sqlite3.Connection, conversation: int, title: str, by: str) -> None:
    """Remove a conversation's title; `title` and `by` are what it was added with."""
    if by != "first_line":
        _change(connection, "delete", -conversation, title, "", "")


def _change(connection: sqlite3.Connection, command: str | None, row: int, *texts: str) -> None:
    """Add an entry, or remove it with the `command` ``delete``."""
    values = (command, row, *map(space_out_cjk, texts))
    connection.execute("INSERT INTO found (found, rowid, title, user, reply) VALUES (?, ?, ?, ?, ?)", values)


def rebuild(connection: sqlite3.Connection) -> None:
    """Rebuild the index from the tables."""
    connection.execute("INSERT INTO found (found) VALUES ('delete-all')")
    for title in connection.execute("SELECT row, title, title_by FROM conversations"):
        add_title(connection, *title)
    for turn in connection.execute("SELECT row, user, CASE WHEN writer IS NULL THEN reply ELSE '' END FROM turns"):
        add_turn(connection, *turn)
