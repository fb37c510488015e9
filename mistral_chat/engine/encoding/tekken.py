"""Tekken, Mistral's byte-pair tokenizer, for texts that llama.cpp splits into other words than Mistral does.

llama.cpp's pattern for Tekken leaves combining marks out of the letters, so that a word in Hindi, say, is split at its vowel
signs; and it cannot process very long words. Such texts are therefore split and merged here: the pattern is that of Mistral's
``tekken.json``, the merges are tiktoken's, lowest rank first.

One limitation remains: characters added in Unicode 15 or later may not be letters yet in the tables of Python and llama.cpp, so
that a word next to them may end elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import TYPE_CHECKING

from mistral_chat.engine.encoding.text import TextEncoder, utf8
from mistral_chat.engine.encoding.tokenizer import Attribute

if TYPE_CHECKING:
    from mistral_chat.engine.encoding.tokenizer import Tokenizer

LONGEST_WORD = 500
"""Longer words are merged here too, because llama.cpp cannot process them whole."""

_WHITE = "\t\v\f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""White space besides the space and line endings, as Rust's regular expressions define it."""

_WORD = re.compile(
    r"[ms/x ]?[Uom]*[lom]+"  # an optional other character, capitals, small letters
    r"|[ms/x ]?[Uom]+[lom]*"
    r"|n"  # one digit
    r"| ?[m/x]+[R/]*"  # symbols, and the line endings after them
    r"|[ sR]*R+"
    r"|[ sR]+(?![^ sR])"
    r"|[ sR]+"
)
"""Tekken's pattern over character classes, one letter for each character of the text; see `_Kinds`."""


class _Kinds(dict[int, str]):
    """The class of each character by code point, computed on demand.

    ``U`` upper or title case, ``l`` lower case, ``o`` other letter, ``m`` mark, ``n`` number, ``R`` line ending, ``s`` white
    space, ``x`` other; the space and the slash are their own classes.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if character in " /":
            kind = character
        elif character in "\r\n":
            kind = "R"
        elif character in _WHITE:
            kind = "s"
        elif category in {"Lu", "Lt"}:
            kind = "U"
        else:
            kind = {"Ll": "l", "Lm": "o", "Lo": "o"}.get(category) or {"M": "m", "N": "n"}.get(category[0], "x")
        self[code] = kind
        return kind


class TekkenEncoder(TextEncoder):
    """Encodes text with a Tekken vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Encode with `tokenizer`, whose tokens are in the order of their ranks."""
        super().__init__(tokenizer)
        self._kinds = _Kinds()
        self._letters = _gpt2_letters()
        self._ranks: dict[str, int] = {}

    def _message(self, text: str) -> list[int]:
        if len(text) <= LONGEST_WORD and text.isascii():
            return super()._message(text)
        kinds = text.translate(self._kinds)
        cuts = [0, *(match.end() for match in _WORD.finditer(kinds))]
        if "m" not in kinds and max(end - start for start, end in pairwise(cuts)) <= LONGEST_WORD:
            return super()._message(text)
        if not self._ranks:
            attributes, normal = self.tokenizer.attributes, int(Attribute.NORMAL)
            self._ranks = {each: i for i, each in enumerate(self.tokenizer.texts) if attributes[i] & normal}
        tokens: list[int] = []
        words: dict[str, list[int]] = {}
        for start, end in pairwise(cuts):
            word = text[start:end]
            if word not in words:
                words[word] = self._merge(word)
            tokens += words[word]
        return self._guard(tokens)

    def _merge(self, word: str) -> list[int]:
        """Merge the bytes of one word pair by pair, the pair whose token has the lowest rank first."""
        ranks = self._ranks
        parts = [self._letters[byte] for byte in utf8(word)]
        if (whole := ranks.get("".join(parts))) is not None:
            return [whole]
        after = list(range(1, len(parts) + 1))
        before = list(range(-1, len(parts) - 1))
        pairs = [(ranks[a + b], i, a + b) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        heapify(pairs)
        while pairs:
            _, left, merged = heappop(pairs)
            right = after[left]
            if not parts[left] or right == len(parts) or parts[left] + parts[right] != merged:
                continue
            parts[left], parts[right] = merged, ""
            after[left] = after[right]
            if after[left] < len(parts):
                before[after[left]] = left
            for first in (before[left], left):
                second = after[first] if first >= 0 else len(parts)
                if second < len(parts) and (pair := parts[first] + parts[second]) in ranks:
                    heappush(pairs, (ranks[pair], first, pair))
        return [ranks[part] for part in parts if part]


def _gpt2_letters() -> list[str]:
    """GPT-2's character for each byte, in which byte-pair vocabularies are written."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
