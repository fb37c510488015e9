"""`mistral-chat docs`: the user's documents, indexed into collections and searched."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.cli import options
from mistral_chat.cli.printing import SHORT_ID, confirm, print_json, print_rows, report_pending_purge, shown
from mistral_chat.cli.terminal import Progress
from mistral_chat.errors import DocumentNotFound, MistralChatError
from mistral_chat.formatting import counted, format_duration
from mistral_chat.system import lower_priority
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program
    from mistral_chat.session.documents import DocumentIndexer, FileIndexed, FoundPassage, Status
    from mistral_chat.store.documents import Collection, StoredDocument, StoredPassage
    from mistral_chat.store.store import ConversationStore

DEFAULT_COLLECTION = "documents"

in_collection = click.option("-C", "--collection", metavar="NAME", help="Only this collection.")


@click.group(short_help="Index and search your own documents.", context_settings={"help_option_names": ["-h", "--help"]})
def docs() -> None:
    """Index and search your own documents.

    Text, Markdown, source code, HTML, EPUB, DOCX, ODT and PDF files are indexed into collections. Everything stays on this
    machine, in the same database as your conversations.
    """


@docs.command("add", short_help="Index files and folders.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-C", "--collection", default=DEFAULT_COLLECTION, show_default=True, metavar="NAME", help="Collection to add them to."
)
@options.embedding_option
@options.as_json_option
@click.pass_obj
def add(program: Program, /, paths: tuple[Path, ...], *, collection: str, as_json: bool) -> None:
    """Index files and folders into a collection.

    In folders, hidden files, unsupported file types and files ignored by a .gitignore are skipped; its rules with many wildcards
    are not followed. Unchanged files are skipped, too. You can stop at any time; the same command resumes. Exits with 1 if a
    file could not be read.
    """
    with closing(program.open_store()) as store:
        _index(program, store, lambda indexer: indexer.add(paths, collection), [collection], as_json=as_json)


@docs.command("update", short_help="Re-index changed documents, and index new ones.")
@in_collection
@options.embedding_option
@options.as_json_option
@click.pass_obj
def update(program: Program, /, *, collection: str | None, as_json: bool) -> None:
    """Re-index changed documents, finish interrupted indexing, and index new files in the folders that were added.

    Deleted files are removed from the index, unless their folder is missing or empty too. Without --collection, files that were
    attached to conversations are left as they were, unless their indexing was interrupted.
    """
    with closing(program.open_store()) as store:
        own = [each.name for each in store.documents.collections() if not each.attached]
        pending = [each for each in store.documents.documents() if each.status == "pending"]
        own += [each.collection for each in pending if os.path.exists(each.path)]  # noqa: PTH110 (that of Path may raise an error)
        names = list(dict.fromkeys(own)) if collection is None else [collection]
        _index(program, store, lambda indexer: chain.from_iterable(map(indexer.update, names)), names, as_json=as_json)


def _index(
    program: Program,
    store: ConversationStore,
    work: Callable[[DocumentIndexer], Iterator[FileIndexed]],
    collections: list[str],
    *,
    as_json: bool,
) -> None:
    """Index, show progress and report; exit with 1 if a file could not be read."""
    from mistral_chat.documents.reader import DocumentReader
    from mistral_chat.session.documents import WITHOUT_EMBEDDING_MODEL, DocumentIndexer

    lower_priority()
    progress = Progress(sys.stderr)
    results = []
    with _counting(program) as count, DocumentReader() as reader, program.embedding_model() as embedder:
        indexer = DocumentIndexer(store, reader, embedder=embedder, count=count, forget=program.forget_snapshots)
        try:
            for result in work(indexer):
                results.append(result)
                progress.show(f"reading {result.done:,} of {result.total:,}: {Path(result.path).name}")
                if result.message and result.status != "unchanged":
                    progress.clear()
                    click.echo(f"{_shown(result.path)}: {_shown(result.message)}.", err=True)
            _embed(indexer, collections, progress)
        finally:
            progress.clear()
        if embedder is None and not as_json:
            click.echo(WITHOUT_EMBEDDING_MODEL.format(""), err=True)
    report_pending_purge(store)
    if as_json:
        print_json([_result_json(result) for result in results])
    else:
        click.echo(_counted(results))
    if any(result.status == "failed" for result in results):
        sys.exit(1)


def _embed(indexer: DocumentIndexer, collections: list[str], progress: Progress) -> None:
    """Embed the passages that have no vectors, and show the remaining time."""
    began, first = time.monotonic(), None
    for done, total in indexer.add_vectors(collections):
        first = done if first is None else first
        speed = (done - first) / max(time.monotonic() - began, 0.1)
        left = f", about {format_duration((total - done) / speed)} left" if speed else ""
        progress.show(f"embedding passages: {done:,} of {total:,}{left}")


@contextmanager
def _counting(program: Program) -> Iterator[Callable[[str], int]]:
    """Count tokens with the chat model's vocabulary, or estimate them without a model."""
    from mistral_chat.documents.passages import estimate_tokens

    try:
        model = program.library().find(program.settings.model)
    except MistralChatError:
        yield estimate_tokens
        return
    from mistral_chat.engine.llama.model import open_vocabulary

    with open_vocabulary(model.path) as vocabulary:
        yield lambda text: len(vocabulary.tokenize(text))


