"""Full-text search in titles and messages.

Every text is a valid query. All its words must occur in one turn (its message or its reply) or in one title. ``"Two words"`` in
quotation marks must be adjacent. ``word*`` matches what starts with it, and so does the last word, which may still be typed,
from its second letter on. Case and accents are ignored. Characters other than letters, digits and symbols separate words.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from mistral_chat.store.index import space_out_cjk
from mistral_chat.store.records import SearchHit
from mistral_chat.store.text import sanitise_for_sqlite

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

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

_BEFORE: Final = 40
_LENGTH: Final = 160
_ACCENTS: Final = "[\u0300-\u036f]*"
_NOT_IN_WORD: Final = r"(?<![^\W_])"
_WORD_ENDS: Final = r"(?![^\W_])"
_GAP: Final = r"[\W_]+"
_BREAKS: Final = re.compile(r"\s", re.ASCII)


@dataclass(frozen=True, slots=True)
class Term:
    """Adjacent words to find; with `prefix`, the last may be the start of a word."""

    text: str
    prefix: bool


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


def match_expression(wanted: Sequence[Term]) -> str:
    """`wanted` as an FTS5 expression of quoted strings and stars, so that nothing in it is an operator."""
    return " ".join(f'"{space_out_cjk(term.text).strip()}"{"*" if term.prefix else ""}' for term in wanted)


def search(connection: sqlite3.Connection, query: str, *, limit: int = 50) -> list[SearchHit]:
    """The best `limit` matches, best first. The trash is left out, the archive is not."""
    wanted = terms(query)
    if not wanted:
        return []
    parameters = (match_expression(wanted),)
    ranked = sorted((rank, row) for statement in _RANKED for row, rank in connection.execute(statement, parameters))
    hits = (_hit(connection, row, rank, wanted) for rank, row in ranked)
    return list(islice(filter(None, hits), limit))


def _hit(connection: sqlite3.Connection, entry: int, rank: float, wanted: list[Term]) -> SearchHit | None:
    """The hit for an entry of the index; None if it is in the trash."""
    found = connection.execute(_TITLE if entry < 0 else _TURN, (abs(entry),)).fetchone()
    if found is None:
        return None
    text, marks = snippet((found["title"],) if entry < 0 else (found["user"], found["reply"]), wanted)
    return SearchHit(
        conversation_id=found["id"], turn_id=found["turn_id"], title=found["title"], snippet=text, marks=marks, rank=rank
    )


class _Folding(dict[int, int]):
    """Maps each character to one without case and accent, one to one, so that positions stay the same."""

    def __missing__(self, code: int) -> int:
        base = unicodedata.normalize("NFD", chr(code))[0].lower()
        folded = ord(base[0])
        self[code] = folded
        return folded


def fold(text: str) -> str:
    """Remove case and accents from `text`, keeping every position."""
    return text.lower() if text.isascii() else text.translate(_Folding())


def _pattern(terms: Sequence[Term]) -> re.Pattern[str]:
    """A pattern that finds `terms` in folded text."""
    alternatives = []
    for term in terms:
        words = re.findall(r"[^\W_]+|[^\s\w]", space_out_cjk(fold(term.text)))
        spelled = [
            _ACCENTS.join(map(re.escape, word)) + _ACCENTS for word in words if space_out_cjk(word) != word or word.isalnum()
        ]
        if not spelled:
            continue
        unspaced = space_out_cjk(term.text) != term.text
        start, end = ("", "") if unspaced else (_NOT_IN_WORD, r"[^\W_]*" if term.prefix else _WORD_ENDS)
        alternatives.append(start + (r"[\W_]*" if unspaced else _GAP).join(spelled) + end)
    return re.compile("|".join(alternatives) or "(?!)")  # which matches nowhere


def snippet(texts: Sequence[str], terms: Sequence[Term]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The part of the first of `texts` that contains one of `terms`, and the positions of the terms in it.

    For a match that only the index sees (letters that fold to several), it is the start of the first text.
    """
    sought = _pattern(terms)
    for text in texts:
        if match := sought.search(fold(text)):
            start = _cut(text, match.start())
            piece = _BREAKS.sub(" ", text[start : start + _LENGTH])
            lead, trail = "…" if start else "", "…" if start + _LENGTH < len(text) else ""
            found = (each.span() for each in sought.finditer(fold(piece)) if each.group())
            return lead + piece + trail, tuple((begin + len(lead), end + len(lead)) for begin, end in found)
    first = next((text for text in texts if text), "")
    return _BREAKS.sub(" ", first[:_LENGTH]) + ("…" if len(first) > _LENGTH else ""), ()


def _cut(text: str, match: int) -> int:
    """The start of the snippet: a little before the match, at a word if possible."""
    if match <= _BEFORE:
        return 0
    space = text.find(" ", match - _BEFORE, match)
    return match - _BEFORE if space < 0 else space + 1
