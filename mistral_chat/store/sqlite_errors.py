"""Maps SQLite errors to messages for the user: what happened, where, and what to do next."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mistral_chat import system
from mistral_chat.errors import StoreBusy, StoreDamaged, StoreError, StoreFull, StoreMissing, StoreReadOnly
from mistral_chat.paths import RESTORE

if TYPE_CHECKING:
    from collections.abc import Iterator

_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_ACCESS: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH}
_PRIMARY_CODE: Final = 0xFF

_LITTLE: Final = 256 * 1024
"""Free bytes below which a failed write is attributed to a full disk: SQLite reports some of these as I/O errors."""

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def files_of(path: Path | None) -> list[Path]:
    """The files of the database at `path`: itself, the write-ahead log, its index, a journal. None is a database in memory."""
    return [] if path is None else [path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal")]


def corruption_error(path: Path | None, finding: str) -> StoreDamaged:
    """The error for a damaged file: what was found, and how to recover the conversations."""
    return StoreDamaged(
        f"{path or 'The database'} is damaged ({finding}). Run `mistral-chat chats repair`, which keeps this file and "
        f"copies everything readable into a new one. Or restore a backup: {RESTORE} with it."
    )


def empty_file_error(path: Path) -> StoreDamaged:
    """The error for an empty file, which cannot be repaired."""
    return StoreDamaged(
        f"{path} is empty (0 bytes), so there is nothing to repair. Restore a backup, or delete the file to "
        f"start without conversations. To restore a backup, {RESTORE} with it."
    )


@contextlib.contextmanager
def map_sqlite_errors(path: Path | None) -> Iterator[None]:
    """Map errors of SQLite and the file system to a `StoreError`. Mistakes in our SQL are not mapped.

    Raises:
        StoreBusy: another connection has the lock.
        StoreFull: the disk is full.
        StoreReadOnly: the file, the folder or the file system may not be written or read.
        StoreMissing: the file or its folder was deleted or moved.
        StoreDamaged: the file is damaged or not a database.
        StoreError: the disk failed, or the connection is closed.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
        if code in _BUSY:
            place = path or "the database in memory"
            raise StoreBusy(f"Another program is writing to {place}. Wait a moment and try again.") from error
        if code in _DAMAGE:
            raise corruption_error(path, str(error)) from error
        if code == sqlite3.SQLITE_FULL:
            raise full_error(path) from error
        if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
            raise StoreError("The conversations are closed.") from error
        if code in _ACCESS or code == sqlite3.SQLITE_IOERR:
            raise _access_error(path, str(error), failed_disk=code == sqlite3.SQLITE_IOERR) from error
        raise
    except UnicodeDecodeError as error:  # in the names of tables and columns
        raise corruption_error(path, "its schema cannot be read") from error
    except OSError as error:
        if error.errno in _FULL:
            raise full_error(path) from error
        raise _access_error(path, error.strerror or type(error).__name__, failed_disk=False) from error


def full_error(path: Path | None) -> StoreFull:
    """The error for a full disk, with the free bytes."""
    if path is None:
        return StoreFull("Out of memory for this temporary chat. Close other programs and try again.")
    free = system.free_bytes(path)
    room = "" if free is None else f" ({_size(free)} free)"
    return StoreFull(f"The disk that holds {path} is full{room}. What was saved before is safe. Free some space and try again.")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count:,} bytes"  # noqa: PLR2004 - one decimal of a megabyte


def missing_error(path: Path) -> StoreMissing:
    """The error for a missing file."""
    if path.exists():
        return StoreMissing(f"{path} was replaced by another file while mistral-chat was using it. Restart mistral-chat.")
    lost = path if path.parent.is_dir() else path.parent
    return StoreMissing(
        f"{lost} was deleted or moved while mistral-chat was using it. Put it back, or restart mistral-chat to start with "
        "an empty database."
    )


def _access_error(path: Path | None, reason: str, *, failed_disk: bool) -> StoreError:
    """The error for a file that cannot be opened, read or written, depending on its path."""
    if path is None:
        return StoreError(f"The database in memory failed ({reason}). Restart mistral-chat.")
    free = system.free_bytes(path)
    if free is not None and free < _LITTLE:
        return full_error(path)
    obstacle = write_obstacle(path) or (_limit_error(path) if failed_disk else None)
    if obstacle is not None:
        return obstacle
    if failed_disk:
        room = "" if free is None else f", {_size(free)} free"
        return StoreError(f"The disk failed while {path} was in use ({reason}{room}). Check the disk and try again.")
    return StoreReadOnly(f"{path} cannot be opened or written ({reason}). Check who owns the folder and the file.")


def _limit_error(path: Path) -> StoreError | None:
    """The error for a file at the size limit of this process; None if it is not."""
    limit = system.largest_file()
    sizes = [0]
    for each in files_of(path):
        with contextlib.suppress(OSError):
            sizes.append(each.stat().st_size)
    if limit is None or max(sizes) + _LITTLE < limit:
        return None
    return StoreFull(
        f"{path} cannot grow beyond the file size limit of this process, {_size(limit)}. What was saved is safe. Raise the "
        "limit (`ulimit -f`) and try again."
    )


def write_obstacle(path: Path) -> StoreError | None:
    """Why `path` cannot be written, judged by its folder, modes and file system; None if nothing is found."""
    folder = path.parent
    try:
        while not folder.exists():
            folder = folder.parent
        if path.is_dir():
            return StoreReadOnly(
                f"{path} is a folder, not a database. Move it away, or set MISTRAL_CHAT_DATA_DIR to another folder."
            )
        if not folder.is_dir():
            return StoreReadOnly(f"{path} cannot be opened or written: {folder} is not a folder.")
        if sys.platform != "win32" and os.statvfs(folder).f_flag & os.ST_RDONLY:
            return StoreReadOnly(
                f"{path} is on a file system that is mounted read-only, so conversations cannot be saved. Mount it for "
                "writing, or set MISTRAL_CHAT_DATA_DIR to another folder."
            )
        if folder != path.parent and os.access(folder, os.W_OK | os.X_OK):
            return missing_error(path)
        return _denied(path, folder)
    except PermissionError:
        return _permission_error(path, folder, "open the folder")


def _denied(path: Path, folder: Path) -> StoreError | None:
    """The error for the file or folder whose mode denies access."""
    for each in files_of(path):
        if each.exists() and not os.access(each, os.R_OK | os.W_OK):
            return _permission_error(path, each, "write to" if os.access(each, os.R_OK) else "read")
    if not os.access(folder, os.W_OK | os.X_OK):
        return _permission_error(path, folder, "write to")
    return None


def _permission_error(path: Path, obstacle: Path, action: str) -> StoreReadOnly:
    lost = "saved" if action == "write to" else "read"
    mode = "u+rw" if obstacle.name.startswith(path.name) else "u+rwx"
    command = f"chmod {mode} {shlex.quote(str(obstacle))}"
    return StoreReadOnly(
        f"You do not have permission to {action} {obstacle}, so conversations cannot be {lost}. Run `{command}`, or set "
        "MISTRAL_CHAT_DATA_DIR to another folder."
    )
