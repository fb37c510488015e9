"""Queries: the list of conversations, one conversation, its current branch, its tree, search."""

from __future__ import annotations

import unicodedata
from itertools import islice
from typing import TYPE_CHECKING, Final

from mistral_chat.errors import ConversationNotFound
from mistral_chat.store.records import ConversationState
from mistral_chat.store.rows import SUMMARY, TURN, stored_conversation, stored_turn, summary
from mistral_chat.store.search import search
from mistral_chat.store.text import sanitise_for_sqlite, tag_name

if TYPE_CHECKING:
    from sqlite3 import Connection, Row

    from mistral_chat.store.database import Database
    from mistral_chat.store.records import ConversationSummary, Folder, SearchHit, StoredConversation, StoredTurn

_ANCESTORS: Final = f"""
    WITH RECURSIVE up (row, parent) AS (
        SELECT row, parent FROM turns WHERE row = ?
        UNION ALL
        SELECT turns.row, turns.parent FROM up JOIN turns ON turns.row = up.parent
        LIMIT ?
    )
    {TURN} WHERE turns.row IN (SELECT row FROM up)
"""
"""A turn and its ancestors, at most as many as the second parameter says (-1: all)."""

_STATE: Final = """
    SELECT conversations.row, trashed IS NOT NULL AS trashed, current.id AS current,
        coalesce(length(current.reply), 0) AS reply_length, current.writer IS NOT NULL AS writing
    FROM conversations LEFT JOIN turns AS current ON current.row = conversations.current WHERE conversations.id = ?
"""
_FLAGS: Final = "SELECT id, pinned, excluded FROM turns WHERE conversation = ? AND (pinned OR excluded)"

FOLDERS: Final[dict[Folder, str]] = {
    "active": "trashed IS NULL AND archived = 0",
    "archived": "trashed IS NULL AND archived = 1",
    "trash": "trashed IS NOT NULL",
}
"""The condition on `conversations` for each folder."""


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


def _without_case_and_accents(text: str) -> str:
    if text.isascii():
        return text.lower()
    return "".join(each for each in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(each))


