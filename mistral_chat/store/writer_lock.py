"""Locks that show which running programs are writing replies, so that a start after a crash ends only the replies of dead ones.

A program that writes replies locks a small file of its own next to the database. The kernel releases the lock when the process
ends for whatever reason: a file that can be locked belongs to a dead program. Process ids would not do (they are reused), nor
would a heartbeat (a laptop sleeps, a prefill takes minutes).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from mistral_chat.system import lock

if TYPE_CHECKING:
    from pathlib import Path


class WriterLock:
    """A lock that shows that a connection may be writing replies."""

    def __init__(self, database: Path | None) -> None:
        """Prepare the lock next to the file `database`; it is acquired when `name` is first read."""
        self._database = database
        self._name = secrets.token_hex(8)
        self._descriptor: int | None = None

    @property
    def name(self) -> str:
        """The value of `turns.writer` for this connection, which counts as alive until `end`.

        Raises:
            OSError: the lock file cannot be created.
        """
        if self._database is not None and self._descriptor is None:
            self._descriptor = _claim(_lock_path(self._database, self._name))
        return self._name

    def alive(self, name: str) -> bool:
        """Whether the writer `name` is running. A dead one's file is removed; one that cannot be opened counts as alive."""
        if name == self._name or self._database is None:
            return name == self._name
        path = _lock_path(self._database, name)
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        if not lock(descriptor, wait=False):
            os.close(descriptor)
            return True
        _remove(path, descriptor)
        return False

    def end(self) -> None:
        """Release the lock and remove its file."""
        if self._database is not None and self._descriptor is not None:
            _remove(_lock_path(self._database, self._name), self._descriptor)
            self._descriptor = None


def active_writers(database: Path) -> list[str]:
    """The names of the running writers of the file `database`. Files of dead ones are removed."""
    here = WriterLock(database)
    prefix, suffix = f"{database.name}.", ".writing"
    names = [path.name.removeprefix(prefix).removesuffix(suffix) for path in database.parent.glob(f"*{suffix}")]
    return [name for name in names if _lock_path(database, name).exists() and here.alive(name)]


def _lock_path(database: Path, name: str) -> Path:
    return database.with_name(f"{database.name}.{name}.writing")


def _claim(path: Path) -> int:
    """Create and lock the file at `path`, and retry if another program took it for a dead one's and removed it in between."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        lock(descriptor, wait=True)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


def _remove(path: Path, descriptor: int) -> None:
    """Delete and close the locked file at `path`, deleting first where possible, so that no program locks it in between."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    os.close(descriptor)
    with contextlib.suppress(OSError):  # Windows cannot delete an open file
        path.unlink(missing_ok=True)
