"""What is said, as frozen values.

Values have no identity: ids, rows and times of storage stay in the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


FinishReason = Literal["stop", "length", "cancelled"]
"""Why a reply ended: the model's own end, no room or `max_tokens`, or the person stopped it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing said."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one completion took."""

    prompt_tokens: int
    """Tokens the model was given, cached ones included."""
    cached_tokens: int
    """Prompt tokens that were in the KV cache already and were not read again."""
    completion_tokens: int
    """Tokens the model produced."""
    time_to_first_token: float
    """Seconds from the request to the first token."""
    tokens_per_second: float
    """Decode speed over the reply; 0.0 when fewer than two tokens were produced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of text that the model is given with a message: an earlier exchange, or part of a document."""

    kind: Literal["exchange", "document", "file"]
    text: str
    source: str
    """Where the text comes from, as the user is shown it, such as ``lease.pdf, page 4``."""
    key: str = ""
    """The id of the exchange's turn, or of the document's passage; empty for a file or when the original is gone."""
    score: float = 0.0
    """How well it fits the message; larger is better."""
    tokens: int = 0
    """Tokens of `text` in the model's vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A person's message and the reply to it."""

    user: str
    reply: str = ""
    finish_reason: FinishReason | None = None
    """None while the reply is being written, or when it never began."""
    error: str = ""
    """What went wrong with the reply, for the person; empty when nothing did."""
    model: str = ""
    """Which weights replied."""
    usage: Usage | None = None
    pinned: bool = False
    """Pinned turns never leave the context window."""
    excluded: bool = False
    """Excluded turns are not shown to the model."""
    passages: tuple[Passage, ...] = ()
    """What the model was given with the message besides it."""
