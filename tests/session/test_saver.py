"""Nothing on the event loop waits for the disk, and nothing that was to be saved is lost."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.effort import PATIENCE
from support.sessions import until

from mistral_chat.cli.wiring import utc_now
from mistral_chat.errors import ConversationNotFound, StoreBusy, StoreError
from mistral_chat.session.events import SavingEvent, SavingFailed, SavingResumed
from mistral_chat.session.saver import Saver
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "conversations.db"


@pytest.fixture
def store(path: Path) -> Iterator[ConversationStore]:
    store = ConversationStore(open_database(path, busy_seconds=0.05), now=utc_now)
    yield store
    store.close()


class Saving:
    """A saver, and what it reported."""

    def __init__(self, store: ConversationStore, retry_seconds: float = 0.01, **more: float) -> None:
        self.events: list[SavingEvent] = []
        self.unexpected: list[BaseException] = []
        report, unexpected = self.events.append, self.unexpected.append
        self.saver = Saver(store, report=report, on_unexpected_error=unexpected, retry_seconds=retry_seconds, **more)

    @property
    def kinds(self) -> list[type[SavingEvent]]:
        return [type(event) for event in self.events]


class Locked:
    """Another program that locks the database."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self._connection.rollback()
        self._connection.close()


async def test_a_disk_that_does_not_answer_is_reported(store: ConversationStore) -> None:
    saving = Saving(store, silent_seconds=0.02)
    begun, answer = threading.Event(), threading.Event()

    def hang(_: ConversationStore) -> bool:
        begun.set()
        return answer.wait(PATIENCE)

    asked = asyncio.ensure_future(saving.saver.write(hang))
    await until(begun.is_set)
    saving.saver.save_draft("", "What I type")
    await until(lambda: saving.events)
    failed = saving.events[0]
    assert isinstance(failed, SavingFailed)
    assert "is not responding" in str(failed.error)
    with pytest.raises(StoreError, match="is not responding"):
        await saving.saver.flush(0.01)
    answer.set()
    assert await asked
    await until(lambda: SavingResumed in saving.kinds)
    await saving.saver.flush(PATIENCE)
    assert store.draft("") == "What I type"
    await saving.saver.close()


async def test_a_draft_survives_a_locked_database(store: ConversationStore, path: Path) -> None:
    saving = Saving(store)
    other = Locked(path)
    saving.saver.save_draft("", "What I type")
    assert saving.saver.pending, "typing never waits for the disk"
    assert saving.saver.draft("") == "What I type", "an unsaved draft is still the draft"
    await until(lambda: saving.events)
    assert isinstance(saving.events[0], SavingFailed)
    assert (saving.events[0].bytes_free or 0) > 0
    saving.saver.save_draft("", "What I type now")
    other.release()
    await saving.saver.flush(PATIENCE)
    assert store.draft("") == "What I type now"
    assert saving.kinds == [SavingFailed, SavingResumed], "a lasting problem and its end are reported once"
    assert not saving.saver.pending
    await saving.saver.close()


