"""The one SQLite file: opened, checked, brought up to date, and read and written under one roof.

* WAL, so that readers never wait for a writer; `synchronous=NORMAL`: a killed program loses nothing that was committed, a
  power cut may lose the last moments but not the file.
* Every write is `BEGIN IMMEDIATE`. A transaction that reads first and asks for the lock later fails at once when a second
  instance wrote in between, and no timeout helps.
* `secure_delete`, and temporary tables in memory: nothing that was said lies in freed pages or in stray files.
* A new file appears under its name only when it is whole, so an empty file under that name is always damage.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from mistral_chat.errors import StoreDamaged, StoreTooNew
from mistral_chat.store.migrations import STEPS, applied, migrate
from mistral_chat.store.sqlite_errors import corruption_error, map_sqlite_errors
from mistral_chat.store.text import decode_lossy
from mistral_chat.store.writer_lock import WriterLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

BUSY_SECONDS: Final = 5.0
"""How long a call waits for another instance's write before it raises `StoreBusy`."""

CHECKED_BYTES: Final = 32 * 1024**2
"""Files up to this size are checked when they are opened (about 30 ms); for larger ones, call `integrity_check`."""

_PRAGMAS: Final = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA journal_size_limit = 0",
)


class Database:
    """One connection. Calls from several threads take turns; a thread that works long gets `new_connection` of its own."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path | None, now: Callable[[], datetime], busy_seconds: float
    ) -> None:
        """Take over an open `connection` to the file at `path`, or to memory when that is None."""
        connection.row_factory = sqlite3.Row
        connection.text_factory = decode_lossy
        self._connection = connection
        self._lock = threading.RLock()
        self._busy_seconds = busy_seconds
        self.path = path
        self.now = now
        self.writer = WriterLock(path)

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction that writes: all of it is kept, or none. Inside another one it is part of that.

        Raises:
            StoreBusy: another instance wrote for longer than the busy timeout.
            StoreDamaged: the file is damaged.
            StoreError: the disk is full or may not be written.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One transaction that reads: every query in it sees the same state.

        Raises:
            StoreDamaged: the file is damaged.
        """
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def autocommit(self) -> Iterator[sqlite3.Connection]:
        """The connection for what SQLite does only outside a transaction: pragmas, checkpoints, VACUUM."""
        with self._lock, map_sqlite_errors(self.path):
            yield self._connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, map_sqlite_errors(self.path):
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.rollback()
                raise

    def data_version(self) -> int:
        """A number that changes when another connection, in this program or another, has written."""
        with self.autocommit() as connection:
            return int(connection.execute("PRAGMA data_version").fetchone()[0])

    def integrity_check(self) -> None:
        """Look through the whole file for broken structure. Takes about a second a gigabyte; call it beside the work.

        SQLite keeps no checksums, so a changed letter inside a text goes unseen.

        Raises:
            StoreDamaged: something is broken; the message says what to do.
        """
        with self.autocommit() as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise corruption_error(self.path, str(verdict))

    def truncate_wal(self) -> bool:
        """Move the write-ahead log into the file and cut it to nothing; False at once when another connection needs it."""
        with self.autocommit() as connection:
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {round(self._busy_seconds * 1000)}")
        return not busy

    def new_connection(self) -> Database:
        """A further connection to the same file, for another thread. A database in memory has only one: itself."""
        if self.path is None:
            return self
        return Database(_connect(self.path, self._busy_seconds), self.path, self.now, self._busy_seconds)

    def close(self) -> None:
        """Let the file go. No other call may follow."""
        with self._lock:
            self.writer.end()
            self._connection.close()


def open_database(path: Path | None, *, now: Callable[[], datetime], busy_seconds: float = BUSY_SECONDS) -> Database:
    """Open the file at `path`, made and brought up to date as needed, or a database in memory when `path` is None.

    Folders that are missing are made for the owner alone, and so is the file. A file of up to `CHECKED_BYTES` is checked.

    Raises:
        StoreTooNew: a newer version wrote the file; nothing in it was changed.
        StoreDamaged: the file is not a database, is empty or is visibly broken.
        StoreBusy: another instance held the file for longer than `busy_seconds`.
        StoreError: the folder or the file may not be written.
    """
    with map_sqlite_errors(path):
        if path is None:
            connection = _prepared(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None))
            migrate(connection)
            return Database(connection, None, now, busy_seconds)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            create(path)
        pending = _look(path)
        database = Database(_connect(path, busy_seconds), path, now, busy_seconds)
        try:
            if path.stat().st_size <= CHECKED_BYTES:
                database.integrity_check()
            if pending:
                with database.autocommit() as connection:
                    migrate(connection)
        except BaseException:
            database.close()
            raise
        return database


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    return connection


def _connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open the file for writing, private to its owner."""
    for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with contextlib.suppress(OSError):
            if each.stat().st_mode & 0o077:
                each.chmod(0o600)
    connection = sqlite3.connect(path, timeout=busy_seconds, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        return _prepared(connection)
    except BaseException:
        connection.close()
        raise


def create(path: Path) -> None:
    """Make an empty database at `path`. It appears there whole, unless another instance was quicker."""
    passing = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    os.close(os.open(passing, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with contextlib.closing(_connect(passing, 0)) as connection:
            migrate(connection)
        try:
            path.hardlink_to(passing)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if not path.exists():
                passing.rename(path)
    finally:
        passing.unlink(missing_ok=True)


def _look(path: Path) -> bool:
    """Whether steps are pending, found without changing a byte of the file.

    Raises:
        StoreTooNew: it went through a step that this version does not know.
        StoreDamaged: it holds nothing of ours.
    """
    if path.stat().st_size == 0:
        raise corruption_error(path, "the file is empty")
    address = f"file:{quote(os.fspath(path.absolute()))}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        names = applied(connection)
        known = [step.__name__ for step in STEPS]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise StoreTooNew(
                f"{path} was written by a newer version of mistral-chat (it has {unknown[-1]}, this version knows up to "
                f"{known[-1]}). Nothing was changed. Upgrade mistral-chat, or set MISTRAL_CHAT_DATA_DIR to another folder."
            )
        if not names:
            raise StoreDamaged(
                f"{path} is a database, but not one of mistral-chat's conversations. Nothing was changed. Move it away, or set "
                "MISTRAL_CHAT_DATA_DIR to another folder."
            )
        return len(names) < len(known)
