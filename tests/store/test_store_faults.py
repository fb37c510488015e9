"""What the store does when the disk, the file or the folder fails, and when the fault is gone again.

Every fault is a real one: a small file system that is filled or mounted read-only, modes met by a user without root's rights,
a lock that another connection holds, a file that is deleted, moved or overwritten.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.stores import Clock, chat, open_store, said

from mistral_chat.errors import StoreBusy, StoreDamaged, StoreError, StoreFull, StoreMissing, StoreReadOnly
from mistral_chat.store.database import BUSY_SECONDS, open_database
from mistral_chat.store.disk_probe import PATIENCE, DiskProbe
from mistral_chat.store.migrations import STEPS, migrate
from mistral_chat.store.store import ConversationStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


NOBODY = 65534
MOUNT, UMOUNT = (shutil.which(name) or "" for name in ("mount", "umount"))


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = Path(tempfile.mkdtemp())
    command = [MOUNT, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not MOUNT or subprocess.run(command, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("mounting a small file system needs root's rights")
    yield folder
    subprocess.run([UMOUNT, "--lazy", str(folder)], check=True)
    folder.rmdir()


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with contextlib.suppress(OSError), (disk / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def remount(disk: Path, mode: str) -> None:
    subprocess.run([MOUNT, "-o", f"remount,{mode}", str(disk)], check=True)


def crashed(path: Path) -> str:
    """A store whose last turn is only in the log, as a killed program leaves it; the conversation's id."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        store = open_store(path)
        conversation, _ = chat(store, ("said", "before the crash"))
        os.write(write, conversation.encode())
        os._exit(0)
    os.waitpid(process, 0)
    path.with_name(path.name + "-shm").unlink()
    assert path.with_name(path.name + "-wal").stat().st_size
    conversation = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    return conversation


def can_be_read(store: ConversationStore, conversation: str) -> bool:
    return len(store.turns(conversation)) >= 1 and bool(store.search("said")) and bool(store.summaries())


def try_everything_that_writes(store: ConversationStore, conversation: str, expected: type[StoreError]) -> StoreError:
    """Every way to write fails with `expected`; the last error."""
    turn = store.turns(conversation)[0].turn_id
    calls: list[Callable[[], object]] = [
        lambda: store.save_draft("", "x" * 2_000_000),
        lambda: store.add_turn(conversation, "x" * 2_000_000, parent_id=turn),
        lambda: store.finish_reply(turn, "x" * 2_000_000, finish_reason="stop"),
        lambda: store.create(system="x" * 2_000_000),
        lambda: store.set_overrides(conversation, system="x" * 2_000_000),
        lambda: store.tag(conversation, *(f"tag {place}" * 4 for place in range(50_000))),
        lambda: store.documents.set_failed("none", "x"),
    ]
    for call in calls[:-1]:
        with pytest.raises(expected) as error:
            call()
    return error.value


def test_a_disk_that_fills_up_is_reported_and_recovers(disk: Path) -> None:
    path = disk / "conversations.db"
    store = open_store(path)
    conversation, _ = chat(store, ("said", "something"))
    fill(disk)
    error = try_everything_that_writes(store, conversation, StoreFull)
    assert str(path) in str(error)
    assert "full (0 bytes free)" in str(error)
    assert can_be_read(store, conversation)
    (disk / "fill").unlink()
    store.save_draft("", "saved after all")
    assert store.draft("") == "saved after all"
    store.close()


def test_a_store_on_a_full_disk_opens_for_reading(disk: Path) -> None:
    path = disk / "conversations.db"
    conversation = crashed(path)
    fill(disk)
    store = open_store(path)
    assert can_be_read(store, conversation), "also what is only in the log"
    try_everything_that_writes(store, conversation, StoreFull)
    assert can_be_read(store.new_connection(), conversation)
    (disk / "fill").unlink()
    said(store, conversation, "said more", "than before")
    assert store.database.obstacle is None
    store.close()


