"""What several changes to turns have in common, and forks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_chat.store import index
from mistral_chat.store.queries import turn_row
from mistral_chat.store.text import sanitise_for_sqlite, stored_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from sqlite3 import Connection, Row

    from mistral_chat.conversation import FinishReason, Passage


def touch(connection: Connection, conversation: int, now: str) -> None:
    """Record that a conversation was used at `now`."""
    connection.execute(
        "UPDATE conversations SET updated = max(updated, ?), used = (SELECT max(used) + 1 FROM conversations) WHERE row = ?",
        (now, conversation),
    )


def end_reply(connection: Connection, turn: Row, reply: str, finish_reason: FinishReason | None) -> None:
    """End the reply and index it."""
    index_again(connection, turn, reply)
    connection.execute(
        "UPDATE turns SET reply = ?, finish_reason = ?, writer = NULL WHERE row = ?", (reply, finish_reason, turn["row"])
    )


def index_again(connection: Connection, turn: Row, reply: str) -> None:
    """Replace what the indexes have of a turn, whose reply is or will be another."""
    index.drop_turn(connection, turn["row"], turn["user"], turn["reply"] if turn["writer"] is None else "")
    index.add_turn(connection, turn["row"], turn["user"], reply)
    connection.execute("DELETE FROM turn_vectors WHERE turn = ?", (turn["row"],))


def insert_passages(connection: Connection, turn: int, passages: Iterable[Passage]) -> None:
    """Insert the passages of a turn that has none."""
    connection.executemany(
        "INSERT INTO turn_passages (turn, ordinal, kind, key, source, text, score, tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (turn, ordinal, each.kind, each.key, each.source, each.text, each.score, each.tokens)
            for ordinal, each in enumerate(passages)
        ),
    )


def storable_passage(passage: Passage) -> Passage:
    """Make `passage` storable."""
    return replace(
        passage,
        key=sanitise_for_sqlite(passage.key),
        source=stored_line(passage.source),
        text=sanitise_for_sqlite(passage.text),
        score=float(passage.score),
    )


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
