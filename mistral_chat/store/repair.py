"""The way back from a damaged database: keep the old file, save what can be read into a new one, say what was lost."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_chat.errors import StoreBusy, StoreDamaged, StoreError
from mistral_chat.store import index
from mistral_chat.store.database import create, open_database
from mistral_chat.store.rows import SUMMARY, from_timestamp, stored_conversation, to_timestamp, turn_value
from mistral_chat.store.salvage import Salvage, salvage, salvage_pages, with_head_of
from mistral_chat.store.sqlite_errors import map_sqlite_errors
from mistral_chat.store.text import first_line
from mistral_chat.store.writer_lock import active_writers

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair did."""

    kept: Path | None
    """The damaged file under its new name; None when nothing was wrong and nothing was done."""
    conversations: int = 0
    """Conversations that were saved, at least in part."""
    turns: int = 0
    """Turns that were saved."""
    lost_conversations: int = 0
    """Conversations whose title and settings were lost; their turns stand under a title made from them."""
    lost_turns: int = 0
    """Turns that are known to have been there and could not be read. There may have been more."""


def repair(path: Path, *, now: Callable[[], datetime]) -> Repaired:
    """Repair the database at `path`. No other mistral-chat may be using it.

    Raises:
        StoreBusy: another instance is using it.
        StoreTooNew: a newer version wrote it; nothing was changed.
        StoreDamaged: nothing in it can be read; it was left as it is.
        StoreError: there is no such file, or the folder may not be written or is full.
    """
    if not path.exists():
        raise StoreError(f"There is no {path}, so there is nothing to repair.")
    if _sound(path, now):
        return Repaired(kept=None)
    if active_writers(path) or _in_use(path):
        raise StoreBusy(f"Another mistral-chat is using {path}. Close it and try again.")
    with map_sqlite_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".repair-") as folder:
        fresh = Path(folder) / "new.db"
        create(fresh)
        saved = _read(path, fresh, Path(folder), to_timestamp(now()))
        _fill(fresh, saved)
        kept = path.with_name(f"{path.name}.damaged-{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")
        _exchange(path, fresh, kept)
    return Repaired(
        kept=kept,
        conversations=len(saved.conversations),
        turns=len(saved.turns),
        lost_conversations=saved.lost_conversations,
        lost_turns=saved.lost_turns,
    )


def _sound(path: Path, now: Callable[[], datetime]) -> bool:
    """Whether the file opens, its structure is whole, its index fits together and every value in it can be read."""
    try:
        database = open_database(path, now=now)
    except StoreDamaged:
        return False
    try:
        database.integrity_check()
        with database.write() as connection:
            connection.execute("INSERT INTO found (found) VALUES ('integrity-check')")
            for conversation in connection.execute(SUMMARY):
                stored_conversation(conversation)
            for turn in connection.execute("SELECT * FROM turns"):
                turn_value(turn)
                from_timestamp(turn["created"])
    except StoreDamaged:
        return False
    finally:
        database.close()
    return True


def _in_use(path: Path) -> bool:
    """Whether another connection is open: exclusive locking is refused then. A file too damaged to tell counts as free."""
    with contextlib.closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY
    return False


def _read(path: Path, fresh: Path, folder: Path, now: str) -> Salvage:
    """Salvage the file: through SQLite, through SQLite with a borrowed first page, or from the pages alone."""
    with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        saved = salvage(path, now)
        if saved.turns or saved.conversations:
            return saved
    patched = folder / "patched.db"
    with_head_of(path, fresh, patched)
    log = path.with_name(path.name + "-wal")
    if log.exists():
        shutil.copy(log, folder / "patched.db-wal")
    with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        saved = salvage(patched, now)
        if saved.turns or saved.conversations:
            return saved
    saved = salvage_pages(path, now)
    if saved.turns or saved.conversations:
        return saved
    raise StoreDamaged(
        f"No conversation can be read from {path}. It was left as it is. Put a backup in its place, or move it away."
    )


def _fill(fresh: Path, saved: Salvage) -> None:
    """Write what was saved into the new database, and build its index."""
    firsts: dict[int, str] = {}
    for turn in saved.turns:
        firsts.setdefault(turn["conversation"], turn["user"])
    for conversation in saved.conversations:
        if not conversation["title"]:
            conversation["title"] = first_line(firsts.get(conversation["row"], ""))
    with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, rows in (
            ("conversations", saved.conversations),
            ("turns", saved.turns),
            ("tags", saved.tags),
            ("drafts", saved.drafts),
        ):
            for row in rows:
                columns = ", ".join(row)
                connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
        index.rebuild(connection)
        connection.execute("COMMIT")


def _exchange(path: Path, fresh: Path, kept: Path) -> None:
    """Put the new file in the old one's place. At every moment there is a file under the old name.

    The old log goes first: beside the new file it would be taken for its own.
    """
    try:
        kept.hardlink_to(path)
    except OSError:  # a file system without hard links
        shutil.copy2(path, kept)
    log = path.with_name(path.name + "-wal")
    if log.exists():
        log.rename(kept.with_name(kept.name + "-wal"))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    fresh.replace(path)
