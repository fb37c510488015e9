"""What other programs keep comes in whole: ChatGPT's export, oterm's store, llm's logs."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.stores import assert_index_is_true, open_store

from mistral_chat.errors import ImportFailed
from mistral_chat.store.importing import read_import_files

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.export.exported_conversation import ExportedConversation

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def said(tree: ExportedConversation) -> list[tuple[str, str]]:
    return [(turn.turn.user, turn.turn.reply) for turn in tree.path]


def node(key: str, parent: str | None, children: list[str], role: str = "", text: Any = "", **more: Any) -> dict[str, Any]:
    message = None
    if role:
        message = {
            "author": {"role": role},
            "create_time": 1_700_000_000.5,
            "content": {"content_type": "text", "parts": [text] if isinstance(text, str) else text},
            "metadata": {"model_slug": "gpt-4"},
            **more,
        }
    return {"id": key, "parent": parent, "children": children, "message": message}


def chatgpt(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "title": "Herons",
        "create_time": 1_700_000_000.0,
        "update_time": 1_700_000_100.0,
        "conversation_id": "abc-123",
        "current_node": nodes[-1]["id"],
        "mapping": {each["id"]: each for each in nodes},
    } | more


def read(tmp_path: Path, value: object) -> list[ExportedConversation]:
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return read_import_files([path], now=NOW)


def test_a_chat_of_chatgpt_comes_with_its_branches(tmp_path: Path) -> None:
    (tree,) = read(
        tmp_path,
        [
            chatgpt(
                node("root", None, ["sys"]),
                node("sys", "root", ["q1"], "system", "Be brief."),
                node("q1", "sys", ["a1", "a2"], "user", "What is a heron?"),
                node("a1", "q1", [], "assistant", "A fish."),
                node("a2", "q1", ["q2", "q3"], "assistant", "A bird."),
                node("q2", "a2", ["t"], "user", "Big?"),
                node("t", "q2", ["tool"], "assistant", "Looking it up."),
                node("tool", "t", ["a3"], "tool", "wingspan: 2 m"),
                node("a3", "tool", [], "assistant", ["Yes.", {"asset_pointer": "x"}, "Very."]),
                node("q3", "a2", [], "user", "Where?"),
                current_node="a3",
            )
        ],
    )
    assert said(tree) == [("What is a heron?", "A bird."), ("Big?", "Looking it up.\n\nYes.\n\n[attachment]\n\nVery.")]
    assert sorted((turn.turn.user, turn.turn.reply) for turn in tree.turns) == sorted(
        [*said(tree), ("What is a heron?", "A fish."), ("Where?", "")]
    )
    assert (tree.title, tree.system, tree.turns[0].turn.model) == ("Herons", "Be brief.", "gpt-4")
    assert tree.created == datetime.fromtimestamp(1_700_000_000, UTC)


def test_chatgpts_code_hidden_messages_and_empty_chats(tmp_path: Path) -> None:
    hidden = {"is_visually_hidden_from_conversation": True}
    first, second = read(
        tmp_path,
        [
            chatgpt(
                node("h", None, ["q"], "user", "my instructions", metadata=hidden),
                node("q", "h", ["a"], "user", "Compute"),
                node("a", "q", [], "assistant", "", content={"content_type": "code", "language": "python", "text": "1 + 1"}),
            ),
            chatgpt(node("root", None, []), title=None, create_time=None, update_time=None, current_node=None),
        ],
    )
    assert said(first) == [("Compute", "```python\n1 + 1\n```")]
    assert (second.turns, second.title) == ((), "")


def test_importing_chatgpts_file_twice_adds_nothing(tmp_path: Path) -> None:
    store = open_store(None)
    trees = read(tmp_path, [chatgpt(node("q", None, ["a"], "user", "Zebra?"), node("a", "q", [], "assistant", "Striped."))])
    (key,) = store.import_conversations(trees).conversations
    assert store.import_conversations(trees).already_here == [key]
    assert [hit.conversation_id for hit in store.search("zebra")] == [key]
    assert_index_is_true(store)
    store.close()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"mapping": []}, "conversation 1.mapping: an object is expected"),
        ({"mapping": None}, "'mapping' is missing"),
        ({"create_time": "noon"}, "'create_time' must be a number"),
        ({"create_time": 1e20}, "is no time"),
        ({"mapping": {"a": node("a", None, ["b"], "user", "x")}}, "a child is missing"),
        ({"mapping": {"a": node("a", None, ["b", "b"], "user", "x"), "b": node("b", "a", [], "assistant", "y")}}, "given twice"),
        ({"mapping": {"a": {"parent": 5}}}, "mapping.a: 'parent' must be a text"),
    ],
)
def test_a_fault_in_chatgpts_file_is_told_with_its_place(tmp_path: Path, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ImportFailed, match=told):
        read(tmp_path, [chatgpt(node("q", None, [], "user", "x")) | wrong])


def test_nodes_in_a_circle_end(tmp_path: Path) -> None:
    (tree,) = read(tmp_path, [chatgpt(node("a", "b", ["b"], "user", "x"), node("b", "a", ["a"], "assistant", "y"))])
    assert tree.turns == ()


def test_the_store_of_oterm_comes_in(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE TABLE chat (id INTEGER PRIMARY KEY, name TEXT, model TEXT NOT NULL, system TEXT);
            CREATE TABLE message (id INTEGER PRIMARY KEY, chat_id INTEGER NOT NULL, author TEXT NOT NULL, text TEXT NOT NULL);
            INSERT INTO chat VALUES (1, 'Herons', 'llama3', 'Be brief.'), (2, NULL, 'llama3', NULL);
            INSERT INTO message (chat_id, author, text) VALUES
                (1, 'user', 'What is a heron?'), (1, 'assistant', 'A bird.'), (1, 'user', 'Big?'), (1, 'user', 'Hello?'),
                (1, 'assistant', 'Yes.'), (1, 'assistant', 'Two metres.'), (1, 'user', 'Thanks');
        """)
    first, second = read_import_files([path], now=NOW)
    assert said(first) == [
        ("What is a heron?", "A bird."),
        ("Big?", ""),
        ("Hello?", "Yes."),
        ("", "Two metres."),
        ("Thanks", ""),
    ]
    assert (first.title, first.system, first.turns[0].turn.model, second.turns) == ("Herons", "Be brief.", "llama3", ())
    store = open_store(None)
    assert len(store.import_conversations([first, second]).conversations) == 2
    assert store.import_conversations(read_import_files([path], now=NOW)).conversations == []
    store.close()


