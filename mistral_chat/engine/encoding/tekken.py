"""Tekken, Mistral's byte-pair tokenizer, where llama.cpp's copy of it differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_chat.engine.encoding.text import TextEncoder


class TekkenEncoder:
    """Encodes text with a Tekken vocabulary."""

    def __init__(self, text: TextEncoder) -> None:
        """Encode with the vocabulary of `text`."""
        self._text = text

    def message(self, text: str) -> tuple[int, ...]:
        """The tokens of `text` on its own."""
        return self._text.message(text)
