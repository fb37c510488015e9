"""Repairs a damaged database: keeps the old file, copies every readable row into a new one, and counts the losses."""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mistral_chat import system
from mistral_chat.conversation import Usage
from mistral_chat.errors import StoreBusy, StoreDamaged, StoreError
from mistral_chat.paths import RESTORE
from mistral_chat.sampling import Sampling
from mistral_chat.store import import_export, index
from mistral_chat.store.database import create, open_database
from mistral_chat.store.documents import rebuild_passage_index
from mistral_chat.store.rows import insert, to_timestamp
from mistral_chat.store.sqlite_errors import empty_file_error, map_sqlite_errors
from mistral_chat.store.text import decode_lossy, first_line
from mistral_chat.store.writer_lock import active_writers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Values = dict[str, Any]
"""A row: column names and values."""

OTHER_TABLES: Final = {
    "tags": "tags",
    "drafts": "drafts",
    "queued_messages": "queued messages",
    "turn_passages": "passages given with messages",
    "turn_vectors": "vectors of turns",
    "collections": "collections",
    "documents": "documents",
    "passages": "passages",
    "document_vectors": "vectors of documents",
    "conversation_collections": "attachments of collections",
    "collection_folders": "folders of collections",
}
"""The other tables, each after those it references, and what they contain, in words."""

