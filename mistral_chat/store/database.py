"""The SQLite file: opening, checking, migrating, and transactions.

* WAL, so that readers never wait for a writer; `synchronous=NORMAL`: a killed program loses nothing that was committed, a
  power cut may lose the last moments but not the file.
* Every write is `BEGIN IMMEDIATE`. A transaction that reads first and asks for the lock later fails at once when a second
  instance wrote in between, and no timeout helps.
* `secure_delete`, and temporary tables in memory: no deleted text stays in freed pages or temporary files.
* A new file appears under its name only when it is complete, so an empty file under that name is always damage.
* A file that cannot be written, on a full disk or a read-only file system, is opened for reading; every write then tries
  to open it for writing first.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import sys
import threading
from typing import TYPE_CHECKING, Final

from mistral_chat import system
from mistral_chat.errors import StoreBusy, StoreDamaged, StoreError, StoreReadOnly, StoreTooNew
from mistral_chat.paths import private_folder
from mistral_chat.store.disk_probe import DiskProbe
from mistral_chat.store.migrations import STEPS, applied, migrate
from mistral_chat.store.sqlite_errors import (
    corruption_error,
    empty_file_error,
    files_of,
    map_sqlite_errors,
    missing_error,
    write_obstacle,
)
from mistral_chat.store.text import decode_lossy
from mistral_chat.store.writer_lock import WriterLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_SECONDS: Final = 5.0
"""How long a call waits for another writer before it raises `StoreBusy`."""

CHECKED_BYTES: Final = 32 * 1024**2
"""Files up to this size are checked when they are opened (about 30 ms); for larger ones, call `integrity_check`."""

_LASTING: Final = (StoreDamaged, StoreReadOnly, StoreError)
"""Errors that a connection may keep raising after their cause is gone. A plain `StoreError` is a disk that failed."""

_VFS_WITHOUT_LOCKS: Final = "win32-none" if sys.platform == "win32" else "unix-none"

_PRAGMAS: Final = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA journal_size_limit = 0",
)


class Database:
    """One connection. Calls from several threads take turns; a long-running thread uses a `new_connection`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path | None,
        busy_seconds: float,
        *,
        obstacle: StoreError | None = None,
    ) -> None:
        """Take over an open `connection` to the file at `path`, or to memory if that is None.

        `obstacle` says why the file could be opened only for reading.
        """
        self._connection = connection
        self._lock = threading.RLock()
        self._busy_seconds = busy_seconds
        self._identity = None if path is None else _identity(path)
        self._version = None if path is None else _version(path)
        self._stale = False
        self.read_seconds = busy_seconds
        """How long a read waits for a lock; only a program that has the whole file to itself keeps readers waiting."""
        self._probe: DiskProbe | None = None
        self.obstacle = obstacle
        self.path = path
        self.writer = WriterLock(path)

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of it is committed, or nothing. Inside another transaction it is part of that.

        Raises:
            StoreError: what `map_sqlite_errors` raises; `StoreMissing` also when the file is not the one that was opened.
        """
        with self._use():
            self._require_writable()
            with self._transaction("BEGIN IMMEDIATE") as connection:
                yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A read transaction: all its queries see the same state. Raises what `map_sqlite_errors` raises."""
        self._require_answer()
        with self._use():
            self._require_unchanged()
            with self._waiting(self.read_seconds), self._transaction("BEGIN") as connection:
                yield connection

    def read_without_waiting(self, seconds: float) -> None:
        """Let reads raise `StoreError` when they would wait for longer than `seconds` for a lock, or for a disk that hangs."""
        self.read_seconds = seconds
        if self.path is not None and self._probe is None:
            glance = _Glance(self)
            self._probe = DiskProbe(glance.look, close=glance.close)

    def _require_answer(self) -> None:
        """Raise `StoreError` when the disk does not answer."""
        if self._probe is not None and not self._connection.in_transaction and not self._probe.answers():
            raise StoreError(f"The disk that holds {self.path} is not responding.")

    def _require_unchanged(self) -> None:
        """Make sure that the file was not replaced by another; a file open for reading is reopened if it changed.

        A file that was deleted or moved can still be read.
        """
        if self.path is None or self._connection.in_transaction:
            return
        with contextlib.suppress(OSError):  # missing, or in an inaccessible folder: the open file can still be read
            if _identity(self.path) != self._identity:
                raise missing_error(self.path)
        if self.obstacle is not None and _version(self.path) != self._version:
            self._stale = True
        self._renew()

    def _require_writable(self) -> None:
        """Open the file for writing if it is only open for reading, and make sure that it is still in place.

        A deleted file can still be written by whoever has it open, and what is written is lost.
        """
        if self.path is None:
            return
        self._require_same_file(self.path)
        self._renew()
        if self.obstacle is not None:
            writable = open_database(self.path, busy_seconds=self._busy_seconds)
            if writable.obstacle is not None:
                writable.close()
                raise writable.obstacle
            self._reopen(writable)

    def _require_same_file(self, path: Path) -> None:
        """Raise `StoreMissing` if the file at `path` is not the one that was opened.

        A file in an inaccessible folder still exists, and what is written to it is not lost.
        """
        try:
            if _identity(path) != self._identity:
                raise missing_error(path)
        except (FileNotFoundError, NotADirectoryError):
            raise missing_error(path) from None
        except PermissionError:
            return

    def _renew(self) -> None:
        """Open the file again if the connection is not to be trusted. A file that is gone can still be read."""
        if not self._stale or self.path is None or self._connection.in_transaction:
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            if _identity(self.path) == self._identity:
                self._reopen(open_database(self.path, busy_seconds=self._busy_seconds))

    def _reopen(self, other: Database) -> None:
        """Take over the connection of `other`, which is open to the same file."""
        self._connection.close()
        self._connection, self.obstacle, self._version = other._connection, other.obstacle, other._version
        self._stale = False

    @contextlib.contextmanager
    def autocommit(self) -> Iterator[sqlite3.Connection]:
        """The connection outside a transaction, for pragmas, checkpoints and VACUUM."""
        with self._use():
            self._renew()
            yield self._connection

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        """Take a turn, map errors, and note one after which the connection is not to be trusted.

        What SQLite has read of a damaged file stays in its cache, a file that it could open only for reading stays so, and
        after an error of the disk a descriptor may never work again: all of it although the file is whole again.
        """
        with self._lock:
            try:
                with map_sqlite_errors(self.path):
                    yield
            except StoreError as error:
                if type(error) in _LASTING and self.path is not None and self.obstacle is None:
                    self._stale = True
                raise

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
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
        self._require_answer()
        with self.autocommit() as connection, self._waiting(self.read_seconds):
            return int(connection.execute("PRAGMA data_version").fetchone()[0])

    def integrity_check(self) -> None:
        """Check the structure of the whole file.

        Takes about a second per gigabyte: call it from a thread. SQLite keeps no checksums, so a changed letter inside a text
        goes unnoticed.

        Raises:
            StoreDamaged: something is broken; the message says what to do.
        """
        with self.autocommit() as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise corruption_error(self.path, str(verdict))

    def truncate_wal(self) -> bool:
        """Move the write-ahead log into the file and truncate it; returns False at once if another connection needs it."""
        with self.autocommit() as connection, self._waiting(0.0):
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    @contextlib.contextmanager
    def _waiting(self, seconds: float) -> Iterator[None]:
        """Wait for locks for up to `seconds` inside the block."""
        connection = self._connection
        if seconds == self._busy_seconds or connection.in_transaction:
            yield
            return
        connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                connection.execute(f"PRAGMA busy_timeout = {round(self._busy_seconds * 1000)}")

    def new_connection(self, *, busy_seconds: float | None = None) -> Database:
        """Open another connection to the same file, for another thread. A database in memory has only one, which is returned.

        `busy_seconds` is how long its calls wait for another writer; None keeps this connection's value.
        """
        if self.path is None:
            return self
        seconds = self._busy_seconds if busy_seconds is None else busy_seconds
        if self.obstacle is not None:
            return open_database(self.path, busy_seconds=seconds)
        with map_sqlite_errors(self.path):
            self._require_same_file(self.path)
            return Database(_connect(self.path, seconds), self.path, seconds)

    def close(self) -> None:
        """Close the connection. No other call may follow."""
        if self._probe is not None:
            self._probe.close()
        with self._lock:
            self.writer.end()
            self._connection.close()


