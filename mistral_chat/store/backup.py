"""A copy of the whole store in one file, consistent while programs write to it."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from typing import TYPE_CHECKING

from mistral_chat.errors import StoreError
from mistral_chat.store.base import StorePart
from mistral_chat.store.sqlite_errors import map_sqlite_errors

if TYPE_CHECKING:
    from pathlib import Path


class Backup(StorePart):
    """Copying the file while it is in use."""

    def backup(self, target: Path, *, replace: bool = False) -> None:
        """Write a copy to `target`, for the owner's eyes alone; it appears whole or not at all.

        The copy holds no deleted text. To go back to it, put it in the place of the database while no mistral-chat runs.

        Raises:
            StoreError: there is a file at `target` and `replace` is not set, or the folder may not be written or is full.
        """
        if target.exists() and not replace:
            raise StoreError(f"{target} exists already. Choose another name, or remove it first.")
        passing = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        with map_sqlite_errors(target):
            os.close(os.open(passing, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            with self.database.autocommit() as connection, map_sqlite_errors(target):
                connection.execute("VACUUM INTO ?", (str(passing),))
            with map_sqlite_errors(target):
                _sound(passing)
                passing.replace(target)
        finally:
            with contextlib.suppress(OSError):
                passing.unlink(missing_ok=True)


def _sound(path: Path) -> None:
    """Bring the copy onto the disk and make sure that it can be read."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StoreError(f"The copy is not sound ({verdict}), so it was not kept. Run `mistral-chat chats repair`.")
