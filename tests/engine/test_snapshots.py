"""Snapshots on disk: whole or not at all, within a budget, and gone with their conversation."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.effort import PATIENCE
from support.privileges import without_privileges

from mistral_chat import system
from mistral_chat.engine import snapshots as room
from mistral_chat.engine.encoding.format import Encoding, TurnTokens
from mistral_chat.engine.snapshots import Snapshot, SnapshotFolder, SnapshotProgress, identify

HELD = Encoding((1, 2), (TurnTokens("a", (3, 4), (5,), (6, 7)), TurnTokens("b", (8,), (), ())))
STATE = bytes(range(40))


def snapshot(conversation: str = "one", *, identity: str = "weights", state: bytes = STATE) -> Snapshot:
    return Snapshot(
        conversation=conversation,
        identity=identity,
        contents=HELD,
        sampled={"a": ("h\ud800é", (5,))},
        pinned=frozenset({"a"}),
        state=state,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "snapshots"


@pytest.fixture
def folder(path: Path) -> Iterator[SnapshotFolder]:
    folder = SnapshotFolder(path, budget=10_000)
    yield folder
    folder.close()


def files(path: Path) -> list[Path]:
    return sorted(path.glob("*.kv*"))


def save(folder: SnapshotFolder, *wanted: Snapshot) -> None:
    for each in wanted:
        folder.save(each)
        folder.flush()


def test_a_snapshot_is_loaded_in_another_run(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot())
    other = SnapshotFolder(path, budget=10_000)
    loaded = other.load("one", "weights")
    assert loaded is not None
    assert bytes(loaded.state) == STATE
    assert replace(loaded, state=STATE) == snapshot()
    other.close()


def test_nothing_is_loaded_before_the_first_save(folder: SnapshotFolder, path: Path) -> None:
    assert folder.load("one", "weights") is None
    assert files(path) == []
    folder.forget("one")
    folder.flush()
    assert not path.exists(), "a folder appears only when it is needed"


def test_only_the_owner_may_read_it(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot())
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.iterdir()} == {0o600}
    assert len(list(path.iterdir())) == 2, "a snapshot and the key"


def test_the_latest_snapshot_replaces_the_one_before(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot(), snapshot(state=b"newer"))
    loaded = folder.load("one", "weights")
    assert loaded is not None
    assert bytes(loaded.state) == b"newer"
    assert len(files(path)) == 1


@pytest.mark.parametrize("wrong", ["identity", "conversation"])
def test_a_snapshot_of_another_model_or_chat_is_discarded(folder: SnapshotFolder, path: Path, wrong: str) -> None:
    save(folder, snapshot())
    if wrong == "identity":
        assert folder.load("one", "other weights") is None
    else:
        (found,) = files(path)
        found.rename(folder._path("two"))
        assert folder.load("two", "weights") is None
    assert files(path) == []


def test_every_changed_byte_is_detected(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot())
    (file,) = files(path)
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        assert folder.load("one", "weights") is None, f"byte {place} was changed"
        assert not file.exists()
    file.write_bytes(whole)
    assert folder.load("one", "weights") is not None


def test_every_cut_and_addition_is_detected(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot())
    (file,) = files(path)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert folder.load("one", "weights") is None, f"only {length} bytes were left"
    for more in (b"\0", whole):
        file.write_bytes(whole + more)
        assert folder.load("one", "weights") is None
    assert files(path) == []


def test_a_snapshot_written_with_another_key_is_discarded(folder: SnapshotFolder, path: Path) -> None:
    """An attacker who can write into the folder, but not read the key, cannot make llama.cpp read a file."""
    save(folder, snapshot())
    (path / "key").unlink()
    assert folder.load("one", "weights") is None


def test_a_damaged_key_is_replaced(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot())
    (path / "key").write_bytes(b"short")
    assert folder.load("one", "weights") is None
    save(folder, snapshot())
    assert folder.load("one", "weights") is not None


def test_a_file_larger_than_any_snapshot_is_not_read_into_memory(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot())
    (file,) = files(path)
    os.truncate(file, 2**40)
    assert folder.load("one", "weights") is None
    assert not file.exists()


def test_a_folder_in_the_place_of_a_file_does_no_harm(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot())
    (file,) = files(path)
    file.unlink()
    file.mkdir()
    assert folder.load("one", "weights") is None


def test_a_file_deleted_by_another_window_does_no_harm(folder: SnapshotFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, snapshot())
    real = room._unpack

    def unpack_and_lose(data: bytearray, key: bytes) -> Snapshot:
        found = real(data, key)
        folder.forget("one")
        return found

    monkeypatch.setattr(room, "_unpack", unpack_and_lose)
    loaded = folder.load("one", "weights")
    assert loaded is not None
    assert bytes(loaded.state) == STATE


def test_the_least_recently_used_leave_when_the_budget_is_full(path: Path) -> None:
    folder = SnapshotFolder(path, budget=3000)
    names = ["a", "b", "c", "d", "e"]
    for age, name in enumerate(names):
        save(folder, snapshot(name, state=bytes(500)))
        os.utime(folder._path(name), (1000 + age, 1000 + age))
        if name == "c":
            assert folder.load("a", "weights") is not None, "opened, so used"
    assert sum(each.stat().st_size for each in files(path)) <= 3000
    left = [name for name in names if folder.load(name, "weights") is not None]
    assert "e" in left
    assert "a" in left
    assert "b" not in left
    folder.close()


def test_a_snapshot_larger_than_the_budget_is_not_written(path: Path) -> None:
    folder = SnapshotFolder(path, budget=100)
    save(folder, snapshot(state=bytes(101)))
    assert files(path) == []
    folder.close()


def test_a_budget_of_zero_writes_nothing(path: Path) -> None:
    folder = SnapshotFolder(path, budget=0)
    save(folder, snapshot())
    assert files(path) == []
    folder.close()


def test_a_deleted_conversation_leaves_no_saved_state(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot(), snapshot("two"))
    folder.forget("one")
    assert folder.load("one", "weights") is None
    assert folder.load("two", "weights") is not None
    assert len(files(path)) == 1


def test_a_snapshot_being_written_is_deleted_with_its_conversation(
    folder: SnapshotFolder, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, forgotten = threading.Event(), threading.Event()
    real = os.fsync

    def slow(file: int) -> None:
        writing.set()
        assert forgotten.wait(PATIENCE)
        real(file)

    monkeypatch.setattr(os, "fsync", slow)
    folder.save(snapshot())
    assert writing.wait(PATIENCE)
    folder.forget("one")
    forgotten.set()
    folder.flush()
    assert files(path) == []


def test_only_the_last_waiting_snapshot_is_written(folder: SnapshotFolder, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, snapshot())  # which writes the key, too
    go_on = threading.Event()
    written: list[int] = []
    real = os.fsync

    def slow(file: int) -> None:
        assert go_on.wait(PATIENCE)
        written.append(file)
        real(file)

    monkeypatch.setattr(os, "fsync", slow)
    for number in range(5):
        folder.save(snapshot(state=bytes([number]) * 10))
    go_on.set()
    loaded = folder.load("one", "weights")
    assert loaded is not None
    assert bytes(loaded.state) == bytes([4]) * 10
    assert len(written) <= 2


def test_a_failed_write_does_not_keep_others_from_being_opened(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("This is no folder.")
    folder = SnapshotFolder(path, budget=10_000)
    folder.save(snapshot())
    assert folder.load("two", "weights") is None
    path.unlink()
    save(folder, snapshot())
    assert folder.load("one", "weights") is not None
    folder.close()


def test_a_folder_that_may_not_be_read_does_not_keep_conversations_from_being_opened(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot())
    path.chmod(0)
    assert without_privileges(lambda: folder.load("two", "weights")) is None
    assert without_privileges(lambda: folder.load("one", "weights")) is None
    path.chmod(0o700)
    assert folder.load("one", "weights") is not None


def test_what_has_no_snapshot_opens_while_another_is_written(folder: SnapshotFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()
    real = os.fsync

    def slow(file: int) -> None:
        assert opened.wait(PATIENCE)
        real(file)

    monkeypatch.setattr(os, "fsync", slow)
    folder.save(snapshot())
    assert folder.load("two", "weights") is None
    opened.set()
    assert folder.load("one", "weights") is not None


def test_a_snapshot_is_loaded_while_another_is_written(folder: SnapshotFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, written = threading.Event(), threading.Event()
    real = os.fsync

    def slow(file: int) -> None:
        opened.wait(PATIENCE)
        written.set()
        real(file)

    save(folder, snapshot("one"), snapshot("two"))
    monkeypatch.setattr(os, "fsync", slow)
    folder.save(snapshot("one", state=STATE[::-1]))
    assert folder.load("two", "weights") is not None
    assert not written.is_set(), "going back and forth between two conversations waits for the disk"
    opened.set()
    loaded = folder.load("one", "weights")
    assert loaded is not None
    assert bytes(loaded.state) == STATE[::-1]


def test_a_file_that_cannot_be_deleted_now_does_not_keep_the_budget_from_being_kept(
    folder: SnapshotFolder, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Windows deletes no file that is being read."""
    save(folder, *(snapshot(name, state=bytes(4000)) for name in "ab"))
    read = folder._path("a")
    os.utime(read, (1, 1))
    real = system.delete

    def delete(file: Path) -> None:
        if file == read:
            raise PermissionError(errno.EACCES, "in use")
        real(file)

    monkeypatch.setattr(system, "delete", delete)
    save(folder, snapshot("c", state=bytes(4000)))
    assert files(path) == sorted([read, folder._path("c")])
    assert not caplog.records


