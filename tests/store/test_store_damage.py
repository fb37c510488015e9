from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.stores import Clock, assert_index_is_true, chat, open_store, said
from support.trust import environment

from mistral_chat.errors import MistralChatError, StoreBusy, StoreDamaged, StoreError
from mistral_chat.paths import RESTORE
from mistral_chat.store import database as database_module
from mistral_chat.store.database import open_database
from mistral_chat.store.repair import repair

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.store.store import ConversationStore

PAGE = 4096


def filled(path: Path, conversations: int = 40) -> dict[str, list[str]]:
    """A closed store; its conversations with their turns."""
    store = open_store(path)
    made = dict(
        chat(store, *((f"question {place} {step}", f"answer {place} {step} " * 40) for step in range(5)), title=f"No {place}")
        for place in range(conversations)
    )
    store.tag(next(iter(made)), "kept")
    store.save_draft("", "a draft")
    store.close()
    return made


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def pages_of(path: Path, name: str) -> list[int]:
    """Where the pages of a table lie, as SQLite's own analysis says, or guessed from its texts where that is left out."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    return [root]


def hurt(path: Path, kind: str) -> None:
    size = path.stat().st_size
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("these are my notes, not a database\n" * 100)
        case "zeroed":
            path.write_bytes(bytes(size))
        case "head":
            overwrite(path, 0, bytes(PAGE))
        case "half":
            os.truncate(path, size // 2 // PAGE * PAGE)
        case "middle":
            overwrite(path, size // 2 // PAGE * PAGE, b"\xaa" * PAGE * 3)
        case "turns":
            overwrite(path, (pages_of(path, "turns")[0] - 1) * PAGE, bytes(PAGE))


KINDS = ["empty", "text", "zeroed", "head", "half", "middle", "turns"]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_reported_at_startup_and_the_file_is_unchanged(database: Path, kind: str) -> None:
    filled(database)
    hurt(database, kind)
    before = database.read_bytes()
    with pytest.raises(StoreDamaged, match="nothing to repair. Restore a backup" if kind == "empty" else "chats repair") as told:
        open_store(database)
    assert RESTORE in str(told.value)
    assert database.read_bytes() == before


def test_background_checks_find_damage_in_a_large_file(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "CHECKED_BYTES", 0)
    filled(database)
    hurt(database, "middle")
    store = open_store(database)
    with pytest.raises(StoreDamaged):
        store.database.integrity_check()
    store.close()


def test_another_programs_database_is_refused(database: Path) -> None:
    database.parent.mkdir()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
        connection.commit()
    before = database.read_bytes()
    with pytest.raises(StoreDamaged, match="not a database of mistral-chat"):
        open_store(database)
    with pytest.raises(StoreDamaged):
        repair(database, now=Clock())
    assert database.read_bytes() == before


@pytest.mark.parametrize("kind", ["half", "middle", "turns"])
def test_repair_saves_what_can_be_read_and_keeps_the_damaged_file(database: Path, kind: str) -> None:
    made = filled(database)
    hurt(database, kind)
    damaged = database.read_bytes()
    done = repair(database, now=Clock())
    assert done.kept is not None
    assert done.kept.read_bytes() == damaged
    store = open_store(database)
    listed = {each.conversation_id: each for each in store.summaries(limit=-1)}
    assert len(listed) == done.conversations
    saved = {turn.turn_id: turn for each in listed for turn in store.tree(each)}
    assert len(saved) == done.turns
    known = {turn for turns in made.values() for turn in turns}
    assert len(known & saved.keys()) >= {"half": 10, "middle": 180, "turns": 0}[kind]
    assert all(turn.turn.reply.startswith("answer") for each, turn in saved.items() if each in known)
    for each in listed:
        store.turns(each)
        said(store, each, "and on it goes", "indeed")
    assert_index_is_true(store)
    store.database.integrity_check()
    store.close()
    assert repair(database, now=Clock()).kept is None


@pytest.mark.parametrize("left", [0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_what_a_cut_file_lost_is_counted(database: Path, left: float) -> None:
    """Turns that are named by a conversation, a child or an index, and cannot be read, are counted as lost."""
    made = filled(database)
    os.truncate(database, int(database.stat().st_size * left) // PAGE * PAGE)
    done = repair(database, now=Clock())
    store = open_store(database)
    saved = {turn.turn_id for each in store.summaries(limit=-1) for turn in store.tree(each.conversation_id)}
    store.close()
    lost = {turn for turns in made.values() for turn in turns} - saved
    assert bool(lost) == bool(done.lost_turns or done.lost_conversations), "a loss is never silent"
    assert done.lost_turns <= len(lost)


@pytest.mark.parametrize("kind", ["empty", "text", "zeroed", "head"])
def test_repair_of_nothing_leaves_the_file_as_it_is(database: Path, kind: str) -> None:
    filled(database)
    hurt(database, kind)
    before = database.read_bytes()
    with pytest.raises(StoreDamaged, match="nothing to repair" if kind == "empty" else r"not changed.*\.recover") as told:
        repair(database, now=Clock())
    assert RESTORE in str(told.value)
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == [database.name]


@pytest.mark.parametrize("seed", range(25))
def test_random_damage_ends_in_an_error_or_a_working_store(database: Path, seed: int) -> None:
    """16 random bytes in random places: an error or a working store; the same for repair."""
    filled(database, 12)
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 8)):
        overwrite(database, chance.randrange(database.stat().st_size), chance.randbytes(16))
    with contextlib.suppress(MistralChatError):
        use(database)
    kept = database.read_bytes()
    try:
        done = repair(database, now=Clock())
    except StoreError:
        assert database.read_bytes()[:100] == kept[:100]
        return
    if done.kept is not None:
        use(database)


def use(path: Path) -> None:
    store = open_store(path)
    try:
        for summary in store.summaries(limit=-1):
            store.tree(summary.conversation_id)
            store.turns(summary.conversation_id)
        store.search("answer question")
        chat(store, ("works", "still"))
    finally:
        store.close()


def test_a_damaged_index_is_rebuilt_without_losing_a_turn(database: Path) -> None:
    made = filled(database)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE found_data SET block = zeroblob(length(block)) WHERE id > 10")
        connection.commit()
    done = repair(database, now=Clock())
    assert (done.kept is not None, done.conversations, done.turns, done.lost_turns) == (True, 40, 200, 0)
    store = open_store(database)
    assert len(store.search("question 7 3")) >= 1
    assert {each.conversation_id for each in store.summaries()} == made.keys()
    store.close()


def test_an_index_that_disagrees_with_its_table_is_repaired(database: Path) -> None:
    made = filled(database, 3)
    lost = list(made)[1]
    (page,) = pages_of(database, "sqlite_autoindex_conversations_1")
    offset = database.read_bytes().index(lost.encode(), (page - 1) * PAGE)
    assert offset < page * PAGE
    overwrite(database, offset, b"0" if lost[0] != "0" else b"1")
    assert repair(database, now=Clock()).lost_turns == 0
    store = open_store(database)
    assert [len(store.turns(each)) for each in made] == [5, 5, 5]
    store.close()


def test_turns_that_form_no_tree_are_repaired(database: Path) -> None:
    made = filled(database, 3)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE turns SET parent = row + 1 WHERE row = 6")
        connection.commit()
    assert repair(database, now=Clock()).turns == 15
    store = open_store(database)
    assert [len(store.turns(each)) for each in made] == [5, 5, 5]
    store.close()


@pytest.mark.parametrize(
    ("name", "broken"), [(b"recall INTEGER", b"recbll INTEGER"), (b"remove_diacritics", b"remove_diacritisc")]
)
def test_a_broken_schema_is_repaired(database: Path, name: bytes, broken: bytes) -> None:
    filled(database, 3)
    database.write_bytes(database.read_bytes().replace(name, broken))
    assert repair(database, now=Clock()).turns == 15
    use(database)


def test_a_full_text_index_with_other_words_than_the_table_is_rebuilt(database: Path) -> None:
    made = filled(database, 3)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        for row, block in connection.execute("SELECT id, block FROM found_data WHERE id > 10").fetchall():
            connection.execute("UPDATE found_data SET block = ? WHERE id = ?", (block.replace(b"answer", b"answes"), row))
        connection.commit()
    repair(database, now=Clock())
    store = open_store(database)
    assert store.search("answer")
    assert_index_is_true(store)
    for each in made:
        store.delete(each)
    store.close()


def test_a_corrupt_log_loses_nothing_that_was_in_the_file(database: Path) -> None:
    made = filled(database)
    database.with_name(database.name + "-wal").write_bytes(random.Random(1).randbytes(100_000))
    store = open_store(database)
    assert {each.conversation_id for each in store.summaries()} == made.keys()
    store.close()


def test_the_log_is_kept_and_read_when_a_file_with_one_is_repaired(database: Path, tmp_path: Path) -> None:
    filled(database)
    store = open_store(database)
    late, _ = chat(store, ("said just before", "the crash"))
    crashed = tmp_path / "crashed"
    shutil.copytree(database.parent, crashed)
    store.close()
    path = crashed / database.name
    hurt(path, "middle")
    done = repair(path, now=Clock())
    assert done.kept is not None
    assert done.kept.with_name(done.kept.name + "-wal").exists()
    again = open_store(path)
    assert [turn.turn.reply for turn in again.turns(late)] == ["the crash"]
    again.close()


def test_repair_waits_for_other_windows_to_close(store: ConversationStore, database: Path) -> None:
    chat(store, ("x", "y"))
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE found_data SET block = zeroblob(length(block)) WHERE id > 10")
        connection.commit()
    with pytest.raises(StoreBusy, match="Close it"):
        repair(database, now=Clock())


def test_the_index_of_a_sound_file_is_not_rebuilt_while_a_window_uses_it(store: ConversationStore, database: Path) -> None:
    chat(store, ("x", "y"))
    before = store.database.data_version()
    with pytest.raises(StoreBusy, match="Close it"):
        repair(database, now=Clock())
    assert store.database.data_version() == before
    with store.database.write(), pytest.raises(StoreBusy, match="Close it"):
        repair(database, now=Clock())


def test_there_is_nothing_to_repair_where_there_is_no_file(database: Path) -> None:
    with pytest.raises(StoreError, match="nothing to repair"):
        repair(database, now=Clock())


def test_a_busy_store_says_so_and_loses_nothing(database: Path) -> None:
    store = open_store(database)
    conversation, _ = chat(store, ("x", "y"))
    impatient = open_database(database, busy_seconds=0.05)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="Another program"), impatient.write():
            pass
        assert len(store.turns(conversation)) == 1
    impatient.close()
    store.close()


def test_files_are_private_to_their_owner(database: Path, tmp_path: Path) -> None:
    os.umask(0)
    try:
        store = open_store(database)
        chat(store, ("x", "y"))
        store.add_turn(store.create(), "unfinished", parent_id=None)
        store.backup(tmp_path / "backup.db")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (*database.parent.iterdir(), tmp_path / "backup.db")}
        assert set(modes.values()) == {0o600}
        assert len(modes) == 5
        assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700
        store.close()
    finally:
        os.umask(0o022)


def test_a_file_that_others_could_read_is_made_private(database: Path) -> None:
    open_store(database).close()
    database.chmod(0o644)
    open_store(database).close()
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_a_backup_is_whole_and_refuses_to_replace(store: ConversationStore, tmp_path: Path) -> None:
    conversation, _ = chat(store, ("x", "y"))
    target = tmp_path / "backup.db"
    store.backup(target)
    with pytest.raises(StoreError, match="already exists"):
        store.backup(target)
    chat(store, ("later", "y"))
    store.backup(target, replace=True)
    copy = open_store(target)
    assert [each.conversation_id for each in copy.summaries()] == [each.conversation_id for each in store.summaries()]
    assert copy.turns(conversation) == store.turns(conversation)
    copy.close()
    with pytest.raises(StoreError, match=r"cannot be written .* Choose another folder"):
        store.backup(tmp_path / "missing" / "backup.db")


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
def test_a_backup_to_the_database_itself_is_refused_and_destroys_nothing(
    store: ConversationStore, database: Path, end: str
) -> None:
    conversation, _ = chat(store, ("x", "y"))
    (database.parent.parent / "other").symlink_to(database.parent)
    for folder in (database.parent, database.parent.parent / "other"):
        with pytest.raises(StoreError, match=r"the database itself. Choose another name"):
            store.backup(folder / (database.name + end), replace=True)
    other = open_store(database)
    assert len(other.turns(conversation)) == 1
    other.close()


def test_a_backup_may_have_the_longest_name(store: ConversationStore, tmp_path: Path) -> None:
    store.backup(tmp_path / ("b" * 250 + ".db"))
    assert [len(path.name) for path in tmp_path.iterdir() if path.is_file()] == [253]


def test_a_backup_that_is_restored_as_told_is_whole_after_a_crash(database: Path, tmp_path: Path) -> None:
    made = filled(database)
    store = open_store(database)
    store.backup(tmp_path / "backup.db")
    for step in range(20):
        chat(store, (f"later {step}", "lost " * 900))
    crashed = tmp_path / "crashed"
    shutil.copytree(database.parent, crashed)
    store.close()
    path = crashed / database.name
    for name in re.findall(r"\S+-(?:wal|shm)\b", RESTORE):
        (crashed / name).unlink()
    (tmp_path / "backup.db").replace(path)
    restored = open_store(path)
    assert {each.conversation_id for each in restored.summaries(limit=-1)} == made.keys()
    restored.database.integrity_check()
    restored.close()


def test_a_database_whose_purge_fails_can_be_backed_up(
    store: ConversationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(_: object) -> bool:
        raise StoreDamaged("broken index")

    conversation, _ = chat(store, ("x", "y"))
    monkeypatch.setattr("mistral_chat.store.trash.purge", damaged)
    store.backup(tmp_path / "backup.db")
    assert [each.conversation_id for each in open_store(tmp_path / "backup.db").summaries()] == [conversation]


def test_a_full_disk_is_reported_and_nothing_acknowledged_is_lost(database: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from support.stores import chat, open_store\n"
        "from mistral_chat.errors import StoreError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))\n"
        "done = 0\n"
        "try:\n"
        "    for _ in range(1000):\n"
        "        chat(store, ('x' * 3000, 'y' * 3000)); done += 1\n"
        "except StoreError as error:\n"
        "    print(done, str(error))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(database)],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
    )
    done, _, message = process.stdout.partition(" ")
    assert "disk" in message, process.stderr
    store = open_store(database)
    store.database.integrity_check()
    assert len([each for each in store.summaries(limit=-1) if each.turns == 1]) >= int(done) > 10
    store.close()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be opened or written"):
        open_store(tmp_path / "file" / "conversations.db")
