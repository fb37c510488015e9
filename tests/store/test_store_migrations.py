from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.stores import assert_index_is_true, chat, open_store
from support.trust import environment

from mistral_chat.errors import StoreTooNew
from mistral_chat.store.database import open_database
from mistral_chat.store.index import rebuild
from mistral_chat.store.migrations import STEPS, applied, m0003_search, migrate

if TYPE_CHECKING:
    from pathlib import Path

EARLIER = range(1, len(STEPS))
SEARCH = STEPS.index(m0003_search) + 1


def old_database(path: Path, steps: int) -> None:
    """A database as the first `steps` steps left it, with two conversations in it, one with a branch."""
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, STEPS[:steps])
        for row, name in ((1, "first"), (2, "second")):
            connection.execute(
                "INSERT INTO conversations (row, id, title, created, updated, current) VALUES (?, ?, ?, ?, ?, ?)",
                (row, f"{row:016x}", f"The {name}", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00", row + 20),
            )
        for row, conversation, parent, user, reply in (
            (11, 1, None, "What is a heron?", "A bird."),
            (21, 1, 11, "And a héron?", "The same in French."),
            (12, 2, None, "日本語?", "はい"),
            (22, 2, 12, "unfinished", "half"),
            (23, 2, 12, "sibling", "x"),
        ):
            connection.execute(
                "INSERT INTO turns (row, id, conversation, parent, depth, created, user, reply, finish_reason, writer) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row,
                    f"{row:016x}",
                    conversation,
                    parent,
                    2 if parent else 1,
                    "2026-01-01T00:00:00+00:00",
                    user,
                    reply,
                    None if reply == "half" else "stop",
                    "gone" if reply == "half" else None,
                ),
            )
        if steps >= SEARCH:
            rebuild(connection)


@pytest.mark.parametrize("steps", EARLIER)
def test_a_store_of_every_earlier_version_is_migrated(database: Path, steps: int) -> None:
    old_database(database, steps)
    store = open_store(database)
    assert store.recover() == 1
    first, second = store.resolve(f"{1:016x}"), store.resolve(f"{2:016x}")
    assert [(turn.turn.user, turn.turn.reply) for turn in store.turns(first)] == [
        ("What is a heron?", "A bird."),
        ("And a héron?", "The same in French."),
    ]
    assert [turn.turn.finish_reason for turn in store.turns(second)] == ["stop", "cancelled"]
    assert len(store.tree(second)) == 3
    assert [hit.conversation_id for hit in store.search("heron")] == [first, first]
    assert [hit.conversation_id for hit in store.search("日本")] == [second]
    assert_index_is_true(store)
    chat(store, ("new", "turn"))
    assert len(store.summaries()) == 3
    store.close()


@pytest.mark.parametrize("steps", EARLIER)
def test_a_failed_migration_leaves_the_old_store_unchanged(database: Path, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    old_database(database, steps)
    before = content(database)

    def m9999_fails(database: Any) -> None:
        database.execute("CREATE TABLE half (x)")
        database.execute("UPDATE turns SET user = 'lost'")
        raise sqlite3.OperationalError("no such thing")

    with (
        pytest.raises(sqlite3.OperationalError, match="no such thing"),
        contextlib.closing(connection_to(database)) as connection,
    ):
        migrate(connection, (*STEPS, m9999_fails))
    assert content(database) == before


def connection_to(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def content(path: Path) -> list[str]:
    with contextlib.closing(connection_to(path)) as connection:
        return list(connection.iterdump())


def test_the_steps_are_recorded_in_their_order(database: Path) -> None:
    open_store(database).close()
    with contextlib.closing(connection_to(database)) as connection:
        assert applied(connection) == [step.__name__ for step in STEPS]
    assert [step.__name__[:6] for step in STEPS] == [f"m{place:04}_" for place in range(1, len(STEPS) + 1)]


@pytest.mark.parametrize("running", [False, True])
def test_a_store_of_a_newer_version_is_refused_and_not_touched(database: Path, running: bool) -> None:  # noqa: FBT001 - a case
    store = open_store(database)
    chat(store, ("x", "y"))
    store.close()
    newer = connection_to(database)
    newer.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('mistral_chat', 'm0099_holograms', 'later')"
    )
    if not running:
        newer.close()
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    with pytest.raises(StoreTooNew, match=r"m0099_holograms.*Upgrade"):
        open_database(database)
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before
    newer.close()


OPEN = "import sys; from pathlib import Path; from support.stores import chat, open_store; sys.stdin.readline(); \
store = open_store(Path(sys.argv[1])); chat(store, ('hello', 'there')); store.close()"


@pytest.mark.parametrize("steps", [0, *EARLIER])
def test_two_instances_that_start_at_once_both_work(database: Path, steps: int) -> None:
    there = 0
    if steps:
        old_database(database, steps)
        there = 2
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(database)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in started] == [""] * 4
    assert [process.returncode for process in started] == [0] * 4
    store = open_store(database)
    assert len(store.summaries()) == there + 4
    assert_index_is_true(store)
    store.close()
    assert [path.name for path in database.parent.iterdir()] == [database.name]
