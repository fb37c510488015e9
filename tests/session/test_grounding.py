"""What the model is given with a message besides the context: earlier exchanges and passages of documents."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.documents import pdf
from support.effort import PATIENCE
from support.scripted_engine import ScriptedEngine
from support.sessions import SessionBench, until

from mistral_chat.child_process import ChildProcess
from mistral_chat.config import Settings
from mistral_chat.conversation import DocumentPassage
from mistral_chat.documents.blocks import Block
from mistral_chat.documents.reader import DocumentReader
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import DocumentNotFound, EngineFailed, InvalidText, StoreError
from mistral_chat.session.attachments import Attachment, read_document
from mistral_chat.session.documents import DocumentIndexer, DocumentSearch, FileIndexed, asks_for_the_whole
from mistral_chat.session.events import PassagesGiven
from mistral_chat.session.headless import open_headless
from mistral_chat.session.overrides import Overrides
from mistral_chat.session.relevance import Relevance
from mistral_chat.session.reply import NewMessage
from mistral_chat.session.retriever import LEAST_RECALL, Retriever
from mistral_chat.store.database import open_database
from mistral_chat.store.documents import DocumentStore, StoredPassage
from mistral_chat.store.retrieval import turn_vectors
from mistral_chat.store.store import ConversationStore


def now() -> datetime:
    return datetime(2026, 3, 3, 12, tzinfo=UTC)


FILLER = "This is filler about nothing. " * 12


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(window=512)


@pytest.fixture
async def bench(store: ConversationStore, engine: ScriptedEngine) -> AsyncIterator[SessionBench]:
    made = SessionBench(
        store,
        lambda _: EngineThread(lambda _: engine),
        Settings(),
        retriever=Retriever(store.new_connection(), lambda: None),
    )
    yield made
    await made.close()


@pytest.fixture
def lease(store: ConversationStore, tmp_path: Path) -> None:
    (tmp_path / "lease.md").write_text("# Repairs\n\nThe landlord repairs the roof.\n\n# Pets\n\nParrots are forbidden.\n")
    with DocumentReader() as reader:
        list(DocumentIndexer(store, reader).add([tmp_path / "lease.md"], "home"))


def given(bench: SessionBench) -> list[PassagesGiven]:
    return [event for event in bench.events if isinstance(event, PassagesGiven)]


async def test_an_exchange_outside_the_context_is_recalled_and_saved(bench: SessionBench, engine: ScriptedEngine) -> None:
    session = bench.open()
    first = await bench.say(session, "My sister moved to Lisbon.")
    for number in range(12):
        await bench.say(session, f"{FILLER} {number}")
    await bench.say(session, "Which city did my sister move to?")
    (event,) = given(bench)
    (passage,) = event.turn.turn.passages
    assert (passage.kind, passage.key) == ("exchange", first)
    assert bench.last(session).passages == (passage,)
    (sent,) = engine.asked[-1].turns[-1].passages
    assert (sent.text, sent.source) == (passage.text, passage.source)
    await bench.say(session, "Thanks!")
    assert not given(bench)
    assert not engine.asked[-1].turns[-1].passages
    assert engine.asked[-1].turns[-2].passages, (
        "the engine gets the passages of the turn before, and removes them from the context"
    )


async def test_nothing_inside_the_context_is_recalled(bench: SessionBench) -> None:
    session = bench.open()
    await bench.say(session, "My sister moved to Lisbon.")
    await bench.say(session, "Which city did my sister move to?")
    assert not given(bench)


async def test_recall_can_be_switched_off(store: ConversationStore, engine: ScriptedEngine) -> None:
    settings = replace(Settings(), recall=False)
    retriever = Retriever(store.new_connection(), lambda: None)
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), settings, retriever=retriever)
    session = bench.open()
    await bench.say(session, "My sister moved to Lisbon.")
    for number in range(12):
        await bench.say(session, f"{FILLER} {number}")
    await bench.say(session, "Which city did my sister move to?")
    assert not given(bench)
    await bench.close()


@pytest.mark.usefixtures("lease")
async def test_attached_documents_are_searched_and_no_match_is_reported(bench: SessionBench, engine: ScriptedEngine) -> None:
    session = bench.open()
    await session.grounding.attach("home")
    await bench.say(session, "Who repairs the roof?")
    assert session.grounding.collections == ["home"]
    (passage,) = bench.last(session).passages
    assert (passage.kind, passage.source) == ("document", "lease.md, lines 3-7")
    assert engine.asked[-1].turns[-1].passages[0].text == passage.text
    await bench.say(session, "Explain that again, shorter")
    assert bench.last(session).passages == (passage,), "a question about the reply keeps its passages"
    await bench.say(session, "quantum chromodynamics")
    (event,) = given(bench)
    assert "Nothing found" in event.notice
    await bench.say(session, "Who repairs the roof?")
    bench.store.documents.create_collection("other")
    await session.grounding.attach("other")
    await bench.say(session, "Explain that again, shorter")
    assert not bench.last(session).passages, "nothing is given from what is no longer attached"
    await session.grounding.attach()
    await bench.say(session, "Who repairs the roof?")
    assert session.grounding.collections == []
    assert not given(bench)


@pytest.mark.usefixtures("lease")
async def test_recalled_exchanges_leave_room_for_documents(bench: SessionBench) -> None:
    session = bench.open()
    await session.grounding.attach("home")
    for number in range(4):
        await bench.say(
            session, f"Somebody repairs the roof on day {number}. The roof will be dry again when it rains in May or June."
        )
    for number in range(12):
        await bench.say(session, f"{FILLER} {number}")
    await bench.say(session, "Who repairs the roof?")
    assert {each.kind for each in bench.last(session).passages} == {"exchange", "document"}


@pytest.mark.usefixtures("lease")
async def test_attached_collections_belong_to_the_conversation(bench: SessionBench) -> None:
    session = bench.open()
    await session.grounding.attach("home")
    await bench.say(session, "Who repairs the roof?")
    assert bench.open(session.conversation_id).grounding.collections == ["home"]
    session.grounding.chosen = ["home"]
    with pytest.raises(DocumentNotFound):
        await session.grounding.attach("nowhere")
    assert session.grounding.chosen == ["home"], "what could not be saved is attached later"


@pytest.mark.usefixtures("lease")
async def test_a_collection_that_was_deleted_meanwhile_fails_one_message_alone(bench: SessionBench) -> None:
    session = bench.open()
    bench.store.documents.create_collection("other")
    await session.grounding.attach("home", "other")
    bench.store.documents.delete_collection("home")
    with pytest.raises(DocumentNotFound):
        await bench.say(session, "Who repairs the roof?")
    await bench.say(session, "Who repairs the roof?")
    assert session.grounding.collections == ["other"]


@pytest.mark.usefixtures("lease")
async def test_a_deleted_collection_leaves_the_others_of_a_temporary_chat(
    store: ConversationStore, engine: ScriptedEngine
) -> None:
    temporary, retriever = ConversationStore(open_database(None), now=now), Retriever(store.new_connection(), lambda: None)
    bench = SessionBench(temporary, lambda _: EngineThread(lambda _: engine), Settings(), retriever=retriever, saved=False)
    session = bench.open()
    store.documents.create_collection("other")
    await session.grounding.attach("home", "other")
    store.documents.delete_collection("other")
    await bench.say(session, "Who repairs the roof?")
    assert "could not be searched" in given(bench)[-1].notice
    await bench.say(session, "Who repairs the roof?")
    assert [each.source for each in bench.last(session).passages] == ["lease.md, lines 3-7"]
    await bench.close()


async def test_files_that_are_attached_at_once_are_all_attached(bench: SessionBench) -> None:
    session = bench.open()
    await bench.say(session, "Hello")
    names = [bench.store.documents.create_collection(name) for name in ("one", "two", "three")]
    await asyncio.gather(*(session.files.add(Attachment(name, "", tokens=0, collection=name)) for name in names))
    session.grounding.chosen = [bench.store.documents.create_collection("four")]
    five = bench.store.documents.create_collection("five")
    adding = session.files.add(Attachment(five, "", tokens=0, collection=five))
    await asyncio.gather(adding, session.grounding.give(session.turns[0], recall=False))
    assert session.grounding.collections == sorted([*names, "four", five])


async def test_a_long_file_that_is_attached_twice_is_removed_once(bench: SessionBench) -> None:
    session = bench.open()
    name = bench.store.documents.create_collection("lease.md")
    first, second = [Attachment("lease.md", "", tokens=0, collection=name) for _ in range(2)]
    await session.files.add(first)
    await session.files.add(second)
    assert session.attachments == [first]
    await session.files.remove(first)
    assert (session.attachments, session.grounding.collections) == ([], [])


async def test_without_a_retriever_a_message_is_sent_as_it_is(store: ConversationStore, engine: ScriptedEngine) -> None:
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings())
    await bench.say(bench.open(), "Hello")
    assert not given(bench)
    await bench.close()


async def test_a_slow_machine_gets_fewer_passages(bench: SessionBench, store: ConversationStore) -> None:
    retriever = bench.environment.retriever
    assert retriever is not None
    retriever.prefill_speed = 10.0
    assert retriever._affordable(2.0, LEAST_RECALL) == LEAST_RECALL
    retriever.prefill_speed = 400.0
    assert retriever._affordable(2.0, LEAST_RECALL) == 800


def test_a_question_about_a_whole_text_is_recognised() -> None:
    whole = ["Summarise this file", "How many functions are there?", "List all chapters"]
    parts = ["Who repairs the roof?", "What does the lease say about rent?"]
    assert [each for each in whole + parts if asks_for_the_whole(each)] == whole


async def test_a_long_file_in_a_temporary_chat_stays_in_memory(store: ConversationStore, tmp_path: Path) -> None:
    retriever = Retriever(store.new_connection(), lambda: None)
    temporary = ConversationStore(open_database(None), now=now)
    engine = ScriptedEngine(window=4096)
    bench = SessionBench(temporary, lambda _: EngineThread(lambda _: engine), Settings(), retriever=retriever, saved=False)
    session = bench.open()
    path = tmp_path / "lease.md"
    path.write_text(
        "\n\n".join(f"# Part {number}\n\n{FILLER}" for number in range(90)) + "\n\n# Roof\n\nThe landlord repairs it.\n"
    )
    file = await session.files.attach(path)
    assert file.collection == "lease.md"
    assert [each.name for each in session.grounding.available()] == ["lease.md"]
    await bench.say(session, "What does the landlord repair?")
    assert [each.source for each in bench.last(session).passages] == ["lease.md, line 363"]
    assert not store.documents.collections()
    await session.files.remove(file)
    assert not session.grounding.collections
    await bench.close()


async def test_a_long_file_in_a_temporary_chat_leaves_a_saved_collection_of_its_name(
    store: ConversationStore, tmp_path: Path
) -> None:
    retriever = Retriever(store.new_connection(), lambda: None)
    with DocumentReader() as reader:
        (tmp_path / "pets.md").write_text("# Pets\n\nParrots are forbidden by Quentin.\n")
        list(DocumentIndexer(store, reader).add([tmp_path / "pets.md"], "lease"))
    temporary = ConversationStore(open_database(None), now=now)
    engine = ScriptedEngine(window=4096)
    bench = SessionBench(temporary, lambda _: EngineThread(lambda _: engine), Settings(), retriever=retriever, saved=False)
    session = bench.open()
    await session.grounding.attach("lease")
    (tmp_path / "lease").write_text("\n\n".join(f"# Part {number}\n\n{FILLER}" for number in range(90)) + "\n\nThe roof leaks.\n")
    file = await session.files.attach(tmp_path / "lease")
    names = [each.name for each in session.grounding.available()]
    assert sorted(names) == session.grounding.collections == ["2 lease", "lease"]
    for question, source in (("What did Quentin forbid about parrots?", "pets.md"), ("Does the roof leak?", "lease")):
        await bench.say(session, question)
        assert source in {each.source.split(",")[0] for each in bench.last(session).passages}
    other = bench.open()
    await other.grounding.attach(file.collection)
    await bench.say(other, "Does the roof leak?")
    assert bench.last(other).passages, "another temporary chat may attach it too"
    await session.files.remove(file)
    assert session.grounding.collections == ["lease"]
    await bench.close()


async def test_a_cancelled_reading_of_a_long_document_ends_at_once(
    bench: SessionBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "long.pdf").write_bytes(pdf([[FILLER] * 40] * 4000))
    asked, ended = threading.Event(), threading.Event()
    send = ChildProcess.send

    def noted(child: ChildProcess, request: Mapping[str, Any]) -> None:
        send(child, request)
        asked.set()

    def read(path: Path, reader: DocumentReader) -> Attachment:
        try:
            return read_document(path, reader)
        finally:
            ended.set()

    monkeypatch.setattr(ChildProcess, "send", noted)
    monkeypatch.setattr("mistral_chat.session.grounding.read_document", read)
    reading = asyncio.create_task(bench.open().grounding.read_file(tmp_path / "long.pdf"))
    assert await asyncio.to_thread(asked.wait, PATIENCE)
    reading.cancel()
    assert await asyncio.to_thread(ended.wait, 5)


def test_the_program_ends_while_a_file_is_indexed(
    store: ConversationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, closed = threading.Event(), threading.Event()

    def slowly(*_: object) -> tuple[str, FileIndexed]:
        began.set()
        assert closed.wait(PATIENCE)
        raise InvalidText("ended")

    monkeypatch.setattr(DocumentIndexer, "add_file", slowly)
    retriever = Retriever(store.new_connection(), lambda: None)
    with DocumentReader() as reader, ThreadPoolExecutor() as threads:
        indexing = threads.submit(retriever.index_file, tmp_path, store, reader)
        assert began.wait(PATIENCE)
        ending = threads.submit(retriever.close)
        try:
            ending.result(5)
        finally:
            closed.set()
        assert isinstance(indexing.exception(), InvalidText)


def test_a_file_that_another_window_removes_while_it_is_read_is_not_attached(store: ConversationStore, tmp_path: Path) -> None:
    class Slow(DocumentReader):
        def read_all(self, path: Path) -> list[Block]:
            store.documents.delete_documents(*(each.document_id for each in store.documents.documents()))
            return super().read_all(path)

    (tmp_path / "roof.txt").write_text("The roof leaks.", "utf-8")
    with Slow() as reader, pytest.raises(InvalidText, match="removed from the index while it was read"):
        Retriever(store.new_connection(), lambda: None).index_file(tmp_path / "roof.txt", store, reader)


def test_only_what_was_attached_and_not_added_by_name_is_deleted(store: ConversationStore, tmp_path: Path) -> None:
    (tmp_path / "roof.txt").write_text("The roof leaks.", "utf-8")
    with DocumentReader() as reader:
        indexer = DocumentIndexer(store, reader)
        for added in (False, True):
            name, _ = indexer.add_file(tmp_path / "roof.txt")
            if added:
                list(indexer.add([tmp_path / "roof.txt"], name))
            store.documents.delete_unused(timedelta(days=-1))
            assert [each.name for each in store.documents.collections()] == ["roof.txt"] * added


async def test_a_temporary_chat_is_left_while_its_file_is_embedded(store: ConversationStore) -> None:
    temporary = ConversationStore(open_database(None), now=now)
    with closing(Retriever(store.new_connection(), LengthEmbedder)) as retriever:
        temporary.documents.create_collection("home")
        temporary.close()
        with pytest.raises(StoreError, match="closed"):
            retriever.index_documents(["home"], temporary)


async def test_recall_is_switched_per_conversation(bench: SessionBench) -> None:
    session = bench.open()
    await session.grounding.set_recall(recall=False)
    await bench.say(session, "My sister moved to Lisbon.")
    for number in range(12):
        await bench.say(session, f"{FILLER} {number}")
    await bench.say(session, "Which city did my sister move to?")
    assert not given(bench)
    again = bench.open(session.conversation_id)
    assert not again.grounding.recalls
    await again.grounding.set_recall(recall=True)
    await bench.say(again, "And which city did my sister move to?")
    assert given(bench)


class LengthEmbedder:
    """Embeds a text as its length."""

    key = "length"
    dimensions = 1

    def embed_query(self, text: str) -> NDArray[np.float16]:
        return np.array([len(text)], np.float16)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float16]:
        return np.array([[len(text)] for text in texts], np.float16)

    embed_kept = embed_passages

    def close(self) -> None:
        """Free nothing."""


class BrokenEmbedder(LengthEmbedder):
    """Fails, as one that has run out of memory."""

    def embed_query(self, text: str) -> NDArray[np.float16]:
        raise EngineFailed(f"{len(text)} characters are too many.")


@pytest.mark.usefixtures("lease")
async def test_documents_that_cannot_be_searched_are_reported(store: ConversationStore, engine: ScriptedEngine) -> None:
    retriever = Retriever(store.new_connection(), BrokenEmbedder)
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings(), retriever=retriever)
    session = bench.open()
    await session.grounding.attach("home")
    await bench.say(session, "Who repairs the roof?")
    (event,) = given(bench)
    assert "could not be searched" in event.notice
    assert bench.last(session).finish_reason == "stop"
    await bench.close()


async def test_vectors_are_not_written_on_the_connection_that_the_screen_reads(tmp_path: Path, engine: ScriptedEngine) -> None:
    with closing(ConversationStore(open_database(tmp_path / "chats.db"), now=now)) as store:
        with store.database.read() as screen:
            before = screen.total_changes
        with closing(Retriever(store.new_connection(), LengthEmbedder)) as retriever:
            bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings(), retriever=retriever)
            session = bench.open()
            await bench.say(session, "My sister moved to Lisbon.")
            await bench.say(session, "She likes it there.")
            await bench.settled()
            assert turn_vectors(store.database, "length", session.conversation_id or "")
            assert screen.total_changes == before
            await bench.close()


class SlowEmbedder(LengthEmbedder):
    """Makes vectors once it may."""

    def __init__(self) -> None:
        self.may = threading.Event()

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float16]:
        assert self.may.wait(PATIENCE)
        return super().embed_passages(texts)


async def test_an_answer_does_not_wait_until_all_of_the_conversation_is_embedded(tmp_path: Path) -> None:
    async def take(_event: object) -> None:
        """Show nothing."""

    store = ConversationStore(open_database(tmp_path / "chats.db"), now=now)
    conversation_id, last, engine, slow = store.create(), None, ScriptedEngine(), SlowEmbedder()
    for number in range(64):
        last = store.add_turn(conversation_id, f"Message {number}", parent_id=last)
        store.finish_reply(last, "Yes.", finish_reason="stop")
    retriever = Retriever(store.new_connection(), lambda: slow)
    async with open_headless(
        store,
        lambda _: EngineThread(lambda _: engine),
        settings=Settings(),
        emit=take,
        on_model=take,
        conversation_id=conversation_id,
        started=Overrides(),
        retriever=retriever,
    ) as asking:
        await asking.load()
        await asyncio.wait_for(asking.answer(NewMessage("Hello")), PATIENCE / 2)
        closing_it = asyncio.create_task(asyncio.to_thread(retriever.close))
        await until(lambda: retriever._closed)
        slow.may.set()
        await closing_it
    assert len(turn_vectors(store.database, slow.key, conversation_id)) <= 16
    store.close()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be moved")
async def test_a_reply_that_ends_while_the_database_is_missing_has_not_failed(tmp_path: Path, engine: ScriptedEngine) -> None:
    path, away = tmp_path / "chats.db", tmp_path / "away.db"

    def replaced() -> None:
        path.rename(away)
        path.touch()

    with closing(ConversationStore(open_database(path), now=now)) as store:
        retriever = Retriever(store.new_connection(), lambda: None)
        bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings(titles="model"), retriever=retriever)
        await bench.host.load()
        session = bench.open()
        engine.at_start = replaced
        await session.send(NewMessage("Hello"))
        await session.idle()
        away.replace(path)
        await bench.saver.flush()
        assert bench.last(session).finish_reason == "stop"
        assert not bench.last(session).error
        await bench.settled()
        assert not bench.unexpected
        await bench.close()
        retriever.close()


def test_the_passages_of_a_document_are_read_once_for_all_their_vectors(
    store: ConversationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "long.md").write_text("".join(f"# Part {number}\n\n{'Words of a paragraph. ' * 40}\n\n" for number in range(60)))
    with DocumentReader() as reader:
        list(DocumentIndexer(store, reader).add([tmp_path / "long.md"], "home"))
    read: list[str] = []
    passages = DocumentStore.passages

    def counted(documents: DocumentStore, document_id: str) -> list[StoredPassage]:
        read.append(document_id)
        return passages(documents, document_id)

    monkeypatch.setattr(DocumentStore, "passages", counted)
    with closing(Retriever(store.new_connection(), LengthEmbedder)) as retriever:
        retriever.index_documents(["home"], store)
        (progress,) = store.documents.vector_progress("length")
    assert progress.done == progress.passages >= 60
    assert len(read) == 1


def test_the_vectors_of_a_long_document_are_saved_in_growing_steps(store: ConversationStore) -> None:
    """SQLite writes all of them again each time; what an interruption loses is a small part."""
    documents, reader = store.documents, DocumentReader()
    document = documents.add_document(documents.create_collection("home"), "/long.md", kind="markdown", size=1, mtime=1)
    lines = (DocumentPassage(text=f"{n}", headings=(), page=None, first_line=n, last_line=n, tokens=1) for n in range(1, 1001))
    documents.set_passages(document, lines, file_hash="")
    with store.database.read() as connection:
        before = connection.total_changes
    reached = [done for done, _ in islice(DocumentIndexer(store, reader, embedder=LengthEmbedder()).add_vectors(), 40)][-1]
    (progress,) = documents.vector_progress("length")
    assert reached * 7 // 8 <= progress.done <= reached == 640
    list(DocumentIndexer(store, reader, embedder=LengthEmbedder()).add_vectors())
    (progress,) = documents.vector_progress("length")
    assert progress.done == 1000
    assert connection.total_changes - before < 30


class InterruptedEmbedder(LengthEmbedder):
    """Another window does something once, while vectors are made."""

    def __init__(self, other: Callable[[], object]) -> None:
        self.others = [other]

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float16]:
        if self.others:
            self.others.pop()()
        return super().embed_passages(texts)


def add_lines(store: ConversationStore, path: str, *texts: str) -> str:
    documents = store.documents
    document = documents.add_document(documents.create_collection("home"), path, kind="text", size=1, mtime=1)
    lines = [DocumentPassage(text=text, headings=(), page=None, first_line=1, last_line=1, tokens=1) for text in texts]
    documents.set_passages(document, lines, file_hash="")
    return document


@pytest.mark.parametrize("texts", [["new"], ["changed"] * 40])
def test_a_document_that_changes_while_its_vectors_are_made_gets_those_of_its_new_text(
    store: ConversationStore, texts: list[str]
) -> None:
    document = add_lines(store, "/notes.txt", *(["long ago"] * 20))
    embedder = InterruptedEmbedder(lambda: add_lines(store, "/notes.txt", *texts))
    with closing(Retriever(store.new_connection(), lambda: embedder)) as retriever:
        retriever.index_documents(["home"], store)
        expected = embedder.embed_passages(texts).tobytes()
        assert dict(store.documents.vectors("length")) == {document: expected}


def test_a_document_that_becomes_unreadable_while_its_vectors_are_made_keeps_none(store: ConversationStore) -> None:
    document = add_lines(store, "/notes.txt", *(["long ago"] * 20))
    embedder = InterruptedEmbedder(lambda: store.documents.set_failed(document, "it is encrypted"))
    list(DocumentIndexer(store, DocumentReader(), embedder=embedder).add_vectors())
    assert list(store.documents.vectors("length")) == []


def test_a_document_that_is_removed_while_its_vectors_are_made_stops_no_other(store: ConversationStore) -> None:
    gone, kept = (add_lines(store, f"/{name}.txt", *(["text"] * 20)) for name in ("gone", "kept"))
    embedder = InterruptedEmbedder(lambda: store.documents.delete_documents(gone))
    list(DocumentIndexer(store, DocumentReader(), embedder=embedder).add_vectors())
    assert [(each.document_id, each.done) for each in store.documents.vector_progress("length")] == [(kept, 20)]


def test_a_document_that_is_removed_while_it_is_read_stops_no_other(store: ConversationStore, tmp_path: Path) -> None:
    for name in ("gone", "kept"):
        (tmp_path / f"{name}.md").write_text(f"About {name}.\n")

    def count(text: str) -> int:
        if "gone" in text:
            store.documents.delete_documents(*(each.document_id for each in store.documents.documents()))
        return len(text)

    with DocumentReader() as reader:
        done = list(DocumentIndexer(store, reader, count=count).add([tmp_path / "gone.md", tmp_path / "kept.md"], "home"))
    assert [(each.status, each.passages) for each in done] == [("removed", 0), ("indexed", 1)]
    assert [Path(each.path).name for each in store.documents.documents()] == ["kept.md"]


class NearEmbedder(LengthEmbedder):
    """Finds every passage near every question, and nothing else."""

    dimensions = 4

    def embed_query(self, text: str) -> NDArray[np.float16]:
        return self.embed_passages([text]).flatten()

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float16]:
        return np.array([[0, 0, 0, 1]] * len(texts), np.float16)

    def embed_kept(self, texts: Sequence[str]) -> NDArray[np.float16]:
        return np.array([np.eye(4)[place % 3] for place in range(len(texts))], np.float16)


def test_passages_that_another_window_removes_during_a_search_are_left_out(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = (add_lines(store, f"/{name}.txt", "Whales sing.") for name in ("gone", "kept"))
    list(DocumentIndexer(store, DocumentReader(), embedder=NearEmbedder()).add_vectors())
    rank = Relevance.rank

    def interrupted(*arguments: Any, **more: Any) -> list[tuple[str, float]]:
        ranked = rank(*arguments, **more)
        store.documents.delete_documents(gone)
        return ranked

    monkeypatch.setattr(Relevance, "rank", interrupted)
    found = DocumentSearch(store, Relevance(NearEmbedder())).find("What about giraffes and lions?")
    assert [each.passage.document_id for each in found] == [kept]
