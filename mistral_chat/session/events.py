"""The events of a session, typed, delivered through one callback in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mistral_chat.conversation import TranscriptTurn
from mistral_chat.errors import MistralChatError
from mistral_chat.generation import Completion, LoadedModel


@dataclass(frozen=True, slots=True)
class TurnsReplaced:
    """The session's turns were replaced: by another branch, or by changes from another window. Read `ChatSession.turns`."""


@dataclass(frozen=True, slots=True)
class TurnChanged:
    """One turn's flags changed: pinned or excluded."""

    turn: TranscriptTurn


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """The question is saved as the last turn, and its reply is pending."""

    turn: TranscriptTurn


@dataclass(frozen=True, slots=True)
class PrefillProgress:
    """`done` of `total` prompt tokens are in the KV cache; ``(0, 0)`` while another conversation's reply comes first."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class PassagesGiven:
    """Passages were searched for a message: exchanges of the conversation, or parts of documents. The turn has those found."""

    turn: TranscriptTurn
    notice: str = ""
    """What the user should know about the documents, such as that nothing was found; usually empty."""


@dataclass(frozen=True, slots=True)
class TextAdded:
    """The reply grew by `text`."""

    turn_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ContextShifted:
    """Turns left the context window."""

    turns: tuple[str, ...]
    """Their ids, oldest first."""
    tokens: int
    """The number of their tokens."""
    first: bool
    """Whether this is the first time in this session."""


@dataclass(frozen=True, slots=True)
class ReplyFinished:
    """The reply ended."""

    turn: TranscriptTurn
    """The turn as saved."""
    completion: Completion | None
    """None if the reply was cancelled before the engine answered."""


@dataclass(frozen=True, slots=True)
class ReplyFailed:
    """There is no reply, or only a part of one."""

    error: MistralChatError
    turn: TranscriptTurn | None
    """The turn as saved; None if the question was refused and nothing was saved."""


@dataclass(frozen=True, slots=True)
class QueueChanged:
    """Messages were queued, sent or returned. Read `ChatSession.queue` and `ChatSession.replying`."""


@dataclass(frozen=True, slots=True)
class DraftReturned:
    """Unsent messages return to the message box."""

    text: str


@dataclass(frozen=True, slots=True)
class AttachmentsChanged:
    """The attachments of the draft changed. Read `ChatSession.attachments`."""


@dataclass(frozen=True, slots=True)
class UsageChanged:
    """The context usage changed. Read `ChatSession.context`."""


@dataclass(frozen=True, slots=True)
class ConversationsChanged:
    """The list of conversations changed: a title, the order, a new conversation."""


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """A model is being loaded."""

    share: float
    """From 0.0 to 1.0."""


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """The model is ready."""

    loaded: LoadedModel


@dataclass(frozen=True, slots=True)
class ModelFailed:
    """No model is available."""

    error: MistralChatError


@dataclass(frozen=True, slots=True)
class SavingFailed:
    """The store cannot be written. Unsaved data stays in memory and is retried."""

    error: MistralChatError
    bytes_free: int | None
    """Free space on its disk; None if the system does not say."""


@dataclass(frozen=True, slots=True)
class SavingResumed:
    """The store can be written again, and everything is saved."""


SessionEvent = (
    TurnsReplaced
    | TurnChanged
    | ReplyStarted
    | PassagesGiven
    | PrefillProgress
    | TextAdded
    | ContextShifted
    | ReplyFinished
    | ReplyFailed
    | QueueChanged
    | DraftReturned
    | AttachmentsChanged
    | UsageChanged
    | ConversationsChanged
)

ModelEvent = ModelLoading | ModelLoaded | ModelFailed

SavingEvent = SavingFailed | SavingResumed

Emit = Callable[[SessionEvent], Awaitable[None]]
"""Receives a session's events. It is awaited, so that events stay in order and text never piles up."""
