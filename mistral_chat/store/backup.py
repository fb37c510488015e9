"""Backs up the whole database in one file, consistently while programs write to it."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_chat import system
from mistral_chat.errors import StoreError, StoreMissing, StoreReadOnly
from mistral_chat.store.sqlite_errors import files_of, map_sqlite_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_chat.store.database import Database


def backup(database: Database, target: Path, *, replace: bool) -> None:
    """Copy the database; see `ConversationStore.backup`."""
    temporary = target.with_name(f"{secrets.token_hex(4)}.part")
    with _target_errors(target):
        real = database.path and Path(os.path.realpath(database.path))
        if os.path.realpath(target).casefold() in {str(each).casefold() for each in files_of(real)}:
            raise StoreError(f"{target} belongs to the database itself. Choose another name.")
        if target.exists() and not replace:
            raise StoreError(f"{target} already exists. Choose another name, or pass --force.")
        os.close(system.create_private(temporary))
    try:
        with database.autocommit() as connection, _target_errors(target):
            connection.execute("VACUUM INTO ?", (str(temporary),))
        with _target_errors(target):
            _sync_and_check(temporary)
            system.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            system.delete(temporary)


@contextlib.contextmanager
def _target_errors(target: Path) -> Iterator[None]:
    """Map errors to those of the copy: a full disk, or a place that cannot be written."""
    try:
        with map_sqlite_errors(target):
            yield
    except (StoreReadOnly, StoreMissing) as error:
        reason = getattr(error.__cause__, "strerror", None) or str(error.__cause__)
        raise StoreReadOnly(f"{target} cannot be written ({reason}). Choose another folder for the backup.") from error


def _sync_and_check(path: Path) -> None:
    """Flush the copy to the disk and check that it can be read."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StoreError(f"The copy is damaged ({verdict}) and was deleted. Run `mistral-chat chats repair`.")
