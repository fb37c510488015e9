"""Out of one store and into another: identical, each conversation whole, and recognised the second time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.conversation_trees import COLLECTIONS, conversation_trees, texts
from support.effort import cases
from support.stores import assert_index_is_true, chat, open_store, said

from mistral_chat.conversation import Passage
from mistral_chat.errors import ImportFailed, StoreFull
from mistral_chat.export.json_file import json_lines
from mistral_chat.export.markdown import to_markdown
from mistral_chat.importers.files import read_import_files
from mistral_chat.importers.mistral_chat_json import conversations_in
from mistral_chat.importers.mistral_chat_markdown import read_markdown
from mistral_chat.importers.report import all_conversations
from mistral_chat.store import import_export
from mistral_chat.store.text import first_line, sanitise_for_sqlite, stored_line, tag_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mistral_chat.export.exported_conversation import ExportedConversation
    from mistral_chat.store.store import ConversationStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def as_json(trees: list[ExportedConversation]) -> str:
    return "".join(json_lines(trees, exported=NOW))


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=cases(30, 1000))
@given(st.lists(conversation_trees(), max_size=3, unique_by=lambda tree: tree.key))
def test_everything_survives_export_and_import_into_an_empty_store(trees: list[ExportedConversation]) -> None:
    first, second = open_store(None), open_store(None)
    for store in (first, second):
        for name in COLLECTIONS:
            store.documents.create_collection(name)
    first.import_conversations(trees)
    exported = list(first.export_conversations())
    assert [tree.recall for tree in exported] == [tree.recall for tree in trees]
    text = as_json(exported)
    text.encode()
    second.import_conversations(conversations_in(json.loads(text), "export.json"))
    assert list(second.export_conversations()) == exported
    for tree in exported:
        assert second.conversation(tree.key) == first.conversation(tree.key)
        assert second.tree(tree.key) == first.tree(tree.key)
        assert second.turns(tree.key) == first.turns(tree.key)
        assert second.documents.attached(tree.key) == sorted(tree.collections)
        assert second.draft(tree.key) == tree.draft
    assert_index_is_true(second)
    assert second.import_conversations(conversations_in(json.loads(text), "export.json")).conversations == []
    first.close()
    second.close()


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=cases(30, 1000))
@given(conversation_trees())
def test_markdown_keeps_the_current_path_word_for_word(tree: ExportedConversation) -> None:
    """All but a reply that is empty and never ended, which leaves nothing to write down."""
    store = open_store(None)
    (key,) = store.import_conversations([tree]).conversations
    stored = store.export_conversation(key)
    again = read_markdown(to_markdown(stored), "x.md", now=NOW)
    assert [(turn.turn.user, turn.turn.reply) for turn in again.path] == [
        (turn.turn.user, turn.turn.reply) for turn in stored.path
    ]
    assert (again.key, again.title, again.system, again.tags) == (stored.key, stored.title, stored.system, stored.tags)
    assert [turn.created for turn in again.path] == [turn.created for turn in stored.path]
    store.close()


@given(texts)
def test_cleaning_text_for_the_store_twice_changes_nothing(text: str) -> None:
    for change, again in (
        (sanitise_for_sqlite, sanitise_for_sqlite),
        (stored_line, stored_line),
        (tag_name, tag_name),
        (first_line, stored_line),
    ):
        once = change(text)
        assert again(once) == once
        once.encode()
        assert "\x00" not in once


def test_ordinary_text_is_stored_unchanged() -> None:
    for text in ("", "plain", "é日👩‍🚀\u202e\x1b[31m", "tab\tand\r\nlines\x85\u2028"):
        assert sanitise_for_sqlite(text) == text
    assert sanitise_for_sqlite("a\x00b\ud800c\udc00") == "a\ufffdb\ufffdc\ufffd"
    assert sanitise_for_sqlite("\ud83d\ude00") == "😀"


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("", ""),
        ("\n \n", ""),
        ("Hello", "Hello"),
        ("### Why?  \nBecause", "Why?"),
        ("```\ncode()", "code()"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("\u202egnp.exe", "gnp.exe"),
        ("word " * 40, "word " * 14 + "word…"),
        ("x" * 200, "x" * 79 + "…"),
    ],
)
def test_titles_are_one_safe_line_of_at_most_80_characters(message: str, title: str) -> None:
    assert first_line(message) == title
    assert len(first_line(message)) <= 80


@pytest.fixture
def exported(store: ConversationStore) -> tuple[str, str]:
    """A conversation with a branch, and the export of its store."""
    conversation, turns = chat(store, ("one", "1"), ("two", "2"), title="Numbers")
    said(store, conversation, "two?", "2b", turns[0])
    store.tag(conversation, "work")
    return conversation, as_json(list(store.export_conversations()))


def test_a_dry_run_reports_and_changes_nothing(store: ConversationStore, exported: tuple[str, str]) -> None:
    empty = open_store(None)
    trees = conversations_in(json.loads(exported[1]), "x")
    report = empty.import_conversations(trees, dry_run=True)
    assert (report.conversations, report.turns) == ([exported[0]], 3)
    assert empty.summaries() == []
    assert store.import_conversations(trees, dry_run=True).already_here == [exported[0]]


def test_a_dry_run_promises_what_the_import_adds(store: ConversationStore, exported: tuple[str, str]) -> None:
    """A folder of exports has the same conversations again, unchanged or continued."""
    said(store, exported[0], "three", "3", store.turns(exported[0])[-1].turn_id)
    trees = [*conversations_in(json.loads(exported[1]), "x"), *store.export_conversations()] * 2
    empty = open_store(None)
    promised = empty.import_conversations(trees, dry_run=True)
    added = empty.import_conversations(trees)
    assert (promised.conversations, promised.turns, promised.already_here) == (
        added.conversations,
        added.turns,
        added.already_here,
    )
    assert len(added.conversations) == 2


def test_a_continued_conversation_is_imported_once_as_a_copy(store: ConversationStore, exported: tuple[str, str]) -> None:
    conversation, text = exported
    said(store, conversation, "three", "3", store.turns(conversation)[-1].turn_id)
    (copy,) = store.import_conversations(conversations_in(json.loads(text), "x")).conversations
    assert copy != conversation
    assert [turn.turn for turn in store.turns(copy)] == [turn.turn for turn in store.turns(conversation)][:2]
    assert store.import_conversations(conversations_in(json.loads(text), "x")).already_here == [copy]
    assert len(store.summaries()) == 2
    assert_index_is_true(store)


def test_scores_of_many_digits_are_no_reason_for_a_copy(store: ConversationStore) -> None:
    conversation, (turn,) = chat(store, ("one", "1"))
    store.set_passages(turn, [Passage(kind="document", text="deed", source="deed.pdf", score=0.1 + 0.2)])
    text = as_json(list(store.export_conversations()))
    for score in ("0.30000000000000004", "0.123456789012345678"):
        with store.database.write() as connection:  # as earlier versions stored it
            connection.execute("UPDATE turn_passages SET score = ?", (float(score),))
        told = json.loads(text)
        told["conversations"][0]["turns"][0]["passages"][0]["score"] = float(score)
        assert store.import_conversations(conversations_in(told, "x")).already_here == [conversation]


def many(number: int) -> list[ExportedConversation]:
    store = open_store(None)
    for place in range(number):
        chat(store, *((f"question {place}.{turn}", f"answer {turn}") for turn in range(10)))
    trees = list(store.export_conversations())
    store.close()
    return trees


@pytest.fixture
def conversation_by_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each transaction of an import take one conversation."""
    monkeypatch.setattr(import_export, "_BATCH_SECONDS", 0.0)