def test_a_new_store_on_a_full_disk_is_an_error(disk: Path) -> None:
    fill(disk)
    with pytest.raises(StoreFull, match="bytes free"):
        open_store(disk / "conversations.db")
    assert [each.name for each in disk.iterdir()] == ["fill"]


@pytest.mark.parametrize("log", [False, True], ids=["without a log", "with a log"])
def test_a_read_only_file_system_can_be_read(disk: Path, log: bool) -> None:  # noqa: FBT001 - a case
    path = disk / "conversations.db"
    conversation = crashed(path)
    if not log:
        open_store(path).close()
    remount(disk, "ro")
    store = open_store(path)
    assert can_be_read(store, conversation)
    error = try_everything_that_writes(store, conversation, StoreReadOnly)
    assert "mounted read-only" in str(error)
    remount(disk, "rw")
    said(store, conversation, "said more", "than before")
    assert len(store.turns(conversation)) == 1, "a second root, and current"
    store.close()


def test_an_old_store_on_a_read_only_file_system_can_be_read(disk: Path) -> None:
    path = disk / "conversations.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, STEPS[:3])
        connection.execute(
            "INSERT INTO conversations (row, id, title, created, updated) VALUES (1, 'abc', 'Old', ?1, ?1)",
            ("2026-01-01T00:00:00+00:00",),
        )
    remount(disk, "ro")
    store = open_store(path)
    assert [each.title for each in store.summaries()] == ["Old"]
    with pytest.raises(StoreReadOnly):
        store.rename("abc", "New", by="person")
    store.close()


def test_a_locked_database_is_reported_within_the_busy_timeout(database: Path) -> None:
    store = open_store(database)
    conversation, _ = chat(store, ("said", "something"))
    quick = ConversationStore(open_database(database, busy_seconds=0.05), now=Clock())
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(StoreBusy, match="Another program is writing"):
            quick.save_draft("", "x")
        assert time.monotonic() - began < BUSY_SECONDS - 1, "it waits as by default"
        assert can_be_read(quick, conversation)
        other.execute("ROLLBACK")
    quick.save_draft("", "x")
    assert store.draft("") == "x"
    quick.close()
    store.close()


def test_a_file_that_is_overwritten_is_damaged_and_left_alone(database: Path) -> None:
    store = open_store(database)
    chat(store, ("said", "something"))
    store.close()
    store = open_store(database)
    database.write_bytes(b"garbage " * 5_000)
    with pytest.raises(StoreDamaged):
        store.save_draft("", "x")
    with pytest.raises(StoreDamaged):
        open_store(database)
    store.close()
    assert database.read_bytes() == b"garbage " * 5_000


