"""Whole conversations: titles, tags, settings, drafts, forks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mistral_chat.store import index
from mistral_chat.store.queries import conversation_row, turn_row
from mistral_chat.store.rows import sampling_text
from mistral_chat.store.text import first_line, sanitise_for_sqlite, stored_line, tag_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from sqlite3 import Connection

    from mistral_chat.generation import Sampling
    from mistral_chat.store.records import TitleSource

COLUMNS: Final = frozenset({"pinned", "archived", "system", "sampling", "persona", "recall"})
"""The columns that `set_column` may change."""


def create(
    connection: Connection,
    conversation_id: str,
    now: str,
    *,
    title: str,
    system: str,
    model: str,
    sampling: Sampling | None,
    persona: str,
) -> None:
    """Insert a conversation without turns. A title given here is the user's."""
    title = stored_line(title)
    by = "person" if title else "first_line"
    row = connection.execute(
        "INSERT INTO conversations (id, title, title_by, created, updated, system, model, sampling, persona, used) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(used), 0) + 1 FROM conversations))",
        (
            conversation_id,
            title,
            by,
            now,
            now,
            sanitise_for_sqlite(system),
            sanitise_for_sqlite(model),
            sampling_text(sampling),
            sanitise_for_sqlite(persona),
        ),
    ).lastrowid
    assert row is not None  # noqa: S101 - an INSERT has a row
    index.add_title(connection, row, title, by)


def rename(connection: Connection, conversation_id: str, title: str, *, by: TitleSource) -> bool:
    """Set the title; returns whether it was accepted."""
    new = stored_line(title)
    conversation = conversation_row(connection, conversation_id)
    row = conversation["row"]
    if by != "person" and (conversation["title_by"] == "person" or not new):
        return False
    if not new:
        first = connection.execute("SELECT user FROM turns WHERE conversation = ? ORDER BY depth, row LIMIT 1", (row,)).fetchone()
        new, by = "" if first is None else first_line(first["user"]), "first_line"
    index.drop_title(connection, row, conversation["title"], conversation["title_by"])
    index.add_title(connection, row, new, by)
    connection.execute("UPDATE conversations SET title = ?, title_by = ? WHERE row = ?", (new, by, row))
    return True


def set_column(connection: Connection, conversation_id: str, column: str, value: str | int | None) -> None:
    """Set one of `COLUMNS`."""
    assert column in COLUMNS  # noqa: S101 - the name goes into the SQL
    row = conversation_row(connection, conversation_id)["row"]
    connection.execute(f"UPDATE conversations SET {column} = ? WHERE row = ?", (value, row))


def add_tags(connection: Connection, conversation_id: str, *tags: str) -> None:
    """Add tags; existing ones stay."""
    row = conversation_row(connection, conversation_id)["row"]
    names = [name for name in map(tag_name, tags) if name]
    connection.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", [(row, name) for name in names])


def remove_tags(connection: Connection, conversation_id: str, *tags: str) -> None:
    """Remove tags; unknown ones are ignored."""
    row = conversation_row(connection, conversation_id)["row"]
    values = [(row, tag_name(name)) for name in tags]
    connection.executemany("DELETE FROM tags WHERE conversation = ? AND tag = ?", values)


def save_draft(connection: Connection, conversation_id: str, text: str) -> None:
    """Save the draft of a conversation; an empty text removes it."""
    if conversation_id:
        conversation_row(connection, conversation_id)
    if text:
        connection.execute("INSERT OR REPLACE INTO drafts VALUES (?, ?)", (conversation_id, sanitise_for_sqlite(text)))
    else:
        connection.execute("DELETE FROM drafts WHERE conversation_id = ?", (conversation_id,))


def fork(connection: Connection, turn_id: str, new_id: Callable[[], str], now: str) -> str:
    """Copy a turn and its ancestors into a new conversation, and return its id."""
    turn = turn_row(connection, turn_id)
    conversation_id = new_id()
    conversation = connection.execute(
        "INSERT INTO conversations (id, title, title_by, created, updated, system, model, sampling, persona, recall, used) "
        "SELECT ?, CASE WHEN title = '' OR title LIKE 'Fork: %' THEN title ELSE 'Fork: ' || title END, title_by, ?, ?, "
        "system, model, sampling, persona, recall, (SELECT max(used) + 1 FROM conversations) FROM conversations WHERE row = ? "
        "RETURNING row, title, title_by",
        (conversation_id, now, now, turn["conversation"]),
    ).fetchone()
    index.add_title(connection, conversation["row"], conversation["title"], conversation["title_by"])
    connection.execute(
        "INSERT INTO conversation_collections SELECT ?, collection FROM conversation_collections WHERE conversation = ?",
        (conversation["row"], turn["conversation"]),
    )
    path = []
    row: int | None = turn["row"]
    while row is not None:
        path.append(row)
        (row,) = connection.execute("SELECT parent FROM turns WHERE row = ?", (row,)).fetchone()
    parent = None
    copies: dict[str, str] = {}
    for row in reversed(path):
        (old_id,) = connection.execute("SELECT id FROM turns WHERE row = ?", (row,)).fetchone()
        copy = connection.execute(
            "INSERT INTO turns (id, conversation, parent, depth, created, user, reply, finish_reason, error, model, "
            "usage, pinned, excluded) SELECT ?, ?, ?, depth, created, user, reply, "
            "CASE WHEN writer IS NULL THEN finish_reason ELSE 'cancelled' END, error, model, usage, pinned, excluded "
            "FROM turns WHERE row = ? RETURNING row, id, user, reply",
            (new_id(), conversation["row"], parent, row),
        ).fetchone()
        parent = copy["row"]
        copies[old_id] = copy["id"]
        index.add_turn(connection, parent, copy["user"], copy["reply"])
        _copy_passages(connection, row, parent, copies)
    connection.execute("UPDATE conversations SET current = ? WHERE row = ?", (parent, conversation["row"]))
    return conversation_id


def _copy_passages(connection: Connection, turn: int, copy: int, copies: dict[str, str]) -> None:
    """Copy the passages of a turn; those that are earlier exchanges refer to their copies."""
    rows = connection.execute("SELECT * FROM turn_passages WHERE turn = ?", (turn,)).fetchall()
    connection.executemany(
        "INSERT INTO turn_passages (turn, ordinal, kind, key, source, text, score, tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                copy,
                row["ordinal"],
                row["kind"],
                copies.get(row["key"], row["key"] if row["kind"] == "document" else ""),
                row["source"],
                row["text"],
                row["score"],
                row["tokens"],
            )
            for row in rows
        ],
    )
