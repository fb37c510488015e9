"""Putting conversations in order: titles, pins, tags, the archive, their settings, drafts, forks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.store import index
from mistral_chat.store.base import StorePart
from mistral_chat.store.rows import sampling_text
from mistral_chat.store.text import first_line, one_line, sanitise_for_sqlite, tag_name

if TYPE_CHECKING:
    from mistral_chat.generation import Sampling
    from mistral_chat.store.records import TitleSource


class Organising(StorePart):
    """What a person does with whole conversations, short of throwing them away.

    Every method raises `ConversationNotFound` when there is no such conversation.
    """

    def rename(self, conversation_id: str, title: str, *, by: TitleSource) -> bool:
        """Give a title, made into one line, and return whether it was taken.

        A person's title is replaced by a person only. A person's empty title gives it back to the first message.
        """
        new = one_line(title)
        with self.database.write() as connection:
            conversation = self._conversation(connection, conversation_id)
            if by != "person" and (conversation["title_by"] == "person" or not new):
                return False
            if not new:
                root = connection.execute(
                    "SELECT user FROM turns WHERE conversation = ? ORDER BY depth, row LIMIT 1", (conversation["row"],)
                ).fetchone()
                new, by = "" if root is None else first_line(root["user"]), "first_line"
            index.drop_title(connection, conversation["row"], conversation["title"], conversation["title_by"])
            index.add_title(connection, conversation["row"], new, by)
            connection.execute("UPDATE conversations SET title = ?, title_by = ? WHERE row = ?", (new, by, conversation["row"]))
            return True

    def pin(self, conversation_id: str, pinned: bool) -> None:  # noqa: FBT001 - the one thing it says
        """Keep it at the top of the list, or no longer."""
        self._set(conversation_id, "pinned", int(pinned))

    def archive(self, conversation_id: str, archived: bool) -> None:  # noqa: FBT001 - the one thing it says
        """Put it out of the list without throwing it away, or back."""
        self._set(conversation_id, "archived", int(archived))

    def set_system(self, conversation_id: str, system: str) -> None:
        """Set its system prompt; empty for none."""
        self._set(conversation_id, "system", sanitise_for_sqlite(system))

    def set_model(self, conversation_id: str, model: str) -> None:
        """Set the weights it is held with; empty for the settings'."""
        self._set(conversation_id, "model", sanitise_for_sqlite(model))

    def set_sampling(self, conversation_id: str, sampling: Sampling | None) -> None:
        """Set how its tokens are drawn; None for the settings' way."""
        self._set(conversation_id, "sampling", sampling_text(sampling))

    def set_persona(self, conversation_id: str, persona: str) -> None:
        """Note the persona it is held with; empty for none."""
        self._set(conversation_id, "persona", sanitise_for_sqlite(persona))

    def _set(self, conversation_id: str, column: str, value: str | int | None) -> None:
        with self.database.write() as connection:
            conversation = self._conversation(connection, conversation_id)
            connection.execute(f"UPDATE conversations SET {column} = ? WHERE row = ?", (value, conversation["row"]))

    def tag(self, conversation_id: str, *tags: str) -> None:
        """Add tags: short lower-case lines. Those it bears stay."""
        with self.database.write() as connection:
            conversation = self._conversation(connection, conversation_id)
            names = [name for name in map(tag_name, tags) if name]
            connection.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", [(conversation["row"], name) for name in names])

    def untag(self, conversation_id: str, *tags: str) -> None:
        """Take tags away; those that it does not bear do not matter."""
        with self.database.write() as connection:
            conversation = self._conversation(connection, conversation_id)
            connection.executemany(
                "DELETE FROM tags WHERE conversation = ? AND tag = ?", [(conversation["row"], tag_name(name)) for name in tags]
            )

    def tags(self) -> dict[str, int]:
        """Every tag in use, in alphabetical order, with how many conversations outside the trash bear it."""
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT tag, count(*) AS bearers FROM tags JOIN conversations ON conversations.row = tags.conversation "
                "WHERE trashed IS NULL GROUP BY tag ORDER BY tag"
            )
            return {row["tag"]: row["bearers"] for row in rows}

    def draft(self, conversation_id: str) -> str:
        """What was typed there and not sent; ``""`` names the composer of a new chat. Empty when nothing was."""
        with self.database.read() as connection:
            row = connection.execute("SELECT text FROM drafts WHERE conversation_id = ?", (conversation_id,)).fetchone()
        return "" if row is None else str(row["text"])

    def save_draft(self, conversation_id: str, text: str) -> None:
        """Keep what was typed there; an empty text forgets it. Drafts die with their conversation."""
        with self.database.write() as connection:
            if conversation_id:
                self._conversation(connection, conversation_id)
            if text:
                connection.execute("INSERT OR REPLACE INTO drafts VALUES (?, ?)", (conversation_id, sanitise_for_sqlite(text)))
            else:
                connection.execute("DELETE FROM drafts WHERE conversation_id = ?", (conversation_id,))

    def fork(self, turn_id: str) -> str:
        """Begin a conversation that ends with a copy of this turn, and return its id.

        The turns above it, their marks and the conversation's settings come along; siblings stay behind. A reply that is being
        written is copied as far as it has come. A title says that it is a fork's.

        Raises:
            ConversationNotFound: there is no such turn.
        """
        with self.database.write() as connection:
            turn = self._turn(connection, turn_id)
            conversation_id, now = self._new_id(), self._stamp()
            conversation = connection.execute(
                "INSERT INTO conversations (id, title, title_by, created, updated, system, model, sampling, persona) "
                "SELECT ?, CASE WHEN title = '' OR title LIKE 'Fork: %' THEN title ELSE 'Fork: ' || title END, title_by, ?, ?, "
                "system, model, sampling, persona FROM conversations WHERE row = ? "
                "RETURNING row, title, title_by",
                (conversation_id, now, now, turn["conversation"]),
            ).fetchone()
            index.add_title(connection, conversation["row"], conversation["title"], conversation["title_by"])
            above = []
            row: int | None = turn["row"]
            while row is not None:
                above.append(row)
                (row,) = connection.execute("SELECT parent FROM turns WHERE row = ?", (row,)).fetchone()
            parent = None
            for row in reversed(above):
                copy = connection.execute(
                    "INSERT INTO turns (id, conversation, parent, depth, created, user, reply, finish_reason, error, model, "
                    "usage, pinned, excluded) SELECT ?, ?, ?, depth, created, user, reply, "
                    "CASE WHEN writer IS NULL THEN finish_reason ELSE 'cancelled' END, error, model, usage, pinned, excluded "
                    "FROM turns WHERE row = ? RETURNING row, user, reply",
                    (self._new_id(), conversation["row"], parent, row),
                ).fetchone()
                parent = copy["row"]
                index.add_turn(connection, parent, copy["user"], copy["reply"])
            connection.execute("UPDATE conversations SET current = ? WHERE row = ?", (parent, conversation["row"]))
        return conversation_id
