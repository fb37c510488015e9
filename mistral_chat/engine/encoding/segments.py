"""A prompt for display: the text of each token, its kind, and its message."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from mistral_chat.engine.encoding.tokenizer import CONTROLS
from mistral_chat.generation import PromptPiece

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mistral_chat.engine.encoding.format import MessageEncoding, Span
    from mistral_chat.engine.encoding.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of a prompt, for display."""

    token: int
    text: str
    """The text it adds to the prompt, or a control token's name. Bytes of incomplete characters are written ``<0xE2>``.
    Untrusted.
    """
    is_control: bool
    span: Span | None
    """The message whose text it is; None for the format's own tokens."""


def describe(encoding: MessageEncoding, tokenizer: Tokenizer) -> list[Piece]:
    """Each token of `encoding`, in order."""
    owners: dict[int, Span] = {place: span for span in encoding.spans for place in range(span.start, span.end)}
    return [
        Piece(token, piece_text(tokenizer, token), bool(tokenizer.attributes[token] & CONTROLS), owners.get(place))
        for place, token in enumerate(encoding.tokens)
    ]


def segments(tokens: Iterable[int], tokenizer: Tokenizer) -> tuple[PromptPiece, ...]:
    """Group tokens for display: each control token by its name, and the text between them in one piece."""
    found: list[PromptPiece] = []
    for is_control, run in groupby(tokens, key=lambda token: bool(tokenizer.attributes[token] & CONTROLS)):
        together = list(run)
        if is_control:
            found += [PromptPiece(piece_text(tokenizer, token), 1, is_control=True) for token in together]
        else:
            text = b"".join(tokenizer.piece(token) for token in together).decode("utf-8", "replace")
            found.append(PromptPiece(text, len(together)))
    return tuple(found)


def piece_text(tokenizer: Tokenizer, token: int) -> str:
    """The text that `token` adds, or a control token's name."""
    if tokenizer.attributes[token] & CONTROLS:
        return tokenizer.texts[token].encode("utf-8", "replace").decode()
    raw = tokenizer.piece(token)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in raw)


def joined(pieces: Sequence[Piece], tokenizer: Tokenizer) -> str:
    """Join the text of adjacent pieces, including characters that span several tokens."""
    if any(piece.is_control for piece in pieces):
        return "".join(piece.text for piece in pieces)
    return b"".join(tokenizer.piece(piece.token) for piece in pieces).decode("utf-8", "replace")
