"""Migrations, oldest first.

A released migration is never edited; changes go into the next one. Each is tested from the one before, with rows in it.
sqlite_utils runs and records them; it is imported only when one is pending, because that import takes longer than opening
the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from sqlite_utils import Database

SET: Final = "mistral_chat"
"""The name of this program's migrations in the table of applied ones."""


def m0001_conversations(database: Database) -> None:
    """Conversations, and their turns as a tree.

    Rows refer to one another by integer; the `id` columns are what the rest of the program knows. `writer` names the
    instance that is writing the reply and is NULL once the reply has ended. `depth` is the turn's place on its path.
    """
    database.execute("""
        CREATE TABLE conversations (
            row INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            title TEXT NOT NULL DEFAULT '',
            title_by TEXT NOT NULL DEFAULT 'first_line' CHECK (title_by IN ('first_line', 'model', 'person')),
            created TEXT NOT NULL,
            updated TEXT NOT NULL,
            system TEXT NOT NULL DEFAULT '',
            model TEXT NOT NULL DEFAULT '',
            sampling TEXT,
            current INTEGER
        ) STRICT
    """)
    database.execute("""
        CREATE TABLE turns (
            row INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            conversation INTEGER NOT NULL REFERENCES conversations (row),
            parent INTEGER REFERENCES turns (row),
            depth INTEGER NOT NULL,
            created TEXT NOT NULL,
            user TEXT NOT NULL,
            reply TEXT NOT NULL DEFAULT '',
            finish_reason TEXT CHECK (finish_reason IN ('stop', 'length', 'cancelled')),
            error TEXT NOT NULL DEFAULT '',
            model TEXT NOT NULL DEFAULT '',
            usage TEXT,
            pinned INTEGER NOT NULL DEFAULT 0,
            excluded INTEGER NOT NULL DEFAULT 0,
            writer TEXT
        ) STRICT
    """)
    database.execute("CREATE INDEX turns_by_conversation ON turns (conversation)")
    database.execute("CREATE INDEX turns_by_parent ON turns (parent, conversation)")
    database.execute("CREATE INDEX turns_by_time ON turns (created)")
    database.execute("CREATE INDEX turns_unfinished ON turns (writer) WHERE writer IS NOT NULL")


def m0002_organising(database: Database) -> None:
    """Pins, the archive, the trash, personas, tags and drafts."""
    database.execute("ALTER TABLE conversations ADD COLUMN persona TEXT NOT NULL DEFAULT ''")
    database.execute("ALTER TABLE conversations ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0")
    database.execute("ALTER TABLE conversations ADD COLUMN archived INTEGER NOT NULL DEFAULT 0")
    database.execute("ALTER TABLE conversations ADD COLUMN trashed TEXT")
    database.execute("""
        CREATE TABLE tags (
            conversation INTEGER NOT NULL REFERENCES conversations (row),
            tag TEXT NOT NULL,
            PRIMARY KEY (conversation, tag)
        ) STRICT, WITHOUT ROWID
    """)
    database.execute("CREATE INDEX tags_by_name ON tags (tag)")
    database.execute("CREATE TABLE drafts (conversation_id TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID")
    database.execute("""
        CREATE INDEX conversations_active ON conversations (pinned DESC, updated DESC, row DESC)
        WHERE trashed IS NULL AND archived = 0
    """)
    database.execute("CREATE INDEX conversations_trashed ON conversations (trashed) WHERE trashed IS NOT NULL")


