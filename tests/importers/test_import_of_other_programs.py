"""Databases of oterm and llm are imported completely, and what cannot be is named."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from support.privileges import without_privileges
from support.stores import open_store

from mistral_chat.errors import ImportFailed
from mistral_chat.importers.files import read_import_files
from mistral_chat.importers.report import ImportSource

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.export.exported_conversation import ExportedConversation


KILLED_OTERM = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode = WAL")
connection.executescript('''
    CREATE TABLE chat (id INTEGER PRIMARY KEY, name TEXT, model TEXT, system TEXT);
    CREATE TABLE message (id INTEGER PRIMARY KEY, chat_id INTEGER, author TEXT, text TEXT);
    INSERT INTO chat VALUES (1, 'Herons', '', '');
    INSERT INTO message VALUES (1, 1, 'user', 'Only in the log');
''')
os._exit(0)
"""


def said(tree: ExportedConversation) -> list[tuple[str, str]]:
    return [(turn.turn.user, turn.turn.reply) for turn in tree.path]


def read(path: Path) -> ImportSource:
    (source,) = read_import_files([path])
    return source


def left_out(source: ImportSource) -> dict[str, int]:
    return {each.what: each.count for each in source.left_out.values()}


def test_an_oterm_database_is_imported(tmp_path: Path) -> None:
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
    source = read(path)
    (first,) = source.conversations
    assert left_out(source) == {"conversations without text": 1}
    assert said(first) == [
        ("What is a heron?", "A bird."),
        ("Big?", ""),
        ("Hello?", "Yes."),
        ("", "Two metres."),
        ("Thanks", ""),
    ]
    assert (first.title, first.system, first.turns[0].turn.model) == ("Herons", "Be brief.", "llama3")
    store = open_store(None)
    assert len(store.import_conversations([first]).conversations) == 1
    assert store.import_conversations(read(path).conversations).conversations == []
    store.close()


def test_conversations_of_llm_are_imported(tmp_path: Path) -> None:
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
    (tree,) = read(path).conversations
    assert said(tree) == [("What is a heron?", "A bird."), ("Big?", "Yes.")]
    assert (tree.title, tree.system, tree.created) == ("Herons", "Be brief.", datetime(2024, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC))


