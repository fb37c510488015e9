"""The trash, and deletion that leaves nothing.

What `secure_delete` does not reach: the full-text index keeps the words of deleted entries until its segments are merged,
and the write-ahead log keeps old pages until it is cut off. `purge` does both, in short steps, so that other instances can
write in between. That it is still owed is noted in the database by the transaction that deletes: a purge that was stopped,
or kept from cutting the log by another connection's reading, is made up for by the next one.

SQLite 3.42 and later can erase inside the index at once, but an index that was written so cannot be opened by earlier
versions. One way for all is the way that is tested.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from mistral_chat.store import index
from mistral_chat.store.base import StorePart
from mistral_chat.store.rows import to_timestamp

if TYPE_CHECKING:
    import sqlite3
    from datetime import timedelta

_MERGED_PAGES: Final = 500
"""Pages of the index that one step of a purge merges: some tens of milliseconds."""

_LOG_SECONDS: Final = 2.0
"""How long a purge waits for readers to let go of the log."""


class Trash(StorePart):
    """Throwing away, taking back, and destroying.

    Every method that names a conversation raises `ConversationNotFound` when there is none.
    """

    def trash(self, conversation_id: str) -> None:
        """Put it into the trash, where it can be restored from. Search and the list leave it out."""
        with self.database.write() as connection:
            conversation = self._conversation(connection, conversation_id)
            connection.execute(
                "UPDATE conversations SET trashed = coalesce(trashed, ?) WHERE row = ?", (self._stamp(), conversation["row"])
            )

    def restore(self, conversation_id: str) -> None:
        """Take it out of the trash; it comes back as it was."""
        with self.database.write() as connection:
            conversation = self._conversation(connection, conversation_id)
            connection.execute("UPDATE conversations SET trashed = NULL WHERE row = ?", (conversation["row"],))

    def delete(self, conversation_id: str) -> bool:
        """Delete it for good, in the trash or not, and return whether no byte of it is left, as `purge` does.

        Takes seconds in a large store: call it from a thread, on a `new_connection()`. Deleting snapshots is up to the caller.
        """
        with self.database.write() as connection:
            _erase(connection, self._conversation(connection, conversation_id))
        return self.purge()

    def empty_trash(self, older_than: timedelta | None = None) -> list[str]:
        """Delete for good what is in the trash, or what has been there for longer than `older_than`, and return the ids.

        What is said of `delete` holds here too; `purge_pending` tells whether something is left.
        """
        before = None if older_than is None else to_timestamp(self._now() - older_than)
        with self.database.write() as connection:
            doomed = connection.execute(
                "SELECT * FROM conversations WHERE trashed IS NOT NULL AND (? IS NULL OR trashed < ?)", (before, before)
            ).fetchall()
            for conversation in doomed:
                _erase(connection, conversation)
        if doomed:
            self.purge()
        return [str(conversation["id"]) for conversation in doomed]

    def purge_pending(self) -> bool:
        """Whether something was deleted that may still be read from the files."""
        with self.database.read() as connection:
            return connection.execute("SELECT 1 FROM owed WHERE upkeep = 'purge'").fetchone() is not None

    def purge(self) -> bool:
        """Remove from the files what was deleted before, if anything was, and return whether nothing of it is left.

        False when another connection kept reading for too long; the next call, in this run or a later one, makes up for it.
        """
        if not self.purge_pending():
            return True
        self._merge_index()
        if not self._cut_log():
            return False
        with self.database.write() as connection:
            connection.execute("DELETE FROM owed WHERE upkeep = 'purge'")
        return True

    def _merge_index(self) -> None:
        """Merge the index into one segment, which leaves deleted entries out.

        FTS5's documentation, "The 'merge' command": a negative number takes in every segment, repeated calls go on with it, and
        a call that changes fewer than two rows had nothing left to do.
        """
        pages = -_MERGED_PAGES
        while True:
            with self.database.write() as connection:
                before = connection.total_changes
                connection.execute("INSERT INTO found (found, rank) VALUES ('merge', ?)", (pages,))
                if connection.total_changes - before < 2:  # noqa: PLR2004 - as documented
                    return
            pages = _MERGED_PAGES

    def _cut_log(self) -> bool:
        """Move the write-ahead log into the database and cut it to nothing, unless readers hold on to it."""
        deadline = time.monotonic() + _LOG_SECONDS
        while True:
            if self.database.truncate_wal():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)


def _erase(connection: sqlite3.Connection, conversation: sqlite3.Row) -> None:
    """Take a conversation out of every table and of the index, and note that a purge is owed."""
    row = conversation["row"]
    for turn in connection.execute("SELECT * FROM turns WHERE conversation = ?", (row,)):
        index.drop_turn(connection, turn["row"], turn["user"], turn["reply"] if turn["writer"] is None else "")
    index.drop_title(connection, row, conversation["title"], conversation["title_by"])
    connection.execute("DELETE FROM turns WHERE conversation = ?", (row,))
    connection.execute("DELETE FROM tags WHERE conversation = ?", (row,))
    connection.execute("DELETE FROM drafts WHERE conversation_id = ?", (conversation["id"],))
    connection.execute("DELETE FROM conversations WHERE row = ?", (row,))
    connection.execute("INSERT OR IGNORE INTO owed VALUES ('purge')")