_MOST_ROWS: Final = 5_000_000
_INDEXES: Final = {
    "conversations": ("sqlite_autoindex_conversations_1",),
    "turns": ("sqlite_autoindex_turns_1", "turns_by_conversation", "turns_by_parent", "turns_by_time"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairResult:
    """The result of a repair."""

    kept: Path | None
    """The damaged file under its new name; None if nothing was damaged. Then only the search index was rebuilt."""
    conversations: int = 0
    """Conversations saved, at least in part."""
    turns: int = 0
    """Turns saved."""
    lost_conversations: int = 0
    """Conversations known to have existed whose title and settings were lost; their turns get a new title."""
    lost_turns: int = 0
    """Turns known to have existed that could not be read. There may be more."""
    incomplete: tuple[str, ...] = ()
    """Other tables of which rows were lost. Documents without some ``passages`` must be indexed again."""


def repair(path: Path, *, now: Callable[[], datetime]) -> RepairResult:
    """Repair the database at `path`. No other mistral-chat may be using it.

    Raises:
        StoreBusy: another instance is using it.
        StoreTooNew: a newer version wrote it; nothing was changed.
        StoreDamaged: SQLite can read nothing in it; the file was left unchanged.
        StoreError: there is no such file, or the folder cannot be written or is full.
    """
    if not path.exists():
        raise StoreError(f"{path} does not exist, so there is nothing to repair.")
    if path.stat().st_size == 0:
        raise empty_file_error(path)
    sound = _sound(path)
    if active_writers(path) or _in_use(path):
        raise StoreBusy(f"Another mistral-chat is using {path}. Close it and try again.")
    if sound and _rebuild_indexes(path):
        return RepairResult(kept=None)
    with map_sqlite_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".repair-") as folder:
        saved = _salvage(path, to_timestamp(now()))
        fresh = Path(folder) / "new.db"
        create(fresh)
        _fill(fresh, saved)
        kept = path.with_name(f"{path.name}.damaged-{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")
        _exchange(path, fresh, kept)
    return RepairResult(
        kept=kept,
        conversations=len(saved.conversations),
        turns=len(saved.turns),
        lost_conversations=saved.lost_conversations,
        lost_turns=saved.lost_turns,
        incomplete=tuple(each for each in OTHER_TABLES if each in saved.incomplete and not each.endswith("_vectors")),
    )


def _sound(path: Path) -> bool:
    """Whether the file opens, its structure is intact, and every conversation can be read."""
    try:
        with contextlib.closing(open_database(path)) as database, database.read() as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok" or connection.execute("PRAGMA foreign_key_check").fetchone():
                return False
            for (row,) in connection.execute("SELECT row FROM conversations").fetchall():
                import_export.read(connection, row)
    except (StoreDamaged, sqlite3.OperationalError, LookupError, ValueError):  # as of a broken schema or tree of turns
        return False
    return True


def _rebuild_indexes(path: Path) -> bool:
    """Rebuild the search indexes, which keep no text that their words could be compared with; returns whether it succeeded."""
    try:
        with contextlib.closing(open_database(path)) as database, database.write() as connection:
            for table in ("found", "passages_found"):
                connection.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
            index.rebuild(connection)
            rebuild_passage_index(connection)
    except (StoreDamaged, sqlite3.OperationalError):
        return False
    return True


def _in_use(path: Path) -> bool:
    """Whether another connection is open: then exclusive locking fails. A file too damaged to tell counts as free."""
    with contextlib.closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY
    return False


@dataclass(slots=True)
class _Saved:
    """Rows read from the damaged file, corrected so that a new database accepts them."""

    conversations: list[Values] = field(default_factory=list)
    turns: list[Values] = field(default_factory=list)
    others: dict[str, list[Values]] = field(default_factory=dict)
    """The rows of the other tables, by table, unchanged."""
    lost_turns: int = 0
    lost_conversations: int = 0
    incomplete: set[str] = field(default_factory=set)
    """The other tables of which rows were lost."""


def _salvage(path: Path, now: str) -> _Saved:
    """Read what SQLite can read from `path`, which is not changed; `now` replaces lost times.

    Raises:
        StoreDamaged: nothing can be read.
    """
    saved = _Saved()
    address = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        with contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            connection.text_factory = decode_lossy
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA writable_schema = ON")  # lets SQLite read a file that is shorter than its header says
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            conversations, known_conversations = _rows(connection, "conversations")
            turns, known_turns = _rows(connection, "turns")
            for table in OTHER_TABLES:
                rows = saved.others[table] = []
                try:
                    rows.extend(dict(row) for row in connection.execute(f"SELECT * FROM {table}"))
                except sqlite3.DatabaseError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # as for a table that an earlier version did not have
                        saved.incomplete.add(table)
        known_turns |= {row["current"] for row in conversations.values() if isinstance(row["current"], int)}
        known_turns |= {row["parent"] for row in turns.values() if isinstance(row["parent"], int)}
        saved.turns = _corrected_turns(turns, now)
        saved.conversations = _corrected_conversations(conversations, saved.turns, now)
        saved.lost_turns = len(known_turns - {turn["row"] for turn in saved.turns})
        known_conversations |= {turn["conversation"] for turn in saved.turns}
        saved.lost_conversations = len(known_conversations - conversations.keys())
    if not (saved.turns or saved.conversations or any(saved.others.values())):
        file = shlex.quote(str(path))
        raise StoreDamaged(
            f"SQLite cannot read any conversation from {path}. The file was not changed. Restore a backup, or try sqlite3 from "
            f"sqlite.org (Debian's cannot do this): `sqlite3 {file} .recover | sqlite3 recovered.db`. To restore a backup or "
            f"recovered.db, {RESTORE} with it."
        )
    return saved


def _rows(connection: sqlite3.Connection, table: str) -> tuple[dict[int, Values], set[int]]:
    """The readable rows of `table` by number, and the numbers of all rows in its indexes."""
    rows: dict[int, Values] = {}
    for order in ("ASC", "DESC"):
        try:
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY row {order}"):
                rows[row["row"]] = dict(row)
        except sqlite3.DatabaseError:
            continue
        return rows, set(rows)
    known = set(rows)
    for name in _INDEXES[table]:
        with contextlib.suppress(sqlite3.DatabaseError):
            known.update(row["row"] for row in connection.execute(f"SELECT row FROM {table} INDEXED BY {name}"))
    known = {row for row in known if 0 < row < _MOST_ROWS}
    for row in range(1, max(known, default=0) + 1):
        if row not in rows:
            with contextlib.suppress(sqlite3.DatabaseError):
                found = connection.execute(f"SELECT * FROM {table} WHERE row = ?", (row,)).fetchone()
                if found is not None:
                    rows[row] = dict(found)
    return rows, known


def _corrected_turns(turns: dict[int, Values], now: str) -> list[Values]:
    """The usable turns, each below an existing turn: its parent, or else the previous turn of its conversation."""
    usable: dict[int, Values] = {}
    last: dict[int, int] = {}
    ids: set[str] = set()
    for row, turn in sorted(turns.items()):
        if not _has_texts(turn, ("id", "user", "reply"), ids) or not isinstance(turn["conversation"], int):
            continue
        parent = turn["parent"]
        if parent is not None and (parent not in usable or usable[parent]["conversation"] != turn["conversation"]):
            parent = last.get(turn["conversation"])
        usable[row] = turn | {
            "parent": parent,
            "depth": 1 if parent is None else usable[parent]["depth"] + 1,
            "created": _time(turn["created"], now),
            "finish_reason": turn["finish_reason"] if turn["finish_reason"] in {"stop", "length", "cancelled"} else "cancelled",
            "error": _text(turn["error"]),
            "model": _text(turn["model"]),
            "usage": turn["usage"] if _parses(turn["usage"], Usage) else None,
            "pinned": int(bool(turn["pinned"])),
            "excluded": int(bool(turn["excluded"])),
            "writer": None,
        }
        last[turn["conversation"]] = row
    return list(usable.values())


def _corrected_conversations(conversations: dict[int, Values], turns: list[Values], now: str) -> list[Values]:
    """The usable conversations, and a new one for each lost one with turns. Unusable ones are removed from the argument."""
    turns_of: dict[int, list[Values]] = {}
    for turn in turns:
        turns_of.setdefault(turn["conversation"], []).append(turn)
    ids: set[str] = set()
    for row in sorted(conversations):
        if not _has_texts(conversations[row], ("id",), ids):
            conversations.pop(row)
    found = dict(conversations)
    for row in turns_of.keys() - conversations.keys():
        found[row] = {"row": row, "id": f"{row:016x}"}
    return [_corrected_conversation(values, turns_of.get(row, []), now) for row, values in sorted(found.items())]


def _corrected_conversation(values: Values, turns: list[Values], now: str) -> Values:
    current = values.get("current")
    if current not in {turn["row"] for turn in turns}:
        current = turns[-1]["row"] if turns else None
    by = values.get("title_by")
    return {
        "row": values["row"],
        "id": values["id"],
        "title": _text(values.get("title")) or first_line(turns[0]["user"] if turns else ""),
        "title_by": by if by in {"first_line", "model", "person"} else "first_line",
        "created": _time(values.get("created"), now),
        "updated": _time(values.get("updated"), now),
        "system": _text(values.get("system")),
        "model": _text(values.get("model")),
        "sampling": values["sampling"] if _parses(values.get("sampling"), Sampling) else None,
        "current": current,
        "persona": _text(values.get("persona")),
        "recall": None if values.get("recall") is None else int(bool(values["recall"])),
        "pinned": int(bool(values.get("pinned"))),
        "archived": int(bool(values.get("archived"))),
        "trashed": None if values.get("trashed") is None else _time(values["trashed"], now),
        "used": values["used"] if isinstance(values.get("used"), int) else 0,
    }


def _has_texts(row: Values, names: Iterable[str], ids: set[str]) -> bool:
    """Whether the columns `names` are text and the id is not taken by another row."""
    if not all(isinstance(row[name], str) for name in names) or row["id"] in ids:
        return False
    ids.add(row["id"])
    return True


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object, otherwise: str) -> str:
    try:
        return otherwise if datetime.fromisoformat(str(value)).tzinfo is None else str(value)
    except ValueError:
        return otherwise


