"""Retrieval by words: exchanges of one conversation and passages of documents that share words with a question.

Words are stemmed (Porter) and compared without case and accents. Any of a question's words is enough for a match; BM25 ranks
the matches. Scores are BM25 as FTS5 computes it, negated: larger is better.

The exchanges of a conversation are indexed in memory when first searched. That takes about 50 ms per thousand, gives each
conversation its own statistics (a word that is common here and rare elsewhere counts as common), and leaves nothing on the disk
that a deletion would have to remove. Passages of documents are in `passages_found`, see `documents.py`.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from typing import TYPE_CHECKING, Final

from mistral_chat.store.documents import PASSAGE, StoredPassage, scope_expression, stored_passage
from mistral_chat.store.index import space_out_cjk
from mistral_chat.store.queries import conversation_row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from mistral_chat.store.database import Database

_MOST_WORDS: Final = 48
_MOST_MATCHES: Final = 5_000
"""Maximum matches of a query before its most common words are dropped: about 10 ms."""
_MOST_RANKED: Final = 10_000
"""Maximum matches that are ranked where even the rarest word is common. It weighs so little that the rest are as good."""

_WORD: Final = re.compile(r"[^\W_]+")
_APOSTROPHE: Final = re.compile(r"(?<=\w)['\u2019](?:s|re|ve|ll|d|m|t)\b")

FUNCTION_WORDS: Final = frozenset(
    """
    a about above after again against all also am an and any are aren as at be because been before being below between both but
    by can cannot could couldn d did didn do does doesn doing don down during each either else ever every few for from further
    get gets getting give given gives go goes going gonna got had hadn has hasn have haven having he her here hers herself him
    himself his how however i if in into is isn it its itself just let like ll m may maybe me might mine more most much must my
    myself neither no nor not now of off ok okay on once one ones only onto or other our ours ourselves out over own please quite
    rather re really s same shall she should shouldn so some somebody someone something still such t tell than that the their
    theirs them themselves then there these they thing things this those though through to too under until up upon us ve very was
    wasn we well were weren what whatever when where whether which while who whom whose why will with within without won would
    wouldn yes yet you your yours yourself yourselves
    """.split()  # noqa: SIM905 - a list of 180 quoted words cannot be read
)
"""English words that say nothing about the subject."""


def content_words(text: str) -> list[str]:
    """The content words of `text`, in lower case, each once; at most 48."""
    words: dict[str, None] = {}
    for match in _WORD.finditer(space_out_cjk(_APOSTROPHE.sub("", text)).lower()):
        word = match.group()
        if word not in FUNCTION_WORDS and not (len(word) == 1 and word.isascii() and word.isalpha()):
            words.setdefault(word)
            if len(words) == _MOST_WORDS:
                break
    return list(words)


def _any_of(words: Iterable[str]) -> str:
    """An FTS5 expression that matches any of `words`."""
    return " OR ".join(f'"{word}"' for word in words)


class ExchangeIndex:
    """The exchanges of one conversation, indexed in memory. Thread-safe."""

    def __init__(self, database: Database, conversation_id: str) -> None:
        """Index the conversation when it is first searched; later searches add what changed."""
        self._database = database
        self._conversation_id = conversation_id
        self._lock = threading.Lock()
        self._texts: dict[int, tuple[str, str, str]] = {}
        self._index = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._index.execute(
            "CREATE VIRTUAL TABLE exchanges USING fts5 (text, content='', "
            "tokenize=\"porter unicode61 remove_diacritics 2 categories 'L* N* Co So'\")"
        )

    def search(self, words: Sequence[str], *, among: Collection[str] | None = None, limit: int = 50) -> dict[str, float]:
        """The ids and scores of the exchanges that share a word with `words`, best first.

        `among` limits them to turns with these ids. Excluded turns and replies that are being written are left out.

        Raises:
            ConversationNotFound: the conversation was deleted.
        """
        with self._lock:
            self._update()
            if not words:
                return {}
            rows = self._index.execute(
                "SELECT rowid, -bm25(exchanges) FROM exchanges WHERE exchanges MATCH ? ORDER BY bm25(exchanges)",
                (_any_of(words),),
            )
            found: dict[str, float] = {}
            for row, score in rows:
                turn_id = self._texts[row][0]
                if among is None or turn_id in among:
                    found[turn_id] = score
                    if len(found) == limit:
                        break
            return found

    def texts_with(self, word: str) -> list[str]:
        """The exchanges in which `word` occurs: the message and, on the next line, the reply.

        Raises:
            ConversationNotFound: the conversation was deleted.
        """
        with self._lock:
            self._update()
            rows = self._index.execute("SELECT rowid FROM exchanges WHERE exchanges MATCH ?", (_any_of([word]),))
            return ["\n".join(self._texts[row][1:]) for (row,) in rows]

    def _update(self) -> None:
        """Bring the index up to date with the conversation."""
        with self._database.read() as connection:
            conversation = conversation_row(connection, self._conversation_id)["row"]
            rows = connection.execute(
                "SELECT row, id, user, reply FROM turns WHERE conversation = ? AND writer IS NULL AND NOT excluded",
                (conversation,),
            )
            new = {row: (turn_id, user, reply) for row, turn_id, user, reply in rows}
        self._index.execute("BEGIN")
        for row in [row for row, texts in self._texts.items() if new.get(row) != texts]:
            values = (row, _entry(self._texts.pop(row)))
            self._index.execute("INSERT INTO exchanges (exchanges, rowid, text) VALUES ('delete', ?, ?)", values)
        for row, texts in new.items():
            if row not in self._texts:
                self._index.execute("INSERT INTO exchanges (rowid, text) VALUES (?, ?)", (row, _entry(texts)))
        self._index.execute("COMMIT")
        self._texts = new

    def close(self) -> None:
        """Free the memory. No other call may follow."""
        self._index.close()


def _entry(texts: tuple[str, str, str]) -> str:
    return space_out_cjk(f"{texts[1]}\n{texts[2]}")


def search_passages(
    database: Database, words: Sequence[str], *, collections: Sequence[str] | None = None, limit: int = 50
) -> list[tuple[StoredPassage, float]]:
    """The passages that share a word with `words`, with their scores, best first; `collections` limits the search.

    Words that occur in very many passages are left out of the query while it has rarer ones; of one that occurs in more than
    10,000, the first 10,000 passages are ranked.

    Raises:
        DocumentNotFound: there is no such collection.
    """
    with database.read() as connection:
        scope = scope_expression(connection, collections)
        chosen = _rare_enough(connection, words)
        if not chosen:
            return []
        match = f"{{title text}} : ({_any_of(chosen)})"
        ranks = connection.execute(
            "SELECT rowid, score FROM (SELECT rowid, bm25(passages_found, 0, 1, 1) AS score FROM passages_found "
            "WHERE passages_found MATCH ? LIMIT ?) ORDER BY score LIMIT ?",
            (f"{scope} AND {match}" if scope else match, _MOST_RANKED, limit),
        ).fetchall()
        query = f"{PASSAGE} WHERE passages.row = ?"
        return [(stored_passage(connection.execute(query, (row,)).fetchone()), -score) for row, score in ranks]


def _rare_enough(connection: sqlite3.Connection, words: Iterable[str]) -> list[str]:
    """The rarest of `words` whose matches together are few enough to rank; at least one that occurs."""
    counted = []
    for word in words:
        (matches,) = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM passages_found WHERE passages_found MATCH ? LIMIT ?)",
            (f'{{title text}} : "{word}"', _MOST_MATCHES),
        ).fetchone()
        if matches:
            counted.append((matches, word))
    chosen: list[str] = []
    total = 0
    for matches, word in sorted(counted):
        total += matches
        if chosen and total > _MOST_MATCHES:
            break
        chosen.append(word)
    return chosen


def add_turn_vectors(database: Database, model: str, vectors: Iterable[tuple[str, str, bytes]]) -> None:
    """Store the vectors of exchanges, 16-bit floats, each with its turn's id and the reply it was made of.

    Those of deleted turns, and of replies that have changed or are being written, are ignored.
    """
    query = "SELECT row, reply FROM turns WHERE id = ? AND writer IS NULL"
    with database.write() as connection:
        for turn_id, reply, vector in vectors:
            turn = connection.execute(query, (turn_id,)).fetchone()
            if turn is not None and turn["reply"] == reply:
                connection.execute("INSERT OR REPLACE INTO turn_vectors VALUES (?, ?, ?)", (turn["row"], model, vector))


def turn_vectors(database: Database, model: str, conversation_id: str) -> dict[str, bytes]:
    """The stored vectors of a conversation's exchanges by turn id."""
    with database.read() as connection:
        rows = connection.execute(
            "SELECT turns.id, vector FROM turn_vectors JOIN turns ON turns.row = turn_vectors.turn "
            "WHERE turns.conversation = ? AND turn_vectors.model = ?",
            (conversation_row(connection, conversation_id)["row"], model),
        )
        return {row["id"]: row["vector"] for row in rows}