async def test_a_disk_that_hangs_when_asked_for_its_free_space_stops_nothing_else(
    store: ConversationStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving, other = Saving(store), Locked(path)
    asked, answer = threading.Event(), threading.Event()

    def hang(_: Path) -> None:
        asked.set()
        answer.wait(PATIENCE)
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(shutil, "disk_usage", hang)
    saving.saver.save_draft("", "What I type")
    await until(asked.is_set)
    assert saving.saver.draft("") == "What I type", "the screen is not stopped"
    assert not answer.is_set()
    answer.set()
    await until(lambda: saving.events)
    assert isinstance(saving.events[0], SavingFailed)
    assert saving.events[0].bytes_free is None
    other.release()
    await saving.saver.flush(PATIENCE)
    await saving.saver.close()


async def test_a_question_is_refused_while_the_database_is_locked(store: ConversationStore, path: Path) -> None:
    saving = Saving(store)
    other = Locked(path)
    saving.saver.save_draft("", "Draft")
    with pytest.raises(StoreBusy):
        await saving.saver.write(lambda store: store.create(title="New"))
    other.release()
    await saving.saver.flush(PATIENCE)
    assert store.draft("") == "Draft"
    assert store.summaries() == [], "what was refused is not done later"
    await saving.saver.close()


async def test_a_draft_is_kept_until_a_full_disk_has_space(store: ConversationStore) -> None:
    saving = Saving(store)
    pages: list[int] = []

    def fill(writer: ConversationStore) -> None:
        with writer.database.autocommit() as connection:
            pages.append(connection.execute("PRAGMA page_count").fetchone()[0])
            connection.execute(f"PRAGMA max_page_count = {pages[0]}")

    await saving.saver.write(fill)
    text = "long " * 20_000
    saving.saver.save_draft("", text)
    await until(lambda: saving.events)
    failed = saving.events[0]
    assert isinstance(failed, SavingFailed)
    assert "full" in str(failed.error)
    assert saving.saver.draft("") == text
    with pytest.raises(StoreError, match="full"):
        await saving.saver.flush(0.05)
    writer = saving.saver._writer
    assert writer is not None
    with writer.database.autocommit() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    await saving.saver.flush(PATIENCE)
    assert store.draft("") == text
    assert saving.kinds == [SavingFailed, SavingResumed]
    await saving.saver.close()


async def test_writes_keep_their_order_and_replace_waiting_ones(store: ConversationStore, path: Path) -> None:
    saving = Saving(store)
    conversation = store.create(title="One")
    done: list[str] = []

    def note(text: str, title: str = "") -> Callable[[ConversationStore], None]:
        def work(store: ConversationStore) -> None:
            if title:
                store.rename(conversation, title, by="person")
            done.append(text)

        return work

    other = Locked(path)
    saving.saver.save(note("rename", "Two"))
    await until(lambda: saving.events)
    for number in range(5):
        saving.saver.save(note(f"write {number}"), key="reply")
    saving.saver.save(note("again", "Three"))
    other.release()
    await saving.saver.flush(PATIENCE)
    assert done == ["rename", "write 4", "again"]
    assert store.conversation(conversation).summary.title == "Three"
    await saving.saver.close()


async def test_the_newest_of_several_texts_is_written_last(store: ConversationStore) -> None:
    """The first cannot be written, the second comes while that is tried, and the third while it waits for the next try."""
    saving = Saving(store, retry_seconds=PATIENCE)
    tried, second_given = threading.Event(), threading.Event()

    def first(writer: ConversationStore) -> None:
        if not tried.is_set():
            tried.set()
            second_given.wait(PATIENCE)
            raise StoreBusy("Another program is writing.")
        writer.save_draft("", "first")

    saving.saver.save(first, key=("draft", ""))
    await until(tried.is_set)
    saving.saver.save_draft("", "second")
    second_given.set()
    await until(lambda: saving.events)
    saving.saver.save_draft("", "third")
    await saving.saver.write(lambda _: None)  # does not wait for the next try
    assert store.draft("") == "third"
    await saving.saver.close()


async def test_a_draft_of_a_deleted_conversation_is_dropped(store: ConversationStore) -> None:
    saving = Saving(store)
    saving.saver.save_draft("gone", "text")
    await saving.saver.flush(PATIENCE)
    assert saving.events == []
    with pytest.raises(ConversationNotFound):
        await saving.saver.save(lambda store: store.rename("gone", "Title", by="person"))
    await saving.saver.close()


async def test_an_unexpected_error_is_reported_and_saving_continues(store: ConversationStore) -> None:
    saving = Saving(store)

    def fail(_: ConversationStore) -> None:
        raise ZeroDivisionError

    saving.saver.save(fail)
    await saving.saver.flush(PATIENCE)
    await asyncio.sleep(0)
    assert [type(error) for error in saving.unexpected] == [ZeroDivisionError]
    with pytest.raises(ZeroDivisionError):
        await saving.saver.write(fail)
    await saving.saver.close()
