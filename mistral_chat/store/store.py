"""The store of conversations: the interface that the rest of the program uses."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from mistral_chat.errors import StoreBusy, StoreFull, StoreReadOnly
from mistral_chat.store import backup, import_export, metadata, queries, trash, turns
from mistral_chat.store.documents import DocumentStore, attached_files_deleted
from mistral_chat.store.import_export import ImportResult
from mistral_chat.store.rows import sampling_text, to_timestamp
from mistral_chat.store.search import search
from mistral_chat.store.text import sanitise_for_sqlite
from mistral_chat.store.turns import NewTurn
from mistral_chat.store.writer_lock import active_writers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime, timedelta
    from pathlib import Path

    from mistral_chat.conversation import FinishReason, Passage, Usage
    from mistral_chat.export.exported_conversation import ExportedConversation
    from mistral_chat.generation import Sampling
    from mistral_chat.store.database import Database
    from mistral_chat.store.records import (
        ConversationState,
        ConversationSummary,
        Folder,
        SearchHit,
        StoredConversation,
        StoredTurn,
        TitleSource,
    )


def random_id() -> str:
    """A new id: 16 random hexadecimal digits, so that a short prefix identifies one of thousands of conversations."""
    return secrets.token_hex(8)


class ConversationStore:
    """All conversations of one database. A call returns once its change is committed.

    Calls that name a conversation or a turn raise `ConversationNotFound` if it does not exist. Every call can raise what
    `map_sqlite_errors` raises.
    """

    def __init__(self, database: Database, *, now: Callable[[], datetime], new_id: Callable[[], str] = random_id) -> None:
        """Use `database`; `now` returns times with a zone, `new_id` ids that were never returned before."""
        self.database = database
        self.documents = DocumentStore(database, now=now, new_id=new_id)
        self._now = now
        self._new_id = new_id

    def new_connection(self, *, busy_seconds: float | None = None) -> ConversationStore:
        """Open the same store on another connection, for another thread. A store in memory has only one, which is returned.

        `busy_seconds` is how long its calls wait for another writer; None keeps this connection's value.
        """
        database = self.database.new_connection(busy_seconds=busy_seconds)
        return ConversationStore(database, now=self._now, new_id=self._new_id)

    def close(self) -> None:
        """Close the connection. No other call may follow."""
        self.database.close()

    def data_version(self) -> int:
        """A number that changes when another connection, in this program or another, has written."""
        return self.database.data_version()

    def integrity_check(self) -> None:
        """Check the whole file for damage; takes about a second per gigabyte. Raises what `Database.integrity_check` does."""
        self.database.integrity_check()

    # Queries

    def conversation(self, conversation_id: str) -> StoredConversation:
        """A conversation without its turns."""
        with self.database.read() as connection:
            return queries.conversation(connection, conversation_id)

    def state(self, conversation_id: str) -> ConversationState | None:
        """Values to compare when `data_version` has changed, to detect changes by other programs; None if deleted."""
        with self.database.read() as connection:
            return queries.state(connection, conversation_id)

    def resolve(self, prefix: str) -> str:
        """The id of the only conversation, in the trash or not, that starts with `prefix`.

        Raises:
            ConversationNotFound: no id starts with it, or several do.
        """
        with self.database.read() as connection:
            return queries.resolve(connection, prefix)

    def summaries(
        self, *, where: Folder = "active", contains: str = "", tag: str = "", limit: int = 200, offset: int = 0
    ) -> list[ConversationSummary]:
        """A page of the list: pinned ones first, then by last use; the trash by when they were moved there, latest first.

        `contains` keeps titles that contain it, ignoring case and accents; `tag` keeps conversations with that tag. A `limit`
        of -1 means all.
        """
        with self.database.read() as connection:
            return queries.summaries(connection, where=where, contains=contains, tag=tag, limit=limit, offset=offset)

    def latest(self) -> str | None:
        """The id of the conversation that was used last, outside the archive and the trash; None without one."""
        with self.database.read() as connection:
            return queries.latest(connection)

    def turns(self, conversation_id: str) -> list[StoredTurn]:
        """The turns of the current path, oldest first."""
        with self.database.read() as connection:
            return queries.turns(connection, conversation_id)

    def turns_page(self, conversation_id: str, *, before: str | None = None, limit: int = 50) -> list[StoredTurn]:
        """The last `limit` turns of the current path, oldest first; with `before`, those just before that turn."""
        with self.database.read() as connection:
            return queries.turns_page(connection, conversation_id, before=before, limit=limit)

    def pinned(self, conversation_id: str) -> list[StoredTurn]:
        """The turns of the current path that never leave the context, oldest first."""
        with self.database.read() as connection:
            return queries.pinned_turns(connection, conversation_id)

    def tree(self, conversation_id: str) -> list[StoredTurn]:
        """Every turn of the conversation, parents before children and siblings in order of creation."""
        with self.database.read() as connection:
            return queries.tree(connection, conversation_id)

    def turn(self, turn_id: str) -> StoredTurn:
        """One turn."""
        with self.database.read() as connection:
            return queries.turn(connection, turn_id)

    def siblings(self, turn_id: str) -> list[str]:
        """The ids of this turn and its siblings, oldest first."""
        with self.database.read() as connection:
            return queries.siblings(connection, turn_id)

    def input_history(self, limit: int = 100) -> list[str]:
        """The user's most recent messages outside the trash, newest first, each text once."""
        with self.database.read() as connection:
            return queries.input_history(connection, limit)

    def search(self, query: str, *, limit: int = 50) -> list[SearchHit]:
        """The best `limit` matches for `query`, best first; `search.py` documents the syntax."""
        with self.database.read() as connection:
            return search(connection, query, limit=limit)

    # Turns

    def add_turn(self, conversation_id: str, user: str, *, parent_id: str | None, model: str = "") -> str:
        """Store a message under the turn `parent_id` (None: at the top), and return the new turn's id.

        Its reply counts as being written by this connection, and the current branch ends with it.
        """
        with self.database.write() as connection:
            new = self._new_turn(model)
            turns.add_turn(connection, new, conversation_id, user, parent_id)
            return new.turn_id

    def add_sibling(self, turn_id: str, *, model: str = "") -> str:
        """Add a sibling of this turn with the same message and without a reply, make it current, and return its id."""
        with self.database.write() as connection:
            new = self._new_turn(model)
            turns.add_sibling(connection, new, turn_id)
            return new.turn_id

    def _new_turn(self, model: str) -> NewTurn:
        return NewTurn(turn_id=self._new_id(), now=self._timestamp(), model=model, writer=self.database.writer.name)

    def write_reply(self, turn_id: str, text: str) -> None:
        """Store the whole reply so far; about once a second is enough. A finished reply is continued this way."""
        with self.database.write() as connection:
            turns.write_reply(connection, turn_id, text, self.database.writer.name)

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
            turns.finish_reply(
                connection,
                turn_id,
                text,
                self._timestamp(),
                finish_reason=finish_reason,
                usage=usage,
                model=model,
                error=error,
            )

    def recover(self) -> int:
        """End the replies of writers that died as ``"cancelled"``, keeping their text, and return their number.

        Replies that a running program is writing, including this one, are left alone. So is everything while the database
        cannot be written: reading must not fail for that.
        """
        with self.database.read() as connection:
            names = turns.writers(connection)
        dead = [name for name in names if not self.database.writer.alive(name)]
        if self.database.path is not None:
            active_writers(self.database.path)  # removes the lock files of dead writers without an unfinished reply
        if not dead:
            return 0
        try:
            with self.database.write() as connection:
                return turns.recover(connection, dead)
        except (StoreBusy, StoreFull, StoreReadOnly):
            return 0

    def switch_branch(self, turn_id: str) -> None:
        """Switch the current branch to this turn and the newest turn below it."""
        with self.database.write() as connection:
            turns.switch_branch(connection, turn_id)

    def set_turn_flags(self, turn_id: str, *, pinned: bool | None = None, excluded: bool | None = None) -> None:
        """Set or clear the given flags; None leaves a flag unchanged."""
        with self.database.write() as connection:
            turns.set_flags(connection, turn_id, pinned=pinned, excluded=excluded)

    def set_passages(self, turn_id: str, passages: Iterable[Passage]) -> None:
        """Replace the passages stored with this turn's message."""
        with self.database.write() as connection:
            turns.set_passages(connection, turn_id, passages)

    # Conversations

    def create(
        self, *, title: str = "", system: str = "", model: str = "", sampling: Sampling | None = None, persona: str = ""
    ) -> str:
        """Create a conversation and return its id. A title given here counts as the user's."""
        conversation_id, now = self._new_id(), self._timestamp()
        with self.database.write() as connection:
            metadata.create(
                connection,
                conversation_id,
                now,
                title=title,
                system=system,
                model=model,
                sampling=sampling,
                persona=persona,
            )
        return conversation_id

    def fork(self, turn_id: str) -> str:
        """Copy this turn and its ancestors into a new conversation, and return its id.

        Flags and the conversation's settings are copied, siblings are not. A reply in progress is copied as far as it has been
        saved. A title gets the prefix ``Fork:``.
        """
        with self.database.write() as connection:
            return metadata.fork(connection, turn_id, self._new_id, self._timestamp())

    def rename(self, conversation_id: str, title: str, *, by: TitleSource) -> bool:
        """Set the title on one line; returns whether it was accepted.

        Only the user can replace the user's title. An empty title from the user restores that of the first message.
        """
        with self.database.write() as connection:
            return metadata.rename(connection, conversation_id, title, by=by)

    def pin(self, conversation_id: str, pinned: bool) -> None:  # noqa: FBT001 - the one thing it says
        """Pin the conversation to the top of the list, or unpin it."""
        self._set(conversation_id, "pinned", int(pinned))

    def archive(self, conversation_id: str, archived: bool) -> None:  # noqa: FBT001 - the one thing it says
        """Move the conversation to the archive, or back to the list."""
        self._set(conversation_id, "archived", int(archived))

    def set_system(self, conversation_id: str, system: str) -> None:
        """Set the system prompt; empty for none."""
        self._set(conversation_id, "system", sanitise_for_sqlite(system))

    def set_sampling(self, conversation_id: str, sampling: Sampling | None) -> None:
        """Set the sampling; None for the configured one."""
        self._set(conversation_id, "sampling", sampling_text(sampling))

    def set_persona(self, conversation_id: str, persona: str) -> None:
        """Set the persona's name; empty for none."""
        self._set(conversation_id, "persona", sanitise_for_sqlite(persona))

    def set_recall(self, conversation_id: str, recall: bool | None) -> None:  # noqa: FBT001 (the value)
        """Set whether exchanges are recalled; None means as the settings say."""
        self._set(conversation_id, "recall", recall)

    def _set(self, conversation_id: str, column: str, value: str | int | None) -> None:
        with self.database.write() as connection:
            metadata.set_column(connection, conversation_id, column, value)

    def tag(self, conversation_id: str, *tags: str) -> None:
        """Add tags: short lower-case lines."""
        with self.database.write() as connection:
            metadata.add_tags(connection, conversation_id, *tags)

    def untag(self, conversation_id: str, *tags: str) -> None:
        """Remove tags; unknown ones are ignored."""
        with self.database.write() as connection:
            metadata.remove_tags(connection, conversation_id, *tags)

    def tags(self) -> dict[str, int]:
        """Every tag in use, sorted, with the number of conversations outside the trash that have it."""
        with self.database.read() as connection:
            return queries.tags(connection)

    def draft(self, conversation_id: str) -> str:
        """The saved draft; ``""`` is the draft of a new conversation. Empty if there is none."""
        with self.database.read() as connection:
            return queries.draft(connection, conversation_id)

    def save_draft(self, conversation_id: str, text: str) -> None:
        """Save the draft; an empty text removes it. Drafts are deleted with their conversation."""
        with self.database.write() as connection:
            metadata.save_draft(connection, conversation_id, text)

    # Trash

    def trash(self, conversation_id: str) -> None:
        """Move the conversation to the trash. The list and search leave it out."""
        with self.database.write() as connection:
            trash.trash(connection, conversation_id, self._timestamp())

    def restore(self, conversation_id: str) -> None:
        """Move the conversation out of the trash, unchanged."""
        with self.database.write() as connection:
            trash.restore(connection, conversation_id)

    def delete(self, conversation_id: str) -> bool:
        """Delete the conversation permanently, in the trash or not, and purge; returns what `purge` returns.

        Takes seconds in a large store: call it from a thread, on a `new_connection()`. The caller deletes its snapshots.
        """
        with self.database.write() as connection, attached_files_deleted(connection):
            trash.delete(connection, queries.conversation_row(connection, conversation_id))
        return self.purge()

    def empty_trash(self, older_than: timedelta | None = None, *, forget: Callable[[list[str]], object] = tuple) -> list[str]:
        """Delete permanently what is in the trash, or what has been there for longer than `older_than`; returns the ids.

        `forget` is given the ids first, and deletes what is kept of them outside the database: a program that is killed in
        between leaves nothing of a deleted conversation.

        What `delete` documents applies here too; `purge_pending` says whether a trace is left.
        """
        before = None if older_than is None else to_timestamp(self._now() - older_than)
        with self.database.write() as connection, attached_files_deleted(connection):
            deleted = trash.delete_trashed(connection, before, forget)
        if deleted:
            self.purge()
        return deleted

    def purge_pending(self) -> bool:
        """Whether deleted text may still be in the files."""
        with self.database.read() as connection:
            return trash.purge_pending(connection)

    def purge(self) -> bool:
        """Remove deleted text from the files if a purge is pending; returns whether no trace is left.

        False if another connection kept reading for too long; the next call, in this run or a later one, completes it.
        """
        return trash.purge(self.database)

    # Import, export, backup

    def export_conversation(self, conversation_id: str) -> ExportedConversation:
        """The conversation with every branch. A reply in progress is exported as far as it has been saved."""
        with self.database.read() as connection:
            return import_export.read(connection, queries.conversation_row(connection, conversation_id)["row"])

    def export_conversations(self, *folders: Folder) -> Iterator[ExportedConversation]:
        """Every conversation in `folders` (none given: all but the trash), oldest first, one at a time in memory.

        What another instance adds meanwhile may be missing; each conversation is consistent in itself.
        """
        with self.database.read() as connection:
            rows = queries.rows_in(connection, folders or ("active", "archived"))
        for row in rows:
            with self.database.read() as connection:
                if connection.execute("SELECT 1 FROM conversations WHERE row = ?", (row,)).fetchone() is None:
                    continue
                exported = import_export.read(connection, row)
            yield exported

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

        It contains no deleted text. To restore it, replace the database with it while mistral-chat is not running.

        Raises:
            StoreError: `target` exists and `replace` is not set, or it cannot be written.
        """
        backup.backup(self.database, target, replace=replace)

    def _timestamp(self) -> str:
        return to_timestamp(self._now())
