"""Messages, turns and passages as immutable values. Rows and times of storage stay in the store."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


FinishReason = Literal["stop", "length", "cancelled"]
"""Why a reply ended: the model finished, the context or `max_tokens` ran out, or the user stopped it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts and timings of one completion."""

    prompt_tokens: int
    """Tokens of the prompt, including cached ones."""
    cached_tokens: int
    """Prompt tokens that were already in the KV cache and did not have to be decoded."""
    completion_tokens: int
    """Tokens the model generated."""
    time_to_first_token: float
    """Seconds from the request to the first token."""
    tokens_per_second: float
    """Decode speed over the reply; 0.0 when fewer than two tokens were produced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Text that the model is given with a message: an earlier exchange, or part of a document."""

    kind: Literal["exchange", "document", "file"]
    text: str
    source: str
    """Where the text comes from, as shown to the model and the user, such as ``lease.pdf, page 4``; one line. Untrusted, like
    `text`.
    """
    key: str = ""
    """The id of the exchange's turn, or of the document's passage; empty for a file, or if the original no longer exists."""
    score: float = 0.0
    """Relevance to the message; higher is better."""
    tokens: int = 0
    """Tokens of `text` in the model's vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPassage:
    """A part of a document."""

    text: str
    """The text given to the model: the headings on one line, if there are any, and the text below them."""
    headings: tuple[str, ...]
    """The headings above its first block, outermost first."""
    page: int | None
    """The page it starts on; None if the format has no pages."""
    first_line: int
    last_line: int
    tokens: int
    """Tokens of `text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A user message and the reply to it."""

    user: str
    reply: str = ""
    finish_reason: FinishReason | None = None
    """None while the reply is being generated, or if it never started."""
    error: str = ""
    """Why the reply failed, as a sentence for the user; empty if it did not."""
    model: str = ""
    """The model that replied."""
    usage: Usage | None = None
    pinned: bool = False
    """Pinned turns never leave the context window."""
    excluded: bool = False
    """Excluded turns are not sent to the model."""
    passages: tuple[Passage, ...] = ()
    """The passages that the model was given with the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptTurn:
    """A turn and its place in the tree, as the transcript shows it."""

    turn_id: str
    turn: Turn
    parent_id: str | None = None
    """None for the turn that opens the conversation."""
    sibling: int = 1
    """Its position among the children of its parent, from 1, oldest first."""
    siblings: int = 1
    """How many children its parent has."""
    message: tuple[int, int] = (1, 1)
    """Which version of the message it has, from 1, and how many versions its siblings have."""
    reply: tuple[int, int] = (1, 1)
    """Which reply to that message it is, from 1, and how many there are."""
