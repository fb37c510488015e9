"""Deletion that leaves no byte behind.

`secure_delete` does not reach two places: the full-text index keeps the words of deleted entries until its segments are merged,
and the write-ahead log keeps old pages until it is truncated. `purge` does both, in short transactions so that other instances
can write in between.

The transaction that deletes also records that a purge is pending, so a purge that was interrupted, or that another connection's
read kept from truncating the log, is completed by the next one.

SQLite 3.42 and later can erase inside the index at once, but earlier versions cannot open an index written that way. One way
for all versions is the way that is tested.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from mistral_chat.errors import StoreBusy, StoreFull, StoreReadOnly
from mistral_chat.store import index

if TYPE_CHECKING:
    from sqlite3 import Connection, Row

    from mistral_chat.store.database import Database

_MERGED_PAGES: Final = 500
"""Index pages merged in one transaction of a purge: tens of milliseconds."""

_WAL_SECONDS: Final = 2.0
"""How long a purge waits for readers before it leaves the log to the next purge."""


def delete(connection: Connection, conversation: Row) -> None:
    """Delete a conversation from every table and from the index, and record that a purge is pending."""
    row = conversation["row"]
    for turn in connection.execute("SELECT * FROM turns WHERE conversation = ?", (row,)):
        index.drop_turn(connection, turn["row"], turn["user"], turn["reply"] if turn["writer"] is None else "")
    index.drop_title(connection, row, conversation["title"], conversation["title_by"])
    for table in ("turn_passages", "turn_vectors"):
        connection.execute(f"DELETE FROM {table} WHERE turn IN (SELECT row FROM turns WHERE conversation = ?)", (row,))
    for table in ("conversation_collections", "turns", "tags"):
        connection.execute(f"DELETE FROM {table} WHERE conversation = ?", (row,))
    for table in ("drafts", "queued_messages"):
        connection.execute(f"DELETE FROM {table} WHERE conversation_id = ?", (conversation["id"],))
    connection.execute("DELETE FROM conversations WHERE row = ?", (row,))
    note_purge(connection)


def note_purge(connection: Connection) -> None:
    """Record that deleted text may still be in the files. A purge that has begun leaves this record to the next."""
    connection.execute("INSERT INTO owed VALUES ('purge ' || hex(randomblob(8)))")


def purge(database: Database) -> bool:
    """Remove deleted text from the files; returns whether none is left. What cannot be removed now stays pending."""
    with database.read() as connection:
        owed = connection.execute("SELECT upkeep FROM owed").fetchall()
    if not owed:
        return True
    try:
        for table in ("found", "passages_found"):
            _merge_index(database, table)
        if not _truncate_wal(database):
            return False
        with database.write() as connection:
            connection.executemany("DELETE FROM owed WHERE upkeep = ?", owed)
    except (StoreBusy, StoreFull, StoreReadOnly):
        return False
    return True


def _merge_index(database: Database, table: str) -> None:
    """Merge a full-text index into one segment, which drops deleted entries.

    FTS5's documentation, "The 'merge' command": a negative number starts a merge of all segments, repeated calls continue it,
    and a call that changes fewer than two rows had nothing left to do.
    """
    pages = -_MERGED_PAGES
    while True:
        with database.write() as connection:
            before = connection.total_changes
            connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('merge', ?)", (pages,))
            if connection.total_changes - before < 2:  # noqa: PLR2004 - as documented
                return
        pages = _MERGED_PAGES


def _truncate_wal(database: Database) -> bool:
    """Move the write-ahead log into the database and truncate it, unless readers keep it in use."""
    deadline = time.monotonic() + _WAL_SECONDS
    while not database.truncate_wal():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
