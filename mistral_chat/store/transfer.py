"""Whole conversations out of the store and into it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn
from mistral_chat.store import index
from mistral_chat.store.base import StorePart
from mistral_chat.store.rows import (
    SUMMARY,
    from_timestamp,
    sampling_text,
    stored_conversation,
    to_timestamp,
    turn_value,
    usage_text,
)
from mistral_chat.store.text import first_line, one_line, sanitise_for_sqlite, tag_name

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from mistral_chat.store.records import Folder

_USABLE_ID: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(slots=True)
class ImportResult:
    """What an import did, or what it would do."""

    conversations: list[str] = field(default_factory=list)
    """The ids of the conversations that were added."""
    turns: int = 0
    """How many turns they have."""
    already_here: list[str] = field(default_factory=list)
    """The ids of those that were left alone, because the store has them as they are in the file."""


class Transfer(StorePart):
    """Export and import as values; files and formats are not known here."""

    def export_conversation(self, conversation_id: str) -> ExportedConversation:
        """The conversation with every branch, as a value. A reply that is being written is taken as far as it has come.

        Raises:
            ConversationNotFound: there is no such conversation.
        """
        with self.database.read() as connection:
            return _tree(connection, self._conversation(connection, conversation_id)["row"])

    def export_conversations(self, *folders: Folder) -> Iterator[ExportedConversation]:
        """Every conversation in these folders (none given: all but the trash), oldest first, one at a time in memory.

        What another instance adds meanwhile may be missing; each conversation is consistent in itself.
        """
        conditions = {
            "active": "trashed IS NULL AND archived = 0",
            "archived": "trashed IS NULL AND archived = 1",
            "trash": "trashed IS NOT NULL",
        }
        wanted = " OR ".join(conditions[folder] for folder in folders or ("active", "archived"))
        with self.database.read() as connection:
            rows = [row["row"] for row in connection.execute(f"SELECT row FROM conversations WHERE {wanted} ORDER BY row")]
        for row in rows:
            with self.database.read() as connection:
                if connection.execute("SELECT 1 FROM conversations WHERE row = ?", (row,)).fetchone() is not None:
                    tree = _tree(connection, row)
                else:
                    continue
            yield tree

    def import_conversations(self, trees: Iterable[ExportedConversation], *, dry_run: bool = False) -> ImportResult:
        """Add conversations, all of them or, when anything fails, none; with `dry_run` only say what would be added.

        A conversation that the store has already, as it is in the file, is left alone. One that it has in another state is
        added beside it, once. Ids are kept where they are free.

        Raises:
            StoreBusy: another instance wrote for longer than the busy timeout.
        """
        imported = ImportResult()
        with self.database.read() if dry_run else self.database.write() as connection:
            for tree in trees:
                self._add(connection, _storable(tree), imported, dry_run=dry_run)
        return imported

    def _add(self, connection: sqlite3.Connection, tree: ExportedConversation, imported: ImportResult, *, dry_run: bool) -> None:
        conversation_id = tree.key
        there = connection.execute("SELECT row FROM conversations WHERE id = ?", (conversation_id,)).fetchone()
        if there is not None and _tree(connection, there["row"]) != tree:
            conversation_id = _usable_id(repr(tree))
            there = connection.execute("SELECT row FROM conversations WHERE id = ?", (conversation_id,)).fetchone()
        if there is not None:
            imported.already_here.append(conversation_id)
            return
        imported.conversations.append(conversation_id)
        imported.turns += len(tree.turns)
        if not dry_run:
            self._insert(connection, conversation_id, tree)

    def _insert(self, connection: sqlite3.Connection, conversation_id: str, tree: ExportedConversation) -> None:
        conversation = connection.execute(
            "INSERT INTO conversations (id, title, title_by, created, updated, system, model, sampling, persona, pinned, "
            "archived) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                conversation_id,
                tree.title,
                tree.title_by,
                to_timestamp(tree.created),
                to_timestamp(tree.updated),
                tree.system,
                tree.model,
                sampling_text(tree.sampling),
                tree.persona,
                tree.pinned,
                tree.archived,
            ),
        ).lastrowid
        assert conversation is not None  # noqa: S101 - an INSERT has a row
        index.add_title(connection, conversation, tree.title, tree.title_by)
        connection.executemany("INSERT INTO tags VALUES (?, ?)", [(conversation, tag) for tag in tree.tags])
        places: dict[str, tuple[int, int]] = {}
        taken = any(connection.execute("SELECT 1 FROM turns WHERE id = ?", (each.key,)).fetchone() for each in tree.turns)
        for each in tree.turns:
            turn_id = self._new_id() if taken else each.key
            above = places[each.parent] if each.parent is not None else (None, 0)
            places[each.key] = (_insert_turn(connection, conversation, turn_id, above, each), above[1] + 1)
        if tree.current is not None:
            connection.execute("UPDATE conversations SET current = ? WHERE row = ?", (places[tree.current][0], conversation))


def _insert_turn(
    connection: sqlite3.Connection, conversation: int, turn_id: str, above: tuple[int | None, int], each: TreeTurn
) -> int:
    """Add a turn whose reply has ended below the row and depth in `above`, and return its row."""
    turn = each.turn
    parent, depth = above
    row = connection.execute(
        "INSERT INTO turns (id, conversation, parent, depth, created, user, reply, finish_reason, error, model, usage, pinned, "
        "excluded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            turn_id,
            conversation,
            parent,
            depth + 1,
            to_timestamp(each.created),
            turn.user,
            turn.reply,
            turn.finish_reason,
            turn.error,
            turn.model,
            usage_text(turn.usage),
            turn.pinned,
            turn.excluded,
        ),
    ).lastrowid
    assert row is not None  # noqa: S101 - an INSERT has a row
    index.add_turn(connection, row, turn.user, turn.reply)
    return row


def _tree(connection: sqlite3.Connection, row: int) -> ExportedConversation:
    conversation = stored_conversation(connection.execute(f"{SUMMARY} WHERE row = ?", (row,)).fetchone())
    turns = connection.execute(
        "SELECT turns.*, parents.id AS parent_id FROM turns LEFT JOIN turns AS parents ON parents.row = turns.parent "
        "WHERE turns.conversation = ? ORDER BY turns.row",
        (row,),
    )
    current = connection.execute(
        "SELECT turns.id FROM conversations JOIN turns ON turns.row = conversations.current WHERE conversations.row = ?", (row,)
    ).fetchone()
    summary = conversation.summary
    return ExportedConversation(
        key=summary.conversation_id,
        title=summary.title,
        title_by=conversation.title_by,
        created=summary.created,
        updated=summary.updated,
        system=conversation.system,
        model=summary.model,
        sampling=conversation.sampling,
        persona=conversation.persona,
        pinned=summary.pinned,
        archived=summary.archived,
        tags=summary.tags,
        turns=tuple(
            TreeTurn(key=turn["id"], parent=turn["parent_id"], created=from_timestamp(turn["created"]), turn=turn_value(turn))
            for turn in turns
        ),
        current=None if current is None else current["id"],
    )


def _storable(tree: ExportedConversation) -> ExportedConversation:
    """The tree as the store would give it back: usable ids, texts that can be kept, a title on one line, tags in order."""
    title = one_line(tree.title)
    by = tree.title_by
    if not title:
        title, by = next((first_line(each.turn.user) for each in tree.turns), ""), "first_line"
    return replace(
        tree,
        key=_usable_id(tree.key),
        current=None if tree.current is None else _usable_id(tree.current),
        title=title,
        title_by=by,
        system=sanitise_for_sqlite(tree.system),
        model=sanitise_for_sqlite(tree.model),
        persona=sanitise_for_sqlite(tree.persona),
        tags=tuple(sorted({name for name in map(tag_name, tree.tags) if name})),
        turns=tuple(
            replace(
                each,
                key=_usable_id(each.key),
                parent=None if each.parent is None else _usable_id(each.parent),
                turn=replace(
                    each.turn,
                    user=sanitise_for_sqlite(each.turn.user),
                    reply=sanitise_for_sqlite(each.turn.reply),
                    error=sanitise_for_sqlite(each.turn.error),
                    model=sanitise_for_sqlite(each.turn.model),
                ),
            )
            for each in tree.turns
        ),
    )


def _usable_id(key: str) -> str:
    """The key itself where it looks like an id of ours; else one made from it, always the same."""
    return key if _USABLE_ID.fullmatch(key) else hashlib.sha256(key.encode(errors="replace")).hexdigest()[:16]
