"""Which running programs are writing replies, so that a start after a crash finishes the dead ones' and no others'.

An instance that writes replies holds a lock on a small file of its own beside the database. The kernel lets go of the lock
when the process ends, however it ends: a file that can be locked belongs to the dead. Process ids would not do (they are
used again), nor would a heartbeat (a laptop sleeps, a prompt takes minutes to read).
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
    """This program's presence at one database. Two connections are two instances."""

    def __init__(self, database: Path | None) -> None:
        """Prepare a presence beside the file `database`; it is claimed when its name is first asked for."""
        self._database = database
        self._name = secrets.token_hex(8)
        self._descriptor: int | None = None

    @property
    def name(self) -> str:
        """What stands in `turns.writer` for this instance. From now on it counts as alive until it ends.

        Raises:
            OSError: the file beside the database cannot be made.
        """
        if self._database is not None and self._descriptor is None:
            self._descriptor = _claim(_lock_path(self._database, self._name))
        return self._name

    def alive(self, name: str) -> bool:
        """Whether the instance called `name` still runs. The file of a dead one is removed."""
        if name == self._name or self._database is None:
            return name == self._name
        path = _lock_path(self._database, name)
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        if not lock(descriptor, wait=False):
            os.close(descriptor)
            return True
        _remove(path, descriptor)
        return False

    def end(self) -> None:
        """Leave; the file goes with the presence."""
        if self._database is not None and self._descriptor is not None:
            _remove(_lock_path(self._database, self._name), self._descriptor)
            self._descriptor = None


def active_writers(database: Path) -> list[str]:
    """The names of the instances that have written to the file `database` and still run. What dead ones left is removed."""
    here = WriterLock(database)
    prefix, suffix = f"{database.name}.", ".writing"
    names = [path.name.removeprefix(prefix).removesuffix(suffix) for path in database.parent.glob(f"*{suffix}")]
    return [name for name in names if _lock_path(database, name).exists() and here.alive(name)]


def _lock_path(database: Path, name: str) -> Path:
    return database.with_name(f"{database.name}.{name}.writing")


def _claim(path: Path) -> int:
    """Make and lock the file at `path`; whoever looked in between and took it for a dead one's has removed it: again."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        lock(descriptor, wait=True)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


def _remove(path: Path, descriptor: int) -> None:
    """Close and delete the locked file at `path`: first deleted where that is possible, so that nobody can lock it in between."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    os.close(descriptor)
    with contextlib.suppress(OSError):  # Windows deletes no open file
        path.unlink(missing_ok=True)
