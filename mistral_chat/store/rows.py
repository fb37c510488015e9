"""Converts rows to values and back: times, usage, sampling, passages, and the columns of each value."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mistral_chat.conversation import Passage, Turn, Usage
from mistral_chat.sampling import Sampling
from mistral_chat.store.records import ConversationSummary, StoredConversation, StoredTurn
from mistral_chat.store.sqlite_errors import corruption_error

if TYPE_CHECKING:
    import sqlite3

TAG_SEPARATOR: Final = "\x1f"

PASSAGES: Final = """
    (SELECT json_group_array(json_object(
        'kind', kind, 'text', text, 'source', source, 'key', key, 'score', score, 'tokens', tokens
     )) FROM turn_passages WHERE turn_passages.turn = turns.row)
"""
"""The passages of a turn as JSON, in order, for `turn_value`."""

SUMMARY: Final = f"""
    SELECT conversations.*,
        coalesce((SELECT depth FROM turns WHERE turns.row = conversations.current), 0) AS turns,
        (SELECT group_concat(tag, '{TAG_SEPARATOR}') FROM tags WHERE tags.conversation = conversations.row) AS tags
    FROM conversations
"""
"""Selects the columns that `summary` reads."""

TURN: Final = f"""
    SELECT turns.*, parents.id AS parent_id, {PASSAGES} AS passages,
        count(*) AS siblings, sum(each.row <= turns.row) AS sibling, count(DISTINCT each.user) AS messages,
        sum(each.user = turns.user) AS replies, sum(each.user = turns.user AND each.row <= turns.row) AS attempt,
        CASE count(DISTINCT each.user) WHEN 1 THEN 1 ELSE
            (SELECT count(DISTINCT each.user) FROM turns AS each
             WHERE each.parent IS turns.parent AND each.conversation = turns.conversation AND each.row <=
                (SELECT min(first.row) FROM turns AS first
                 WHERE first.parent IS turns.parent AND first.conversation = turns.conversation AND first.user = turns.user))
        END AS message
    FROM turns LEFT JOIN turns AS parents ON parents.row = turns.parent
    JOIN turns AS each ON each.parent IS turns.parent AND each.conversation = turns.conversation
"""
"""Selects the columns that `stored_turn` reads; a condition and `GROUP BY turns.row` follow."""


def to_timestamp(moment: datetime) -> str:
    """Format `moment` for storage: ISO 8601 in UTC with microseconds, so that texts sort like times.

    Raises:
        ValueError: `moment` has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError("times in the store have a time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def from_timestamp(stamped: str) -> datetime:
    """Parse a time that `to_timestamp` formatted.

    Raises:
        StoreDamaged: the text is not a time.
    """
    try:
        return datetime.fromisoformat(stamped)
    except ValueError as error:
        raise corruption_error(None, "a time cannot be read") from error


def as_json(value: Sampling | Usage | None) -> str | None:
    """Format `value` for storage."""
    return None if value is None else json.dumps(asdict(value))


def insert(connection: sqlite3.Connection, table: str, /, **values: object) -> int:
    """Insert a row with these values by column, and return its rowid."""
    statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
    row = connection.execute(statement, tuple(values.values())).lastrowid
    assert row is not None  # noqa: S101 - an INSERT has a row
    return row


def summary(row: sqlite3.Row) -> ConversationSummary:
    """The value of a row selected by `SUMMARY`."""
    return ConversationSummary(
        conversation_id=row["id"],
        title=row["title"],
        turns=row["turns"],
        created=from_timestamp(row["created"]),
        updated=from_timestamp(row["updated"]),
        pinned=bool(row["pinned"]),
        archived=bool(row["archived"]),
        trashed=None if row["trashed"] is None else from_timestamp(row["trashed"]),
        model=row["model"],
        tags=tuple(sorted(row["tags"].split(TAG_SEPARATOR))) if row["tags"] else (),
    )


def stored_conversation(row: sqlite3.Row) -> StoredConversation:
    """The value of a row selected by `SUMMARY`, with all of its settings.

    Raises:
        StoreDamaged: the sampling parameters cannot be read.
    """
    try:
        sampling = None if row["sampling"] is None else Sampling(**json.loads(row["sampling"]))
    except (ValueError, TypeError) as error:
        raise corruption_error(None, f"the sampling of conversation {row['id']} cannot be read") from error
    return StoredConversation(
        summary=summary(row),
        system=row["system"],
        sampling=sampling,
        persona=row["persona"],
        recall=None if row["recall"] is None else bool(row["recall"]),
        title_by=row["title_by"],
    )


def turn_value(row: sqlite3.Row) -> Turn:
    """The turn in a row of `turns` with its `PASSAGES`.

    Raises:
        StoreDamaged: a column cannot be read.
    """
    try:
        usage = None if row["usage"] is None else Usage(**json.loads(row["usage"]))
        passages = () if row["passages"] == "[]" else tuple(Passage(**values) for values in json.loads(row["passages"]))
    except (ValueError, TypeError) as error:
        raise corruption_error(None, f"turn {row['id']} cannot be read") from error
    return Turn(
        user=row["user"],
        reply=row["reply"],
        finish_reason=row["finish_reason"],
        error=row["error"],
        model=row["model"],
        usage=usage,
        pinned=bool(row["pinned"]),
        excluded=bool(row["excluded"]),
        passages=passages,
    )


def stored_turn(row: sqlite3.Row) -> StoredTurn:
    """The value of a row selected by `TURN`."""
    return StoredTurn(
        turn_id=row["id"],
        parent_id=row["parent_id"],
        turn=turn_value(row),
        created=from_timestamp(row["created"]),
        sibling=row["sibling"],
        siblings=row["siblings"],
        message=(row["message"], row["messages"]),
        reply=(row["attempt"], row["replies"]),
        depth=row["depth"],
        writing=row["writer"] is not None,
    )