def _parses(value: object, kind: type[Usage | Sampling]) -> bool:
    """Whether a JSON text is a value of that kind."""
    try:
        kind(**json.loads(str(value)))
    except (ValueError, TypeError):
        return False
    return True


def _fill(fresh: Path, saved: _Saved) -> None:
    """Write the saved rows into the new database and build its index. Rows of other tables without an owner are left out."""
    with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        for conversation in saved.conversations:
            insert(connection, "conversations", **conversation)
        for turn in saved.turns:
            insert(connection, "turns", **turn)
        for table, rows in saved.others.items():
            for row in rows:
                try:
                    insert(connection, table, **row)
                except sqlite3.IntegrityError:
                    saved.incomplete.add(table)
        if "passages" in saved.incomplete:  # the last one that was read may have had others of its document behind it
            connection.execute("""
                UPDATE documents SET status = 'pending' WHERE status = 'indexed' AND row NOT IN (
                    SELECT document FROM passages GROUP BY document
                    HAVING count(*) = max(ordinal) + 1 AND max(row) < (SELECT max(row) FROM passages))
            """)
        index.rebuild(connection)
        rebuild_passage_index(connection)
        connection.execute("COMMIT")


def _exchange(path: Path, fresh: Path, kept: Path) -> None:
    """Replace the old file by the new one, so that a file with the old name exists at every moment.

    The old log is renamed first: next to the new file it would be taken for its log.
    """
    try:
        kept.hardlink_to(path)
    except OSError:  # a file system without hard links
        shutil.copy2(path, kept)
    log = path.with_name(path.name + "-wal")
    if log.exists():
        system.replace(log, kept.with_name(kept.name + "-wal"))
    system.delete(path.with_name(path.name + "-shm"))
    system.replace(fresh, path)