def test_the_next_snapshot_removes_half_written_files(folder: SnapshotFolder, path: Path) -> None:
    save(folder, snapshot("one"))
    old, new = (path / f"{folder._path('one').name}.{letters}" for letters in ("12345678", "87654321"))
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    save(folder, snapshot("two"))
    assert not old.exists(), "half a gigabyte stays on the disk for each crash"
    assert new.exists(), "another window may be writing it"


def test_a_full_disk_does_no_harm(
    folder: SnapshotFolder, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    save(folder, snapshot())
    assert files(path) == []
    assert "could not be written" in caplog.text
    assert folder.load("one", "weights") is None


def test_a_closed_folder_ignores_saves(path: Path) -> None:
    folder = SnapshotFolder(path, budget=10_000)
    folder.save(snapshot())
    folder.close()
    assert len(files(path)) == 1
    folder.save(snapshot("two"))
    folder.forget("one")
    assert files(path) == []


def test_the_log_holds_nothing_of_the_conversation(folder: SnapshotFolder, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    save(folder, snapshot("secret"))
    folder._path("secret").write_bytes(b"rubbish")
    assert folder.load("secret", "weights") is None
    assert "secret" not in caplog.text


def test_the_identity_covers_the_model_file_and_the_settings(tmp_path: Path) -> None:
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(bytes(6 * 1024 * 1024))
    os.utime(weights, (1, 1))
    first = identify(weights, "version", 1024)
    assert identify(weights, "version", 1024) == first
    assert identify(weights, "version", 2048) != first
    assert identify(weights, "other", 1024) != first
    os.utime(weights, (2, 2))
    assert identify(weights, "version", 1024) != first
    os.utime(weights, (1, 1))
    with weights.open("r+b") as file:
        file.seek(6 * 1024 * 1024 - 10)
        file.write(b"x")
    os.utime(weights, (1, 1))
    assert identify(weights, "version", 1024) != first


def test_listeners_are_notified_of_every_read_and_write(folder: SnapshotFolder) -> None:
    heard: list[SnapshotProgress | None] = []
    folder.subscribe(heard.append)
    save(folder, snapshot())
    assert heard[0] == SnapshotProgress("saving", 0, len(STATE))
    assert heard[-2:] == [SnapshotProgress("saving", len(STATE), len(STATE)), None]
    heard.clear()
    assert folder.load("one", "weights") is not None
    first = heard[0]
    assert first is not None
    assert first.what == "restoring"
    assert first.done == first.total > len(STATE)
    assert heard[-1] is None
    heard.clear()
    assert folder.load("two", "weights") is None
    assert heard == [], "there is nothing to read, and nothing to show"


def test_a_stopped_write_leaves_nothing_behind(folder: SnapshotFolder, path: Path) -> None:
    folder.subscribe(lambda progress: folder.stop() if progress is not None else None)
    save(folder, snapshot())
    assert files(path) == []
    folder.subscribe(lambda _upkeep: None)
    save(folder, snapshot())
    assert len(files(path)) == 1, "the next one is written again"


def test_a_stopped_read_keeps_the_file(folder: SnapshotFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_chat.engine.snapshots._BLOCK", 16)
    save(folder, snapshot())
    folder.subscribe(lambda progress: folder.stop() if progress is not None else None)
    assert folder.load("one", "weights") is None
    folder.subscribe(lambda _upkeep: None)
    assert folder.load("one", "weights") is not None
