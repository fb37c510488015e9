"""What the store hands out: frozen values with the identity and the times that plain values do not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from mistral_chat.conversation import Turn
    from mistral_chat.generation import Sampling

TitleSource = Literal["first_line", "model", "person"]
"""Who gave a title. A person's is never replaced by the others."""

Folder = Literal["active", "archived", "trash"]
"""Where a conversation is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """One line of the conversation list."""

    conversation_id: str
    title: str
    """Empty until something was said. One line, no control characters, but still a stranger's text."""
    turns: int
    """Turns along the current path."""
    created: datetime
    updated: datetime
    """When something was last said; the list is sorted by it."""
    pinned: bool
    archived: bool
    trashed: datetime | None
    """When it went to the trash; None when it is not there."""
    model: str
    """The weights it is held with; empty means the settings'."""
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
    """None for a turn that opens the conversation."""
    turn: Turn
    created: datetime
    sibling: int
    """Its place among the children of its parent, from 1, oldest first."""
    siblings: int
    """How many children its parent has."""
    depth: int
    """Its place on the path that leads to it, from 1."""
    writing: bool = False
    """Whether a program is writing the reply, or died while it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConversation:
    """A conversation without its turns."""

    summary: ConversationSummary
    system: str
    sampling: Sampling | None
    """None means the settings'."""
    persona: str
    """The name of the persona it was begun with; empty without one."""
    title_by: TitleSource


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """One place where the words were found."""

    conversation_id: str
    turn_id: str | None
    """None when the title holds the words."""
    title: str
    snippet: str
    """Plain text around the first match, on one line."""
    marks: tuple[tuple[int, int], ...]
    """Where the words stand in `snippet`: start and end, in order, not overlapping."""
    rank: float
    """How well it fits; smaller is better (BM25 as SQLite gives it)."""
