"""Writing turns, in an order that loses nothing: the question first, then the reply as it comes.

A reply is being written while its turn's `writer` is set. `finish_reply` ends that, and so does `recover` for an instance
that died. Only an ended reply is in the full-text index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.errors import ConversationNotFound
from mistral_chat.store import index
from mistral_chat.store.base import StorePart
from mistral_chat.store.rows import sampling_text, usage_text
from mistral_chat.store.text import first_line, one_line, sanitise_for_sqlite
from mistral_chat.store.writer_lock import active_writers

if TYPE_CHECKING:
    import sqlite3

    from mistral_chat.conversation import FinishReason, Usage
    from mistral_chat.generation import Sampling


class Writing(StorePart):
    """What is called while people and models write."""

    def create(
        self, *, title: str = "", system: str = "", model: str = "", sampling: Sampling | None = None, persona: str = ""
    ) -> str:
        """Begin a conversation and return its id. A title given here is a person's; else the first message gives one."""
        conversation_id, now, title = self._new_id(), self._stamp(), one_line(title)
        by = "person" if title else "first_line"
        with self.database.write() as connection:
            row = connection.execute(
                "INSERT INTO conversations (id, title, title_by, created, updated, system, model, sampling, persona) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        return conversation_id

    def add_turn(self, conversation_id: str, user: str, *, parent_id: str | None, model: str = "") -> str:
        """Keep what a person sent, under the turn `parent_id` (None: at the top), and return the new turn's id.

        It is on the disk when this returns, its reply counts as being written by this instance, and the current path ends
        with it.

        Raises:
            ConversationNotFound: there is no such conversation, or no such turn in it.
        """
        text = sanitise_for_sqlite(user)
        with self.database.write() as connection:
            conversation = self._conversation(connection, conversation_id)
            parent = None if parent_id is None else self._turn(connection, parent_id)
            if parent is not None and parent["conversation"] != conversation["row"]:
                raise ConversationNotFound(f"Turn {parent_id} is not part of conversation {conversation_id}.")
            turn_id = self._insert_turn(connection, conversation["row"], parent, text, model)
            if not conversation["title"] and conversation["title_by"] == "first_line":
                connection.execute("UPDATE conversations SET title = ? WHERE row = ?", (first_line(text), conversation["row"]))
        return turn_id

    def add_sibling(self, turn_id: str, *, model: str = "") -> str:
        """Ask the same again: a sibling with the same user text and an empty reply, which becomes current. Returns its id.

        Raises:
            ConversationNotFound: there is no such turn.
        """
        with self.database.write() as connection:
            turn = self._turn(connection, turn_id)
            parent = None
            if turn["parent"] is not None:
                parent = connection.execute("SELECT * FROM turns WHERE row = ?", (turn["parent"],)).fetchone()
            return self._insert_turn(connection, turn["conversation"], parent, turn["user"], model)

    def _insert_turn(
        self, connection: sqlite3.Connection, conversation: int, parent: sqlite3.Row | None, user: str, model: str
    ) -> str:
        turn_id, now = self._new_id(), self._stamp()
        row = connection.execute(
            "INSERT INTO turns (id, conversation, parent, depth, created, user, model, writer) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                turn_id,
                conversation,
                None if parent is None else parent["row"],
                1 if parent is None else parent["depth"] + 1,
                now,
                user,
                sanitise_for_sqlite(model),
                self.database.writer.name,
            ),
        ).lastrowid
        assert row is not None  # noqa: S101 - an INSERT has a row
        index.add_turn(connection, row, user)
        connection.execute("UPDATE conversations SET current = ?, updated = ? WHERE row = ?", (row, now, conversation))
        return turn_id

    def write_reply(self, turn_id: str, text: str) -> None:
        """Keep the reply as far as it has come: the whole text so far. About once a second is often enough.

        On a turn whose reply had ended this is how it is continued.

        Raises:
            ConversationNotFound: the turn is gone.
        """
        with self.database.write() as connection:
            turn = self._turn(connection, turn_id)
            if turn["writer"] is None:
                index.drop_turn(connection, turn["row"], turn["user"], turn["reply"])
                index.add_turn(connection, turn["row"], turn["user"])
            connection.execute(
                "UPDATE turns SET reply = ?, finish_reason = NULL, error = '', writer = ? WHERE row = ?",
                (sanitise_for_sqlite(text), self.database.writer.name, turn["row"]),
            )

    def finish_reply(
        self,
        turn_id: str,
        text: str,
        *,
        finish_reason: FinishReason | None,
        usage: Usage | None = None,
        model: str = "",
        error: str = "",
    ) -> None:
        """Keep the reply as it ended. May be called again on the same turn, after it was continued.

        `finish_reason` is None when an `error` ended it. An empty `model` leaves the one the turn was added with.

        Raises:
            ConversationNotFound: the turn is gone.
        """
        with self.database.write() as connection:
            turn = self._turn(connection, turn_id)
            self._settle(connection, turn, sanitise_for_sqlite(text), finish_reason)
            connection.execute(
                "UPDATE turns SET error = ?, usage = ?, model = coalesce(nullif(?, ''), model) WHERE row = ?",
                (sanitise_for_sqlite(error), usage_text(usage), sanitise_for_sqlite(model), turn["row"]),
            )
            connection.execute(
                "UPDATE conversations SET updated = max(updated, ?) WHERE row = ?", (self._stamp(), turn["conversation"])
            )

    @staticmethod
    def _settle(connection: sqlite3.Connection, turn: sqlite3.Row, reply: str, finish_reason: FinishReason | None) -> None:
        """End the reply and index it."""
        if reply or turn["writer"] is None:
            index.drop_turn(connection, turn["row"], turn["user"], turn["reply"] if turn["writer"] is None else "")
            index.add_turn(connection, turn["row"], turn["user"], reply)
        connection.execute(
            "UPDATE turns SET reply = ?, finish_reason = ?, writer = NULL WHERE row = ?", (reply, finish_reason, turn["row"])
        )

    def recover(self) -> int:
        """End the replies whose instance died, as `"cancelled"` with what they had, and return how many there were.

        Replies that a running instance is writing, this one included, are left alone.
        """
        with self.database.read() as connection:
            names = [row["writer"] for row in connection.execute("SELECT DISTINCT writer FROM turns WHERE writer IS NOT NULL")]
        alive = self.database.writer.alive
        dead = [name for name in names if not alive(name)]
        if self.database.path is not None:
            active_writers(self.database.path)  # which tidies up after the dead ones that had finished
        if not dead:
            return 0
        recovered = 0
        with self.database.write() as connection:
            for name in dead:
                for turn in connection.execute("SELECT * FROM turns WHERE writer = ?", (name,)).fetchall():
                    self._settle(connection, turn, turn["reply"], "cancelled")
                    recovered += 1
        return recovered

    def switch_branch(self, turn_id: str) -> None:
        """Lead the current path through this turn, and from there down to the newest turn below it.

        Raises:
            ConversationNotFound: there is no such turn.
        """
        with self.database.write() as connection:
            turn = self._turn(connection, turn_id)
            leaf = turn["row"]
            while (child := connection.execute("SELECT max(row) FROM turns WHERE parent = ?", (leaf,)).fetchone()[0]) is not None:
                leaf = child
            connection.execute("UPDATE conversations SET current = ? WHERE row = ?", (leaf, turn["conversation"]))

    def set_turn_flags(self, turn_id: str, *, pinned: bool | None = None, excluded: bool | None = None) -> None:
        """Set or clear the marks that are given; None leaves a mark as it is.

        Raises:
            ConversationNotFound: there is no such turn.
        """
        with self.database.write() as connection:
            turn = self._turn(connection, turn_id)
            connection.execute(
                "UPDATE turns SET pinned = coalesce(?, pinned), excluded = coalesce(?, excluded) WHERE row = ?",
                (pinned, excluded, turn["row"]),
            )
