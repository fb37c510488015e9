"""Indexes the user's documents into collections, and searches them."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final, Literal

from mistral_chat.conversation import Passage
from mistral_chat.documents.kinds import kind_of
from mistral_chat.documents.passages import cut, estimate_tokens
from mistral_chat.errors import DocumentNotFound, DocumentUnreadable
from mistral_chat.session.relevance import Vectors, choose
from mistral_chat.store.documents import collection_name
from mistral_chat.store.retrieval import search_passages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from mistral_chat.documents.reader import DocumentReader
    from mistral_chat.session.relevance import Embedder, Relevance
    from mistral_chat.store.documents import StoredDocument, StoredPassage
    from mistral_chat.store.store import ConversationStore

WITHOUT_EMBEDDING_MODEL: Final = (
    "Searching by words only. To search by meaning as well, download an embedding model (25 MB){}: "
    "mistral-chat models pull all-minilm-l6-v2"
)
"""To be filled with what else is to be done, if anything."""

BUDGET: Final = 1024
"""Maximum tokens of all passages given with one message."""
MOST_PASSAGES: Final = 5

_BATCH: Final = 16
_KEPT_SHARE: Final = 8
"""New vectors are saved once they are this fraction of those that a document has (one in so many)."""
_WORD_MATCHES: Final = 100
_MOST_FITTING: Final = 16
"""About how many passages fit where only their tokens are limited."""
_MOST_PAGES_NAMED: Final = 12

_WHOLE: Final = re.compile(
    r"\b(summar(y|i[sz]e)|sum up|overview of|outline of|tl;?dr|how many|count (the|all)|list (all|every|the)|"
    r"all (the )?(chapters?|sections?|functions?|names?|dates?)|main (points?|ideas?|arguments?)|the whole|entire|"
    r"in (one|a few) sentences?|what is this (file|document|book|text) about)\b",
    re.IGNORECASE,
)


def asks_for_the_whole(question: str) -> bool:
    """Whether `question` is about a whole text, such as a summary or a count, which passages cannot answer."""
    return bool(_WHOLE.search(question))


# Searching


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A passage that matches a question."""

    passage: StoredPassage
    score: float

    def as_given(self) -> Passage:
        """The passage in the engine's form."""
        stored = self.passage
        return Passage(
            kind="document",
            text=stored.text,
            source=source_of(stored),
            key=stored.key,
            score=round(self.score, 4),
            tokens=stored.tokens,
        )


def source_of(passage: StoredPassage) -> str:
    """Where a passage comes from, such as ``lease.pdf, page 4`` or ``notes.md, lines 12-31``."""
    place = f"page {passage.page}" if passage.page is not None else lines_of(passage)
    return f"{PurePath(passage.path).name}, {place}"


def lines_of(passage: StoredPassage) -> str:
    """The lines of a passage, such as ``lines 12-31``."""
    first, last = passage.first_line, passage.last_line
    return f"line {first}" if first == last else f"lines {first}-{last}"


class DocumentSearch:
    """Finds passages that match a question. Not thread-safe."""

    def __init__(self, store: ConversationStore, relevance: Relevance) -> None:
        """Search the documents of `store`."""
        self._store = store
        self._relevance = relevance
        self._loaded: tuple[tuple[object, ...], int, Vectors | None] = ((), 0, None)

    def find(
        self,
        message: str,
        collections: Sequence[str] | None = None,
        *,
        before: str = "",
        budget: int = BUDGET,
        most: int | None = MOST_PASSAGES,
    ) -> list[FoundPassage]:
        """The passages that match `message`, best first; empty if none does.

        Args:
            message: what the user asks.
            collections: where to look; None looks in all.
            before: the message before it, which a short question follows up.
            budget: the most tokens of all passages together.
            most: the most passages; None takes as many as fit.

        Raises:
            DocumentNotFound: there is no such collection.
            EngineFailed: the embedding model failed.
        """
        question = self._relevance.question(message, before)
        if question is None:
            return []
        scored = search_passages(self._store.database, question.words, collections=collections, limit=_WORD_MATCHES)
        found = {passage.key: passage for passage, _ in scored}
        by_words = {passage.key: score for passage, score in scored}
        embedder = self._relevance.embedder
        population, vectors = self._load(embedder, collections)
        ranked = self._relevance.rank(question, by_words, vectors, population=population)
        ranked = ranked[: 4 * (most or _MOST_FITTING)]
        found |= self._store.documents.passages_of(*(key for key, _ in ranked if key not in found))
        ranked = [(key, score) for key, score in ranked if key in found]  # another window may have removed some
        sizes = {key: found[key].tokens for key, _ in ranked}
        scores = dict(ranked)
        return [FoundPassage(found[key], scores[key]) for key in choose(ranked, sizes, budget=budget, most=most)]

    def all_of(self, collections: Sequence[str], *, budget: int = BUDGET) -> list[FoundPassage]:
        """Every passage of the collections, in order; empty if they are too many, or more tokens than `budget`.

        Raises:
            DocumentNotFound: there is no such collection.
        """
        documents = self._store.documents
        if not 0 < documents.passage_count(collections) <= MOST_PASSAGES:
            return []
        every = [
            each
            for name in collections
            for document in documents.documents(name)
            for each in documents.passages(document.document_id)
        ]
        return [FoundPassage(each, 1.0) for each in every] if sum(each.tokens for each in every) <= budget else []

    def _load(self, embedder: Embedder | None, collections: Sequence[str] | None) -> tuple[int, Vectors | None]:
        """How many passages the collections have, and their vectors; read again when any of them changed."""
        documents = self._store.documents
        model = embedder.key if embedder is not None else ""
        state = (model, tuple(collections or ()), documents.state(model, collections))
        if self._loaded[0] != state:
            vectors = None
            if embedder is not None:
                self._loaded = ((), 0, None)  # the old ones make room for the new ones
                vectors = Vectors.of_blobs(documents.vectors(model, collections), embedder.dimensions)
            self._loaded = (state, documents.passage_count(collections), vectors)
        return self._loaded[1:]


