"""Imports, exports and forks whole conversations as values; independent of files and formats."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from mistral_chat.errors import StoreError
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn
from mistral_chat.store import index, turns
from mistral_chat.store.documents import attached_names
from mistral_chat.store.rows import (
    PASSAGES,
    SUMMARY,
    as_json,
    from_timestamp,
    insert,
    stored_conversation,
    to_timestamp,
    turn_value,
)
from mistral_chat.store.text import first_line, sanitise_for_sqlite, stored_line, tag_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from sqlite3 import Connection, Row

    from mistral_chat.conversation import Passage
    from mistral_chat.store.database import Database

_USABLE_ID: Final = re.compile(r"[0-9a-f]{16}")

_BATCH_SECONDS: Final = 0.1
"""Maximum seconds of one transaction of an import."""

_PAUSE_SECONDS: Final = 0.03
"""Between two transactions of an import, so that another window gets the lock: SQLite asks for it every 0.1 s at most."""


@dataclass(slots=True)
class ImportResult:
    """What an import added, or would add."""

    conversations: list[str] = field(default_factory=list)
    """The ids of the conversations that were added."""
    turns: int = 0
    """The number of their turns."""
    already_here: list[str] = field(default_factory=list)
    """The ids of conversations that were skipped because the store has them unchanged."""
    missing_collections: set[str] = field(default_factory=set)
    """The names of collections attached to them that the store does not have."""
    planned: dict[str, ExportedConversation] = field(default_factory=dict)
    """The conversations that a dry run would have added, by id."""


def add_all(database: Database, trees: Iterable[ExportedConversation], new_id: Callable[[], str]) -> ImportResult:
    """Add conversations in short transactions, between which other windows can write. Each is added whole or not at all.

    Raises:
        StoreError: it says how many were added before.
    """
    result = ImportResult()
    waiting = iter(trees)
    tree = next(waiting, None)
    while tree is not None:
        count = len(result.conversations)
        try:
            with database.write() as connection:
                until = time.monotonic() + _BATCH_SECONDS
                while tree is not None:
                    add(connection, tree, result, new_id, dry_run=False)
                    tree = next(waiting, None)
                    if time.monotonic() >= until:
                        break
        except StoreError as error:
            if not count:
                raise
            raise type(error)(f"{error} {count:,} conversations were imported; import again to add the rest.") from error
        if tree is not None:
            time.sleep(_PAUSE_SECONDS)
    return result


def add(
    connection: Connection, tree: ExportedConversation, result: ImportResult, new_id: Callable[[], str], *, dry_run: bool
) -> None:
    """Add a conversation and record it in `result`; with `dry_run`, only record it.

    An unchanged conversation in the store is skipped. A changed one is added as a copy, once. Drafts and recall are
    ignored in the comparison, and collections that the store does not have are left out.
    """
    tree = _with_collections_of(connection, _normalised(tree), result)
    conversation_id = tree.key
    existing = _existing(connection, conversation_id, result)
    if existing is not None and _without_ids(existing) != _without_ids(tree):
        conversation_id = _usable_id(repr(replace(tree, draft="", recall=None)))
        existing = _existing(connection, conversation_id, result)
    if existing is not None:
        result.already_here.append(conversation_id)
        return
    result.conversations.append(conversation_id)
    result.turns += len(tree.turns)
    if dry_run:
        result.planned[conversation_id] = tree
    else:
        _insert(connection, conversation_id, tree, new_id)


def _existing(connection: Connection, conversation_id: str, result: ImportResult) -> ExportedConversation | None:
    row = connection.execute("SELECT row FROM conversations WHERE id = ?", (conversation_id,)).fetchone()
    return result.planned.get(conversation_id) if row is None else _normalised(read(connection, row["row"]))


def _with_collections_of(connection: Connection, tree: ExportedConversation, result: ImportResult) -> ExportedConversation:
    """`tree` with those of its collections that the store has; the others are noted in `result`."""
    found = [
        name for name in tree.collections if connection.execute("SELECT 1 FROM collections WHERE name = ?", (name,)).fetchone()
    ]
    result.missing_collections.update(set(tree.collections) - set(found))
    return replace(tree, collections=tuple(found))


def _without_ids(tree: ExportedConversation) -> ExportedConversation:
    """`tree` without draft and recall, and with numbered turns, which get new ids if another conversation has theirs."""
    numbered = _with_turn_ids(tree, {turn.key: str(number) for number, turn in enumerate(tree.turns)})
    return replace(numbered, draft="", recall=None)


def _with_turn_ids(tree: ExportedConversation, ids: Mapping[str, str]) -> ExportedConversation:
    """`tree` with new `ids` of its turns, also in the passages that are earlier exchanges."""

    def renamed(passage: Passage) -> Passage:
        return replace(passage, key=ids.get(passage.key, passage.key)) if passage.kind == "exchange" else passage

    return replace(
        tree,
        current=None if tree.current is None else ids[tree.current],
        turns=tuple(
            replace(
                each,
                key=ids[each.key],
                parent=None if each.parent is None else ids[each.parent],
                turn=replace(each.turn, passages=tuple(map(renamed, each.turn.passages))),
            )
            for each in tree.turns
        ),
    )


def fork(connection: Connection, turn: Row, new_id: Callable[[], str], now: datetime) -> str:
    """Copy the row `turn` and its ancestors into a new conversation, and return its id."""
    whole = replace(read(connection, turn["conversation"]), created=now, updated=now, current=turn["id"])
    query = "SELECT id FROM turns WHERE conversation = ? AND writer IS NOT NULL"
    writing = {key for (key,) in connection.execute(query, (turn["conversation"],))}
    path = tuple(
        replace(each, turn=replace(each.turn, finish_reason="cancelled")) if each.key in writing else each for each in whole.path
    )
    title = whole.title if not whole.title or whole.title.startswith("Fork: ") else stored_line(f"Fork: {whole.title}")
    copy = replace(whole, title=title, pinned=False, archived=False, tags=(), draft="", turns=path)
    conversation_id = new_id()
    turns.touch(connection, _insert(connection, conversation_id, copy, new_id), to_timestamp(now))
    return conversation_id


def _insert(connection: Connection, conversation_id: str, tree: ExportedConversation, new_id: Callable[[], str]) -> int:
    """Insert a conversation, whose turns get new ids if one of theirs is taken, and return its row."""
    if any(connection.execute("SELECT 1 FROM turns WHERE id = ?", (turn.key,)).fetchone() for turn in tree.turns):
        tree = _with_turn_ids(tree, {turn.key: new_id() for turn in tree.turns})
    row = insert(
        connection,
        "conversations",
        id=conversation_id,
        title=tree.title,
        title_by=tree.title_by,
        created=to_timestamp(tree.created),
        updated=to_timestamp(tree.updated),
        system=tree.system,
        model=tree.model,
        sampling=as_json(tree.sampling),
        persona=tree.persona,
        recall=tree.recall,
        pinned=tree.pinned,
        archived=tree.archived,
    )
    index.add_title(connection, row, tree.title, tree.title_by)
    connection.executemany("INSERT INTO tags VALUES (?, ?)", [(row, tag) for tag in tree.tags])
    connection.executemany(
        "INSERT INTO conversation_collections SELECT ?, row FROM collections WHERE name = ?",
        [(row, name) for name in tree.collections],
    )
    if tree.draft:
        connection.execute("INSERT OR REPLACE INTO drafts VALUES (?, ?)", (conversation_id, tree.draft))
    places: dict[str | None, tuple[int | None, int]] = {None: (None, 0)}  # row and depth
    for turn in tree.turns:
        parent, depth = places[turn.parent]
        places[turn.key] = _insert_turn(connection, row, parent, depth + 1, turn), depth + 1
    connection.execute("UPDATE conversations SET current = ? WHERE row = ?", (places[tree.current][0], row))
    return row


def _insert_turn(connection: Connection, conversation: int, parent: int | None, depth: int, tree_turn: TreeTurn) -> int:
    """Insert a finished turn below the row `parent`, and return its row."""
    turn = tree_turn.turn
    row = insert(
        connection,
        "turns",
        id=tree_turn.key,
        conversation=conversation,
        parent=parent,
        depth=depth,
        created=to_timestamp(tree_turn.created),
        user=turn.user,
        reply=turn.reply,
        finish_reason=turn.finish_reason,
        error=turn.error,
        model=turn.model,
        usage=as_json(turn.usage),
        pinned=turn.pinned,
        excluded=turn.excluded,
    )
    index.add_turn(connection, row, turn.user, turn.reply)
    turns.insert_passages(connection, row, turn.passages)
    return row


def read(connection: Connection, row: int) -> ExportedConversation:
    """Read a conversation with every branch. A reply in progress is read as far as it has been saved."""
    conversation = stored_conversation(connection.execute(f"{SUMMARY} WHERE row = ?", (row,)).fetchone())
    rows = connection.execute(
        f"SELECT turns.*, {PASSAGES} AS passages, parents.id AS parent_id FROM turns "
        "LEFT JOIN turns AS parents ON parents.row = turns.parent WHERE turns.conversation = ? ORDER BY turns.row",
        (row,),
    )
    current = connection.execute(
        "SELECT turns.id FROM conversations JOIN turns ON turns.row = conversations.current WHERE conversations.row = ?", (row,)
    ).fetchone()
    summary = conversation.summary
    draft = connection.execute("SELECT text FROM drafts WHERE conversation_id = ?", (summary.conversation_id,)).fetchone()
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
        recall=conversation.recall,
        pinned=summary.pinned,
        archived=summary.archived,
        tags=summary.tags,
        collections=tuple(attached_names(connection, row)),
        draft="" if draft is None else draft["text"],
        turns=tuple(
            TreeTurn(key=turn["id"], parent=turn["parent_id"], created=from_timestamp(turn["created"]), turn=turn_value(turn))
            for turn in rows
        ),
        current=None if current is None else current["id"],
    )


def _normalised(tree: ExportedConversation) -> ExportedConversation:
    """`tree` as the store would return it: valid ids, storable texts, a one-line title, sorted tags."""
    title = stored_line(tree.title)
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
        collections=tuple(sorted(set(map(sanitise_for_sqlite, tree.collections)))),
        draft=sanitise_for_sqlite(tree.draft),
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
                    passages=tuple(map(turns.storable_passage, each.turn.passages)),
                ),
            )
            for each in tree.turns
        ),
    )


def _usable_id(key: str) -> str:
    """`key` if it has the form of an id, otherwise an id derived from it."""
    return key if _USABLE_ID.fullmatch(key) else hashlib.sha256(key.encode(errors="replace")).hexdigest()[:16]