def m0003_search(database: Database) -> None:
    """The full-text index, filled from what is there, and the list of pending upkeep.

    The index keeps no copy of the text (`content=''`). `store/index.py` documents its entries.
    """
    from mistral_chat.store.index import rebuild

    database.execute("""
        CREATE VIRTUAL TABLE found USING fts5 (
            title, user, reply, content='', prefix='2',
            tokenize="unicode61 remove_diacritics 2 categories 'L* N* Co So'"
        )
    """)
    database.execute("CREATE TABLE owed (upkeep TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
    rebuild(database.conn)


def m0004_use_order(database: Database) -> None:
    """A count of uses in each conversation, so that the latest one is found although the clock went back."""
    database.execute("ALTER TABLE conversations ADD COLUMN used INTEGER NOT NULL DEFAULT 0")
    database.execute("""
        UPDATE conversations SET used = ordered.place
        FROM (SELECT row, row_number() OVER (ORDER BY updated, row) AS place FROM conversations) AS ordered
        WHERE ordered.row = conversations.row
    """)
    database.execute("CREATE INDEX conversations_used ON conversations (used)")


def m0005_documents(database: Database) -> None:
    """Documents in named collections, cut into passages."""
    database.execute(
        "CREATE TABLE collections (row INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created TEXT NOT NULL) STRICT"
    )
    database.execute("""
        CREATE TABLE documents (
            row INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            collection INTEGER NOT NULL REFERENCES collections (row),
            path TEXT NOT NULL,
            kind TEXT NOT NULL,
            size INTEGER NOT NULL,
            mtime INTEGER NOT NULL,
            hash TEXT NOT NULL DEFAULT '',
            status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'indexed', 'failed')),
            error TEXT NOT NULL DEFAULT '',
            note TEXT NOT NULL DEFAULT '',
            added TEXT NOT NULL,
            indexed TEXT,
            UNIQUE (collection, path)
        ) STRICT
    """)
    database.execute("""
        CREATE TABLE passages (
            row INTEGER PRIMARY KEY,
            document INTEGER NOT NULL REFERENCES documents (row),
            ordinal INTEGER NOT NULL,
            headings TEXT NOT NULL,
            page INTEGER,
            first_line INTEGER NOT NULL,
            last_line INTEGER NOT NULL,
            tokens INTEGER NOT NULL,
            text TEXT NOT NULL,
            hash TEXT NOT NULL,
            UNIQUE (document, ordinal)
        ) STRICT
    """)


def m0006_retrieval(database: Database) -> None:
    """An index of the stemmed words of passages, and vectors of passages and exchanges by embedding model.

    `passages_found` keeps no copy of the text; `store/documents.py` says what is in it. `document_vectors.vectors` holds the
    vectors of the first passages of a document one after another, as 16-bit floats.
    """
    database.execute("""
        CREATE VIRTUAL TABLE passages_found USING fts5 (
            collection, title, text, content='',
            tokenize="porter unicode61 remove_diacritics 2 categories 'L* N* Co So'"
        )
    """)
    database.execute("""
        CREATE TABLE document_vectors (
            document INTEGER NOT NULL REFERENCES documents (row),
            model TEXT NOT NULL,
            dimensions INTEGER NOT NULL,
            vectors BLOB NOT NULL,
            PRIMARY KEY (document, model)
        ) STRICT
    """)
    database.execute("""
        CREATE TABLE turn_vectors (
            turn INTEGER NOT NULL REFERENCES turns (row),
            model TEXT NOT NULL,
            vector BLOB NOT NULL,
            PRIMARY KEY (turn, model)
        ) STRICT, WITHOUT ROWID
    """)


def m0007_given_passages(database: Database) -> None:
    """The collections that a conversation uses, and the passages that were given to the model with a turn."""
    database.execute("""
        CREATE TABLE conversation_collections (
            conversation INTEGER NOT NULL REFERENCES conversations (row),
            collection INTEGER NOT NULL REFERENCES collections (row),
            PRIMARY KEY (conversation, collection)
        ) STRICT, WITHOUT ROWID
    """)
    database.execute("""
        CREATE TABLE turn_passages (
            turn INTEGER NOT NULL REFERENCES turns (row),
            ordinal INTEGER NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('exchange', 'document', 'file')),
            key TEXT NOT NULL,
            source TEXT NOT NULL,
            text TEXT NOT NULL,
            score REAL NOT NULL,
            tokens INTEGER NOT NULL,
            PRIMARY KEY (turn, ordinal)
        ) STRICT, WITHOUT ROWID
    """)
    database.execute("CREATE INDEX turn_passages_by_key ON turn_passages (key)")
    database.execute("CREATE INDEX collections_in_use ON conversation_collections (collection)")


def m0008_recall_and_folders(database: Database) -> None:
    """Whether a conversation recalls (NULL: as the settings say), and where a collection is from.

    `attached` marks a collection that was made by attaching a file to a conversation.
    """
    database.execute("ALTER TABLE conversations ADD COLUMN recall INTEGER")
    database.execute("ALTER TABLE collections ADD COLUMN attached INTEGER NOT NULL DEFAULT 0")
    database.execute("""
        CREATE TABLE collection_folders (
            collection INTEGER NOT NULL REFERENCES collections (row),
            path TEXT NOT NULL,
            PRIMARY KEY (collection, path)
        ) STRICT, WITHOUT ROWID
    """)


def m0009_queued_messages(database: Database) -> None:
    """Messages that wait behind a reply. They return to the draft of their conversation after their `writer` has died."""
    database.execute("""
        CREATE TABLE queued_messages (
            row INTEGER PRIMARY KEY,
            id TEXT NOT NULL,
            writer TEXT NOT NULL,
            conversation_id TEXT NOT NULL,
            text TEXT NOT NULL
        ) STRICT
    """)


STEPS: Final[tuple[Callable[[Database], None], ...]] = (
    m0001_conversations,
    m0002_organising,
    m0003_search,
    m0004_use_order,
    m0005_documents,
    m0006_retrieval,
    m0007_given_passages,
    m0008_recall_and_folders,
    m0009_queued_messages,
)
"""Every migration this version knows, oldest first."""


def applied(connection: sqlite3.Connection) -> list[str]:
    """The names of the migrations that were applied to the database; empty for another program's or a new one."""
    exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone()
    if exists is None:
        return []
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id", (SET,))
    return [str(name) for (name,) in rows]


def migrate(connection: sqlite3.Connection, steps: tuple[Callable[[Database], None], ...] = STEPS) -> None:
    """Apply the pending ones of `steps`: all of them or, when one fails, none.

    The write lock is taken first, so that two instances that start together do not both try.

    Raises:
        sqlite3.Error: a migration failed or the lock was not free; the database is unchanged.
    """
    from sqlite_utils import Database, Migrations

    migrations = Migrations(SET)
    for step in steps:
        migrations()(step)
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(Database(connection, execute_plugins=False))
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
