"""Documents in the store: collections, documents, passages, vectors, and the collections attached to conversations.

`passages_found` has an entry for each passage, with the passage's rowid: its collection as one word, so that a query can be
limited to collections, the file name, and the text. As in `index.py` an entry is removed by inserting the same texts again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, Literal

from mistral_chat.conversation import DocumentPassage
from mistral_chat.errors import DocumentNotFound
from mistral_chat.store import trash
from mistral_chat.store.index import space_out_cjk
from mistral_chat.store.queries import conversation_row
from mistral_chat.store.rows import from_timestamp, insert, to_timestamp
from mistral_chat.store.text import sanitise_for_sqlite, stored_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from sqlite3 import Connection, Row

    from mistral_chat.store.database import Database

Status = Literal["pending", "indexed", "failed"]

_LONGEST_NAME: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A named set of documents."""

    name: str
    attached: bool
    """Whether it is a file that was attached to a conversation."""
    documents: int
    failed: int
    pending: int
    passages: int
    tokens: int
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument:
    """A file in a collection."""

    document_id: str
    collection: str
    path: str
    """Absolute. Untrusted text: clean it before showing it."""
    kind: str
    size: int
    mtime: int
    """Nanoseconds since 1970, as `os.stat_result.st_mtime_ns`."""
    hash: str
    """SHA-256 of the file's content, in hexadecimal; empty until it is indexed."""
    status: Status
    error: str
    """Why it could not be read; otherwise empty."""
    note: str
    """A note for the user, such as on pages without text."""
    indexed: datetime | None
    passages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPassage(DocumentPassage):
    """A passage as it is stored."""

    key: str
    """The value of `conversation.Passage.key`: the document's id, a slash and the ordinal."""
    document_id: str
    collection: str
    path: str


@dataclass(frozen=True, slots=True)
class VectorProgress:
    """How many passages of a document have vectors."""

    document_id: str
    passages: int
    done: int
    """How many of the first passages have vectors."""


_DOCUMENT: Final = """
    SELECT id AS document_id, name AS collection, path, kind, size, mtime, hash, status, error, note, indexed,
        (SELECT count(*) FROM passages WHERE passages.document = documents.row) AS passages
    FROM documents JOIN collections ON collections.row = documents.collection
"""
PASSAGE: Final = """
    SELECT id || '/' || ordinal AS key, id AS document_id, name AS collection, path, headings, page, first_line, last_line,
        tokens, text
    FROM passages JOIN documents ON documents.row = passages.document
    JOIN collections ON collections.row = documents.collection
"""
"""Selects the columns that `stored_passage` reads."""
_IN_USE: Final = """
    row IN (SELECT collection FROM conversation_collections) OR EXISTS (
        SELECT 1 FROM documents JOIN turn_passages ON key >= documents.id || '/' AND key < documents.id || '0'
        WHERE documents.collection = collections.row
    )
"""
"""Whether a conversation uses a row of `collections`, or a turn a passage of it."""


