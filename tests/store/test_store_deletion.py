"""After a deletion, no file that the program wrote contains a byte of the text, while the program keeps running."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from support.stores import Clock, assert_index_is_true, chat, index_entries, open_store, said
from support.trust import environment

from mistral_chat.conversation import Passage
from mistral_chat.errors import ConversationNotFound
from mistral_chat.store import trash
from mistral_chat.store.database import Database, open_database
from mistral_chat.store.queries import conversation_row
from mistral_chat.store.retrieval import add_turn_vectors
from mistral_chat.store.store import ConversationStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRETS = ["quetzalcoatl", "xylographie", "wombatique", "Nachtigallenzwiebel", "zirkonium", "vermillon", "玻璃心", "obsidienne"]
"""Words of the doomed conversation: user, reply, title, draft, tag, system prompt, one without spaces, and a passage."""


def rebuild(store: ConversationStore) -> str:
    """50 conversations, one of them full of secrets in every place that holds text; its id."""
    doomed = ""
    for place in range(50):
        if place == 20:
            doomed, turns = chat(
                store,
                (f"about {SECRETS[0]} and {SECRETS[6]}", f"well, {SECRETS[1]} " * 300),
                ("more", "short"),
                title=f"The {SECRETS[2]}",
            )
            said(store, doomed, f"branch {SECRETS[0]}", SECRETS[1], turns[0])
            store.write_reply(turns[1], f"grown {SECRETS[1]}")
            store.save_draft(doomed, f"draft {SECRETS[3]}")
            store.save_queued("waiting", doomed, f"queued {SECRETS[3]}")
            store.tag(doomed, SECRETS[4])
            store.set_overrides(doomed, system=f"You love {SECRETS[5]}")
            store.set_passages(turns[1], [Passage(kind="exchange", text=SECRETS[7], source="earlier", key=turns[0])])
            add_turn_vectors(store.database, "small", [(turns[0], store.turn(turns[0]).turn.reply, SECRETS[7].encode())])
        chat(store, (f"ordinary question {place}", f"ordinary answer {place} " * 50))
    return doomed


def files_with_secrets(folder: Path) -> dict[str, list[str]]:
    """The files below `folder` that contain one of the secrets, in any case, and which."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes().lower()
            hits = [secret for secret in SECRETS if secret.lower().encode() in content]
            if hits:
                found[path.name] = hits
    return found


def terms(store: ConversationStore) -> set[str]:
    """Every word in the index, from a connection of its own, so that it sees what is on the disk."""
    with contextlib.closing(sqlite3.connect(str(store.database.path))) as connection:
        return {entry[0] for entry in index_entries(connection)}


def assert_no_trace(store: ConversationStore) -> None:
    assert store.database.path is not None
    assert files_with_secrets(store.database.path.parent) == {}
    assert not {term for term in terms(store) for secret in SECRETS if term in secret.lower()}


def pending(store: ConversationStore) -> bool:
    """Whether a purge is still to be done."""
    with store.database.read() as connection:
        return connection.execute("SELECT 1 FROM owed").fetchone() is not None


def test_the_text_is_there_before(store: ConversationStore, database: Path) -> None:
    """The other tests would pass with a search that finds nothing."""
    rebuild(store)
    found = {secret for secrets in files_with_secrets(database.parent).values() for secret in secrets}
    assert found == set(SECRETS)
    assert SECRETS[0] in terms(store)


def test_a_deleted_conversation_leaves_no_byte_while_the_program_runs(store: ConversationStore) -> None:
    doomed = rebuild(store)
    assert store.delete(doomed)
    assert_no_trace(store)
    assert not pending(store)
    assert len(store.summaries()) == 50
    assert_index_is_true(store)


def test_emptying_the_trash_leaves_no_byte_while_another_instance_is_open(store: ConversationStore, database: Path) -> None:
    doomed = rebuild(store)
    other = open_store(database)
    assert len(other.summaries()) == 51
    store.trash(doomed)
    assert store.empty_trash() == [doomed]
    assert_no_trace(store)
    assert len(other.summaries()) == 50
    other.close()


def test_overwritten_text_goes_with_the_next_deletion(store: ConversationStore) -> None:
    """Old titles, old drafts and replies that were continued are no less private."""
    conversation, (turn,) = chat(store, ("question", f"{SECRETS[0]} begins"), title=SECRETS[2])
    store.rename(conversation, "Plain", by="person")
    store.save_draft(conversation, SECRETS[3])
    store.save_draft(conversation, "")
    store.write_reply(turn, "plain")
    store.finish_reply(turn, "plain", finish_reason="stop")
    store.delete(store.create())
    assert_no_trace(store)