@pytest.mark.parametrize("later", [False, True])
def test_the_log_of_llms_first_versions_is_imported(tmp_path: Path, later: bool) -> None:  # noqa: FBT001 - a case
    """Later versions keep the table when it has rows."""
    path = tmp_path / "logs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE TABLE logs (id INTEGER PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, response TEXT, chat_id INTEGER,
                datetime_utc TEXT);
            INSERT INTO logs VALUES (1, 'gpt-3.5', 'One?', 'Be brief.', '1', NULL, '2023-05-01T00:00:00'),
                (2, 'gpt-3.5', 'Alone?', NULL, 'Yes.', NULL, '2023-05-01T01:00:00'),
                (3, 'gpt-3.5', 'Two?', NULL, '2', 1, '2023-05-01T02:00:00');
        """)
        if later:
            connection.executescript("""
                CREATE TABLE conversations (id TEXT PRIMARY KEY, name TEXT, model TEXT);
                CREATE TABLE responses (id TEXT PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, response TEXT,
                    conversation_id TEXT, datetime_utc TEXT);
                INSERT INTO conversations VALUES ('c', 'Later', 'gpt-4');
                INSERT INTO responses VALUES ('r', 'gpt-4', 'New?', NULL, 'New.', 'c', '2024-01-01T00:00:00');
            """)
    source = read(path)
    assert [said(tree) for tree in source.conversations[:2]] == [[("One?", "1"), ("Two?", "2")], [("Alone?", "Yes.")]]
    assert (source.conversations[0].system, source.conversations[0].created.year) == ("Be brief.", 2023)
    assert len(source.conversations) == (3 if later else 2)


def test_threads_of_llm_are_imported(tmp_path: Path) -> None:
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
    (tree,) = read(path).conversations
    assert said(tree) == [("Read a long article!", "Done."), ("And?", "A bird.")]
    assert tree.system == "Be brief."
    assert left_out(read(path)) == {"reasoning": 1}


def test_files_sent_by_llm_are_part_of_the_message(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE TABLE conversations (id TEXT PRIMARY KEY, name TEXT, model TEXT);
            CREATE TABLE responses (id TEXT PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, response TEXT,
                conversation_id TEXT, datetime_utc TEXT);
            CREATE TABLE fragments (id INTEGER PRIMARY KEY, content TEXT, source TEXT);
            CREATE TABLE prompt_fragments (response_id TEXT, fragment_id INTEGER, "order" INTEGER);
            CREATE TABLE system_fragments (response_id TEXT, fragment_id INTEGER, "order" INTEGER);
            CREATE TABLE attachments (id TEXT PRIMARY KEY, type TEXT, path TEXT, url TEXT, content BLOB);
            CREATE TABLE prompt_attachments (response_id TEXT, attachment_id TEXT, "order" INTEGER);
            CREATE TABLE tool_calls (id INTEGER PRIMARY KEY, response_id TEXT, name TEXT);
            INSERT INTO conversations VALUES ('c', 'Minutes', 'gpt-4');
            INSERT INTO fragments VALUES
                (1, 'Budget: 400.', 'a.txt'), (2, 'Answer in one line.', 's.txt'), (3, 'Rent: 200.', 'b.txt');
            INSERT INTO responses VALUES
                ('1', 'gpt-4', 'What is left?', 'No jokes.', '200.', 'c', '2025-01-01T00:00:00'),
                ('2', 'gpt-4', '', NULL, 'A budget.', 'c', '2025-01-02T00:00:00'),
                ('3', 'gpt-4', 'And this?', NULL, 'A cat.', 'c', '2025-01-03T00:00:00'),
                ('4', 'gpt-4', 'Alone', NULL, 'Logged without a conversation.', NULL, '2025-01-04T00:00:00'),
                ('5', 'gpt-4', 'Orphan', NULL, 'Its conversation has no row.', 'gone', '2025-01-05T00:00:00'),
                ('6', 'gpt-4', NULL, NULL, NULL, 'empty', '2025-01-06T00:00:00');
            INSERT INTO prompt_fragments VALUES ('1', 3, 1), ('1', 1, 0), ('2', 1, 0);
            INSERT INTO system_fragments VALUES ('1', 2, 0);
            INSERT INTO attachments VALUES
                ('x', 'image/png', '/home/ann/cat.png', NULL, NULL), ('y', 'image/png', NULL, NULL, x'00');
            INSERT INTO prompt_attachments VALUES ('3', 'x', 0), ('3', 'y', 1);
            INSERT INTO tool_calls VALUES (1, '3', 'look');
            ALTER TABLE responses ADD COLUMN reasoning TEXT;
            UPDATE responses SET reasoning = 'hm' WHERE id = '1';
        """)
    source = read(path)
    assert {tree.title: said(tree) for tree in source.conversations if tree.title} == {
        "Minutes": [
            ("Budget: 400.\nRent: 200.\nWhat is left?", "200."),
            ("Budget: 400.", "A budget."),
            ("[attachment: cat.png]\n[attachment]\nAnd this?", "A cat."),
        ]
    }
    assert sorted(said(tree)[0][0] for tree in source.conversations if not tree.title) == ["Alone", "Orphan"]
    assert next(tree.system for tree in source.conversations if tree.title) == "Answer in one line.\n\nNo jokes."
    assert left_out(source) == {
        "pictures, recordings and other files": 2,
        "tool calls and their results": 1,
        "reasoning": 1,
        "conversations without text": 1,
    }


def test_other_oterm_content_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE TABLE chat (id INTEGER PRIMARY KEY, name TEXT, model TEXT NOT NULL, system TEXT);
            CREATE TABLE message (id INTEGER PRIMARY KEY, chat_id INTEGER NOT NULL, author TEXT NOT NULL, text TEXT NOT NULL,
                images TEXT DEFAULT '[]');
            INSERT INTO chat VALUES (1, 'Pictures', 'llava', NULL);
            INSERT INTO message (chat_id, author, text, images) VALUES
                (1, 'system', 'Be brief.', '[]'), (1, 'user', 'What is this?', '["aGVyb24="]'), (1, 'tool', '{"x": 1}', '[]'),
                (1, 'assistant', 'A heron.', NULL);
        """)
    source = read(path)
    (tree,) = source.conversations
    assert said(tree) == [("[attachment]\n\nWhat is this?", "A heron.")]
    assert tree.system == "Be brief."
    assert left_out(source) == {"pictures, recordings and other files": 1, "tool calls and their results": 1}


def test_a_database_written_by_llm_is_imported(tmp_path: Path) -> None:
    """With the real program's tables, where it is installed, as with the demo."""
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
    assert [(tree.title, said(tree)) for tree in read(path).conversations] == [
        ("Old", [("p", "q")]),
        ("New", [("new p", "new q")]),
    ]


