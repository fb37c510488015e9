"""Writes turns without losing anything: the question first, then the growing reply.

A reply is being written while its turn's `writer` is set. `finish_reply` clears it, and `recover` does so for writers that
died. Only finished replies are in the full-text index.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_chat.errors import ConversationNotFound
from mistral_chat.store import index
from mistral_chat.store.queries import conversation_row, turn_row
from mistral_chat.store.rows import usage_text
from mistral_chat.store.text import first_line, sanitise_for_sqlite, stored_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from sqlite3 import Connection, Row

    from mistral_chat.conversation import FinishReason, Passage, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTurn:
    """Properties of a new turn besides its text and its place in the tree."""

    turn_id: str
    now: str
    model: str
    writer: str


def add_turn(connection: Connection, new: NewTurn, conversation_id: str, user: str, parent_id: str | None) -> None:
    """Insert a message under the turn `parent_id` (None: at the top). The first message sets the conversation's title.

    Raises:
        ConversationNotFound: there is no such conversation, or no such turn in it.
    """
    conversation = conversation_row(connection, conversation_id)
    parent = None if parent_id is None else turn_row(connection, parent_id)
    if parent is not None and parent["conversation"] != conversation["row"]:
        raise ConversationNotFound(f"Turn {parent_id} is not part of conversation {conversation_id}.")
    text = sanitise_for_sqlite(user)
    _insert(connection, new, conversation["row"], parent, text)
    if not conversation["title"] and conversation["title_by"] == "first_line":
        connection.execute("UPDATE conversations SET title = ? WHERE row = ?", (first_line(text), conversation["row"]))


def add_sibling(connection: Connection, new: NewTurn, turn_id: str) -> None:
    """Insert a turn with the same message and parent as the turn `turn_id`, without a reply."""
    turn, parent = turn_row(connection, turn_id), None
    if turn["parent"] is not None:
        parent = connection.execute("SELECT * FROM turns WHERE row = ?", (turn["parent"],)).fetchone()
    _insert(connection, new, turn["conversation"], parent, turn["user"])


def _insert(connection: Connection, new: NewTurn, conversation: int, parent: Row | None, user: str) -> None:
    """Insert a turn whose reply is about to be written, and make it the end of the current branch."""
    row = connection.execute(
        "INSERT INTO turns (id, conversation, parent, depth, created, user, model, writer) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.turn_id,
            conversation,
            None if parent is None else parent["row"],
            1 if parent is None else parent["depth"] + 1,
            new.now,
            user,
            sanitise_for_sqlite(new.model),
            new.writer,
        ),
    ).lastrowid
    assert row is not None  # noqa: S101 - an INSERT has a row
    index.add_turn(connection, row, user)
    connection.execute("UPDATE conversations SET current = ? WHERE row = ?", (row, conversation))
    _touch(connection, conversation, new.now)


def _touch(connection: Connection, conversation: int, now: str) -> None:
    """Record that a conversation was used at `now`."""
    connection.execute(
        "UPDATE conversations SET updated = max(updated, ?), used = (SELECT max(used) + 1 FROM conversations) WHERE row = ?",
        (now, conversation),
    )


def write_reply(connection: Connection, turn_id: str, text: str, writer: str) -> None:
    """Store the reply so far."""
    turn = turn_row(connection, turn_id)
    if turn["writer"] is None:
        index.drop_turn(connection, turn["row"], turn["user"], turn["reply"])
        index.add_turn(connection, turn["row"], turn["user"])
        connection.execute("DELETE FROM turn_vectors WHERE turn = ?", (turn["row"],))
    connection.execute(
        "UPDATE turns SET reply = ?, finish_reason = NULL, error = '', writer = ? WHERE row = ?",
        (sanitise_for_sqlite(text), writer, turn["row"]),
    )


def finish_reply(
    connection: Connection,
    turn_id: str,
    text: str,
    now: str,
    *,
    finish_reason: FinishReason | None,
    usage: Usage | None,
    model: str,
    error: str,
) -> None:
    """Store the finished reply."""
    turn = turn_row(connection, turn_id)
    _end(connection, turn, sanitise_for_sqlite(text), finish_reason)
    connection.execute(
        "UPDATE turns SET error = ?, usage = ?, model = coalesce(nullif(?, ''), model) WHERE row = ?",
        (sanitise_for_sqlite(error), usage_text(usage), sanitise_for_sqlite(model), turn["row"]),
    )
    _touch(connection, turn["conversation"], now)


def _end(connection: Connection, turn: Row, reply: str, finish_reason: FinishReason | None) -> None:
    """End the reply and index it."""
    if reply or turn["writer"] is None:
        index.drop_turn(connection, turn["row"], turn["user"], turn["reply"] if turn["writer"] is None else "")
        index.add_turn(connection, turn["row"], turn["user"], reply)
    connection.execute(
        "UPDATE turns SET reply = ?, finish_reason = ?, writer = NULL WHERE row = ?", (reply, finish_reason, turn["row"])
    )
    connection.execute("DELETE FROM turn_vectors WHERE turn = ?", (turn["row"],))


def writers(connection: Connection) -> list[str]:
    """The names of the writers of unfinished replies."""
    return [row["writer"] for row in connection.execute("SELECT DISTINCT writer FROM turns WHERE writer IS NOT NULL")]


def recover(connection: Connection, dead: Iterable[str]) -> int:
    """End the replies of `dead` writers as ``"cancelled"``, keeping their text, and return their number."""
    recovered = 0
    for name in dead:
        for turn in connection.execute("SELECT * FROM turns WHERE writer = ?", (name,)).fetchall():
            _end(connection, turn, turn["reply"], "cancelled")
            recovered += 1
    return recovered


def switch_branch(connection: Connection, turn_id: str) -> None:
    """Switch the current branch to a turn and the newest turn below it."""
    turn = turn_row(connection, turn_id)
    leaf = turn["row"]
    while (child := connection.execute("SELECT max(row) FROM turns WHERE parent = ?", (leaf,)).fetchone()[0]) is not None:
        leaf = child
    connection.execute("UPDATE conversations SET current = ? WHERE row = ?", (leaf, turn["conversation"]))


def set_flags(connection: Connection, turn_id: str, *, pinned: bool | None, excluded: bool | None) -> None:
    """Set or clear the given flags; None leaves a flag unchanged."""
    turn = turn_row(connection, turn_id)
    connection.execute(
        "UPDATE turns SET pinned = coalesce(?, pinned), excluded = coalesce(?, excluded) WHERE row = ?",
        (pinned, excluded, turn["row"]),
    )


def set_passages(connection: Connection, turn_id: str, passages: Iterable[Passage]) -> None:
    """Replace the passages stored with a turn's message."""
    row = turn_row(connection, turn_id)["row"]
    connection.execute("DELETE FROM turn_passages WHERE turn = ?", (row,))
    insert_passages(connection, row, map(storable_passage, passages))


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