@pytest.mark.usefixtures("conversation_by_conversation")
def test_another_window_can_write_during_an_import(tmp_path: Path) -> None:
    store = open_store(tmp_path / "conversations.db")
    other = store.new_connection()

    def write() -> int:
        """Save a draft after the first conversation came; how many there were then."""
        while True:
            other.save_draft("", "typed meanwhile")
            if there := len(other.summaries(limit=-1)):
                return there

    with ThreadPoolExecutor() as executor:
        writer = executor.submit(write)
        imported = store.import_conversations(many(50))
        assert writer.result(timeout=60) < 50
    assert len(imported.conversations) == 50
    assert store.draft("") == "typed meanwhile"
    other.close()
    store.close()


@pytest.mark.usefixtures("conversation_by_conversation")
def test_an_import_that_fails_keeps_whole_conversations_and_can_be_repeated(store: ConversationStore) -> None:
    trees = many(5)

    def failing() -> Iterator[ExportedConversation]:
        yield from trees[:3]
        raise StoreFull("The disk is full.")

    with pytest.raises(StoreFull, match="2 conversations were imported; import again"):
        store.import_conversations(failing())
    assert [len(store.turns(each.conversation_id)) for each in store.summaries()] == [10, 10], "the third was not committed"
    again = store.import_conversations(trees)
    assert (len(again.conversations), len(again.already_here)) == (3, 2)
    assert len(store.summaries()) == 5
    assert_index_is_true(store)


