"""Full-text search in titles and messages.

Every text is a valid query. All its words must occur in one turn (its message or its reply) or in one title. ``"Two words"`` in
quotation marks must be adjacent. ``word*`` matches what starts with it, and so does the last word, which may still be typed,
from its second letter on. Case and accents are ignored. Characters other than letters, digits and symbols separate words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mistral_chat.store.index import space_out_cjk
from mistral_chat.store.records import SearchHit
from mistral_chat.store.snippet import Term, snippet
from mistral_chat.store.text import sanitise_for_sqlite

if TYPE_CHECKING:
    import sqlite3

_LONGEST_QUERY: Final = 1000
_MOST_TERMS: Final = 32
_TITLE_WEIGHT: Final = 4.0
_RANKED_MOST: Final = 3_000
"""How many matches are ranked, newest first. Ranking all matches of a very common word would take too long."""

_TERM: Final = re.compile(r'"([^"]*)("?)|([^\s"]+)')

_MATCHES: Final = f"SELECT rowid, bm25(found, {_TITLE_WEIGHT}, 1.0, 1.0) AS rank FROM found WHERE found MATCH ?"
_RANKED: Final = (
    f"{_MATCHES} AND rowid < 0 ORDER BY rowid LIMIT {_RANKED_MOST}",  # titles; their rowids are negated, so the newest come first
    f"{_MATCHES} AND rowid > 0 ORDER BY rowid DESC LIMIT {_RANKED_MOST}",  # turns
)
_TITLE: Final = "SELECT id, title, NULL AS turn_id FROM conversations WHERE row = ? AND trashed IS NULL"
_TURN: Final = """
    SELECT conversations.id, title, turns.id AS turn_id, user, reply
    FROM turns JOIN conversations ON conversations.row = turns.conversation WHERE turns.row = ? AND trashed IS NULL
"""


def terms(query: str) -> list[Term]:
    """The terms of `query`; empty if none could be found."""
    text = sanitise_for_sqlite(query[:_LONGEST_QUERY])
    found = []
    for match in _TERM.finditer(text):
        phrase, _, word = match.groups()
        if phrase is None:
            typing = match.end() == len(text) and len(word) > 1
            found.append(Term(word.rstrip("*"), prefix=word.endswith("*") or typing))
        else:
            found.append(Term(phrase, prefix=text[match.end() : match.end() + 1] == "*"))
    return [term for term in found if _findable(term.text)][:_MOST_TERMS]


def _findable(text: str) -> bool:
    return any(each.isalnum() for each in text) or space_out_cjk(text) != text


def match_expression(query: str) -> str:
    """`query` as an FTS5 expression of quoted strings and stars, so that nothing in it is an operator. Empty without terms."""
    return " ".join(f'"{space_out_cjk(term.text).strip()}"{"*" if term.prefix else ""}' for term in terms(query))


def search(connection: sqlite3.Connection, query: str, *, limit: int = 50) -> list[SearchHit]:
    """The best `limit` matches, best first. The trash is left out, the archive is not."""
    expression = match_expression(query)
    if not expression:
        return []
    hits: list[SearchHit] = []
    wanted = terms(query)
    ranked: list[tuple[float, int]] = []
    for query_of_kind in _RANKED:
        ranked += [(rank, row) for row, rank in connection.execute(query_of_kind, (expression,))]
    for rank, row in sorted(ranked):
        if len(hits) >= limit:
            break
        hit = _hit(connection, row, rank, wanted)
        if hit is not None:
            hits.append(hit)
    return hits


def _hit(connection: sqlite3.Connection, entry: int, rank: float, wanted: list[Term]) -> SearchHit | None:
    """The hit for an entry of the index; None if it is in the trash."""
    found = connection.execute(_TITLE if entry < 0 else _TURN, (abs(entry),)).fetchone()
    if found is None:
        return None
    text, marks = snippet((found["title"],) if entry < 0 else (found["user"], found["reply"]), wanted)
    return SearchHit(
        conversation_id=found["id"], turn_id=found["turn_id"], title=found["title"], snippet=text, marks=marks, rank=rank
    )