class ConversationQueries:
    """Everything that only reads conversations.

    Calls that name a conversation or a turn raise `ConversationNotFound` if it does not exist. Every call can raise what
    `map_sqlite_errors` raises.
    """

    def __init__(self, database: Database) -> None:
        """Read `database`."""
        self.database = database

    def conversation(self, conversation_id: str) -> StoredConversation:
        """A conversation without its turns."""
        with self.database.read() as connection:
            row = conversation_row(connection, conversation_id)["row"]
            return stored_conversation(connection.execute(f"{SUMMARY} WHERE row = ?", (row,)).fetchone())

    def state(self, conversation_id: str) -> ConversationState | None:
        """Values to compare when `data_version` has changed, to detect changes by other programs; None if deleted."""
        with self.database.read() as connection:
            row = connection.execute(_STATE, (sanitise_for_sqlite(conversation_id),)).fetchone()
            if row is None:
                return None
            flags = connection.execute(_FLAGS, (row["row"],)).fetchall()
        return ConversationState(
            trashed=bool(row["trashed"]),
            current=row["current"],
            reply_length=row["reply_length"],
            writing=bool(row["writing"]),
            flags={turn["id"]: (bool(turn["pinned"]), bool(turn["excluded"])) for turn in flags},
        )

    def resolve(self, prefix: str) -> str:
        """The id of the only conversation, in the trash or not, that starts with `prefix`.

        Raises:
            ConversationNotFound: no id starts with it, or several do.
        """
        wanted = sanitise_for_sqlite(prefix).strip().lower()
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT id FROM conversations WHERE id >= ? AND id < ? LIMIT 2", (wanted, wanted + "\U0010ffff")
            ).fetchall()
        if not wanted or not rows:
            raise ConversationNotFound(f"No conversation id starts with {prefix!r}. List the ids with: mistral-chat chats list")
        if len(rows) > 1 and rows[0]["id"] != wanted:
            raise ConversationNotFound(f"Several conversation ids start with {prefix!r}. Give more characters.")
        return str(rows[0]["id"])

    def summaries(
        self, *, where: Folder = "active", contains: str = "", tag: str = "", limit: int = 200
    ) -> list[ConversationSummary]:
        """The list: pinned ones first, then by last use; the trash by when they were moved there, latest first.

        `contains` keeps titles that contain it, ignoring case and accents; `tag` keeps conversations with that tag. A `limit`
        of -1 means all.
        """
        order = "trashed DESC, row DESC" if where == "trash" else "pinned DESC, updated DESC, row DESC"
        condition = FOLDERS[where] + (" AND row IN (SELECT conversation FROM tags WHERE tag = :tag)" if tag else "")
        wanted = _without_case_and_accents(sanitise_for_sqlite(contains)).strip()
        values = {"tag": tag_name(tag), "limit": limit}
        with self.database.read() as connection:
            if not wanted:
                query = f"{SUMMARY} WHERE {condition} ORDER BY {order} LIMIT :limit"
                return [summary(row) for row in connection.execute(query, values)]
            titles = connection.execute(f"SELECT row, title FROM conversations WHERE {condition} ORDER BY {order}", values)
            found = (row["row"] for row in titles if wanted in _without_case_and_accents(row["title"]))
            rows = list(islice(found, None if limit < 0 else limit))
            return [summary(connection.execute(f"{SUMMARY} WHERE row = ?", (row,)).fetchone()) for row in rows]

    def latest(self) -> str | None:
        """The id of the conversation that was used last, outside the archive and the trash; None without one.

        `used` counts uses, so a clock that was set back has no effect. It is 0 in imported conversations.
        """
        query = f"SELECT id FROM conversations WHERE {FOLDERS['active']} ORDER BY used DESC, updated DESC, row DESC LIMIT 1"
        with self.database.read() as connection:
            row = connection.execute(query).fetchone()
        return None if row is None else str(row["id"])

    def turns(self, conversation_id: str) -> list[StoredTurn]:
        """The turns of the current path, oldest first."""
        return self.turns_page(conversation_id, limit=-1)

    def turns_page(self, conversation_id: str, *, before: str | None = None, limit: int = 50) -> list[StoredTurn]:
        """The last `limit` turns of the current path, oldest first; with `before`, those just before that turn."""
        return self._path(conversation_id, before, limit, "")

    def pinned(self, conversation_id: str, *, before: str | None = None) -> list[StoredTurn]:
        """The turns of the current path, or of that to the turn `before`, that never leave the context, oldest first."""
        return self._path(conversation_id, before, -1, "AND turns.pinned")

    def _path(self, conversation_id: str, before: str | None, limit: int, condition: str) -> list[StoredTurn]:
        with self.database.read() as connection:
            current = conversation_row(connection, conversation_id)["current"]
            lowest = current if before is None else turn_row(connection, before)["parent"]
            rows = connection.execute(f"{_ANCESTORS} {condition} GROUP BY turns.row ORDER BY turns.depth", (lowest, limit))
            return [stored_turn(row) for row in rows]

    def tree(self, conversation_id: str) -> list[StoredTurn]:
        """Every turn of the conversation, parents before children and siblings in order of creation."""
        with self.database.read() as connection:
            row = conversation_row(connection, conversation_id)["row"]
            rows = connection.execute(f"{TURN} WHERE turns.conversation = ? GROUP BY turns.row ORDER BY turns.row", (row,))
            return [stored_turn(turn) for turn in rows]

    def turn(self, turn_id: str) -> StoredTurn:
        """One turn."""
        with self.database.read() as connection:
            row = turn_row(connection, turn_id)["row"]
            return stored_turn(connection.execute(f"{TURN} WHERE turns.row = ? GROUP BY turns.row", (row,)).fetchone())

    def siblings(self, turn_id: str) -> list[str]:
        """The ids of this turn and its siblings, oldest first."""
        query = "SELECT id FROM turns WHERE parent IS ? AND conversation = ? ORDER BY row"
        with self.database.read() as connection:
            turn = turn_row(connection, turn_id)
            return [str(row["id"]) for row in connection.execute(query, (turn["parent"], turn["conversation"]))]

    def input_history(self, limit: int = 100) -> list[str]:
        """The user's most recent messages outside the trash, newest first, each text once."""
        texts: dict[str, None] = {}
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT user FROM turns JOIN conversations ON conversations.row = turns.conversation "
                "WHERE trashed IS NULL ORDER BY turns.created DESC, turns.row DESC"
            )
            for row in rows:
                if len(texts) >= limit:
                    break
                texts.setdefault(row["user"])
        return list(texts)

    def tags(self) -> dict[str, int]:
        """Every tag in use, sorted, with the number of conversations outside the trash that have it."""
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT tag, count(*) AS uses FROM tags JOIN conversations ON conversations.row = tags.conversation "
                "WHERE trashed IS NULL GROUP BY tag ORDER BY tag"
            )
            return {row["tag"]: row["uses"] for row in rows}

    def draft(self, conversation_id: str) -> str:
        """The saved draft; ``""`` is the draft of a new conversation. Empty if there is none."""
        with self.database.read() as connection:
            row = connection.execute("SELECT text FROM drafts WHERE conversation_id = ?", (conversation_id,)).fetchone()
        return "" if row is None else str(row["text"])

    def search(self, query: str, *, limit: int = 50) -> list[SearchHit]:
        """The best `limit` matches for `query`, best first; `search.py` documents the syntax."""
        with self.database.read() as connection:
            return search(connection, query, limit=limit)