@contextlib.contextmanager
def reading(database: Path, begin: str = "BEGIN") -> Iterator[None]:
    """Another program that keeps reading an old state of the database, or keeps the lock for writing."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(begin)
        connection.execute("SELECT count(*) FROM turns").fetchone()
        yield
        connection.execute("COMMIT")


def test_a_reader_delays_the_purge_and_the_next_one_completes_it(
    store: ConversationStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trash, "_WAL_SECONDS", 0.1)
    doomed = rebuild(store)
    with reading(database):
        assert not store.delete(doomed)
        assert pending(store)
        assert len(store.summaries()) == 50
    store.close()
    again = open_store(database)
    assert again.purge()
    assert_no_trace(again)
    again.close()


def test_what_is_deleted_while_another_program_purges_stays_to_be_purged(
    store: ConversationStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed, other = rebuild(store), open_store(database)
    truncate = Database.truncate_wal

    def deleting(purging: Database) -> bool:
        done = truncate(purging)
        with other.database.write() as connection:
            trash.delete(connection, conversation_row(connection, doomed))
        return done

    with store.database.write() as connection:
        trash.note_purge(connection)
    monkeypatch.setattr(Database, "truncate_wal", deleting)
    assert store.purge()
    monkeypatch.undo()
    other.close()
    assert pending(store)
    assert store.purge()
    assert_no_trace(store)


def test_a_backup_while_a_purge_is_pending_has_no_deleted_text(store: ConversationStore, tmp_path: Path) -> None:
    doomed = rebuild(store)
    with store.database.write() as connection:
        trash.delete(connection, conversation_row(connection, doomed))
    (tmp_path / "copies").mkdir()
    store.backup(tmp_path / "copies" / "copy.db")
    with contextlib.closing(open_store(tmp_path / "copies" / "copy.db")) as copy:
        assert_no_trace(copy)


def test_a_purge_that_may_not_write_is_completed_by_the_next(store: ConversationStore, database: Path) -> None:
    conversation = store.create()
    with store.database.write() as connection:
        trash.delete(connection, conversation_row(connection, conversation))
    hasty = ConversationStore(open_database(database, busy_seconds=0.0), now=Clock())
    with reading(database, "BEGIN IMMEDIATE"):
        assert not hasty.purge()
    assert pending(hasty)
    assert hasty.purge()
    hasty.close()


def test_a_killed_purge_is_completed_by_the_next(database: Path, store: ConversationStore) -> None:
    doomed = rebuild(store)
    store.close()
    code = (
        "import os, sys; from pathlib import Path; from support.stores import open_store; from mistral_chat.store import trash\n"
        "trash._merge_index = lambda database, table: os.kill(os.getpid(), 9)\n"
        f"open_store(Path({str(database)!r})).delete({doomed!r})"
    )
    died = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env=environment(),
    )
    assert died.returncode == -9
    again = open_store(database)
    with pytest.raises(ConversationNotFound):
        again.conversation(doomed)
    assert pending(again)
    assert again.purge()
    assert_no_trace(again)
    again.close()


def test_only_expired_trash_is_deleted(store: ConversationStore, database: Path) -> None:
    old, _ = chat(store, ("old", "x"))
    young, _ = chat(store, ("young", "x"))
    store.trash(old)
    now = store._now()
    store._now = lambda: now + timedelta(days=29)
    store.trash(young)
    store.trash(old)
    store._now = lambda: now + timedelta(days=31)
    forgotten: list[tuple[list[str], int]] = []
    assert store.empty_trash(
        older_than=timedelta(days=30),
        forget=lambda ids: forgotten.append((ids, len(open_store(database).summaries(where="trash")))),
    ) == [old]
    assert forgotten == [([old], 2)], "what is kept elsewhere goes first"
    assert [each.conversation_id for each in store.summaries(where="trash")] == [young]
    assert store.empty_trash() == [young]
    assert store.empty_trash() == []


def test_a_restored_conversation_is_as_it_was(store: ConversationStore) -> None:
    conversation, _ = chat(store, ("keep me", "gladly"))
    store.tag(conversation, "work")
    before = (store.conversation(conversation), store.turns(conversation))
    store.trash(conversation)
    assert store.conversation(conversation).summary.trashed is not None
    store.restore(conversation)
    assert (store.conversation(conversation), store.turns(conversation)) == before


def test_a_large_index_is_merged_without_blocking_writers(
    store: ConversationStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trash, "_MERGED_PAGES", 1)
    doomed = rebuild(store)
    other = open_store(database)
    statements: list[str] = []
    with store.database.autocommit() as connection:
        connection.set_trace_callback(statements.append)
    assert store.delete(doomed)
    assert sum("'merge'" in statement for statement in statements) > 3
    chat(other, ("still", "here"))
    other.close()
    assert_no_trace(store)
    assert_index_is_true(store)
