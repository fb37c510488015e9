"""Queries: the list of conversations, one conversation, its current branch, its tree.

Every function takes the connection of an open transaction.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final, assert_never

from mistral_chat.errors import ConversationNotFound
from mistral_chat.store.records import ConversationState
from mistral_chat.store.rows import SUMMARY, TURN, stored_conversation, stored_turn, summary
from mistral_chat.store.text import sanitise_for_sqlite, tag_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from sqlite3 import Connection, Row

    from mistral_chat.store.records import ConversationSummary, Folder, StoredConversation, StoredTurn

ANCESTORS: Final = """
    WITH RECURSIVE up (row, parent, depth) AS (
        SELECT row, parent, depth FROM turns WHERE row = ?
        UNION ALL
        SELECT turns.row, turns.parent, turns.depth FROM up JOIN turns ON turns.row = up.parent
        LIMIT ?
    )
"""
"""A turn and its ancestors, nearest first, at most as many as the second parameter says (-1: all)."""

_FOLDERS: Final[dict[Folder, str]] = {
    "active": "trashed IS NULL AND archived = 0",
    "archived": "trashed IS NULL AND archived = 1",
    "trash": "trashed IS NOT NULL",
}


def conversation_row(connection: Connection, conversation_id: str) -> Row:
    """The row of a conversation.

    Raises:
        ConversationNotFound: no conversation has this id.
    """
    wanted = sanitise_for_sqlite(conversation_id)
    row: Row | None = connection.execute("SELECT * FROM conversations WHERE id = ?", (wanted,)).fetchone()
    if row is None:
        raise ConversationNotFound(f"Conversation {conversation_id} does not exist. It may have been deleted.")
    return row


def turn_row(connection: Connection, turn_id: str) -> Row:
    """The row of a turn.

    Raises:
        ConversationNotFound: no turn has this id.
    """
    wanted = sanitise_for_sqlite(turn_id)
    row: Row | None = connection.execute("SELECT * FROM turns WHERE id = ?", (wanted,)).fetchone()
    if row is None:
        raise ConversationNotFound(f"Turn {turn_id} does not exist. Its conversation may have been deleted.")
    return row


def conversation(connection: Connection, conversation_id: str) -> StoredConversation:
    """A conversation without its turns."""
    row = conversation_row(connection, conversation_id)["row"]
    return stored_conversation(connection.execute(f"{SUMMARY} WHERE row = ?", (row,)).fetchone())


def state(connection: Connection, conversation_id: str) -> ConversationState | None:
    """Values that change when a conversation changes; None if it was deleted."""
    row = connection.execute(
        "SELECT title, trashed, (SELECT count(*) FROM turns WHERE conversation = conversations.row) AS turns, "
        "(SELECT id FROM turns WHERE conversation = conversations.row ORDER BY row DESC LIMIT 1) AS newest, "
        "current.id AS current, coalesce(length(current.reply), 0) AS reply_length, current.writer IS NOT NULL AS writing "
        "FROM conversations LEFT JOIN turns AS current ON current.row = conversations.current WHERE conversations.id = ?",
        (sanitise_for_sqlite(conversation_id),),
    ).fetchone()
    if row is None:
        return None
    return ConversationState(
        title=row["title"],
        trashed=row["trashed"] is not None,
        turns=row["turns"],
        newest=row["newest"],
        current=row["current"],
        reply_length=row["reply_length"],
        writing=bool(row["writing"]),
    )


def resolve(connection: Connection, prefix: str) -> str:
    """The id of the only conversation that starts with `prefix`.

    Raises:
        ConversationNotFound: no id starts with it, or several do.
    """
    wanted = sanitise_for_sqlite(prefix).strip().lower()
    rows = connection.execute(
        "SELECT id FROM conversations WHERE id >= ? AND id < ? LIMIT 2", (wanted, wanted + "\U0010ffff")
    ).fetchall()
    if not wanted or not rows:
        raise ConversationNotFound(f"No conversation id starts with {prefix!r}. List the ids with: mistral-chat chats list")
    if len(rows) > 1 and rows[0]["id"] != wanted:
        raise ConversationNotFound(f"Several conversation ids start with {prefix!r}. Give more characters.")
    return str(rows[0]["id"])


def fold_case_and_accents(text: str) -> str:
    """Remove case and accents from `text`, for substring search."""
    if text.isascii():
        return text.lower()
    return "".join(each for each in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(each))


def summaries(
    connection: Connection, *, where: Folder, contains: str, tag: str, limit: int, offset: int
) -> list[ConversationSummary]:
    """A page of the list, in the order that `ConversationStore.summaries` documents."""
    match where:
        case "active" | "archived":
            order = "pinned DESC, updated DESC, row DESC"
        case "trash":
            order = "trashed DESC, row DESC"
        case _:
            assert_never(where)
    condition = _FOLDERS[where] + (" AND row IN (SELECT conversation FROM tags WHERE tag = :tag)" if tag else "")
    wanted = fold_case_and_accents(sanitise_for_sqlite(contains)).strip()
    values = {"tag": tag_name(tag), "limit": limit, "offset": offset}
    if not wanted:
        query = f"{SUMMARY} WHERE {condition} ORDER BY {order} LIMIT :limit OFFSET :offset"
        return [summary(row) for row in connection.execute(query, values)]
    titles = connection.execute(f"SELECT row, title FROM conversations WHERE {condition} ORDER BY {order}", values)
    rows = [row["row"] for row in titles if wanted in fold_case_and_accents(row["title"])][offset:]
    rows = rows if limit < 0 else rows[:limit]
    return [summary(connection.execute(f"{SUMMARY} WHERE row = ?", (row,)).fetchone()) for row in rows]


def rows_in(connection: Connection, folders: Iterable[Folder]) -> list[int]:
    """The rows of the conversations in `folders`, oldest first."""
    condition = " OR ".join(_FOLDERS[folder] for folder in folders)
    return [row["row"] for row in connection.execute(f"SELECT row FROM conversations WHERE {condition} ORDER BY row")]


def latest(connection: Connection) -> str | None:
    """The id of the most recently used conversation outside the archive and the trash.

    `used` counts uses, so a clock that was set back has no effect. It is 0 in imported conversations.
    """
    row = connection.execute(
        "SELECT id FROM conversations WHERE trashed IS NULL AND archived = 0 ORDER BY used DESC, updated DESC, row DESC LIMIT 1"
    ).fetchone()
    return None if row is None else str(row["id"])


def turns(connection: Connection, conversation_id: str) -> list[StoredTurn]:
    """The turns of the current branch, oldest first."""
    return _ancestors(connection, conversation_row(connection, conversation_id)["current"], -1)


def turns_page(connection: Connection, conversation_id: str, *, before: str | None, limit: int) -> list[StoredTurn]:
    """The last `limit` turns of the current branch, or those just before the turn `before`; oldest first."""
    current = conversation_row(connection, conversation_id)["current"]
    return _ancestors(connection, current if before is None else turn_row(connection, before)["parent"], limit)


def pinned_turns(connection: Connection, conversation_id: str) -> list[StoredTurn]:
    """The pinned turns of the current branch, oldest first."""
    current = conversation_row(connection, conversation_id)["current"]
    query = f"{ANCESTORS} {TURN} WHERE turns.row IN (SELECT row FROM up) AND turns.pinned ORDER BY turns.depth"
    return [stored_turn(row) for row in connection.execute(query, (current, -1))]


def _ancestors(connection: Connection, lowest: int | None, limit: int) -> list[StoredTurn]:
    query = f"{ANCESTORS} {TURN} WHERE turns.row IN (SELECT row FROM up) ORDER BY turns.depth"
    return [stored_turn(row) for row in connection.execute(query, (lowest, limit))]


def tree(connection: Connection, conversation_id: str) -> list[StoredTurn]:
    """Every turn of a conversation, parents before children and siblings in order of creation."""
    row = conversation_row(connection, conversation_id)["row"]
    query = f"{TURN} WHERE turns.conversation = ? ORDER BY turns.row"
    return [stored_turn(row) for row in connection.execute(query, (row,))]


def turn(connection: Connection, turn_id: str) -> StoredTurn:
    """One turn."""
    row = turn_row(connection, turn_id)["row"]
    return stored_turn(connection.execute(f"{TURN} WHERE turns.row = ?", (row,)).fetchone())


def siblings(connection: Connection, turn_id: str) -> list[str]:
    """The ids of a turn and its siblings, oldest first."""
    row = turn_row(connection, turn_id)
    query = "SELECT id FROM turns WHERE parent IS ? AND conversation = ? ORDER BY row"
    return [str(sibling["id"]) for sibling in connection.execute(query, (row["parent"], row["conversation"]))]


def input_history(connection: Connection, limit: int) -> list[str]:
    """The user's most recent messages outside the trash, newest first, each text once."""
    texts: dict[str, None] = {}
    rows = connection.execute(
        "SELECT user FROM turns JOIN conversations ON conversations.row = turns.conversation "
        "WHERE trashed IS NULL ORDER BY turns.created DESC, turns.row DESC"
    )
    for row in rows:
        if len(texts) >= limit:
            break
        texts.setdefault(row["user"])
    return list(texts)


def tags(connection: Connection) -> dict[str, int]:
    """Every tag in use, sorted, with the number of conversations outside the trash that have it."""
    rows = connection.execute(
        "SELECT tag, count(*) AS uses FROM tags JOIN conversations ON conversations.row = tags.conversation "
        "WHERE trashed IS NULL GROUP BY tag ORDER BY tag"
    )
    return {row["tag"]: row["uses"] for row in rows}


def draft(connection: Connection, conversation_id: str) -> str:
    """The saved draft of a conversation; ``""`` is the draft of a new one."""
    row = connection.execute("SELECT text FROM drafts WHERE conversation_id = ?", (conversation_id,)).fetchone()
    return "" if row is None else str(row["text"])
