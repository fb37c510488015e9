"""What several changes to turns have in common."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from mistral_chat.store import index
from mistral_chat.store.rows import insert
from mistral_chat.store.text import sanitise_for_sqlite, stored_line

if TYPE_CHECKING:
    from collections.abc import Iterable
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
    for ordinal, each in enumerate(passages):
        insert(connection, "turn_passages", turn=turn, ordinal=ordinal, **asdict(each))


def storable_passage(passage: Passage) -> Passage:
    """Make `passage` storable. SQLite gives the score back with 15 digits."""
    return replace(
        passage,
        key=sanitise_for_sqlite(passage.key),
        source=stored_line(passage.source),
        text=sanitise_for_sqlite(passage.text),
        score=round(float(passage.score), 6),
    )
