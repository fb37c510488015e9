"""What the store returns: frozen values with the ids and times that plain values do not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from mistral_chat.conversation import Turn
    from mistral_chat.generation import Sampling

TitleSource = Literal["first_line", "model", "person"]
"""Who set a title. The user's (``person``) is never replaced by the others."""

Folder = Literal["active", "archived", "trash"]
"""Where a conversation is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """A line of the conversation list."""

    conversation_id: str
    title: str
    """Empty until the first message. One line without control characters, but untrusted text."""
    turns: int
    """Turns along the current path."""
    created: datetime
    updated: datetime
    """When it was used last; the list is sorted by it."""
    pinned: bool
    archived: bool
    trashed: datetime | None
    """When it was moved to the trash; None outside it."""
    model: str
    """The model it was started with; empty means that of the settings."""
    tags: tuple[str, ...] = ()
    """In alphabetical order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationState:
    """What an open window compares to notice that another one changed its conversation."""

    title: str
    trashed: bool
    turns: int
    """Turns in the whole tree."""
    newest: str | None
    """The id of the turn that was added last; None without turns."""
    current: str | None
    """The id of the turn that ends the current path."""
    reply_length: int
    """Characters of that turn's reply."""
    writing: bool
    """Whether a program is writing that reply, or died while it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTurn:
    """A turn and its place in the tree."""

    turn_id: str
    parent_id: str | None
    """None for a first turn."""
    turn: Turn
    created: datetime
    sibling: int
    """Its position among the children of its parent, from 1, oldest first."""
    siblings: int
    """How many children its parent has."""
    depth: int
    """Its position on the path to it, from 1."""
    writing: bool = False
    """Whether a program is writing the reply, or died while it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConversation:
    """A conversation without its turns."""

    summary: ConversationSummary
    system: str
    sampling: Sampling | None
    """None means those of the settings."""
    persona: str
    """The name of its persona; empty without one."""
    title_by: TitleSource


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A turn or title in which the words were found."""

    conversation_id: str
    turn_id: str | None
    """None when the words are in the title."""
    title: str
    snippet: str
    """Plain text around the first match, on one line."""
    marks: tuple[tuple[int, int], ...]
    """Where the words are in `snippet`: start and end, in order, not overlapping."""
    rank: float
    """BM25 as SQLite computes it: smaller is better."""
