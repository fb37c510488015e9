"""The program is killed at any moment, or runs twice: nothing that was acknowledged is missing."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.effort import cases
from support.stores import assert_index_is_true, chat, open_store
from support.trust import environment

if TYPE_CHECKING:
    from support.trust import Tally

    from mistral_chat.store.records import StoredTurn
    from mistral_chat.store.store import ConversationStore

KILLS = cases(6, 200)
SUPPORT = Path(__file__).parents[1] / "support"


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SUPPORT / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def test_kill_9_at_random_moments_loses_nothing_that_was_acknowledged(database: Path, tally: Tally) -> None:
    chance = random.Random(9)
    acknowledged: list[list[str]] = []
    for place in range(KILLS):
        if place % 20 == 0:  # the whole store is looked through after every kill: a fresh one now and then keeps that quick
            database = database.with_name(f"{place}.db")
            acknowledged.clear()
        writer = start("store_writer.py", str(database))
        assert writer.stdout is not None
        wanted = chance.randrange(1, 60)
        lines = [writer.stdout.readline() for _ in range(wanted)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.communicate()[0].splitlines(keepends=True)
        assert writer.returncode == -signal.SIGKILL
        acknowledged += [line.split() for line in lines if line.endswith("\n")]
        with tally.trial("kill -9 while a chat writes: nothing acknowledged is lost"):
            check(database, acknowledged)
    assert len(acknowledged) > 5


def check(database: Path, acknowledged: list[list[str]]) -> None:
    store = open_store(database)
    store.database.integrity_check()
    store.recover()
    turns: dict[str, StoredTurn] = {}
    for summary in store.summaries(limit=-1):
        turns |= {turn.turn_id: turn for turn in store.tree(summary.conversation_id)}
        store.turns(summary.conversation_id)
    assert not any(turn.writing for turn in turns.values())
    last: dict[str, list[str]] = {}
    for what, turn_id, *rest in acknowledged:
        if what != "indexed":
            last[turn_id] = [what, *rest]
    for turn_id, (what, *rest) in last.items():
        turn = turns[turn_id].turn
        match what:
            case "asked":
                assert turn.user.startswith("question ")
            case "wrote":
                assert len(turn.reply) >= int(rest[0])
            case "finished":
                assert len(turn.reply) >= int(rest[0])
                assert turn.finish_reason is not None
    check_documents(store, {key for what, key, *_ in acknowledged if what == "indexed"})
    assert_index_is_true(store)
    store.close()


def check_documents(store: ConversationStore, acknowledged: set[str]) -> None:
    there = {document.document_id: document.passages for document in store.documents.documents()}
    assert {there[document_id] for document_id in acknowledged} <= {4}
    for progress in store.documents.vector_progress("small"):
        assert progress.done in {0, 4}, "vectors of whole calls, and of the passages that are there"


def test_two_instances_can_write_at_once(database: Path) -> None:
    store = open_store(database)
    conversation, _ = chat(store, ("x", "y"))
    writers = [start("concurrent_store.py", str(database), conversation, str(150)) for _ in range(2)]
    version = store.data_version()
    outputs = [writer.communicate("go\n", timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert outputs == ["150\n"] * 2
    assert store.data_version() != version
    assert store.conversation(conversation).summary.title == "300"
    assert len(store.tree(conversation)) == 301
    assert_index_is_true(store)
    store.close()


def test_the_reply_and_the_queue_of_a_running_instance_are_left_alone(database: Path) -> None:
    writer = start("store_writer.py", str(database), "pause")
    assert writer.stdout is not None
    turn = writer.stdout.readline().split()[1]
    writer.stdout.readline()
    store = open_store(database)
    assert store.recover() == 0
    before = store.turn(turn)
    assert before.writing
    (conversation,) = [summary.conversation_id for summary in store.summaries()]
    store.save_draft(conversation, "Typed later")
    writer.kill()
    writer.communicate()
    assert store.recover() == 1
    again = store.turn(turn)
    assert (again.writing, again.turn.finish_reason, again.turn.reply) == (False, "cancelled", before.turn.reply)
    assert store.draft(conversation) == "Sent behind the reply\n\nTyped later"
    assert store.recover() == 0
    assert store.draft(conversation) == "Sent behind the reply\n\nTyped later"
    store.close()
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_the_next_start_closes_an_unfinished_reply(database: Path) -> None:
    first = open_store(database)
    turn = first.add_turn(first.create(), "question", parent_id=None)
    first.write_reply(turn, "half")
    second = open_store(database)
    assert second.recover() == 0
    first.close()
    assert second.recover() == 1
    assert second.turn(turn).turn.finish_reason == "cancelled"
    assert [hit.turn_id for hit in second.search("half")] == [turn]
    second.close()


@pytest.mark.parametrize(
    ("waiting", "draft", "returned"),
    [
        (["/quit"], "", "//quit"),
        (["/etc/hosts is a file"], "", "//etc/hosts is a file"),
        (["// a comment"], "", "// a comment"),
        (["One", "/quit"], "", "One\n\n/quit"),
        (["/quit"], "draft", "/quit\n\ndraft"),
        ([], "/quit", "/quit"),
    ],
)
def test_a_queued_message_that_began_with_two_slashes_does_not_return_as_a_command(
    database: Path, waiting: list[str], draft: str, returned: str
) -> None:
    first = open_store(database)
    conversation = first.create()
    first.add_turn(conversation, "question", parent_id=None)
    first.save_draft(conversation, draft)
    for number, text in enumerate(waiting):
        first.save_queued(str(number), conversation, text)
    first.close()
    second = open_store(database)
    second.recover()
    assert second.draft(conversation) == returned
    second.close()


def test_changes_of_one_instance_are_noticed_by_the_other(database: Path) -> None:
    first, second = open_store(database), open_store(database)
    version = second.data_version()
    first.summaries()
    assert second.data_version() == version
    conversation, _ = chat(first, ("hello", "there"))
    assert second.data_version() != version
    assert [each.conversation_id for each in second.summaries()] == [conversation]
    first.close()
    second.close()


def test_backups_under_writes_are_whole(database: Path, tmp_path: Path) -> None:
    writer = start("store_writer.py", str(database))
    assert writer.stdout is not None
    store = open_store_when_there(writer, database)
    acknowledged: list[str] = []
    copied = 0
    for place in range(5):
        while turns_in(store) <= copied:  # the writer continues while its output is read
            lines = [writer.stdout.readline() for _ in range(20)]
            assert "" not in lines, "the writer has ended"
            acknowledged += [line.split()[1] for line in lines if line.startswith("asked")]
        copy_path = tmp_path / f"{place}.db"
        store.backup(copy_path)
        copy = open_store(copy_path)
        copy.database.integrity_check()
        assert all(copy.turn(turn_id).turn.user.startswith("question ") for turn_id in acknowledged)
        assert_index_is_true(copy)
        assert turns_in(copy) > copied
        copied = turns_in(copy)
        copy.close()
    writer.kill()
    writer.communicate()
    store.close()


def turns_in(store: ConversationStore) -> int:
    """How many turns are saved, in one read, and without the conversations that the writer deletes."""
    return sum(each.turns for each in store.summaries(limit=-1) if each.title != "doomed")


def open_store_when_there(writer: subprocess.Popen[str], database: Path) -> ConversationStore:
    """The store, once the writer has said its first word."""
    assert writer.stdout is not None
    writer.stdout.readline()
    return open_store(database)
