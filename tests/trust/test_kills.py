"""kill -9 at any moment of anything that writes: what was there stays, and what was begun is done or can be done again."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from support.effort import cases, seed
from support.paced_program import answer
from support.small_gguf import small_model
from support.stores import assert_index_is_true, chat, open_store
from support.trust import Killer, Tally, environment

from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.store.migrations import STEPS, migrate

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.store.store import ConversationStore

pytestmark = pytest.mark.long

KILLS = cases(4, 50)
"""Of each kind of work."""
SECRET = "quetzalcoatl"  # noqa: S105 (a word to look for)
COMMAND = """
import sys
from mistral_chat.cli import chats
from mistral_chat.cli.main import cli
print(end=".", flush=True)
cli.main(sys.argv[1:], prog_name="mistral-chat")
"""
SNAPSHOTS = """
import sys
from pathlib import Path
from mistral_chat.engine.encoding.format import Encoding
from mistral_chat.engine.snapshots import Snapshot, SnapshotFolder
folder = SnapshotFolder(Path(sys.argv[1]), budget=2**30)
print(end=".", flush=True)
for number in range(8):
    state = bytes([number]) * 3_000_000
    contents = Encoding(head=(1, 2), turns=())
    folder.save(Snapshot(conversation="c", identity="i", contents=contents, sampled={}, pinned=frozenset(), state=state))
    folder.flush()
