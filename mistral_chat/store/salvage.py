"""Reading what can be read out of a damaged database, row by row if need be."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from mistral_chat.conversation import Usage
from mistral_chat.generation import Sampling
from mistral_chat.store.pages import PAGE, Row, rows_on_pages
from mistral_chat.store.text import decode_lossy

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_HEADERPAGES: Final = slice(28, 32)
_FREEPAGES: Final = slice(32, 40)
_MOST_ROWS: Final = 5_000_000
_COLUMNS: Final = {
    "conversations": tuple(
        "row id title title_by created updated system model sampling current persona pinned archived trashed".split()  # noqa: SIM905 - as they stand in the table
    ),
    "turns": tuple(
        "row id conversation parent depth created user reply finish_reason error model usage pinned excluded writer".split()  # noqa: SIM905 - the same
    ),
}
_FEWEST: Final = {"conversations": 10, "turns": 15}
"""How many columns the tables had at first."""

_INDEXES: Final = {
    "conversations": ("sqlite_autoindex_conversations_1",),
    "turns": ("sqlite_autoindex_turns_1", "turns_by_conversation", "turns_by_parent", "turns_by_time"),
}


@dataclass(slots=True)
class Salvage:
    """What was read, with the rows mended so that a new database takes them."""

    conversations: list[Row] = field(default_factory=list)
    turns: list[Row] = field(default_factory=list)
    tags: list[Row] = field(default_factory=list)
    drafts: list[Row] = field(default_factory=list)
    lost_turns: int = 0
    """Turns that are known to have been there and could not be read. There may have been more."""
    lost_conversations: int = 0
    """Conversations of which at most turns were left."""


def salvage(path: Path, now: str) -> Salvage:
    """Read the file at `path`, which is not changed, as far as that goes; `now` stands in for times that were lost.

    Raises:
        sqlite3.DatabaseError: nothing in it can be read.
    """
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        connection.text_factory = decode_lossy
        connection.row_factory = sqlite3.Row
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        conversations, _ = _readable(connection, path, "conversations")
        turns, unreadable = _readable(connection, path, "turns")
        tags, drafts = _plain(connection, "tags"), _plain(connection, "drafts")
    return _mended(conversations, turns, tags, drafts, lost=unreadable - turns.keys(), now=now)


def salvage_pages(path: Path, now: str) -> Salvage:
    """The same without SQLite, from the pages alone. Tags and drafts are not found this way."""
    conversations, turns = (rows_on_pages(path, _COLUMNS[table], _FEWEST[table]) for table in ("conversations", "turns"))
    return _mended(conversations, turns, [], [], lost=set(), now=now)


def with_head_of(damaged: Path, fresh: Path, target: Path) -> None:
    """Copy `damaged` to `target` with its first page taken from `fresh`, an empty database made by the same steps.

    The first page says where the tables begin; tables that were made in the same order begin at the same places.
    """
    content = bytearray(damaged.read_bytes())
    head = bytearray(fresh.read_bytes()[:PAGE])
    head[_HEADERPAGES] = (len(content) // PAGE).to_bytes(4, "big")
    head[_FREEPAGES] = bytes(8)
    content[:PAGE] = head
    target.write_bytes(content)


def _plain(connection: sqlite3.Connection, table: str) -> list[Row]:
    """The rows of a small table, up to the first that cannot be read."""
    rows: list[Row] = []
    with contextlib.suppress(sqlite3.DatabaseError):
        rows.extend(dict(row) for row in connection.execute(f"SELECT * FROM {table}"))
    return rows


def _readable(connection: sqlite3.Connection, path: Path, table: str) -> tuple[dict[int, Row], set[int]]:
    """The rows of `table` that can be read, and the numbers of all that are known to have been there."""
    rows: dict[int, Row] = {}
    for order in ("ASC", "DESC"):
        try:
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY row {order}"):
                rows[row["row"]] = dict(row)
        except sqlite3.DatabaseError:
            continue
        return rows, set(rows)
    known = set(rows)
    for index in _INDEXES[table]:
        with contextlib.suppress(sqlite3.DatabaseError):
            known.update(row["row"] for row in connection.execute(f"SELECT row FROM {table} INDEXED BY {index}"))
    known = {row for row in known if 0 < row < _MOST_ROWS}
    for row in range(1, max(known, default=0) + 1):
        if row not in rows:
            with contextlib.suppress(sqlite3.DatabaseError):
                found = connection.execute(f"SELECT * FROM {table} WHERE row = ?", (row,)).fetchone()
                if found is not None:
                    rows[row] = dict(found)
    lost = rows_on_pages(path, _COLUMNS[table], _FEWEST[table])
    return lost | rows, known


def _mended(
    conversations: dict[int, Row], turns: dict[int, Row], tags: list[Row], drafts: list[Row], *, lost: set[int], now: str
) -> Salvage:
    """Make the rows fit for a new database: every turn hangs on one that is there, every conversation is there."""
    result = Salvage()
    last: dict[int, int] = {}
    ids: set[str] = set()
    for row, turn in sorted(turns.items()):
        if not _usable(turn, ("id", "user", "reply"), ids) or not isinstance(turn["conversation"], int):
            lost.add(row)
            continue
        parent = turn["parent"]
        if parent is not None and (parent not in turns or parent >= row or turns[parent]["conversation"] != turn["conversation"]):
            lost.update({parent} - turns.keys())
            parent = last.get(turn["conversation"])
        depth = 1 if parent is None else turns[parent]["depth"] + 1
        finish_reason = turn["finish_reason"] if turn["finish_reason"] in {"stop", "length", "cancelled"} else "cancelled"
        usage = turn["usage"] if _holds(turn["usage"], Usage) else None
        turn |= {"parent": parent, "depth": depth, "finish_reason": finish_reason, "usage": usage, "writer": None}
        turn |= {"created": _time(turn["created"], now), "error": _text(turn["error"]), "model": _text(turn["model"])}
        turn |= {"pinned": int(bool(turn["pinned"])), "excluded": int(bool(turn["excluded"]))}
        last[turn["conversation"]] = row
        result.turns.append(turn)
    ids = set()
    for row, conversation in sorted(conversations.items()):
        if _usable(conversation, ("id",), ids):
            result.conversations.append(_mended_conversation(conversation, last.get(row), turns, now))
        else:
            conversations.pop(row)
    for row in sorted(last.keys() - conversations.keys()):
        result.conversations.append(_mended_conversation({"row": row, "id": f"{row:016x}"}, last[row], turns, now))
        result.lost_conversations += 1
    result.tags = [tag for tag in tags if tag["conversation"] in conversations and isinstance(tag["tag"], str)]
    result.drafts = [draft for draft in drafts if isinstance(draft["conversation_id"], str) and isinstance(draft["text"], str)]
    result.lost_turns = len(lost)
    return result


def _mended_conversation(row: Row, last: int | None, turns: dict[int, Row], now: str) -> Row:
    current = row.get("current")
    if current not in turns or turns[current]["conversation"] != row["row"]:
        current = last
    by = row.get("title_by")
    return {
        "row": row["row"],
        "id": row["id"],
        "title": _text(row.get("title")),
        "title_by": by if by in {"first_line", "model", "person"} else "first_line",
        "created": _time(row.get("created"), now),
        "updated": _time(row.get("updated"), now),
        "system": _text(row.get("system")),
        "model": _text(row.get("model")),
        "sampling": row["sampling"] if _holds(row.get("sampling"), Sampling) else None,
        "current": current,
        "persona": _text(row.get("persona")),
        "pinned": int(bool(row.get("pinned"))),
        "archived": int(bool(row.get("archived"))),
        "trashed": None if row.get("trashed") is None else _time(row["trashed"], now),
    }


def _usable(row: Row, texts: Iterable[str], ids: set[str]) -> bool:
    """Whether what cannot be made up is there, and the id is its own."""
    if not all(isinstance(row[name], str) for name in texts) or row["id"] in ids:
        return False
    ids.add(row["id"])
    return True


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object, now: str) -> str:
    try:
        return now if datetime.fromisoformat(str(value)).tzinfo is None else str(value)
    except ValueError:
        return now


def _holds(value: object, kind: type[Usage | Sampling]) -> bool:
    """Whether the JSON text holds a value of that kind."""
    try:
        kind(**json.loads(str(value)))
    except (ValueError, TypeError):
        return False
    return True