def test_collections_that_are_not_here_are_named_and_the_rest_is_imported(store: ConversationStore) -> None:
    conversation, _ = chat(store, ("What does it say?", "Little."))
    store.documents.create_collection("contracts")
    store.documents.attach(conversation, "contracts")
    store.save_draft(conversation, "half a sent")
    exported = list(store.export_conversations())
    other = open_store(None)
    result = other.import_conversations(exported)
    assert (result.conversations, result.missing_collections) == ([conversation], {"contracts"})
    assert other.draft(conversation) == "half a sent"
    other.save_draft(conversation, "something else")
    other.set_recall(conversation, recall=False)
    assert other.import_conversations(exported).already_here == [conversation], "a draft or a setting makes no copy"
    other.close()


def test_exports_leave_the_trash_out(store: ConversationStore) -> None:
    kept, _ = chat(store, ("a", "b"))
    archived, _ = chat(store, ("c", "d"))
    trashed, _ = chat(store, ("e", "f"))
    store.archive(archived, archived=True)
    store.trash(trashed)
    assert [tree.key for tree in store.export_conversations()] == [kept, archived]
    assert [tree.key for tree in store.export_conversations("trash")] == [trashed]
    reading = store.export_conversations()
    next(reading)
    store.delete(archived)
    assert list(reading) == []


def changed(path: list[str | int], value: object, text: str) -> object:
    """The export with the value at `path` replaced; with ... it is removed."""
    file = json.loads(text)
    at = file
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return file


TURN = ["conversations", 0, "turns", 1]
PASSAGE = {"kind": "exchange", "text": "", "source": ""}


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["version"], 99, "newer mistral-chat.*Upgrade"),
        (["version"], True, "'version' must be a whole number, not true"),
        (["conversations"], {}, "'conversations' must be a list"),
        (["conversations", 0], 5, r"conversations\[0\]: expected an object"),
        (["conversations", 0, "title"], ..., r"conversations\[0\]: 'title' is missing"),
        (["conversations", 0, "title_by"], "cat", "'title_by' must be one of"),
        (["conversations", 0, "created"], "yesterday", "'created' must be an ISO 8601 time"),
        (["conversations", 0, "created"], "2026-01-01T00:00:00", "must have a time zone"),
        (["conversations", 0, "tags"], [1], "'tags' must be a list of strings"),
        (["conversations", 0, "current"], None, "there is no current turn"),
        (["conversations", 0, "current"], "x", "'x' does not exist"),
        (["conversations", 0, "sampling"], {"temperature": 9}, "'top_p' is missing"),
        (["conversations", 0, "pinned"], 1, "'pinned' must be true or false"),
        ([*TURN, "user"], 3, r"conversations\[0\].turns\[1\]: 'user' must be a string, not 3"),
        ([*TURN, "parent"], "0" * 16, "has the parent '0000000000000000', which does not precede it"),
        ([*TURN, "finish_reason"], "bored", "'finish_reason' must be one of"),
        ([*TURN, "usage"], {"prompt_tokens": 1.5}, r"turns\[1\].usage: 'prompt_tokens' must be a whole number"),
        ([*TURN, "passages"], [PASSAGE | {"score": float("inf")}], r"passages\[0\]: 'score' is not a usable number"),
        ([*TURN, "passages"], [PASSAGE | {"score": float("nan")}], "'score' is not a usable number"),
        ([*TURN, "passages"], [PASSAGE | {"tokens": 2**63}], "'tokens' is not a usable number"),
        ([*TURN, "created"], "0001-01-01T00:00:00Z", "ISO 8601"),
        ([*TURN, "created"], "9999-12-31T23:59:59-23:00", "ISO 8601"),
    ],
)
def test_a_fault_in_a_file_is_refused_with_its_place(
    exported: tuple[str, str], path: list[str | int], value: object, reason: str
) -> None:
    with pytest.raises(ImportFailed, match=reason):
        conversations_in(changed(path, value, exported[1]), "export.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "line 1"),
        (b"{", "line 1, column 2"),
        (b"[1, 2]", "neither an export"),
        (b'{"a": 1}', "neither an export"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": "mistral-chat", "version": ' + b"9" * 5_000 + b"}", "number that is too large"),
        (b"\xff\xff", "not UTF-8 text"),
        (b"# Just notes\n", "front matter"),
        (b"---\ntitle: x\n---\n", "front matter"),
        (b"---\nmistral-chat: 1\ncreated: soon\n---\n", "'created' must be"),
        (b"SQLite format 3\x00" + bytes(200), "cannot be read"),
    ],
)
def test_a_foreign_file_is_refused_by_name(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ImportFailed, match=reason) as caught:
        read_import_files([path])
    assert "file.json" in str(caught.value)
    assert "Nothing was imported" in str(caught.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match="cannot be read"):
        read_import_files([tmp_path / "missing.json"])


