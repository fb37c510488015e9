from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import Clock, chat, open_store, said

from mistral_chat.cli.chats_format import conversation_lines, repair_lines
from mistral_chat.conversation import DocumentPassage, Passage
from mistral_chat.errors import DocumentNotFound
from mistral_chat.export.json_file import json_lines
from mistral_chat.export.markdown import to_markdown
from mistral_chat.importers.mistral_chat_json import conversations_in
from mistral_chat.importers.mistral_chat_markdown import read_markdown
from mistral_chat.store.documents import VectorProgress, rebuild_passage_index
from mistral_chat.store.repair import repair
from mistral_chat.store.retrieval import (
    ExchangeIndex,
    add_turn_vectors,
    content_words,
    search_passages,
    turn_vectors,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.store.store import ConversationStore


def piece(text: str, *headings: str, page: int | None = None) -> DocumentPassage:
    return DocumentPassage(text=text, headings=headings, page=page, first_line=1, last_line=2, tokens=10)


def add(store: ConversationStore, collection: str, path: str, *texts: str) -> str:
    store.documents.create_collection(collection)
    document = store.documents.add_document(collection, path, kind="text", size=100, mtime=5)
    store.documents.set_passages(document, [piece(text) for text in texts], file_hash="abc")
    return document


def found(store: ConversationStore, question: str, *collections: str) -> list[tuple[str, int]]:
    hits = search_passages(store.database, content_words(question), collections=collections or None)
    assert [score for _, score in hits] == sorted((score for _, score in hits), reverse=True)
    return [(passage.path, int(passage.key.rpartition("/")[2])) for passage, _ in hits]


def passage_terms(path: Path) -> set[tuple[str, int, str, int]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, passages_found, instance)")
        return {tuple(row) for row in connection.execute("SELECT term, doc, col, offset FROM terms")}


def test_passages_are_found_by_the_stems_of_words_and_without_accents(store: ConversationStore) -> None:
    add(store, "lease", "/home/ann/lease.txt", "The tenant repairs broken windows.", "Bicycles stand in the cellar.")
    add(store, "food", "/home/ann/Crème brûlée.md", "Whisk the yolks with sugar.", "日本語の料理")
    assert found(store, "Who is repairing the window?") == [("/home/ann/lease.txt", 0)]
    assert found(store, "creme brulee?")[0][0] == "/home/ann/Crème brûlée.md", "by the name of the file"
    assert found(store, "料理") == [("/home/ann/Crème brûlée.md", 1)]
    assert found(store, "and what is it to me?") == [], "function words find nothing"
    assert found(store, "") == []


def test_a_search_is_limited_to_the_collections_it_names(store: ConversationStore) -> None:
    for name in ("one", "two", "three"):
        add(store, name, f"/{name}.txt", f"The heron of {name} stands still.")
    assert {path for path, _ in found(store, "heron")} == {"/one.txt", "/two.txt", "/three.txt"}
    assert {path for path, _ in found(store, "heron", "one", "three")} == {"/one.txt", "/three.txt"}
    assert found(store, "one", "two") == []
    with pytest.raises(DocumentNotFound, match="docs list"):
        found(store, "heron", "four")


def test_rare_words_outrank_common_ones(store: ConversationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_chat.store.retrieval._MOST_MATCHES", 10)
    add(store, "many", "/many.txt", *(f"The river is number {place} here." for place in range(40)), "A kingfisher at the river.")
    assert found(store, "kingfisher river")[0] == ("/many.txt", 40)
    assert len(found(store, "river")) == 41, "alone it is searched for"


def test_documents_are_listed_with_their_state(store: ConversationStore) -> None:
    documents = store.documents
    name = documents.create_collection("  My\nnotes ")
    assert name == "My notes"
    assert documents.create_collection("My notes") == name
    waiting = documents.add_document(name, "/a.pdf", kind="pdf", size=3, mtime=7)
    broken = documents.add_document(name, "/b.pdf", kind="pdf", size=3, mtime=7)
    documents.set_failed(broken, "it is encrypted")
    done = documents.add_document(name, "/c.pdf", kind="pdf", size=3, mtime=7)
    documents.set_passages(done, [piece("x", "Lease", "Repairs", page=4)], file_hash="77", note="page 7 holds no text")
    assert [(each.document_id, each.status, each.error, each.note, each.passages) for each in documents.documents(name)] == [
        (waiting, "pending", "", "", 0),
        (broken, "failed", "it is encrypted", "", 0),
        (done, "indexed", "", "page 7 holds no text", 1),
    ]
    (collection,) = documents.collections()
    assert (collection.documents, collection.failed, collection.pending, collection.passages, collection.tokens) == (
        3,
        1,
        1,
        1,
        10,
    )
    assert documents.add_document(name, "/c.pdf", kind="pdf", size=4, mtime=8) == done, "the same file, changed"
    assert documents.documents(name)[-1].status == "pending"
    passage = documents.passages_of(f"{done}/0")[f"{done}/0"]
    assert (passage.text, passage.headings, passage.page) == ("x", ("Lease", "Repairs"), 4)
    assert list(documents.passages_of(f"{done}/1", "nothing", f"{done}/0", f"{done}/x", "")) == [f"{done}/0"]
    with pytest.raises(DocumentNotFound, match="needs a name"):
        documents.create_collection(" \n")


def test_a_document_that_became_unreadable_has_nothing_of_its_earlier_version(store: ConversationStore) -> None:
    documents = store.documents
    document = documents.add_document(documents.create_collection("notes"), "/c.pdf", kind="pdf", size=3, mtime=7)
    documents.set_passages(document, [piece("x")], file_hash="77", note="page 7 contains no text")
    documents.set_failed(document, "it is encrypted")
    (listed,) = documents.documents()
    assert (listed.error, listed.note, listed.hash, listed.indexed) == ("it is encrypted", "", "", None)


def test_a_changed_document_keeps_vectors_of_unchanged_passages(store: ConversationStore) -> None:
    document = add(store, "notes", "/n.txt", "alpha", "beta", "gamma")
    documents = store.documents
    assert documents.add_vectors(document, "small", b"11" * 2, ["alpha", "beta"], first=0, dimensions=1)
    assert not documents.add_vectors(document, "small", b"1111", ["alpha", "beta"], first=0, dimensions=1), "another was faster"
    assert not documents.add_vectors(document, "small", b"33", ["omega"], first=2, dimensions=1), "of an earlier text"
    assert documents.add_vectors(document, "small", b"33", ["gamma"], first=2, dimensions=1)
    assert documents.vector_progress("small") == [VectorProgress(document, passages=3, done=3)]
    assert documents.vector_progress("other", ["notes"]) == [VectorProgress(document, passages=3, done=0)]
    documents.set_passages(document, [piece("alpha"), piece("delta"), piece("gamma")], file_hash="def")
    assert list(documents.vectors("small", ["notes"])) == [(document, b"11")]
    assert found(store, "beta") == []
    assert found(store, "delta") == [("/n.txt", 1)]
    documents.set_failed(document, "gone")
    assert found(store, "delta") == []
    assert list(documents.vectors("small")) == []


@given(versions=st.lists(st.tuples(st.lists(st.sampled_from(["alpha", "beta"]), max_size=3), st.booleans()), max_size=6))
def test_a_document_can_change_again_before_it_has_vectors(versions: list[tuple[list[str], bool]]) -> None:
    store = open_store(None)
    documents = store.documents
    document, before, done = add(store, "notes", "/n.txt"), list[str](), 0
    for texts, embedded in versions:
        documents.set_passages(document, [piece(text) for text in texts], file_hash="")
        same = [old == new for old, new in zip(before, texts, strict=False)]
        done = min(done, [*same, False].index(False))
        assert documents.vector_progress("small") == [VectorProgress(document, passages=len(texts), done=done)]
        if embedded:
            vectors = b"11" * (len(texts) - done)
            stale = [*texts[done:-1], "an earlier text"]
            assert not documents.add_vectors(document, "small", vectors, stale, first=done, dimensions=1)
            assert documents.add_vectors(document, "small", vectors, texts[done:], first=done, dimensions=1)
            done = len(texts)
        before = texts
    store.close()


def test_a_deleted_collection_leaves_no_byte(store: ConversationStore, database: Path) -> None:
    for place in range(30):
        add(store, "plain", f"/{place}.txt", f"ordinary passage {place} " * 20)
    document = add(store, "doomed", "/xylographie.txt", "about quetzalcoatl " * 50, "more of wombatique")
    texts = [each.text for each in store.documents.passages(document)]
    assert store.documents.add_vectors(document, "small", b"vermillon", texts, first=0, dimensions=1)
    conversation, (turn,) = chat(store, ("What?", "Well."))
    store.documents.attach(conversation, "doomed", "plain")
    given = Passage(
        kind="document", text="about quetzalcoatl", source="xylographie.txt", key=f"{document}/0", score=2.5, tokens=4
    )
    store.set_passages(turn, [given])
    assert store.turn(turn).turn.passages == (given,)
    assert store.documents.attached(conversation) == ["doomed", "plain"]
    holding: list[str] = []
    store.documents.delete_collection("doomed", forget=holding.extend)
    assert holding == [conversation], "its snapshot contains the passages"
    assert store.purge()
    for path in database.parent.iterdir():
        content = path.read_bytes().lower()
        assert not [word for word in ("quetzalcoatl", "xylographie", "wombatique", "vermillon") if word.encode() in content]
    assert not {term for term, *_ in passage_terms(database) if term.startswith(("quetzal", "xylo", "wombat"))}
    assert store.documents.attached(conversation) == ["plain"]
    (left,) = store.turn(turn).turn.passages
    assert (left.text, left.key, left.tokens) == ("", "", 4)
    assert len(found(store, "ordinary")) == 30


@pytest.mark.parametrize("name", ["another", "doomed"])
def test_a_collection_that_two_windows_delete_takes_no_new_one_with_it(
    store: ConversationStore, database: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    add(store, "doomed", "/old.txt", "a heron")
    delete = store.documents.delete_documents

    def overtaken(*document_ids: str, **more: Any) -> None:
        delete(*document_ids, **more)
        with contextlib.closing(open_store(database, clock)) as other:
            other.documents.delete_collection("doomed")
            add(other, name, "/new.txt", "an egret")  # gets the place of the other in the table

    monkeypatch.setattr(store.documents, "delete_documents", overtaken)
    store.documents.delete_collection("doomed")
    assert found(store, "egret", name) == [("/new.txt", 0)]


def test_deleting_a_document_keeps_the_index_correct(store: ConversationStore, database: Path) -> None:
    kept, gone = add(store, "c", "/kept.txt", "heron", "egret"), add(store, "c", "/gone.txt", "heron", "stork")
    store.documents.delete_documents(gone)
    assert [each.document_id for each in store.documents.documents()] == [kept]
    there = passage_terms(database)
    with store.database.write() as connection:
        rebuild_passage_index(connection)
    assert passage_terms(database) == there


def test_backup_and_repair_hold_documents(store: ConversationStore, database: Path, tmp_path: Path) -> None:
    add(store, "notes", "/n.txt", "a heron", "an egret")
    store.backup(tmp_path / "copy.db")
    copy = open_store(tmp_path / "copy.db")
    assert found(copy, "egrets") == [("/n.txt", 1)]
    copy.close()
    store.close()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE passages_found_data SET block = zeroblob(length(block)) WHERE id > 10")
        connection.commit()
    assert repair(database, now=Clock()).kept is not None
    again = open_store(database)
    assert found(again, "egrets") == [("/n.txt", 1)]
    again.close()


def test_only_documents_that_lost_passages_in_a_repair_are_indexed_again(store: ConversationStore, database: Path) -> None:
    texts = [f"passage {number} " + "of many words " * 60 for number in range(40)]
    whole = add(store, "notes", "/a.txt", "a heron")
    document = add(store, "notes", "/n.txt", *texts)
    add(store, "notes", "/z.txt", "an egret " * 300)
    for each, passages in ((whole, ["a heron"]), (document, texts)):
        store.documents.add_vectors(each, "small", b"11" * len(passages), passages, first=0, dimensions=1)
    store.documents.set_failed(store.documents.add_document("notes", "/f.txt", kind="text", size=1, mtime=5), "unreadable")
    store.save_draft("", "a draft")
    store.close()
    content = bytearray(database.read_bytes())
    page = content.index(b"passage 25 ") // 4096 * 4096
    content[page : page + 4096] = bytes(4096)
    database.write_bytes(content)
    done = repair(database, now=Clock())
    assert done.incomplete == ("passages",)
    assert "mistral-chat docs update" in "\n".join(repair_lines(done))
    again = open_store(database)
    assert again.draft("") == "a draft"
    listed = {each.path: each for each in again.documents.documents()}
    assert {path: each.status for path, each in listed.items()} == {
        "/a.txt": "indexed",
        "/f.txt": "failed",
        "/n.txt": "pending",
        "/z.txt": "pending",
    }
    left = listed["/n.txt"].passages
    assert 0 < left < 40
    assert listed["/z.txt"].passages == 0
    assert again.documents.vector_progress("small") == [VectorProgress(whole, passages=1, done=1)]
    again.documents.set_passages(document, [piece(text) for text in texts], file_hash="abc")
    assert VectorProgress(document, passages=40, done=left) in again.documents.vector_progress("small")
    again.close()


def test_passages_of_a_turn_are_exported_imported_and_forked(store: ConversationStore, clock: Clock) -> None:
    conversation, (first, second) = chat(store, ("one", "1"), ("two", "2"))
    given = [
        Passage(kind="exchange", text="one\n1", source="earlier", key=first, score=1.5, tokens=3),
        Passage(kind="document", text="deed", source="deed.pdf, page 2", key="f00d/1", tokens=2),
    ]
    store.set_passages(second, given)
    text = "".join(json_lines(store.export_conversations(), exported=clock()))
    other = open_store(None)
    other.import_conversations(conversations_in(json.loads(text), "x.json"))
    assert other.turn(second).turn.passages == tuple(given)
    forked = store.turns(store.fork(second))
    assert [each.key for each in forked[1].turn.passages] == [forked[0].turn_id, "f00d/1"]
    store.delete(conversation)
    assert [each.text for each in store.turn(forked[1].turn_id).turn.passages] == ["one\n1", "deed"]


def test_a_conversation_uses_collections_until_they_are_detached(store: ConversationStore) -> None:
    document = add(store, "one", "/1.txt", "first", "second")
    add(store, "two", "/2.txt", "x")
    conversation, (turn,) = chat(store, ("a", "b"))
    store.documents.attach(conversation, "two", "one", "one")
    assert store.documents.attached(conversation) == ["one", "two"]
    assert store.documents.attached(store.fork(turn)) == ["one", "two"]
    store.documents.attach(conversation, "one")
    assert store.documents.attached(conversation) == ["one"]
    with pytest.raises(DocumentNotFound, match="No collection 'three'"):
        store.documents.attach(conversation, "three")
    assert [passage.text for passage in store.documents.passages(document)] == ["first", "second"]
    assert [each.collection for each in store.documents.documents()] == ["one", "two"]


def test_an_attached_file_is_kept_while_a_turn_uses_it(store: ConversationStore, clock: Clock) -> None:
    day, documents = timedelta(days=1), store.documents
    conversation, (turn,) = chat(store, ("a", "b"))
    for name in ("quoted", "unused"):
        documents.create_collection(name, attached=True)
        documents.add_document(name, f"/{name}.txt", kind="text", size=1, mtime=1)
    quoted = documents.documents("quoted")[0].document_id
    store.set_passages(turn, [Passage(kind="file", text="the deed", source="quoted", key=f"{quoted}/0")])
    documents.attach(conversation, "quoted", "unused")
    clock.moment += 2 * day
    documents.attach(conversation)
    documents.delete_unused(day)
    assert [each.name for each in documents.collections()] == ["quoted", "unused"], "the detached file may be attached again"
    clock.moment += 2 * day
    documents.delete_unused(day)
    assert [each.name for each in documents.collections()] == ["quoted"]
    assert store.turn(turn).turn.passages[0].text == "the deed"
    store.delete(conversation)
    assert documents.collections() == []


def test_adding_to_an_attached_file_by_name_makes_it_the_users(store: ConversationStore, clock: Clock) -> None:
    store.documents.create_collection("notes.pdf", attached=True)
    store.documents.create_collection("notes.pdf")
    store.documents.create_collection("notes.pdf", attached=True)
    clock.moment += timedelta(days=2)
    store.documents.delete_unused(timedelta(days=1))
    assert [each.name for each in store.documents.collections()] == ["notes.pdf"]


def test_sources_are_shown_in_the_export_for_reading(store: ConversationStore) -> None:
    conversation, (turn,) = chat(store, ("What rent?", "200 [1]."))
    given = [Passage(kind="document", text="The rent is 200.", source="lease.pdf, page 2", key="f00d/1")]
    store.set_passages(turn, given)
    said(store, conversation, "Thanks", "You are welcome.", turn)
    text = to_markdown(store.export_conversation(conversation))
    assert "200 [1].\n\n## Sources\n<!-- mistral-chat: sources -->\n\n1. lease.pdf, page 2\n\n## You" in text
    again = read_markdown(text, "x.md", now=datetime(2026, 1, 1, tzinfo=UTC))
    assert [(each.turn.user, each.turn.reply) for each in again.turns] == [
        ("What rent?", "200 [1]."),
        ("Thanks", "You are welcome."),
    ]
    lines = "\n".join(conversation_lines(store.conversation(conversation), store.turns(conversation)))
    assert "200 [1].\n\nSources: [1] lease.pdf, page 2" in lines


def test_exchanges_are_found_by_stems_and_follow_what_changes(store: ConversationStore) -> None:
    conversation, (first, second, third) = chat(
        store, ("My sister moved to Lyon.", "How nice."), ("The cats are sleeping.", "Good."), ("Lyon again", "Yes, Lyon.")
    )
    chat(store, ("Lyon in another conversation", "Yes."))
    index = ExchangeIndex(store.database, conversation)
    assert list(index.search(content_words("Where does the cat sleep?"))) == [second]
    assert set(index.search(["lyon"])) == {first, third}
    assert list(index.search(["lyon"], among={first})) == [first]
    assert list(index.search(["lyon"], limit=1)) == [third], "more often in fewer words"
    store.set_turn_flags(third, excluded=True)
    fourth = store.add_turn(conversation, "Lyon, being answered", parent_id=third)
    assert list(index.search(["lyon"])) == [first]
    store.finish_reply(fourth, "Done.", finish_reason="stop")
    assert set(index.search(["lyon"])) == {first, fourth}
    assert index.search([]) == {}
    index.close()


def test_vectors_of_exchanges_go_when_their_text_changes(store: ConversationStore) -> None:
    conversation, (first, second) = chat(store, ("one", "1"), ("two", "2"))
    add_turn_vectors(store.database, "small", [(first, "1", b"a"), (second, "2", b"b"), ("gone", "", b"c")])
    add_turn_vectors(store.database, "large", [(first, "1", b"d")])
    assert turn_vectors(store.database, "small", conversation) == {first: b"a", second: b"b"}
    store.write_reply(second, "2 and more")
    assert turn_vectors(store.database, "small", conversation) == {first: b"a"}
    add_turn_vectors(store.database, "small", [(second, "2 and more", b"e")])
    store.finish_reply(second, "2 and more text", finish_reason="stop")
    add_turn_vectors(store.database, "small", [(second, "2", b"b"), (second, "2 and more", b"e")])
    assert turn_vectors(store.database, "small", conversation) == {first: b"a"}, "the others are of an earlier reply"
    add_turn_vectors(store.database, "small", [(second, "2 and more text", b"f")])
    assert turn_vectors(store.database, "small", conversation) == {first: b"a", second: b"f"}


def test_content_words_leave_out_function_words() -> None:
    assert content_words("What's the name of my sister's cat, and why doesn't she eat?") == ["name", "sister", "cat", "eat"]
    assert content_words("x = f(y); print 42") == ["print", "42"]
    assert content_words("C'est où, l'hôtel?") == ["est", "où", "hôtel"]
    assert len(content_words(" ".join(f"word{place}" for place in range(500)))) == 48
