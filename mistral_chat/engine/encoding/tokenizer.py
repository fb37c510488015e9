"""The vocabulary interface that prompt formats need.

`mistral_chat.engine.llama.vocabulary.Vocabulary` is the real one; nothing in this folder imports llama.cpp.
"""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Attribute(IntFlag):
    """The kind of a token; the values are those of llama.cpp's ``llama_token_attr`` that matter here."""

    UNKNOWN = 1
    NORMAL = 4
    CONTROL = 8
    USER_DEFINED = 16
    BYTE = 32
    LSTRIP = 128
    RSTRIP = 256


CONTROLS = int(Attribute.CONTROL | Attribute.UNKNOWN)
"""Attributes of tokens that text must never produce."""


class Tokenizer(Protocol):
    """A vocabulary, and llama.cpp's own tokenization of plain text with it. Thread-safe."""

    @property
    def bos(self) -> int:
        """The token that starts a prompt; -1 if there is none."""

    @property
    def eos(self) -> int:
        """The token that ends a reply; -1 if there is none."""

    @property
    def add_bos(self) -> bool:
        """Whether llama.cpp adds `bos` to a prompt by itself."""

    @property
    def is_sentencepiece(self) -> bool:
        """Whether this is a SentencePiece vocabulary, which writes a space as U+2581."""

    @property
    def space_prefix(self) -> bool:
        """Whether a space is added before each text (SentencePiece's "dummy prefix")."""

    @property
    def pre_tokenizer(self) -> str:
        """llama.cpp's name for how a byte-pair vocabulary splits text into words, such as ``"tekken"``; may be empty."""

    @property
    def texts(self) -> Sequence[str]:
        """Each token's text in the vocabulary."""

    @property
    def attributes(self) -> Sequence[int]:
        """Each token's `Attribute` flags."""

    @property
    def controls(self) -> Mapping[str, int]:
        """The control and unknown tokens, by their text."""

    @property
    def user_defined(self) -> Mapping[str, int]:
        """The tokens that llama.cpp always matches in text, by their text."""

    def tokenize(self, text: str) -> list[int]:
        """Tokenize `text` as llama.cpp does with special tokens off; nothing is added at either end but `space_prefix`.

        Raises:
            InvalidText: the text contains a lone surrogate.
        """

    def piece(self, token: int) -> bytes:
        """The text of `token`; empty for control tokens. May be part of a character."""

    def is_eog(self, token: int) -> bool:
        """Whether `token` ends a reply."""