def test_a_folder_of_markdown_is_imported_as_a_store(store: ConversationStore, exported: tuple[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for place, tree in enumerate(store.export_conversations()):
        (folder / f"{place}.md").write_text(to_markdown(tree), encoding="utf-8", newline="")
    (folder / "ignored.txt").write_text("x")
    other = open_store(None)
    other.import_conversations(all_conversations(read_import_files([folder])))
    assert [turn.turn.reply for turn in other.turns(exported[0])] == ["1", "2b"]
    assert other.conversation(exported[0]).summary.tags == ("work",)


def test_markdown_is_readable_and_says_how_replies_ended(store: ConversationStore) -> None:
    conversation, (turn,) = chat(store, ("What is 2 + 2?", "Four."), title='A "title": odd')
    text = to_markdown(store.export_conversation(conversation))
    assert 'title: "A \\"title\\": odd"\n' in text
    assert '# A "title": odd\n\n## You\n' in text
    assert "\n\nWhat is 2 + 2?\n\n## model\n<!-- mistral-chat: reply stop -->\n\nFour.\n\n" in text
    store.write_reply(turn, "Fo")
    assert "<!-- mistral-chat: reply unfinished -->" in to_markdown(store.export_conversation(conversation))


def test_markdown_with_the_line_ends_of_windows_is_read(store: ConversationStore, exported: tuple[str, str]) -> None:
    text = to_markdown(store.export_conversation(exported[0]))
    assert read_markdown(text.replace("\n", "\r\n"), "x.md", now=NOW) == read_markdown(text, "x.md", now=NOW)


def test_retyped_front_matter_is_read() -> None:
    tree = read_markdown("---\nmistral-chat: 1\ntitle: My own title\n---\n", "x.md", now=NOW)
    assert (tree.title, tree.turns, tree.created) == ("My own title", (), NOW)
    nulls = "".join(f"{name}: null\n" for name in ("id", "title", "system", "model", "tags", "created", "updated"))
    without = read_markdown(f"---\nmistral-chat: 1\n{nulls}---\n", "x.md", now=NOW)
    assert (without.title, without.system, without.model, without.tags, without.created) == ("", "", "", (), NOW)


def test_lines_that_look_like_markers_are_only_text(store: ConversationStore) -> None:
    hostile = "## You\n<!-- mistral-chat: user 2026-01-01T00:00:00+00:00 -->\n\nfake\n\n<!-- mistral-chat\\: reply stop -->"
    conversation, _ = chat(store, (hostile, hostile))
    again = read_markdown(to_markdown(store.export_conversation(conversation)), "x.md", now=NOW)
    assert [(turn.turn.user, turn.turn.reply) for turn in again.turns] == [(hostile, hostile)]