@docs.command("list", short_help="List collections, or the documents of one.")
@in_collection
@options.as_json_option
@click.pass_obj
def list_documents(program: Program, /, *, collection: str | None, as_json: bool) -> None:
    """List collections, or with --collection the documents of one."""
    with closing(program.open_store()) as store:
        if collection is not None:
            documents = store.documents.documents(collection)
            rows, lines = [_document_json(each) for each in documents], _document_lines(documents)
        else:
            collections = store.documents.collections()
            rows, lines = [_collection_json(each) for each in collections], _collection_lines(collections)
    print_rows(rows, lines, as_json=as_json, empty="No documents yet. Add some with: mistral-chat docs add FOLDER")


@docs.command("search", short_help="Search your documents.")
@click.argument("query", nargs=-1, required=True)
@click.option("-C", "--collection", "collections", multiple=True, metavar="NAME", help="Only this collection; repeatable.")
@click.option(
    "--tokens",
    type=click.IntRange(1),
    metavar="N",
    help="Show as many passages as fit in this many tokens. Default: what the chat would use.",
)
@options.embedding_option
@options.as_json_option
@click.pass_obj
def search(
    program: Program, /, query: tuple[str, ...], *, collections: tuple[str, ...], tokens: int | None, as_json: bool
) -> None:
    """Show the passages that the model would be given with QUERY. No chat model is loaded."""
    from mistral_chat.session.documents import BUDGET, MOST_PASSAGES, DocumentSearch
    from mistral_chat.session.relevance import Relevance

    with closing(program.open_store()) as store, program.embedding_model() as embedder:
        found = DocumentSearch(store, Relevance(embedder)).find(
            " ".join(query),
            list(collections) or None,
            budget=tokens or BUDGET,
            most=None if tokens else MOST_PASSAGES,
        )
    print_rows([_found_json(each) for each in found], _found_lines(found), as_json=as_json, empty="Nothing found.")


@docs.command("show", short_help="Print a document's indexed text.")
@click.argument("document")
@options.as_json_option
@click.pass_obj
def show(program: Program, /, document: str, *, as_json: bool) -> None:
    """Print the passages of DOCUMENT, given as its id, its path or its file name."""
    from mistral_chat.session.documents import lines_of

    with closing(program.open_store()) as store:
        found = _document(store, document)
        passages = store.documents.passages(found.document_id)
    if as_json:
        print_json({**_document_json(found), "text": [_passage_json(each) for each in passages]})
        return
    click.echo(f"{_shown(found.path)}  {found.status}, {counted(len(passages), 'passage')}")
    for note in filter(None, (found.error, found.note)):
        click.echo(_shown(note))
    for passage in passages:
        page = f"page {passage.page}, " if passage.page is not None else ""
        click.echo(f"\n--- {page}{lines_of(passage)}, {counted(passage.tokens, 'token')}")
        click.echo(shown(passage.text))


