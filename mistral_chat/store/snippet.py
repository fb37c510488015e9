"""Snippets: the text around the matches, and the positions of the matches in it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mistral_chat.store.index import space_out_cjk

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def pattern(terms: Sequence[Term]) -> re.Pattern[str] | None:
    """A pattern that finds `terms` in folded text; None without terms."""
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
    return re.compile("|".join(alternatives)) if alternatives else None


def snippet(texts: Sequence[str], terms: Sequence[Term]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The part of the first of `texts` that contains one of `terms`, and the positions of the terms in it.

    For a match that only the index sees (letters that fold to several), it is the start of the first text.
    """
    sought = pattern(terms)
    for text in texts if sought else ():
        match = sought.search(fold(text)) if sought else None
        if match is not None and sought is not None:
            start = _cut(text, match.start())
            piece = _BREAKS.sub(" ", text[start : start + _LENGTH])
            lead, trail = "…" if start else "", "…" if start + _LENGTH < len(text) else ""
            marks = tuple(
                (each.start() + len(lead), each.end() + len(lead)) for each in sought.finditer(fold(piece)) if each.group()
            )
            return lead + piece + trail, marks
    first = next((text for text in texts if text), "")
    return _BREAKS.sub(" ", first[:_LENGTH]) + ("…" if len(first) > _LENGTH else ""), ()


def _cut(text: str, match: int) -> int:
    """The start of the snippet: a little before the match, at a word if possible."""
    if match <= _BEFORE:
        return 0
    space = text.find(" ", match - _BEFORE, match)
    return match - _BEFORE if space < 0 else space + 1
