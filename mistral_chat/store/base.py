"""What every part of the store stands on."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from mistral_chat.errors import ConversationNotFound
from mistral_chat.store.rows import to_timestamp
from mistral_chat.store.text import sanitise_for_sqlite

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from datetime import datetime

    from mistral_chat.store.database import Database


def random_id() -> str:
    """A new id: 16 hexadecimal digits, random so that a few of them tell thousands of conversations apart."""
    return secrets.token_hex(8)


class StorePart:
    """A group of the store's operations on one database."""

    def __init__(self, database: Database, *, now: Callable[[], datetime], new_id: Callable[[], str] = random_id) -> None:
        """Work on `database`; `now` gives times with a zone, `new_id` an id that was never given before."""
        self.database = database
        self._now = now
        self._new_id = new_id

    def _stamp(self) -> str:
        return to_timestamp(self._now())

    @staticmethod
    def _conversation(connection: sqlite3.Connection, conversation_id: str) -> sqlite3.Row:
        """The conversation's row.

        Raises:
            ConversationNotFound: there is none with this id.
        """
        row: sqlite3.Row | None = connection.execute(
            "SELECT * FROM conversations WHERE id = ?", (sanitise_for_sqlite(conversation_id),)
        ).fetchone()
        if row is None:
            raise ConversationNotFound(f"There is no conversation {conversation_id}. It may have been deleted for good.")
        return row

    @staticmethod
    def _turn(connection: sqlite3.Connection, turn_id: str) -> sqlite3.Row:
        """The turn's row.

        Raises:
            ConversationNotFound: there is none with this id.
        """
        row: sqlite3.Row | None = connection.execute(
            "SELECT * FROM turns WHERE id = ?", (sanitise_for_sqlite(turn_id),)
        ).fetchone()
        if row is None:
            raise ConversationNotFound(f"There is no turn {turn_id}. Its conversation may have been deleted for good.")
        return row
