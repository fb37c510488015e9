"""Shared by tests of the store: a clock, ways to open and fill one, and what the index should contain."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mistral_chat.store.database import open_database
from mistral_chat.store.documents import rebuild_passage_index
from mistral_chat.store.index import rebuild
from mistral_chat.store.store import ConversationStore

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Clock:
    """Every look at it is a second later than the last."""

    moment: datetime = field(default_factory=lambda: datetime(2026, 1, 1, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment


def open_store(path: Path | None, clock: Clock | None = None) -> ConversationStore:
    now = clock or Clock()
    return ConversationStore(open_database(path), now=now)


def said(store: ConversationStore, conversation: str, user: str, reply: str, parent: str | None = None) -> str:
    """Add a turn whose reply has ended."""
    turn = store.add_turn(conversation, user, parent_id=parent, model="model")
    store.finish_reply(turn, reply, finish_reason="stop")
    return turn


def chat(store: ConversationStore, *pairs: tuple[str, str], title: str = "") -> tuple[str, list[str]]:
    """A conversation of turns that follow one another; its id and theirs."""
    conversation = store.create(title=title)
    turns: list[str] = []
    for user, reply in pairs:
        turns.append(said(store, conversation, user, reply, turns[-1] if turns else None))
    return conversation, turns


def index_entries(connection: sqlite3.Connection, table: str = "found") -> set[tuple[str, int, str, int]]:
    """Everything in a full-text index: term, entry, column, position."""
    connection.execute(f"CREATE VIRTUAL TABLE temp.entries USING fts5vocab(main, {table}, instance)")
    try:
        return {tuple(row) for row in connection.execute("SELECT term, doc, col, offset FROM entries")}
    finally:
        connection.execute("DROP TABLE temp.entries")


def assert_index_is_true(store: ConversationStore) -> None:
    """The indexes have what a rebuild from the tables puts into them, so search finds what exists and nothing else."""
    tables = ("found", "passages_found")
    with store.database.autocommit() as connection:
        there = [index_entries(connection, table) for table in tables]
        for table in tables:
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")  # noqa: S608 - a constant
        copy = sqlite3.connect(":memory:", isolation_level=None)
        connection.backup(copy)
    copy.row_factory = sqlite3.Row
    rebuild(copy)
    rebuild_passage_index(copy)
    expected = [index_entries(copy, table) for table in tables]
    copy.close()
    assert there == expected
