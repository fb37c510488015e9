"""Reading conversations: the list, one of them, its current path, its tree."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final, assert_never

from mistral_chat.errors import ConversationNotFound
from mistral_chat.store.base import StorePart
from mistral_chat.store.rows import SUMMARY, TURN, stored_conversation, stored_turn, summary
from mistral_chat.store.text import sanitise_for_sqlite, tag_name

if TYPE_CHECKING:
    import sqlite3

    from mistral_chat.store.records import ConversationSummary, Folder, StoredConversation, StoredTurn

_UPWARDS: Final = """
    WITH RECURSIVE up (row, parent, depth) AS (
        SELECT row, parent, depth FROM turns WHERE row = ?
        UNION ALL
        SELECT turns.row, turns.parent, turns.depth FROM up JOIN turns ON turns.row = up.parent
        LIMIT ?
    )
"""
"""A turn and those above it, nearest first, as many as the limit says (-1: all)."""


def fold_case_and_accents(text: str) -> str:
    """`text` without case and accents, for finding one text in another."""
    if text.isascii():
        return text.lower()
    return "".join(each for each in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(each))


class Reading(StorePart):
    """The questions that change nothing."""

    def conversation(self, conversation_id: str) -> StoredConversation:
        """The conversation without its turns.

        Raises:
            ConversationNotFound: there is none with this id.
        """
        with self.database.read() as connection:
            self._conversation(connection, conversation_id)
            return stored_conversation(connection.execute(f"{SUMMARY} WHERE id = ?", (conversation_id,)).fetchone())

    def resolve(self, prefix: str) -> str:
        """The id of the one conversation, in the trash or not, whose id begins with `prefix`.

        Raises:
            ConversationNotFound: no id begins so, or several do.
        """
        wanted = sanitise_for_sqlite(prefix).strip().lower()
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT id FROM conversations WHERE id >= ? AND id < ? LIMIT 2", (wanted, wanted + "\U0010ffff")
            ).fetchall()
        if not wanted or not rows:
            raise ConversationNotFound(f"No conversation's id begins with {prefix!r}. `mistral-chat chats list` shows them.")
        if len(rows) > 1 and rows[0]["id"] != wanted:
            raise ConversationNotFound(f"Several conversations' ids begin with {prefix!r}. Give more of it.")
        return str(rows[0]["id"])

    def summaries(
        self, *, where: Folder = "active", contains: str = "", tag: str = "", limit: int = 200, offset: int = 0
    ) -> list[ConversationSummary]:
        """A page of the list: pinned ones first, then by last use; the trash by when it was thrown away, latest first.

        `contains` keeps those whose title holds it, without regard to case and accents; `tag` those that bear the tag. A
        `limit` of -1 means all.
        """
        order = "pinned DESC, updated DESC, row DESC"
        match where:
            case "active":
                kept = "trashed IS NULL AND archived = 0"
            case "archived":
                kept = "trashed IS NULL AND archived = 1"
            case "trash":
                kept, order = "trashed IS NOT NULL", "trashed DESC, row DESC"
            case _:
                assert_never(where)
        tagged = "AND row IN (SELECT conversation FROM tags WHERE tag = :tag)" if tag else ""
        sought = fold_case_and_accents(sanitise_for_sqlite(contains)).strip()
        values = {"tag": tag_name(tag), "limit": limit, "offset": offset}
        with self.database.read() as connection:
            if not sought:
                query = f"{SUMMARY} WHERE {kept} {tagged} ORDER BY {order} LIMIT :limit OFFSET :offset"
                return [summary(row) for row in connection.execute(query, values)]
            titles = connection.execute(f"SELECT row, title FROM conversations WHERE {kept} {tagged} ORDER BY {order}", values)
            rows = [row["row"] for row in titles if sought in fold_case_and_accents(row["title"])][offset:]
            rows = rows if limit < 0 else rows[:limit]
            return [summary(connection.execute(f"{SUMMARY} WHERE row = ?", (row,)).fetchone()) for row in rows]

    def latest(self) -> str | None:
        """The id of the conversation that was used last, the archive and the trash left out; None when there is none."""
        with self.database.read() as connection:
            row = connection.execute(
                "SELECT id FROM conversations WHERE trashed IS NULL AND archived = 0 ORDER BY updated DESC, row DESC LIMIT 1"
            ).fetchone()
        return None if row is None else str(row["id"])

    def turns(self, conversation_id: str) -> list[StoredTurn]:
        """The turns of the current path, oldest first. Empty when nothing was said.

        Raises:
            ConversationNotFound: there is no such conversation.
        """
        with self.database.read() as connection:
            current = self._conversation(connection, conversation_id)["current"]
            return self._upwards(connection, current, -1)

    def turns_page(
        self, conversation_id: str, *, before: str | None = None, after: str | None = None, limit: int = 50
    ) -> list[StoredTurn]:
        """Up to `limit` neighbouring turns of the current path, oldest first.

        The last ones; with `before`, those just above that turn; with `after`, those just below it. An empty page means that
        the path ends there.

        Raises:
            ConversationNotFound: there is no such conversation or turn.
        """
        with self.database.read() as connection:
            current = self._conversation(connection, conversation_id)["current"]
            if before is not None:
                return self._upwards(connection, self._turn(connection, before)["parent"], limit)
            if after is None:
                return self._upwards(connection, current, limit)
            depth = self._turn(connection, after)["depth"]
            lowest = connection.execute(
                f"{_UPWARDS} SELECT row, depth FROM up WHERE depth > ? AND depth <= ? ORDER BY depth DESC LIMIT 1",
                (current, -1, depth, depth + limit),
            ).fetchone()
            return [] if lowest is None else self._upwards(connection, lowest["row"], lowest["depth"] - depth)

    def pinned(self, conversation_id: str) -> list[StoredTurn]:
        """The turns of the current path that never leave the context window, oldest first.

        Raises:
            ConversationNotFound: there is no such conversation.
        """
        with self.database.read() as connection:
            current = self._conversation(connection, conversation_id)["current"]
            query = f"{_UPWARDS} {TURN} WHERE turns.row IN (SELECT row FROM up) AND turns.pinned ORDER BY turns.depth"
            return [stored_turn(row) for row in connection.execute(query, (current, -1))]

    @staticmethod
    def _upwards(connection: sqlite3.Connection, lowest: int | None, limit: int) -> list[StoredTurn]:
        query = f"{_UPWARDS} {TURN} WHERE turns.row IN (SELECT row FROM up) ORDER BY turns.depth"
        return [stored_turn(row) for row in connection.execute(query, (lowest, limit))]

    def tree(self, conversation_id: str) -> list[StoredTurn]:
        """Every turn of the conversation, parents before children and siblings in the order they were made.

        Raises:
            ConversationNotFound: there is no such conversation.
        """
        with self.database.read() as connection:
            conversation = self._conversation(connection, conversation_id)
            rows = connection.execute(f"{TURN} WHERE turns.conversation = ? ORDER BY turns.row", (conversation["row"],))
            return [stored_turn(row) for row in rows]

    def turn(self, turn_id: str) -> StoredTurn:
        """One turn.

        Raises:
            ConversationNotFound: there is none with this id.
        """
        with self.database.read() as connection:
            self._turn(connection, turn_id)
            return stored_turn(connection.execute(f"{TURN} WHERE turns.id = ?", (turn_id,)).fetchone())

    def siblings(self, turn_id: str) -> list[str]:
        """The ids of the turns that stand where this one stands, itself among them, oldest first.

        Raises:
            ConversationNotFound: there is no such turn.
        """
        with self.database.read() as connection:
            turn = self._turn(connection, turn_id)
            rows = connection.execute(
                "SELECT id FROM turns WHERE parent IS ? AND conversation = ? ORDER BY row", (turn["parent"], turn["conversation"])
            )
            return [str(row["id"]) for row in rows]

    def input_history(self, limit: int = 100) -> list[str]:
        """What was sent lately, newest first, each text once. What is in the trash is left out."""
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
