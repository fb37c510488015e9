"""The store of conversations: the interface that the rest of the program uses.

A reply is being written while its turn's `writer` is set. `finish_reply` clears it, and `recover` does so for writers that
died. Only finished replies are in the full-text index.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from mistral_chat.errors import ConversationNotFound, StoreBusy, StoreDamaged, StoreFull, StoreReadOnly
from mistral_chat.message_form import as_draft, join_messages
from mistral_chat.store import backup, import_export, index, trash, turns
from mistral_chat.store.documents import DocumentStore, attached_files_deleted
from mistral_chat.store.import_export import ImportResult
from mistral_chat.store.queries import FOLDERS, ConversationQueries, conversation_row, turn_row
from mistral_chat.store.rows import as_json, insert, to_timestamp
from mistral_chat.store.text import first_line, sanitise_for_sqlite, stored_line, tag_name
from mistral_chat.store.writer_lock import active_writers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime, timedelta
    from pathlib import Path
    from sqlite3 import Connection, Row

    from mistral_chat.conversation import FinishReason, Passage, Usage
    from mistral_chat.export.exported_conversation import ExportedConversation
    from mistral_chat.sampling import Sampling
    from mistral_chat.store.database import Database
    from mistral_chat.store.records import Folder, TitleSource


def random_id() -> str:
    """A new id: 16 random hexadecimal digits, so that a short prefix identifies one of thousands of conversations."""
    return secrets.token_hex(8)


class ConversationStore(ConversationQueries):
    """All conversations of one database. A call returns once its change is committed; errors as in `ConversationQueries`."""

    def __init__(self, database: Database, *, now: Callable[[], datetime], new_id: Callable[[], str] = random_id) -> None:
        """Use `database`; `now` returns times with a zone, `new_id` ids that were never returned before."""
        super().__init__(database)
        self.documents = DocumentStore(database, now=now, new_id=new_id)
        self._now = now
        self._new_id = new_id

    def new_connection(self) -> ConversationStore:
        """Open the same store on another connection, for another thread. A store in memory has only one, which is shared."""
        return ConversationStore(self.database.new_connection(), now=self._now, new_id=self._new_id)

    def close(self) -> None:
        """Close the connection. No other call may follow."""
        self.database.close()

    def data_version(self) -> int:
        """A number that changes when another connection, in this program or another, has written."""
        return self.database.data_version()

    # Turns

    def add_turn(self, conversation_id: str, user: str, *, parent_id: str | None, model: str = "") -> str:
        """Store a message under the turn `parent_id` (None: at the top), and return the new turn's id.

        Its reply counts as being written by this connection, and the current branch ends with it. The first message sets the
        conversation's title.
        """
        text = sanitise_for_sqlite(user)
        with self.database.write() as connection:
            conversation = conversation_row(connection, conversation_id)
            parent = None if parent_id is None else turn_row(connection, parent_id)
            if parent is not None and parent["conversation"] != conversation["row"]:
                raise ConversationNotFound(f"Turn {parent_id} is not part of conversation {conversation_id}.")
            turn_id = self._insert_turn(connection, conversation["row"], parent, text, model)
            if not conversation["title"] and conversation["title_by"] == "first_line":
                values = (first_line(text), conversation["row"])
                connection.execute("UPDATE conversations SET title = ? WHERE row = ?", values)
        return turn_id

    def add_sibling(self, turn_id: str, *, model: str = "") -> str:
        """Add a sibling of this turn with the same message and without a reply, make it current, and return its id."""
        with self.database.write() as connection:
            turn = turn_row(connection, turn_id)
            parent = connection.execute("SELECT * FROM turns WHERE row = ?", (turn["parent"],)).fetchone()
            return self._insert_turn(connection, turn["conversation"], parent, turn["user"], model)

    def _insert_turn(self, connection: Connection, conversation: int, parent: Row | None, user: str, model: str) -> str:
        """Insert a turn whose reply is about to be written, make it the end of the current branch, and return its id."""
        turn_id, now = self._new_id(), self._timestamp()
        row = insert(
            connection,
            "turns",
            id=turn_id,
            conversation=conversation,
            parent=None if parent is None else parent["row"],
            depth=1 if parent is None else parent["depth"] + 1,
            created=now,
            user=user,
            model=sanitise_for_sqlite(model),
            writer=self.database.writer.name,
        )
        index.add_turn(connection, row, user)
        connection.execute("UPDATE conversations SET current = ? WHERE row = ?", (row, conversation))
        turns.touch(connection, conversation, now)
        return turn_id

    def write_reply(self, turn_id: str, text: str) -> None:
        """Store the whole reply so far; about once a second is enough. A finished reply is continued this way."""
        with self.database.write() as connection:
            turn = turn_row(connection, turn_id)
            if turn["writer"] is None:
                turns.index_again(connection, turn, "")
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
        """Store the finished reply. May be called again for the same turn after it was continued.

        `finish_reason` is None when an `error` ended it. An empty `model` leaves the one the turn was added with.
        """
        with self.database.write() as connection:
            turn = turn_row(connection, turn_id)
            turns.end_reply(connection, turn, sanitise_for_sqlite(text), finish_reason)
            connection.execute(
                "UPDATE turns SET error = ?, usage = ?, model = coalesce(nullif(?, ''), model) WHERE row = ?",
                (sanitise_for_sqlite(error), as_json(usage), sanitise_for_sqlite(model), turn["row"]),
            )
            turns.touch(connection, turn["conversation"], self._timestamp())

    def recover(self) -> int:
        """End the replies of writers that died as ``"cancelled"``, keeping their text, and return their number.

        The messages that they had queued come before the drafts. Replies that a running program is writing, including this
        one, are left alone. So is everything while the database cannot be written: reading must not fail for that.
        """
        with self.database.read() as connection:
            writers = "SELECT writer FROM turns WHERE writer IS NOT NULL UNION SELECT writer FROM queued_messages"
            rows = connection.execute(writers).fetchall()
        dead = [row["writer"] for row in rows if not self.database.writer.alive(row["writer"])]
        if self.database.path is not None:
            active_writers(self.database.path)  # removes the lock files of dead writers without an unfinished reply
        if not dead:
            return 0
        try:
            with self.database.write() as connection:
                query = "SELECT * FROM turns WHERE writer = ?"
                unfinished = [turn for name in dead for turn in connection.execute(query, (name,)).fetchall()]
                for turn in unfinished:
                    turns.end_reply(connection, turn, turn["reply"], "cancelled")
                waiting: dict[str, list[str]] = {}
                for queued in connection.execute("SELECT * FROM queued_messages ORDER BY row").fetchall():
                    if queued["writer"] in dead:
                        there = self.state(queued["conversation_id"]) is not None
                        waiting.setdefault(queued["conversation_id"] if there else "", []).append(queued["text"])
                        self.drop_queued(queued["id"])
                for key, texts in waiting.items():
                    self.save_draft(key, as_draft(join_messages(*texts, self.draft(key))))
                return len(unfinished)
        except (StoreBusy, StoreFull, StoreReadOnly):
            return 0

    def switch_branch(self, turn_id: str) -> None:
        """Switch the current branch to this turn and the newest turn below it."""
        newest = "SELECT max(row) FROM turns WHERE parent = ?"
        with self.database.write() as connection:
            turn = turn_row(connection, turn_id)
            leaf = turn["row"]
            while (child := connection.execute(newest, (leaf,)).fetchone()[0]) is not None:
                leaf = child
            connection.execute("UPDATE conversations SET current = ? WHERE row = ?", (leaf, turn["conversation"]))

    def set_turn_flags(self, turn_id: str, *, pinned: bool | None = None, excluded: bool | None = None) -> None:
        """Set or clear the given flags; None leaves a flag unchanged."""
        with self.database.write() as connection:
            connection.execute(
                "UPDATE turns SET pinned = coalesce(?, pinned), excluded = coalesce(?, excluded) WHERE row = ?",
                (pinned, excluded, turn_row(connection, turn_id)["row"]),
            )

    def set_passages(self, turn_id: str, passages: Iterable[Passage]) -> None:
        """Replace the passages stored with this turn's message."""
        with self.database.write() as connection:
            row = turn_row(connection, turn_id)["row"]
            connection.execute("DELETE FROM turn_passages WHERE turn = ?", (row,))
            turns.insert_passages(connection, row, map(turns.storable_passage, passages))

    # Conversations

    def create(
        self, *, title: str = "", system: str = "", model: str = "", sampling: Sampling | None = None, persona: str = ""
    ) -> str:
        """Create a conversation and return its id. A title given here counts as the user's."""
        conversation_id, now = self._new_id(), self._timestamp()
        title = stored_line(title)
        by = "person" if title else "first_line"
        with self.database.write() as connection:
            row = insert(
                connection,
                "conversations",
                id=conversation_id,
                title=title,
                title_by=by,
                created=now,
                updated=now,
                system=sanitise_for_sqlite(system),
                model=sanitise_for_sqlite(model),
                sampling=as_json(sampling),
                persona=sanitise_for_sqlite(persona),
            )
            index.add_title(connection, row, title, by)
            turns.touch(connection, row, now)
        return conversation_id

    def fork(self, turn_id: str) -> str:
        """Copy this turn and its ancestors into a new conversation, and return its id.

        Flags and the conversation's settings are copied, siblings are not. A reply in progress is copied as far as it has been
        saved. A title gets the prefix ``Fork:``.
        """
        with self.database.write() as connection:
            return import_export.fork(connection, turn_row(connection, turn_id), self._new_id, self._now())

    def rename(self, conversation_id: str, title: str, *, by: TitleSource) -> bool:
        """Set the title on one line; returns whether it was accepted.

        Only the user can replace the user's title. An empty title from the user restores that of the first message.
        """
        new = stored_line(title)
        with self.database.write() as connection:
            conversation = conversation_row(connection, conversation_id)
            row = conversation["row"]
            if by != "person" and (conversation["title_by"] == "person" or not new):
                return False
            if not new:
                query = "SELECT user FROM turns WHERE conversation = ? ORDER BY depth, row LIMIT 1"
                first = connection.execute(query, (row,)).fetchone()
                new, by = "" if first is None else first_line(first["user"]), "first_line"
            index.drop_title(connection, row, conversation["title"], conversation["title_by"])
            index.add_title(connection, row, new, by)
            connection.execute("UPDATE conversations SET title = ?, title_by = ? WHERE row = ?", (new, by, row))
        return True

    def pin(self, conversation_id: str, pinned: bool) -> None:  # noqa: FBT001 - the one thing it says
        """Pin the conversation to the top of the list, or unpin it."""
        self._set(conversation_id, "pinned = ?", pinned)

    def archive(self, conversation_id: str, archived: bool) -> None:  # noqa: FBT001 - the one thing it says
        """Move the conversation to the archive, or back to the list."""
        self._set(conversation_id, "archived = ?", archived)

    def set_overrides(
        self, conversation_id: str, *, system: str = "", sampling: Sampling | None = None, persona: str = ""
    ) -> None:
        """Set the system prompt and the persona's name, each empty for none, and the sampling, None for the configured one."""
        values = sanitise_for_sqlite(system), as_json(sampling), sanitise_for_sqlite(persona)
        self._set(conversation_id, "system = ?, sampling = ?, persona = ?", *values)

    def set_recall(self, conversation_id: str, recall: bool | None) -> None:  # noqa: FBT001 (the value)
        """Set whether exchanges are recalled; None means as the settings say."""
        self._set(conversation_id, "recall = ?", recall)

    def trash(self, conversation_id: str) -> None:
        """Move the conversation to the trash. The list and search leave it out."""
        self._set(conversation_id, "trashed = coalesce(trashed, ?)", self._timestamp())

    def restore(self, conversation_id: str) -> None:
        """Move the conversation out of the trash, unchanged."""
        self._set(conversation_id, "trashed = ?", None)

    def _set(self, conversation_id: str, assignment: str, *values: str | int | None) -> None:
        """Make an `assignment` in SQL, whose parameters are `values`."""
        with self.database.write() as connection:
            row = conversation_row(connection, conversation_id)["row"]
            connection.execute(f"UPDATE conversations SET {assignment} WHERE row = ?", (*values, row))

    def tag(self, conversation_id: str, *tags: str) -> None:
        """Add tags: short lower-case lines."""
        with self.database.write() as connection:
            row = conversation_row(connection, conversation_id)["row"]
            values = [(row, name) for name in map(tag_name, tags) if name]
            connection.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", values)

    def untag(self, conversation_id: str, *tags: str) -> None:
        """Remove tags; unknown ones are ignored."""
        with self.database.write() as connection:
            row = conversation_row(connection, conversation_id)["row"]
            values = [(row, tag_name(name)) for name in tags]
            connection.executemany("DELETE FROM tags WHERE conversation = ? AND tag = ?", values)

    def save_draft(self, conversation_id: str, text: str) -> None:
        """Save the draft; an empty text removes it. Drafts are deleted with their conversation."""
        with self.database.write() as connection:
            if conversation_id:
                conversation_row(connection, conversation_id)
            if text:
                values = (conversation_id, sanitise_for_sqlite(text))
                connection.execute("INSERT OR REPLACE INTO drafts VALUES (?, ?)", values)
            else:
                connection.execute("DELETE FROM drafts WHERE conversation_id = ?", (conversation_id,))

    def save_queued(self, key: str, conversation_id: str, text: str) -> None:
        """Save a message that waits, for the draft if this program dies; again, once its conversation has an id."""
        with self.database.write() as connection:
            again = "UPDATE queued_messages SET conversation_id = ? WHERE id = ?"
            if not connection.execute(again, (conversation_id, key)).rowcount:
                values = (key, self.database.writer.name, conversation_id, sanitise_for_sqlite(text))
                connection.execute("INSERT INTO queued_messages (id, writer, conversation_id, text) VALUES (?, ?, ?, ?)", values)

    def drop_queued(self, key: str) -> None:
        """Remove a message that is sent or in the draft."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM queued_messages WHERE id = ?", (key,))

    # Deletion

    def delete(self, conversation_id: str) -> bool:
        """Delete the conversation permanently, in the trash or not, and purge; returns what `purge` returns.

        Takes seconds in a large store: call it from a thread, on a `new_connection()`. The caller deletes its snapshots.
        """
        with self.database.write() as connection, attached_files_deleted(connection):
            trash.delete(connection, conversation_row(connection, conversation_id))
        return self.purge()

    def empty_trash(self, older_than: timedelta | None = None, *, forget: Callable[[list[str]], object] = tuple) -> list[str]:
        """Delete permanently what is in the trash, or what has been there for longer than `older_than`; returns the ids.

        `forget` is given the ids first, and deletes what is kept of them outside the database: a program that is killed in
        between leaves nothing of a deleted conversation.

        What `delete` documents applies here too; `purge` says whether a trace is left.
        """
        before = None if older_than is None else to_timestamp(self._now() - older_than)
        with self.database.write() as connection, attached_files_deleted(connection):
            query = "SELECT * FROM conversations WHERE trashed IS NOT NULL AND (?1 IS NULL OR trashed < ?1)"
            conversations = connection.execute(query, (before,)).fetchall()
            deleted = [str(row["id"]) for row in conversations]
            forget(deleted)
            for conversation in conversations:
                trash.delete(connection, conversation)
        if deleted:
            self.purge()
        return deleted

    def purge(self) -> bool:
        """Remove deleted text from the files if a purge is pending; returns whether no trace is left.

        False if another connection kept reading or writing for too long, or the disk is full; the next call, in this run or a
        later one, completes it.
        """
        return trash.purge(self.database)

    # Import, export, backup

    def export_conversation(self, conversation_id: str) -> ExportedConversation:
        """The conversation with every branch. A reply in progress is exported as far as it has been saved."""
        with self.database.read() as connection:
            return import_export.read(connection, conversation_row(connection, conversation_id)["row"])

    def export_conversations(self, *folders: Folder) -> Iterator[ExportedConversation]:
        """Every conversation in `folders` (none given: all but the trash), oldest first, one at a time in memory.

        What another instance adds meanwhile may be missing; each conversation is consistent in itself.
        """
        condition = " OR ".join(FOLDERS[folder] for folder in folders or ("active", "archived"))
        with self.database.read() as connection:
            rows = connection.execute(f"SELECT row, id FROM conversations WHERE {condition} ORDER BY row").fetchall()
        for row in rows:
            with contextlib.suppress(ConversationNotFound):  # deleted meanwhile
                yield self.export_conversation(row["id"])

    def import_conversations(self, conversations: Iterable[ExportedConversation], *, dry_run: bool = False) -> ImportResult:
        """Import conversations, each completely or not at all; with `dry_run`, only report what would be imported.

        A conversation that the store has unchanged is skipped. A changed one is added as a copy, once. Ids are kept if they are
        free. Other windows can write in between.
        """
        if not dry_run:
            return import_export.add_all(self.database, conversations, self._new_id)
        result = ImportResult()
        with self.database.read() as connection:
            for each in conversations:
                import_export.add(connection, each, result, self._new_id, dry_run=True)
        return result

    def backup(self, target: Path, *, replace: bool = False) -> None:
        """Copy the database to `target`, readable by the owner only, complete or not at all.

        It contains no deleted text, unless a purge is pending. `RESTORE` says how to restore it.

        Raises:
            StoreError: `target` exists and `replace` is not set, or it cannot be written.
        """
        with contextlib.suppress(StoreDamaged):
            self.purge()
        backup.backup(self.database, target, replace=replace)

    def _timestamp(self) -> str:
        return to_timestamp(self._now())