class DocumentStore:
    """The documents in the store's database.

    Calls that name a collection or a document raise `DocumentNotFound` when there is none.
    """

    def __init__(self, database: Database, *, now: Callable[[], datetime], new_id: Callable[[], str]) -> None:
        """Use `database`; `now` returns times with a zone, `new_id` ids that were never returned before."""
        self.database = database
        self._now = now
        self._new_id = new_id

    # Collections

    def collections(self) -> list[Collection]:
        """Every collection, by name."""
        with self.database.read() as connection:
            rows = connection.execute("""
                SELECT name, attached, created, count(documents.row) AS documents,
                    count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'pending') AS pending,
                    (SELECT count(*) FROM passages JOIN documents AS d ON d.row = passages.document
                     WHERE d.collection = collections.row) AS passages,
                    (SELECT coalesce(sum(tokens), 0) FROM passages JOIN documents AS d ON d.row = passages.document
                     WHERE d.collection = collections.row) AS tokens
                FROM collections LEFT JOIN documents ON documents.collection = collections.row
                GROUP BY collections.row ORDER BY name
            """)
            return [
                Collection(**{**row, "attached": bool(row["attached"]), "created": from_timestamp(row["created"])})
                for row in rows
            ]

    def create_collection(self, name: str, *, attached: bool = False) -> str:
        """Create a collection if it does not exist, and return its name as stored.

        An `attached` one is made by attaching a file to a conversation, and is deleted with the last conversation that uses it;
        made again, it counts as new for `delete_unused`. Made again without `attached` it is the user's own.
        """
        stored = collection_name(name)
        with self.database.write() as connection:
            connection.execute(
                "INSERT INTO collections (name, created, attached) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET created = excluded.created, attached = excluded.attached WHERE attached",
                (stored, to_timestamp(self._now()), attached),
            )
        return stored

    def add_folders(self, name: str, *paths: str) -> None:
        """Note folders that were added to a collection, in which new files are looked for later."""
        with self.database.write() as connection:
            row = _collection(connection, name)
            rows = [(row, sanitise_for_sqlite(path)) for path in paths]
            connection.executemany("INSERT OR IGNORE INTO collection_folders VALUES (?, ?)", rows)

    def folders(self, name: str) -> list[str]:
        """The folders that were added to a collection, sorted."""
        with self.database.read() as connection:
            row = _collection(connection, name)
            found = connection.execute("SELECT path FROM collection_folders WHERE collection = ? ORDER BY path", (row,))
            return [each["path"] for each in found]

    def delete_collection(self, name: str, *, forget: Callable[[list[str]], object] = tuple) -> None:
        """Delete a collection with its documents permanently, as `delete_documents` does.

        Each document is a separate transaction, so that others can write in between.
        """
        query = "SELECT row, name, created FROM collections WHERE row = ?"
        with self.database.read() as connection:
            row = _collection(connection, name)
            collection = connection.execute(query, (row,)).fetchone()
            documents = connection.execute("SELECT id FROM documents WHERE collection = ?", (row,)).fetchall()
        for document in documents:
            with suppress(DocumentNotFound):  # another program was faster
                self.delete_documents(document["id"], forget=forget)
        with self.database.write() as connection:
            if connection.execute(query, (row,)).fetchone() == collection:  # otherwise the row is another collection's by now
                _delete_collection(connection, row)
                trash.note_purge(connection)

    def delete_unused(self, older_than: timedelta) -> None:
        """Delete the files that were attached longer ago and that neither a conversation nor a turn uses.

        Each is a separate transaction, as in `delete_collection`.
        """
        query = f"SELECT row FROM collections WHERE attached AND NOT ({_IN_USE}) AND created < ?1 AND row = coalesce(?2, row)"
        before = to_timestamp(self._now() - older_than)
        with self.database.read() as connection:
            unused = connection.execute(query, (before, None)).fetchall()
        for (row,) in unused:
            with self.database.write() as connection:
                if connection.execute(query, (before, row)).fetchone():
                    _delete_collection(connection, row)

    def attach(self, conversation_id: str, *names: str) -> None:
        """Attach these collections to a conversation, and no others. What is detached counts as new for `delete_unused`."""
        with self.database.write() as connection:
            conversation = conversation_row(connection, conversation_id)["row"]
            rows = [(conversation, _collection(connection, name)) for name in names]
            here = "(SELECT collection FROM conversation_collections WHERE conversation = ?)"
            connection.execute(
                f"UPDATE collections SET created = ? WHERE attached AND row IN {here}", (to_timestamp(self._now()), conversation)
            )
            connection.execute("DELETE FROM conversation_collections WHERE conversation = ?", (conversation,))
            connection.executemany("INSERT OR IGNORE INTO conversation_collections VALUES (?, ?)", rows)

    def attached(self, conversation_id: str) -> list[str]:
        """The names of the collections attached to a conversation, sorted."""
        with self.database.read() as connection:
            return attached_names(connection, conversation_row(connection, conversation_id)["row"])

    # Documents

    def documents(self, collection: str | None = None) -> list[StoredDocument]:
        """The documents of a collection, or of all, by collection and path."""
        with self.database.read() as connection:
            row = None if collection is None else _collection(connection, collection)
            query = f"{_DOCUMENT} WHERE ?1 IS NULL OR documents.collection = ?1 ORDER BY collections.name, documents.path"
            return [_document(each) for each in connection.execute(query, (row,))]

    def add_document(self, collection: str, path: str, *, kind: str, size: int, mtime: int) -> str:
        """Add a file to a collection, or record that it changed, and return its id.

        It is pending until it is indexed. A changed file keeps its passages until `set_passages` replaces them.
        """
        with self.database.write() as connection:
            row = _collection(connection, collection)
            path = sanitise_for_sqlite(path)
            found = connection.execute(
                "INSERT INTO documents (id, collection, path, kind, size, mtime, added) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (collection, path) DO UPDATE SET kind = excluded.kind, size = excluded.size, "
                "mtime = excluded.mtime, status = 'pending', error = '' RETURNING id",
                (self._new_id(), row, path, kind, size, mtime, to_timestamp(self._now())),
            ).fetchone()
            return str(found["id"])

    def set_passages(self, document_id: str, passages: Iterable[DocumentPassage], *, file_hash: str, note: str = "") -> int:
        """Replace the passages of a document, mark it as indexed, and return the number of passages.

        Vectors of unchanged passages at the beginning of the document are kept.
        """
        new = list(passages)
        with self.database.write() as connection:
            document = _document_row(connection, document_id)
            row, title, scope = document["row"], _title(document), _scope(document["collection"])
            hashes = [_hash(each.text) for each in new]
            _keep_vectors(connection, row, hashes)
            _delete_passages(connection, document)
            for ordinal, each in enumerate(new):
                text = sanitise_for_sqlite(each.text)
                passage = insert(
                    connection,
                    "passages",
                    document=row,
                    ordinal=ordinal,
                    headings=json.dumps([sanitise_for_sqlite(heading) for heading in each.headings], ensure_ascii=False),
                    page=each.page,
                    first_line=each.first_line,
                    last_line=each.last_line,
                    tokens=each.tokens,
                    text=text,
                    hash=hashes[ordinal],
                )
                _index_passage(connection, passage, scope, title, text)
            connection.execute(
                "UPDATE documents SET status = 'indexed', error = '', note = ?, hash = ?, indexed = ? WHERE row = ?",
                (stored_line(note), file_hash, to_timestamp(self._now()), row),
            )
        return len(new)

    def set_failed(self, document_id: str, error: str) -> None:
        """Record why a document could not be read. All that was read of an earlier version is removed."""
        with self.database.write() as connection:
            document = _document_row(connection, document_id)
            _delete_passages(connection, document)
            connection.execute("DELETE FROM document_vectors WHERE document = ?", (document["row"],))
            query = "UPDATE documents SET status = 'failed', error = ?, note = '', hash = '', indexed = NULL WHERE row = ?"
            connection.execute(query, (stored_line(error, 500), document["row"]))

    def delete_documents(self, *document_ids: str, forget: Callable[[list[str]], object] = tuple) -> None:
        """Delete documents permanently. The caller purges.

        `forget` is given the ids of the conversations with passages of them first, and deletes what is kept of these outside the
        database.
        """
        query = (
            "SELECT DISTINCT conversations.id FROM turn_passages JOIN turns ON turns.row = turn_passages.turn "
            "JOIN conversations ON conversations.row = turns.conversation WHERE key >= ? AND key < ?"
        )
        with self.database.write() as connection:
            for document_id in document_ids:
                document = _document_row(connection, document_id)
                forget([found["id"] for found in connection.execute(query, _keys(document))])
                _delete_document(connection, document)

    # Passages

    def passages(self, document_id: str) -> list[StoredPassage]:
        """The passages of a document, in order."""
        with self.database.read() as connection:
            row = _document_row(connection, document_id)["row"]
            rows = connection.execute(f"{PASSAGE} WHERE passages.document = ? ORDER BY ordinal", (row,))
            return [stored_passage(each) for each in rows]

    def passages_of(self, *keys: str) -> dict[str, StoredPassage]:
        """The passages with these `StoredPassage.key`s, by key, without those that do not exist."""
        query = f"{PASSAGE} WHERE documents.id = ? AND passages.ordinal = ?"
        with self.database.read() as connection:
            found = {key: connection.execute(query, key.rpartition("/")[::2]).fetchone() for key in keys}
            return {key: stored_passage(row) for key, row in found.items() if row is not None}

    def passage_count(self, collections: Sequence[str] | None = None) -> int:
        """How many passages there are; `collections` limits it to these."""
        with self.database.read() as connection:
            condition, rows = _in_collections(connection, collections)
            query = f"SELECT count(*) FROM passages JOIN documents ON documents.row = document WHERE {condition}"
            return int(connection.execute(query, rows).fetchone()[0])

    def state(self, model: str, collections: Sequence[str] | None = None) -> tuple[object, ...]:
        """Differs after any change to documents or to vectors of the embedding model `model`. Fast."""
        with self.database.read() as connection:
            condition, rows = _in_collections(connection, collections)
            found = connection.execute(
                "SELECT count(*), max(documents.row), max(indexed), total(length(vectors)) FROM documents "
                f"LEFT JOIN document_vectors ON document = documents.row AND model = ? WHERE {condition}",
                (model, *rows),
            )
            return tuple(found.fetchone())

    # Vectors

    def vector_progress(self, model: str, collections: Sequence[str] | None = None) -> list[VectorProgress]:
        """How many passages of the indexed documents have vectors of the embedding model `model`, in all or some collections."""
        with self.database.read() as connection:
            condition, rows = _in_collections(connection, collections)
            found = connection.execute(
                "SELECT documents.id, (SELECT count(*) FROM passages WHERE passages.document = documents.row) AS passages, "
                "coalesce(length(vectors) / (2 * dimensions), 0) AS done FROM documents "
                f"LEFT JOIN document_vectors ON document = documents.row AND model = ? WHERE status = 'indexed' AND {condition} "
                "ORDER BY documents.row",
                (model, *rows),
            )
            return [VectorProgress(row["id"], row["passages"], row["done"]) for row in found]

    def add_vectors(
        self, document_id: str, model: str, vectors: bytes, texts: Sequence[str], *, first: int, dimensions: int
    ) -> bool:
        """Append vectors, 16-bit floats one after another, of `texts`; returns whether they were added.

        They belong to the passages of a document from the ordinal `first` on. They are not added if these have other texts by
        now, or if `first` is not the number of existing vectors: another program was faster.
        """
        with self.database.write() as connection:
            row = _document_row(connection, document_id)["row"]
            found = connection.execute(
                "SELECT length(vectors) / (2 * dimensions) AS count FROM document_vectors WHERE document = ? AND model = ?",
                (row, model),
            ).fetchone()
            query = "SELECT text FROM passages WHERE document = ? AND ordinal >= ? ORDER BY ordinal LIMIT ?"
            stored = [text for (text,) in connection.execute(query, (row, first, len(texts)))]
            if first != (0 if found is None else found["count"]) or stored != list(texts):
                return False
            connection.execute(
                "INSERT INTO document_vectors (document, model, dimensions, vectors) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (document, model) DO UPDATE SET vectors = CAST(vectors || excluded.vectors AS BLOB)",
                (row, model, dimensions, vectors),
            )
        return True

    def vectors(self, model: str, collections: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """The ids of documents with the vectors of their first passages, in the format of `add_vectors`."""
        with self.database.read() as connection:
            condition, rows = _in_collections(connection, collections)
            found = connection.execute(
                "SELECT documents.id, vectors FROM document_vectors JOIN documents ON documents.row = document "
                f"WHERE model = ? AND {condition} ORDER BY documents.row",
                (model, *rows),
            ).fetchall()
        yield from ((row["id"], row["vectors"]) for row in found)


def collection_name(name: str) -> str:
    """A collection's name as stored: one line of at most 60 characters.

    Raises:
        DocumentNotFound: nothing is left of it.
    """
    stored = stored_line(name, _LONGEST_NAME).strip()
    if not stored:
        raise DocumentNotFound("A collection needs a name.")
    return stored


def attached_names(connection: Connection, conversation: int) -> list[str]:
    """The names of the collections attached to the row of a conversation, sorted."""
    query = "SELECT name FROM collections JOIN conversation_collections ON collection = row WHERE conversation = ? ORDER BY name"
    return [found["name"] for found in connection.execute(query, (conversation,))]


def rebuild_passage_index(connection: Connection) -> None:
    """Rebuild the index of passages from the tables."""
    connection.execute("INSERT INTO passages_found (passages_found) VALUES ('delete-all')")
    query = "SELECT passages.row AS passage, text, documents.* FROM passages JOIN documents ON documents.row = passages.document"
    for row in connection.execute(query):
        _index_passage(connection, row["passage"], _scope(row["collection"]), _title(row), row["text"])


def scope_expression(connection: Connection, collections: Sequence[str] | None) -> str:
    """The FTS5 expression that limits a query on `passages_found` to collections; empty if all are searched."""
    if collections is None:
        return ""
    rows = {_collection(connection, name) for name in collections}
    (count,) = connection.execute("SELECT count(*) FROM collections").fetchone()
    return "" if len(rows) == count else f"collection : ({' OR '.join(map(_scope, sorted(rows))) or 'none'})"


def _in_collections(connection: Connection, collections: Sequence[str] | None) -> tuple[str, list[int]]:
    """An SQL condition on `documents`, and its parameters."""
    if collections is None:
        return "TRUE", []
    rows = [_collection(connection, name) for name in collections]
    return f"documents.collection IN ({', '.join('?' * len(rows))})", rows


def _collection(connection: Connection, name: str) -> int:
    """The row of a collection."""
    found = connection.execute("SELECT row FROM collections WHERE name = ?", (collection_name(name),)).fetchone()
    if found is None:
        raise DocumentNotFound(f"No collection {name!r}. List them with: mistral-chat docs list")
    return int(found["row"])


def _document_row(connection: Connection, document_id: str) -> Row:
    wanted = sanitise_for_sqlite(document_id)
    row: Row | None = connection.execute("SELECT * FROM documents WHERE id = ?", (wanted,)).fetchone()
    if row is None:
        raise DocumentNotFound(f"Document {document_id} does not exist. It may have been deleted.")
    return row


def _document(row: Row) -> StoredDocument:
    """The value of a row selected by `_DOCUMENT`."""
    return StoredDocument(**{**row, "indexed": None if row["indexed"] is None else from_timestamp(row["indexed"])})


def stored_passage(row: Row) -> StoredPassage:
    """The value of a row selected by `PASSAGE`."""
    return StoredPassage(**{**row, "headings": tuple(json.loads(row["headings"]))})


def _scope(collection: int) -> str:
    """The word that stands for a collection in the index."""
    return f"c{collection}"


def _title(document: Row) -> str:
    return space_out_cjk(PurePath(document["path"]).name)


def _keys(document: Row) -> tuple[str, str]:
    """The keys of a document's passages lie between these."""
    return f"{document['id']}/", f"{document['id']}0"  # "0" follows "/"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


def _index_passage(connection: Connection, row: int, scope: str, title: str, text: str) -> None:
    values = (row, scope, title, space_out_cjk(text))
    connection.execute("INSERT INTO passages_found (rowid, collection, title, text) VALUES (?, ?, ?, ?)", values)


def _delete_passages(connection: Connection, document: Row) -> None:
    """Delete the passages of a document and their entries in the index."""
    scope, title = _scope(document["collection"]), _title(document)
    for row in connection.execute("SELECT row, text FROM passages WHERE document = ?", (document["row"],)).fetchall():
        connection.execute(
            "INSERT INTO passages_found (passages_found, rowid, collection, title, text) VALUES ('delete', ?, ?, ?, ?)",
            (row["row"], scope, title, space_out_cjk(row["text"])),
        )
    if connection.execute("DELETE FROM passages WHERE document = ?", (document["row"],)).rowcount:
        trash.note_purge(connection)


def _delete_document(connection: Connection, document: Row) -> None:
    """Delete a document, and the copies of its text that were saved with turns."""
    _delete_passages(connection, document)
    connection.execute("DELETE FROM document_vectors WHERE document = ?", (document["row"],))
    forgotten = "key = '', text = '', source = 'a deleted document'"
    connection.execute(f"UPDATE turn_passages SET {forgotten} WHERE key >= ? AND key < ?", _keys(document))
    connection.execute("DELETE FROM documents WHERE row = ?", (document["row"],))
    trash.note_purge(connection)


def _delete_collection(connection: Connection, row: int) -> None:
    """Delete a collection with its documents."""
    for document in connection.execute("SELECT * FROM documents WHERE collection = ?", (row,)).fetchall():
        _delete_document(connection, document)
    for table in ("conversation_collections", "collection_folders"):
        connection.execute(f"DELETE FROM {table} WHERE collection = ?", (row,))
    connection.execute("DELETE FROM collections WHERE row = ?", (row,))


@contextmanager
def attached_files_deleted(connection: Connection) -> Iterator[None]:
    """Delete, with the conversations that are deleted meanwhile, the attached files that these use and no others."""

    def in_use() -> set[int]:
        return {row for (row,) in connection.execute(f"SELECT row FROM collections WHERE attached AND ({_IN_USE})")}

    before = in_use()
    yield
    for row in before - in_use():
        _delete_collection(connection, row)


def _keep_vectors(connection: Connection, document: int, hashes: list[str]) -> None:
    """Truncate the vectors of a document to those of the first unchanged passages."""
    old = [
        row["hash"] for row in connection.execute("SELECT hash FROM passages WHERE document = ? ORDER BY ordinal", (document,))
    ]
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, hashes, strict=False)))
    connection.execute(
        "UPDATE document_vectors SET vectors = coalesce(substr(vectors, 1, ? * 2 * dimensions), x'') "  # NULL for an empty blob
        "WHERE document = ?",
        (same, document),
    )
