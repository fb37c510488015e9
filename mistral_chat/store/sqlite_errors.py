"""What SQLite's errors mean for a person."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from mistral_chat.errors import StoreBusy, StoreDamaged, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH}
_PRIMARY_CODE = 0xFF


def corruption_error(path: Path | None, finding: str) -> StoreDamaged:
    """The error for a damaged file: what was found, and the way back."""
    return StoreDamaged(
        f"{path or 'The database of conversations'} is damaged ({finding}). Run `mistral-chat chats repair`: it keeps this file, "
        "saves what can be read into a new one and says what was lost. Or put a backup in its place."
    )


@contextlib.contextmanager
def map_sqlite_errors(path: Path | None) -> Iterator[None]:
    """Turn what SQLite and the file system raise inside into a `StoreError`. Mistakes in our SQL pass as they are.

    Raises:
        StoreBusy: another connection holds the lock.
        StoreDamaged: the file is damaged or no database.
        StoreError: the disk is full, or the file may not be read or written.
    """
    place = path or "the database in memory"
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
        if code in _BUSY:
            raise StoreBusy(f"Another mistral-chat is writing to {place}. Wait a moment and try again.") from error
        if code in _DAMAGE:
            raise corruption_error(path, str(error)) from error
        if code == sqlite3.SQLITE_FULL:
            raise StoreError(
                f"The disk with {place} is full. What was saved before is safe. Free some space and try again."
            ) from error
        if code in _FORBIDDEN:
            raise StoreError(f"{place} cannot be opened or written ({error}). Check who owns the folder and the file.") from error
        if code == sqlite3.SQLITE_IOERR:
            raise StoreError(f"The disk failed while {place} was used ({error}). Check the disk and try again.") from error
        raise
    except UnicodeDecodeError as error:  # in the names of tables and columns
        raise corruption_error(path, "its outline cannot be read") from error
    except OSError as error:
        raise StoreError(
            f"{place} cannot be opened or written ({error.strerror}). Check who owns the folder and the file."
        ) from error