"""
MIGRATION = """
import sys
from pathlib import Path
from support.stores import open_store
print(end=".", flush=True)
open_store(Path(sys.argv[1])).close()
"""
PACED = "from support.paced_program import run; run()"


@pytest.fixture
def killer() -> Killer:
    return Killer(seed())


def contents(store: ConversationStore) -> dict[str, list[tuple[str, str]]]:
    """Everything said, by conversation."""
    return {
        each.conversation_id: [(turn.turn.user, turn.turn.reply) for turn in store.tree(each.conversation_id)]
        for each in store.summaries(limit=-1)
    }


def filled(path: Path, conversations: int, *, doomed: bool = False) -> ConversationStore:
    store = open_store(path)
    for number in range(conversations):
        word = SECRET if doomed and number % 3 == 0 else "heron"
        chat(store, (f"About the {word} {number}?", f"The {word} is a bird. " * 30), ("More?", "No."), title=f"{word} {number}")
    return store


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_an_import(tmp_path: Path, killer: Killer, tally: Tally) -> None:
    other = filled(tmp_path / "other" / "conversations.db", 150)
    exported = tmp_path / "all.json"
    source = environment(MISTRAL_CHAT_DATA_DIR=str(tmp_path / "other"))
    other.close()
    killer.measure(COMMAND, "chats", "export", "--all", "-o", str(exported), environ=source)
    mine = filled(tmp_path / "mine" / "conversations.db", 5)
    before = contents(mine)
    mine.close()
    wanted = before | contents(open_store(tmp_path / "other" / "conversations.db"))
    assert len(wanted) == 155
    shutil.copytree(tmp_path / "mine", tmp_path / "once")
    arguments = ("chats", "import", str(exported))
    killer.measure(COMMAND, *arguments, environ=environment(MISTRAL_CHAT_DATA_DIR=str(tmp_path / "once")))
    for number in range(KILLS):
        data = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "mine", data)
        with tally.trial("kill -9 during an import: nothing lost, nothing doubled, done when repeated"):
            killer.kill(COMMAND, *arguments, environ=environment(MISTRAL_CHAT_DATA_DIR=str(data)))
            store = open_store(data / "conversations.db")
            store.database.integrity_check()
            found = contents(store)
            assert before.items() <= found.items()
            assert found.items() <= wanted.items(), "a conversation is there in part"
            store.close()
            killer.measure(COMMAND, *arguments, environ=environment(MISTRAL_CHAT_DATA_DIR=str(data)))
            store = open_store(data / "conversations.db")
            assert contents(store) == wanted
            assert_index_is_true(store)
            store.close()


def test_emptying_the_trash(tmp_path: Path, killer: Killer, tally: Tally) -> None:
    store = filled(tmp_path / "full" / "conversations.db", 60, doomed=True)
    for each in store.summaries(limit=-1):
        if SECRET in each.title:
            store.trash(each.conversation_id)
    kept = contents(store)
    store.close()
    assert SECRET.encode() in bytes_of(tmp_path / "full")
    arguments = ("chats", "trash", "--empty", "--yes")
    shutil.copytree(tmp_path / "full", tmp_path / "once")
    killer.measure(COMMAND, *arguments, environ=environment(MISTRAL_CHAT_DATA_DIR=str(tmp_path / "once")))
    assert SECRET.encode() not in bytes_of(tmp_path / "once")
    for number in range(KILLS):
        data = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "full", data)
        with tally.trial("kill -9 while the trash is emptied: the rest is whole, and no deleted byte stays in the end"):
            killer.kill(COMMAND, *arguments, environ=environment(MISTRAL_CHAT_DATA_DIR=str(data)))
            store = open_store(data / "conversations.db")
            store.database.integrity_check()
            assert contents(store) == kept
            store.close()
            killer.measure(COMMAND, *arguments, environ=environment(MISTRAL_CHAT_DATA_DIR=str(data)))
            assert SECRET.encode() not in bytes_of(data)


def test_a_migration(tmp_path: Path, killer: Killer, tally: Tally) -> None:
    old = tmp_path / "old.db"
    connection = sqlite3.connect(old, isolation_level=None)
    migrate(connection, STEPS[:1])
    connection.execute("BEGIN")
    for row in range(1, 2001):
        connection.execute(
            "INSERT INTO conversations (row, id, title, created, updated, current) VALUES (?, ?, ?, ?, ?, ?)",
            (row, f"{row:016x}", f"Number {row}", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00", row),
        )
        connection.execute(
            "INSERT INTO turns (row, id, conversation, parent, depth, created, user, reply, finish_reason) "
            "VALUES (?, ?, ?, NULL, 1, '2026-01-01T00:00:00+00:00', ?, ?, 'stop')",
            (row, f"{row:016x}", row, f"question {row}", f"reply {row} " * 20),
        )
    connection.execute("COMMIT")
    connection.close()
    shutil.copy(old, tmp_path / "once.db")
    killer.measure(MIGRATION, str(tmp_path / "once.db"), environ=environment())
    for number in range(KILLS):
        path = tmp_path / f"{number}.db"
        shutil.copy(old, path)
        with tally.trial("kill -9 during a migration: the next start finishes it, with every turn"):
            killer.kill(MIGRATION, str(path), environ=environment())
            store = open_store(path)
            store.database.integrity_check()
            assert len(contents(store)) == 2000
            assert len(store.search("1234")) >= 1
            store.close()


def test_a_snapshot(tmp_path: Path, killer: Killer, tally: Tally) -> None:
    killer.measure(SNAPSHOTS, str(tmp_path / "once"), environ=environment())
    for number in range(KILLS):
        path = tmp_path / f"{number}"
        with tally.trial("kill -9 while a snapshot is written: it is a whole one, or none"):
            killer.kill(SNAPSHOTS, str(path), environ=environment())
            folder = SnapshotFolder(path, budget=2**30)
            found = folder.load("c", "i")
            folder.close()
            if found is not None:
                state = bytes(found.state)
                assert state == state[:1] * 3_000_000


def test_a_reply(tmp_path: Path, killer: Killer, tally: Tally) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(small_model().encoded())
    arguments = ("ask", "-m", str(model), "Write 200 tokens.")
    names = {"PACED_TOKENS_PER_SECOND": "100"}
    killer.measure(PACED, *arguments, environ=environment(MISTRAL_CHAT_DATA_DIR=str(tmp_path / "once"), **names))
    for number in range(KILLS):
        data = tmp_path / f"{number}"
        with tally.trial("kill -9 during a reply: the question and what was saved of the reply stay"):
            killer.kill(PACED, *arguments, environ=environment(MISTRAL_CHAT_DATA_DIR=str(data), **names))
            store = open_store(data / "conversations.db")
            store.database.integrity_check()
            store.recover()
            ((turn,),) = (store.tree(each.conversation_id) for each in store.summaries())
            assert turn.turn.user == "Write 200 tokens."
            assert answer("200").startswith(turn.turn.reply.rstrip())
            assert turn.turn.finish_reason in {"stop", "cancelled"}
            store.close()