# Indexing


Status = Literal["indexed", "unchanged", "failed", "missing", "removed"]
"""What became of a file. One that is gone is removed from its collection, or missing if its folder is gone, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIndexed:
    """The result of indexing one file."""

    path: str
    status: Status
    passages: int = 0
    message: str = ""
    """Why it failed, or a note for the user."""
    done: int
    """The number of files processed, including this one."""
    total: int


class DocumentIndexer:
    """Indexes files into collections.

    Every file is committed separately, and so are vectors, now and then: whatever ends the program, the next call resumes there.
    Passages can be found by their words as soon as their file is indexed.
    """

    def __init__(
        self,
        store: ConversationStore,
        reader: DocumentReader,
        *,
        embedder: Embedder | None = None,
        count: Callable[[str], int] = estimate_tokens,
        forget: Callable[[list[str]], object] = tuple,
    ) -> None:
        """Index into `store`, counting tokens with `count`, and embedding with `embedder` if there is one.

        `forget` is as in `DocumentStore.delete_documents`.
        """
        self._store = store
        self._reader = reader
        self._embedder = embedder
        self._count = count
        self._forget = forget

    def add(self, paths: Iterable[Path], collection: str, *, attached: bool = False) -> Iterator[FileIndexed]:
        """Index files, and the documents in folders, into a collection, made as `DocumentStore.create_collection` does.

        An unchanged file is skipped. The work is done while the result is iterated.

        Raises:
            StoreError: the store cannot be written. A file that cannot be read is reported as failed.
        """
        from mistral_chat.documents.folders import documents_in

        documents = self._store.documents
        name, places = documents.create_collection(collection, attached=attached), [place_of(path) for path in paths]
        documents.add_folders(name, *(str(path) for path in places if path.is_dir()))
        files = list(dict.fromkeys(file for path in places for file in documents_in(path)))
        known = {document.path: document for document in documents.documents(name)}
        yield from self._index(name, [(file, known.get(str(file))) for file in files])

    def add_file(self, path: Path, others: Collection[str] = ()) -> tuple[str, FileIndexed]:
        """Index a file as a collection of its own, named after it but like none of `others`, and return that name.

        Such a collection is deleted with the last conversation that uses it.

        Raises:
            StoreError: the store cannot be written.
        """
        documents, place = self._store.documents, str(place_of(path))
        taken = {each.name for each in documents.collections()}
        name, number = collection_name(path.name), 1
        while name in others or (name in taken and [each.path for each in documents.documents(name)] != [place]):
            number += 1
            name = collection_name(f"{number} {path.name}")
        return name, list(self.add([path], name, attached=True))[-1]

    def update(self, collection: str) -> Iterator[FileIndexed]:
        """Re-index changed files in a collection, finish interrupted indexing, and index new files in its folders.

        Deleted files are removed from the collection, unless their folder is missing or empty too, as on an unmounted disk.

        Raises:
            DocumentNotFound: there is no such collection.
        """
        from mistral_chat.documents.folders import documents_in

        known = {document.path: document for document in self._store.documents.documents(collection)}
        folders = [Path(folder) for folder in self._store.documents.folders(collection)]
        new = (file.absolute() for folder in folders if _is_filled(folder) for file in documents_in(folder))
        files = dict.fromkeys([*map(Path, known), *new])
        yield from self._index(collection, [(file, known.get(str(file))) for file in files], folders)

    def _index(
        self, collection: str, files: Sequence[tuple[Path, StoredDocument | None]], folders: Sequence[Path] | None = None
    ) -> Iterator[FileIndexed]:
        """Index files; with the added `folders`, remove files that no longer exist although one of their folders does."""
        for done, (path, known) in enumerate(files, 1):
            if known is not None and folders is not None and _is_gone(path, folders):
                with suppress(DocumentNotFound):  # another window was faster
                    self._store.documents.delete_documents(known.document_id, forget=self._forget)
                yield FileIndexed(path=str(path), status="removed", message="the file was deleted", done=done, total=len(files))
                continue
            status, passages, message = self._index_file(collection, path, known)
            yield FileIndexed(path=str(path), status=status, passages=passages, message=message, done=done, total=len(files))

    def _index_file(self, collection: str, path: Path, known: StoredDocument | None) -> tuple[Status, int, str]:
        """Index one file; returns its new status, the number of its passages, and a note."""
        documents = self._store.documents
        try:
            str(path).encode()
            facts = path.stat()
        except (OSError, ValueError) as error:
            if known is not None:
                return "missing", known.passages, "the file cannot be found; its passages are kept"
            unnamed = isinstance(error, UnicodeEncodeError)
            return "failed", 0, "its name is not valid text; rename it" if unnamed else "no such file"
        if known is not None and known.status == "indexed" and (known.size, known.mtime) == (facts.st_size, facts.st_mtime_ns):
            return "unchanged", known.passages, known.note
        if known is None and path.is_dir():
            return "failed", 0, "this folder cannot be opened"
        kind = kind_of(path) or "text"
        document_id = documents.add_document(collection, str(path), kind=kind, size=facts.st_size, mtime=facts.st_mtime_ns)
        with suppress(DocumentNotFound):  # another window removed it
            return self._read_file(path, document_id)
        return "removed", 0, "it was removed from the index while it was read"

    def _read_file(self, path: Path, document_id: str) -> tuple[Status, int, str]:
        """Store the passages of a file, or why it has none; returns what `_index_file` does."""
        documents = self._store.documents
        try:
            blocks = self._reader.read_all(path)
            empty = [block.page for block in blocks if not block.text]
            passages = list(cut((block for block in blocks if block.text), self._count))
            if not passages:
                problem = "its pages contain no text; scanned pages are not supported" if empty else "it contains no text"
                raise DocumentUnreadable(problem)  # noqa: TRY301 - handled below
            file_hash = _hash(path)
        except (DocumentUnreadable, OSError) as error:
            problem = error.problem if isinstance(error, DocumentUnreadable) else error.strerror or "it cannot be read"
            documents.set_failed(document_id, problem)
            return "failed", 0, problem
        note = _note(empty)
        return "indexed", documents.set_passages(document_id, passages, file_hash=file_hash, note=note), note

    def add_vectors(self, collections: Sequence[str] | None = None) -> Iterator[tuple[int, int]]:
        """Embed the passages of the collections, or of all, that have no vectors; yields how many have them, of how many.

        Does nothing without an embedding model.

        Raises:
            EngineFailed: the embedding model failed.
        """
        embedder, documents = self._embedder, self._store.documents
        if embedder is None:
            return
        progress = documents.vector_progress(embedder.key, collections)
        done, total = sum(each.done for each in progress), sum(each.passages for each in progress)
        for each in progress:
            if each.done >= each.passages:
                continue
            with suppress(DocumentNotFound):  # another window removed it
                texts = [passage.text for passage in documents.passages(each.document_id)]
                first, waiting = each.done, b""
                for start in range(first, len(texts), _BATCH):
                    vectors = embedder.embed_passages(texts[start : start + _BATCH])
                    waiting += vectors.tobytes()
                    end = start + len(vectors)
                    # SQLite writes all of a document's vectors again with each addition.
                    if end - first >= max(_BATCH, first // _KEPT_SHARE) or end == len(texts):
                        if not documents.add_vectors(
                            each.document_id, embedder.key, waiting, texts[first:end], first=first, dimensions=embedder.dimensions
                        ):
                            yield done, total  # the next call embeds what changed
                            break
                        first, waiting = end, b""
                    done += len(vectors)
                    yield done, total


def place_of(path: Path) -> Path:
    """The path that a document is stored with: absolute, and without "..", so that a file is indexed once."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (`Path.resolve` follows links)


def _is_gone(path: Path, folders: Sequence[Path]) -> bool:
    """Whether a file is not there, and something else is in the nearest folder above it that still exists, up to an added one."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        above = (each for each in path.parents if each == path.parent or any(map(each.is_relative_to, folders)))
        return next((_is_filled(each) for each in above if each.is_dir()), False)
    except (OSError, ValueError):  # as in a folder that may not be opened
        return False
    return False


def _is_filled(folder: Path) -> bool:
    """Whether a folder can be read and is not empty, as the place of an unmounted disk is."""
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def _note(empty: Sequence[int | None]) -> str:
    """A note about pages without text; empty for none."""
    if not empty:
        return ""
    if len(empty) == 1:
        return f"page {empty[0]} contains no text; scanned pages are not supported"
    named = ", ".join(map(str, empty[:_MOST_PAGES_NAMED]))
    more = f" and {len(empty) - _MOST_PAGES_NAMED} more" if len(empty) > _MOST_PAGES_NAMED else ""
    return f"pages {named}{more} contain no text; scanned pages are not supported"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
