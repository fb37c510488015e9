"""Encodes text as tokens: exactly as the vocabulary does, and never as control tokens."""

from __future__ import annotations

import re
from collections import OrderedDict
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING

from mistral_chat.engine.encoding.tokenizer import CONTROLS, Attribute, Tokenizer
from mistral_chat.errors import InvalidText, PromptFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

CACHED_CHARACTERS = 4_000_000
"""Characters of text that are cached with their tokens; the least recently used are dropped first."""

_BARRIERS = "\n\x00\x01\x1f\x7f"
"""Characters that become single bytes in SentencePiece vocabularies like Mistral's."""


def utf8(text: str) -> bytes:
    """The bytes of `text`.

    Raises:
        InvalidText: it contains a lone surrogate.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        unit = ord(text[error.start])
        raise InvalidText(
            f"The text contains an incomplete character (a lone surrogate, U+{unit:04X}) at position {error.start + 1:,}. "
            "Delete it and send the text again."
        ) from error


def any_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that matches the longest of `texts`; None if there are none."""
    alternatives = "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True) if text)
    return re.compile(alternatives) if alternatives else None


def overlapping(pattern: re.Pattern[str] | None, text: str) -> Iterator[int]:
    """Where matches of `pattern` start in `text`, including overlapping ones."""
    start = 0
    while pattern is not None and (match := pattern.search(text, start)):
        yield match.start()
        start = match.start() + 1


class TextEncoder:
    """Encodes text with one vocabulary, and caches the result. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Encode with `tokenizer`."""
        self.tokenizer = tokenizer
        self._forbidden = frozenset(i for i, flags in enumerate(tokenizer.attributes) if flags & CONTROLS)
        self._user_defined = any_of(tokenizer.user_defined)
        self._barrier = self._find_barrier()
        self._apart: dict[frozenset[str], re.Pattern[str] | None] = {}
        self._known: OrderedDict[tuple[str, str, frozenset[str]], tuple[int, ...]] = OrderedDict()
        self._room = CACHED_CHARACTERS
        self._lock = Lock()

    def message(self, text: str) -> tuple[int, ...]:
        """Encode `text` on its own, as Mistral's tokenizers do.

        For SentencePiece that is one space in front, merges, and user-defined pieces kept whole.

        Raises:
            InvalidText: the text contains a lone surrogate.
            PromptFormatError: the vocabulary makes a control token of the text.
        """
        return self._remember("message", text, frozenset(), lambda: self._message(text))

    def encode_segment(self, text: str, *, prefix: bool, apart: frozenset[str] = frozenset()) -> tuple[int, ...]:
        """Encode `text` as llama.cpp does, with or without the vocabulary's leading space.

        Raises:
            InvalidText: the text contains a lone surrogate.
            PromptFormatError: the vocabulary makes a control token, or the user-defined token of a text in `apart`, of it.
        """
        kind = "prefixed" if prefix else "bare"
        return self._remember(kind, text, apart, lambda: self._run(text, prefix=prefix, apart=apart))

    def _remember(self, kind: str, text: str, apart: frozenset[str], encode: Callable[[], list[int]]) -> tuple[int, ...]:
        if not text:
            return ()
        key = (kind, text, apart)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        tokens = tuple(encode())
        with self._lock:
            if key not in self._known and len(text) <= CACHED_CHARACTERS:
                self._known[key] = tokens
                self._room -= len(text)
                while self._room < 0:
                    (_, forgotten, _), _ = self._known.popitem(last=False)
                    self._room += len(forgotten)
        return tokens

    def _message(self, text: str) -> list[int]:
        vocabulary = self.tokenizer
        if not vocabulary.is_sentencepiece or self._user_defined is None or not self._user_defined.search(text):
            return self._guard(self._prefixed(text))
        # llama.cpp cuts at user-defined pieces and puts a space after each; SentencePiece puts one at the start alone.
        tokens: list[int] = []
        end = 0
        for match in self._user_defined.finditer(text):
            before = text[end : match.start()]
            tokens += self._prefixed(before) if before and not end else self._bare(before if end else " ")
            tokens.append(vocabulary.user_defined[match.group()])
            end = match.end()
        return self._guard(tokens + self._bare(text[end:]))

    def _run(self, text: str, *, prefix: bool, apart: frozenset[str]) -> list[int]:
        if apart not in self._apart:
            self._apart[apart] = any_of(apart)
        cuts = [start + 1 for start in overlapping(self._apart[apart], text)]
        tokens: list[int] = []
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            part = text[start:end]
            tokens += self.tokenizer.tokenize(part) if prefix and start == 0 else self._bare(part)
        return self._guard(tokens, {self.tokenizer.user_defined[each] for each in apart})

    def _prefixed(self, text: str) -> list[int]:
        """Encode with SentencePiece's leading space, whether or not the file asks for it."""
        vocabulary = self.tokenizer
        if text and vocabulary.is_sentencepiece and not vocabulary.space_prefix:
            return vocabulary.tokenize(" " + text)
        return vocabulary.tokenize(text)

    def _bare(self, text: str) -> list[int]:
        """Encode without a leading space."""
        if not text or not self.tokenizer.space_prefix:
            return self.tokenizer.tokenize(text)
        if self._barrier is None:
            raise PromptFormatError(
                "This model's vocabulary cannot continue a text in the middle of a line. Try --prompt-format mistral-v1."
            )
        character, length = self._barrier
        return self.tokenizer.tokenize(character + text)[length:]

    def _find_barrier(self) -> tuple[str, int] | None:
        """A character that no token merges with, and its number of tokens at the start of a text."""
        vocabulary = self.tokenizer
        if not vocabulary.space_prefix:
            return None
        mergeable = int(Attribute.NORMAL | Attribute.USER_DEFINED)
        letters = "".join(text for text, flags in zip(vocabulary.texts, vocabulary.attributes, strict=True) if flags & mergeable)
        return next(((each, len(vocabulary.tokenize(each))) for each in _BARRIERS if each not in letters), None)

    def _guard(self, tokens: list[int], more: Collection[int] = ()) -> list[int]:
        """Refuse control tokens that come from written text."""
        if self._forbidden.isdisjoint(tokens) and (not more or not set(more).intersection(tokens)):
            return tokens
        found = next(each for each in tokens if each in self._forbidden or each in more)
        raise PromptFormatError(
            f"The text would become the control token {self.tokenizer.texts[found]!r} (id {found}) with this model's vocabulary. "
            "Nothing was sent. Change the text, or use another model."
        )


def token_ends(tokenizer: Tokenizer, tokens: Iterable[int]) -> list[int]:
    """The byte offset at which each token ends in the decoded text."""
    return list(accumulate(len(tokenizer.piece(token)) for token in tokens))


def token_bytes(tokenizer: Tokenizer, text: str) -> bytes:
    """The bytes of `text`'s tokens. SentencePiece cannot tell U+2581 from a space, so it comes back as a space."""
    return (text.replace("\u2581", " ") if tokenizer.is_sentencepiece else text).encode("utf-8", "surrogatepass")