def test_a_database_of_an_unknown_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE moz_places (url)")
    with pytest.raises(ImportFailed, match="neither oterm's nor llm's"):
        read_import_files([path])


def test_oterms_first_schema_and_messages_of_tools_are_read(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE TABLE chat (id INTEGER PRIMARY KEY, name TEXT);
            CREATE TABLE message (chat_id INTEGER, author TEXT, text TEXT, images TEXT);
            INSERT INTO chat VALUES (1, 'Herons');
            INSERT INTO message (chat_id, author, text, images) VALUES
                (1, 'me', 'Look', '["abc"]'), (1, 'tool', '{}', 'not json'), (1, 'thinking', 'hm', NULL),
                (1, 'ollama', 'A bird.', '[]');
        """)
    source = read(path)
    assert said(source.conversations[0]) == [("[attachment]\n\nLook", "A bird.")]
    assert left_out(source) == {
        "pictures, recordings and other files": 1,
        "tool calls and their results": 1,
        "content of unknown kinds": 1,
    }


def test_a_database_with_a_log_is_read_from_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    path = folder / "store.db"
    subprocess.run([sys.executable, "-c", KILLED_OTERM, str(path)], check=True)
    path.with_name("store.db-shm").unlink()
    assert path.with_name("store.db-wal").stat().st_size
    for each in folder.iterdir():
        each.chmod(0o400)
    folder.chmod(0o500)
    (tree,) = without_privileges(lambda: read(path).conversations)
    folder.chmod(0o700)
    assert said(tree) == [("Only in the log", "")]


@pytest.mark.parametrize(
    "payload",
    ["{broken", "[" * 100_000, f'{{"text_ref": [{{"fragment": {10**30}}}]}}'],
    ids=["no JSON", "nested too deeply", "too large a number"],
)
def test_a_damaged_conversation_of_llm_is_left_out_and_named(tmp_path: Path, payload: str) -> None:
    path = tmp_path / "logs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE TABLE threads (id TEXT PRIMARY KEY, name TEXT);
            CREATE TABLE messages (hash TEXT PRIMARY KEY, parent_hash TEXT, role TEXT);
            CREATE TABLE parts (id INTEGER PRIMARY KEY, message_hash TEXT, position INTEGER, type TEXT, text TEXT, payload TEXT);
            CREATE TABLE fragments (id INTEGER PRIMARY KEY, content TEXT);
            CREATE TABLE turns (id TEXT PRIMARY KEY, thread_id TEXT, parent_message_hash TEXT, tip_message_hash TEXT, model TEXT,
                datetime_utc TEXT);
            INSERT INTO threads VALUES ('t', 'Broken'), ('w', 'Whole');
            INSERT INTO messages VALUES ('u', NULL, 'user'), ('a', 'u', 'assistant'), ('u2', NULL, 'user'),
                ('a2', 'u2', 'assistant');
            INSERT INTO parts (message_hash, position, type, text, payload) VALUES
                ('u', 0, 'text', NULL, ''), ('a', 0, 'text', 'A', NULL),
                ('u2', 0, 'text', 'Q', NULL), ('a2', 0, 'text', 'A', NULL);
            INSERT INTO turns VALUES ('1', 't', 'u', 'a', 'm', ''),
                ('2', 'w', 'u2', 'a2', 'm', '0001-01-01T00:00:00Z');
        """)
        connection.execute("UPDATE parts SET payload = ? WHERE message_hash = 'u'", (payload,))
        connection.commit()
    source = read(path)
    assert source.conversations[0].created == source.changed, "west of Greenwich it is in the year 0"
    assert [said(tree) for tree in source.conversations] == [[("Q", "A")]]
    (detail,) = source.left_out["damaged conversations"].details
    assert detail.startswith("Broken: ")