class _Glance:
    """Reads from a database as others do, on a connection of its own, for a `DiskProbe`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._own: Database | None = None

    def look(self) -> None:
        """Read a little. A disk that answers with an error answers too, and whoever reads next gets that error."""
        try:
            if self._own is None:
                self._own = self._database.new_connection(busy_seconds=0.0)
            with self._own.read() as connection:
                connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except (StoreError, sqlite3.Error, OSError):
            self.close()

    def close(self) -> None:
        """Close the connection."""
        own, self._own = self._own, None
        if own is not None:
            with contextlib.suppress(StoreError, sqlite3.Error):
                own.close()


def open_database(path: Path | None, *, busy_seconds: float = BUSY_SECONDS) -> Database:
    """Open the file at `path`, created and migrated as needed, or a database in memory when `path` is None.

    Missing folders and the file are created for the owner only. A file of up to `CHECKED_BYTES` is checked. A file that
    can be read but not written is opened for reading, with `Database.obstacle` set.

    Raises:
        StoreTooNew: a newer version wrote the file; nothing in it was changed.
        StoreDamaged: the file is not a database, is empty or is visibly broken.
        StoreBusy: another instance kept the file locked for longer than `busy_seconds`.
        StoreError: the file cannot be read, or cannot be created.
    """
    with map_sqlite_errors(path):
        if path is None:
            connection = _configured(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None))
            migrate(connection)
            return Database(connection, None, busy_seconds)
        if not path.exists():
            private_folder(path.parent)
            create(path)
    try:
        with map_sqlite_errors(path):
            return _open_for_writing(path, busy_seconds)
    except (StoreBusy, StoreDamaged, StoreTooNew):
        raise
    except StoreError as obstacle:
        try:
            return _open_for_reading(path, busy_seconds, obstacle)
        except (sqlite3.Error, OSError):
            raise obstacle from None


def _open_for_writing(path: Path, busy_seconds: float) -> Database:
    with contextlib.closing(sqlite3.connect(_address(path), uri=True, isolation_level=None)) as connection:
        pending = _migrations_pending(path, connection)
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise write_obstacle(path) or StoreReadOnly(f"{path} cannot be written. Check who owns the folder and the file.")
    database = Database(_connect(path, busy_seconds), path, busy_seconds)
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


def _open_for_reading(path: Path, busy_seconds: float, obstacle: StoreError) -> Database:
    """Open a file that cannot be written, without creating the files that WAL normally needs.

    A file with a log is opened in exclusive mode, in which SQLite keeps the index of the log in memory. That needs the VFS
    without locks, because a file that is open for reading cannot be locked. A file without a log is opened as immutable.
    Pending migrations are applied to a copy in memory.
    """
    options = f"&vfs={_VFS_WITHOUT_LOCKS}" if path.with_name(path.name + "-wal").exists() else "&immutable=1"
    connection = sqlite3.connect(_address(path, options), uri=True, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        if _migrations_pending(path, connection):
            with contextlib.closing(connection) as old:
                connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
                old.backup(connection)
            migrate(connection)
        return Database(_configured(connection), path, busy_seconds, obstacle=obstacle)
    except BaseException:
        connection.close()
        raise


def _identity(path: Path) -> tuple[int, int]:
    """The device and inode of the file at `path`.

    Raises:
        OSError: it is gone, or its folder is closed to us.
    """
    found = path.stat()
    return found.st_dev, found.st_ino


def _version(path: Path) -> list[tuple[int, int]]:
    """A value that changes when the file at `path` is written, with or without a log."""
    found = []
    for each in (path, path.with_name(path.name + "-wal")):
        with contextlib.suppress(OSError):
            found.append(((stat := each.stat()).st_mtime_ns, stat.st_size))
    return found


def _address(path: Path, options: str = "") -> str:
    return f"{path.absolute().as_uri()}?mode=ro{options}"


def _configured(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.row_factory = sqlite3.Row
    connection.text_factory = decode_lossy
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    return connection


def _connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open the file for writing, private to its owner.

    A log gets the mode that the database has when it is created, so a log may have been left read-only.
    """
    for each in files_of(path):
        with contextlib.suppress(OSError):
            mode = each.stat().st_mode
            if mode & 0o077 or (each != path and not mode & 0o200):
                each.chmod(0o600)
    connection = sqlite3.connect(path, timeout=busy_seconds, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        return _configured(connection)
    except BaseException:
        connection.close()
        raise


def create(path: Path) -> None:
    """Create an empty database at `path`. It appears there complete, unless another instance was faster."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    os.close(system.create_private(temporary))
    try:
        with contextlib.closing(_connect(temporary, 0)) as connection:
            migrate(connection)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if not path.exists():
                system.retry_in_use(lambda: temporary.rename(path))
    finally:
        system.delete(temporary)


def _migrations_pending(path: Path, connection: sqlite3.Connection) -> bool:
    """Whether the file at `path` needs migrations; checking changes no byte of it.

    Raises:
        StoreTooNew: it went through a migration that this version does not know.
        StoreDamaged: it is empty, or not a database of mistral-chat.
    """
    if path.stat().st_size == 0:
        raise empty_file_error(path)
    names = applied(connection)
    known = [step.__name__ for step in STEPS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise StoreTooNew(
            f"{path} was written by a newer version of mistral-chat (schema {unknown[-1]}; this version knows "
            f"{known[-1]}). Nothing was changed. Upgrade mistral-chat, or set MISTRAL_CHAT_DATA_DIR to another folder."
        )
    if not names:
        raise StoreDamaged(
            f"{path} is not a database of mistral-chat. Nothing was changed. Move it away, or set "
            "MISTRAL_CHAT_DATA_DIR to another folder."
        )
    return len(names) < len(known)