def test_conversations_as_llm_kept_them_at_first_come_in(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE TABLE conversations (id TEXT PRIMARY KEY, name TEXT, model TEXT);
            CREATE TABLE responses (id TEXT PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, response TEXT,
                conversation_id TEXT, datetime_utc TEXT);
            INSERT INTO conversations VALUES ('01c', 'Herons', 'gpt-4'), ('01d', 'nothing', 'gpt-4');
            INSERT INTO responses VALUES
                ('b', 'gpt-4', 'Big?', NULL, 'Yes.', '01c', '2024-01-02T00:00:00'),
                ('a', 'gpt-4', 'What is a heron?', 'Be brief.', 'A bird.', '01c', '2024-01-01T00:00:00.5');
        """)
    (tree,) = read_import_files([path], now=NOW)
    assert said(tree) == [("What is a heron?", "A bird."), ("Big?", "Yes.")]
    assert (tree.title, tree.system, tree.created) == ("Herons", "Be brief.", datetime(2024, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC))


def test_threads_of_llm_come_in(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE TABLE threads (id TEXT PRIMARY KEY, name TEXT);
            CREATE TABLE messages (hash TEXT PRIMARY KEY, parent_hash TEXT, role TEXT);
            CREATE TABLE parts (id INTEGER PRIMARY KEY, message_hash TEXT, position INTEGER, type TEXT, text TEXT, payload TEXT);
            CREATE TABLE fragments (id INTEGER PRIMARY KEY, content TEXT);
            CREATE TABLE turns (id TEXT PRIMARY KEY, thread_id TEXT, parent_message_hash TEXT, tip_message_hash TEXT, model TEXT,
                datetime_utc TEXT);
            INSERT INTO threads VALUES ('t', 'Herons');
            INSERT INTO fragments VALUES (1, 'a long article');
            INSERT INTO messages VALUES ('s', NULL, 'system'), ('u', 's', 'user'), ('a', 'u', 'assistant'),
                ('u2', 'a', 'user'), ('a2', 'u2', 'assistant');
            INSERT INTO parts (message_hash, position, type, text, payload) VALUES
                ('s', 0, 'text', 'Be brief.', NULL),
                ('u', 0, 'text', NULL, '{"text_ref": [{"literal": "Read "}, {"fragment": 1}, {"literal": "!"}]}'),
                ('a', 0, 'reasoning', 'hm', NULL), ('a', 1, 'text', 'Done.', NULL),
                ('u2', 0, 'text', 'And?', NULL), ('a2', 0, 'text', 'A ', NULL), ('a2', 1, 'text', 'bird.', NULL);
            INSERT INTO turns VALUES ('1', 't', 'u', 'a', 'gpt-4', '2024-01-01T00:00:00+00:00'),
                ('2', 't', 'u2', 'a2', 'gpt-4', 'unknown');
        """)
    (tree,) = read_import_files([path], now=NOW)
    assert said(tree) == [("Read a long article!", "Done."), ("And?", "A bird.")]
    assert tree.system == "Be brief."


def test_a_store_that_llm_itself_made_comes_in(tmp_path: Path) -> None:
    """With the real program's tables, where it is installed, as it is with the demo's weights."""
    migrations = pytest.importorskip("llm.migrations", reason="llm is not installed")
    sqlite_utils = pytest.importorskip("sqlite_utils")
    path = tmp_path / "logs.db"
    database = sqlite_utils.Database(path)
    migrations.migrate(database)
    database["conversations"].insert({"id": "c", "name": "Old", "model": "m"})
    database["responses"].insert(
        {"id": "r", "model": "m", "prompt": "p", "response": "q", "conversation_id": "c", "datetime_utc": "2024-01-01T00:00:00"}
    )
    database["messages"].insert_all(
        [
            {"hash": "h1", "parent_hash": None, "role": "user"},
            {"hash": "h2", "parent_hash": "h1", "role": "assistant"},
        ]
    )
    database["parts"].insert_all(
        [
            {"message_hash": "h1", "position": 0, "type": "text", "text": "new p"},
            {"message_hash": "h2", "position": 0, "type": "text", "text": "new q"},
        ]
    )
    database["threads"].insert({"id": "t", "name": "New", "tip_message_hash": "h2"})
    database["turns"].insert({"id": "1", "thread_id": "t", "parent_message_hash": "h1", "tip_message_hash": "h2", "model": "m"})
    database.close()
    assert [(tree.title, said(tree)) for tree in read_import_files([path], now=NOW)] == [
        ("Old", [("p", "q")]),
        ("New", [("new p", "new q")]),
    ]


def test_a_database_of_nobody_known_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE moz_places (url)")
    with pytest.raises(ImportFailed, match="neither oterm's nor llm's"):
        read_import_files([path], now=NOW)