@docs.command("rm", short_help="Remove documents or a collection from the index.")
@click.argument("documents", nargs=-1)
@click.option("-C", "--collection", metavar="NAME", help="Remove this collection with all its documents.")
@options.yes_option
@click.pass_obj
def remove(program: Program, /, documents: tuple[str, ...], *, collection: str | None, yes: bool) -> None:
    """Remove DOCUMENTS, or a collection, from the index permanently.

    Your files are not changed. No trace of their text remains in the database, its log or its indexes. `docs update` indexes a
    document again while it is in an added folder.
    """
    if bool(documents) == bool(collection):
        raise click.UsageError("Pass documents, or a collection with --collection.")
    with closing(program.open_store()) as store:
        if collection:
            count = counted(len(store.documents.documents(collection)), "document")
            confirm(f"Remove the collection {_shown(collection)} with {count} from the index?", yes=yes)
            store.documents.delete_collection(collection, forget=program.forget_snapshots)
        else:
            found = list(dict.fromkeys(_document(store, name) for name in documents))
            what = _shown(found[0].path) if len(found) == 1 else f"{len(found):,} documents"
            confirm(f"Remove {what} from the index?", yes=yes)
            store.documents.delete_documents(*(each.document_id for each in found), forget=program.forget_snapshots)
            if any(
                Path(each.path).is_relative_to(folder) for each in found for folder in store.documents.folders(each.collection)
            ):
                click.echo("`mistral-chat docs update` will index again what is still in an added folder.", err=True)
        report_pending_purge(store)


def _document(store: ConversationStore, name: str) -> StoredDocument:
    """Find a document by its id or a prefix of it, its path, or its file name.

    Raises:
        DocumentNotFound: there is none, or there are several.
    """
    from mistral_chat.session.documents import place_of

    every = store.documents.documents()
    path = str(place_of(Path(name)))
    tests: tuple[Callable[[StoredDocument], bool], ...] = (
        lambda each: each.document_id == name,
        lambda each: each.path == path,
        lambda each: Path(each.path).name == name,
        lambda each: name != "" and each.document_id.startswith(name),
    )
    for test in tests:
        found = [each for each in every if test(each)]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(each.document_id[:SHORT_ID] for each in found)
            raise DocumentNotFound(f"{len(found)} documents are named {name!r}: {ids}. Use an id.")
    raise DocumentNotFound(f"No document named {name!r}. `mistral-chat docs list --collection NAME` lists them.")


def _shown(text: str) -> str:
    return one_line(text, 500)


def _counted(results: Sequence[FileIndexed]) -> str:
    counts = Counter(result.status for result in results)
    order: tuple[Status, ...] = ("indexed", "unchanged", "failed", "missing", "removed")
    words = ", ".join(f"{counts[status]:,} {status}" for status in order if counts[status])
    return f"{words or 'no documents'}; {counted(sum(result.passages for result in results), 'passage')}"


def _collection_lines(collections: Iterable[Collection]) -> Iterator[str]:
    for each in collections:
        unfinished = "".join(
            f", {count:,} {word}" for count, word in ((each.failed, "failed"), (each.pending, "pending")) if count
        )
        found = f"{counted(each.documents, 'document')}{unfinished}, {counted(each.passages, 'passage')}"
        yield f"{_shown(each.name)}  {found}, {counted(each.tokens, 'token')}"


def _document_lines(documents: Iterable[StoredDocument]) -> Iterator[str]:
    for each in documents:
        about = f"  ({_shown(each.error or each.note)})" if each.error or each.note else ""
        yield f"{each.document_id[:SHORT_ID]}  {each.status:8}  {each.passages:>5}  {_shown(each.path)}{about}"


def _collection_json(collection: Collection) -> dict[str, Any]:
    found = asdict(collection)
    return {"collection": found.pop("name"), **found}


def _document_json(document: StoredDocument) -> dict[str, Any]:
    found = asdict(document)
    del found["mtime"]
    return {"document": found.pop("path"), "bytes": found.pop("size"), "sha256": found.pop("hash"), **found}


def _passage_json(passage: StoredPassage) -> dict[str, Any]:
    return {
        "page": passage.page,
        "lines": [passage.first_line, passage.last_line],
        "headings": list(passage.headings),
        "text": passage.text,
        "tokens": passage.tokens,
    }


def _found_lines(found: Iterable[FoundPassage]) -> Iterator[str]:
    for number, each in enumerate(found, 1):
        yield f"[{number}] {_shown(each.as_given().source)}  ({each.passage.tokens} tokens)"
        yield f"{shown(each.passage.text)}\n"


def _found_json(found: FoundPassage) -> dict[str, Any]:
    passage = found.passage
    return {
        "document": passage.path,
        "document_id": passage.document_id,
        "collection": passage.collection,
        **_passage_json(passage),
        "score": round(found.score, 4),
    }


def _result_json(result: FileIndexed) -> dict[str, Any]:
    return {"document": result.path, "status": result.status, "passages": result.passages, "message": result.message}