def garbage_for(whole: bytes, damage: str) -> bytes:
    """The content of a damaged file."""
    garbage = bytearray(b"garbage " * (len(whole) // 8))
    match damage:
        case "header":
            garbage[100:] = whole[100:]
        case "all but the header":
            garbage[:100] = whole[:100]
        case "random pages":
            for start in range(0, len(whole), 3 * 4096):
                garbage[start : start + 4096] = whole[start : start + 4096]
        case "cut":
            garbage[4096:] = b""
    return bytes(garbage)


@pytest.mark.parametrize("log", ["empty", "in use"])
@pytest.mark.parametrize("damage", ["all", "header", "all but the header", "random pages", "cut"])
def test_every_open_connection_works_again_when_the_file_is_restored(database: Path, damage: str, log: str) -> None:
    """SQLite keeps what it has read, also of a damaged file."""
    store = open_store(database)
    conversation, _ = chat(store, ("said", "something"))
    store.save_draft("", "x" * 100_000)
    others = [store.new_connection(), store.new_connection()]
    for each in others:
        each.save_draft("", "before")
    if log == "empty":
        assert store.database.truncate_wal()
    whole = database.read_bytes()
    garbage = garbage_for(whole, damage)
    with database.open("r+b") as file:
        file.write(garbage)
        file.truncate()
    for each in (store, *others):
        calls: list[Callable[[], object]] = [
            partial(each.save_draft, "", "y" * 100_000),
            partial(each.add_turn, conversation, "more", parent_id=None),
            partial(each.turns, conversation),
            partial(each.search, "said"),
            each.summaries,
        ]
        for call in calls:
            with contextlib.suppress(StoreDamaged):
                call()
    with database.open("r+b") as file:
        file.write(whole)
    for number, each in enumerate((store, *others)):
        each.save_draft("", f"saved after all {number}")
        assert each.draft("") == f"saved after all {number}"
        assert can_be_read(each, conversation)
        each.database.integrity_check()
        each.close()


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_nothing_is_written_to_a_deleted_file(database: Path, how: str) -> None:
    """SQLite would keep writing to an unlinked file."""
    store = open_store(database)
    conversation, _ = chat(store, ("said", "something"))
    away = database.parent.with_name("away")
    match how:
        case "deleted":
            shutil.rmtree(database.parent)
        case "moved":
            database.parent.rename(away)
        case _:
            database.unlink()
            open_store(database).close()
    with pytest.raises(StoreMissing, match="replaced" if how == "replaced" else f"{database.parent} was deleted or moved"):
        store.add_turn(conversation, "lost?", parent_id=None)
    if how == "replaced":
        with pytest.raises(StoreMissing):
            store.turns(conversation)
    else:
        try_everything_that_writes(store, conversation, StoreMissing)
        assert can_be_read(store, conversation)
    with pytest.raises(StoreMissing):
        store.new_connection()
    if how == "moved":
        away.rename(database.parent)
        store.save_draft("", "saved after all")
        assert store.draft("") == "saved after all"
    store.close()


def as_nobody(folder: Path, work: Callable[[], None]) -> None:
    """Run `work` in a process without root's rights, to whom everything in `folder` belongs."""
    if os.getuid() != 0:
        work()
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)

    def unprivileged() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        work()

    in_a_process(unprivileged)


def in_a_process(work: Callable[[], None]) -> None:
    """Run `work` in a process of its own, which must end well."""
    process = os.fork()
    if process == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, the test fails with it
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach."""
    made = Path(tempfile.mkdtemp()) / "data"
    made.parent.chmod(0o755)
    made.mkdir()
    yield made
    made.chmod(0o700)
    shutil.rmtree(made.parent)


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "readable", "obstacle"),
    [
        (0o400, 0o700, True, r"write to \S*conversations.db, so"),
        (0o600, 0o500, True, r"write to \S*data, so"),
        (0o400, 0o500, True, r"write to \S*, so conversations cannot be saved"),
        (0o000, 0o700, False, r"read \S*conversations.db, so conversations cannot be read"),
        (0o600, 0o000, False, r"open the folder \S*data, so"),
    ],
)
def test_insufficient_permissions_are_named(
    folder: Path,
    file_mode: int,
    folder_mode: int,
    readable: bool,  # noqa: FBT001 - a case
    obstacle: str,
) -> None:
    path = folder / "conversations.db"
    conversation, _ = chat(store := open_store(path), ("said", "something"))
    store.close()

    def work() -> None:
        path.chmod(file_mode)
        folder.chmod(folder_mode)
        if readable:
            store = open_store(path)
            assert can_be_read(store, conversation)
            error = try_everything_that_writes(store, conversation, StoreReadOnly)
        else:
            with pytest.raises(StoreReadOnly) as refused:
                open_store(path)
            error = refused.value
        assert re.search(f"You do not have permission to {obstacle}", str(error))
        assert "chmod u+rw" in str(error)
        folder.chmod(0o700)
        path.chmod(0o600)
        if readable:
            said(store, conversation, "said more", "than before")
            store.close()

    as_nobody(folder, work)


def test_revoked_folder_permissions_lose_nothing(folder: Path) -> None:
    path = folder / "conversations.db"
    conversation, _ = chat(store := open_store(path), ("said", "something"))
    store.close()

    def work() -> None:
        store = open_store(path)
        store.save_draft("", "before")
        folder.chmod(0o000)
        store.save_draft("", "while it is closed")
        assert can_be_read(store, conversation)
        with pytest.raises(StoreReadOnly, match=r"open the folder \S*data, so"):
            store.new_connection()
        folder.chmod(0o700)
        store.close()
        again = open_store(path)
        assert again.draft("") == "while it is closed"
        again.close()

    as_nobody(folder, work)


def test_a_home_that_cannot_be_written_is_named(folder: Path) -> None:
    folder.chmod(0o500)

    def work() -> None:
        with pytest.raises(StoreReadOnly, match=f"write to {folder}, so"):
            open_database(folder / "mistral-chat" / "conversations.db")

    as_nobody(folder, work)


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "conversations.db").mkdir()
    with pytest.raises(StoreError, match="is a folder, not a database"):
        open_store(tmp_path / "conversations.db")


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of this kind")
@pytest.mark.parametrize("spare", [0, 8_192, 60_000])
def test_a_limit_on_the_size_of_files_is_named_and_the_store_can_be_read(database: Path, spare: int) -> None:
    conversation, _ = chat(store := open_store(database), ("said", "something"))
    store.close()
    size = database.stat().st_size

    def work() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size + spare, resource.RLIM_INFINITY))
        store = open_store(database)
        assert can_be_read(store, conversation)
        error = try_everything_that_writes(store, conversation, StoreFull)
        assert "file size limit of this process" in str(error)
        assert can_be_read(store, conversation)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.save_draft("", "saved after all")
        assert store.draft("") == "saved after all"
        store.close()

    in_a_process(work)


def test_a_disk_that_hangs_is_told_and_not_waited_for() -> None:
    answer = threading.Event()
    answer.set()
    ended = threading.Event()
    probe = DiskProbe(lambda: answer.wait(60), close=ended.set, patience=0.5, recent=0.0)
    assert probe.answers()
    answer.clear()
    assert not probe.answers()
    assert PATIENCE <= 1.0, "a window stands still for that long"
    began = time.monotonic()
    assert not any(probe.answers() for _ in range(40))
    assert time.monotonic() - began < 40 * 0.5 / 2, "only the first call waits"
    answer.set()
    while not probe.answers():
        pass
    probe.close()
    assert ended.wait(60)


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], object]]]:
    """The folder of a file system that can be frozen, and what does that."""
    image, folder = tmp_path / "image", tmp_path / "mounted"
    make, freeze = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin"), shutil.which("fsfreeze", path="/usr/sbin:/sbin")
    if not (make and freeze and MOUNT):
        pytest.skip("there is no mkfs.ext4 or fsfreeze")
    with image.open("wb") as file:
        file.truncate(16 * 1024**2)
    folder.mkdir()
    for command in ([make, "-q", str(image)], [MOUNT, "-o", "loop", str(image), str(folder)]):
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a file system needs root's rights")
    yield folder, lambda how: subprocess.run([freeze, how, str(folder)], check=True)
    subprocess.run([UMOUNT, "--lazy", str(folder)], check=True)


def test_reads_on_a_frozen_file_system_do_not_wait(freezable: tuple[Path, Callable[[str], object]]) -> None:
    folder, freeze = freezable
    store = open_store(folder / "conversations.db")
    conversation, _ = chat(store, ("said", "something"))
    store.database.read_without_waiting(0.05)
    assert store.database._probe is not None
    store.database._probe._patience, store.database._probe._recent = 1.0, 0.0
    assert can_be_read(store, conversation)
    other = store.new_connection()
    other.save_draft("", "so that the next read has to write into the index of the log")
    thaw = threading.Timer(30, freeze, ["--unfreeze"])
    thaw.start()
    freeze("--freeze")
    try:
        began = time.monotonic()
        calls = (store.data_version, store.summaries, lambda: store.turns(conversation), lambda: store.search("said"))
        for call in calls:
            with contextlib.suppress(StoreError):
                call()
        waited = time.monotonic() - began
    finally:
        thaw.cancel()
        freeze("--unfreeze")
    assert waited < 15, "it is thawed after 30 seconds"
    while True:
        with contextlib.suppress(StoreError):
            assert can_be_read(store, conversation)
            break
    other.close()
    store.close()
