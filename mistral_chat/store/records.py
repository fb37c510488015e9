"""Values returned by the store: immutable, with ids and timestamps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mistral_chat.conversation import TranscriptTurn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mistral_chat.sampling import Sampling

TitleSource = Literal["first_line", "model", "person"]
"""The source of a title. The user's (``person``) is never replaced by the others."""

Folder = Literal["active", "archived", "trash"]
"""The folder of a conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """A line of the conversation list."""

    conversation_id: str
    title: str
    """Empty until the first message. One line without control characters, but untrusted text."""
    turns: int
    """Turns of the current branch."""
    created: datetime
    updated: datetime
    """When it was last used; the list is sorted by it."""
    pinned: bool
    archived: bool
    trashed: datetime | None
    """When it was moved to the trash; None outside it."""
    model: str
    """The model it was started with; empty means the configured one."""
    tags: tuple[str, ...] = ()
    """In alphabetical order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationState:
    """Values that an open window compares to detect changes made by another window."""

    trashed: bool
    current: str | None
    """The id of the turn that ends the current branch; None without turns."""
    reply_length: int
    """Characters of that turn's reply."""
    writing: bool
    """Whether a program is writing that reply, or died while writing."""
    flags: Mapping[str, tuple[bool, bool]]
    """The turns that are pinned or excluded, by id, each with whether it is the one and the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTurn(TranscriptTurn):
    """A turn as it is stored."""

    created: datetime
    depth: int
    """Its depth in the tree, from 1."""
    writing: bool = False
    """Whether a program is writing the reply, or died while writing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConversation:
    """A conversation without its turns."""

    summary: ConversationSummary
    system: str
    sampling: Sampling | None
    """None means the configured sampling."""
    persona: str
    """The name of its persona; empty without one."""
    recall: bool | None
    """Whether exchanges are recalled; None means as the settings say."""
    title_by: TitleSource


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A turn or title that matches a search."""

    conversation_id: str
    turn_id: str | None
    """None if the match is in the title."""
    title: str
    snippet: str
    """Plain text around the first match, on one line."""
    marks: tuple[tuple[int, int], ...]
    """The positions of the words in `snippet`: start and end, in order, not overlapping."""
    rank: float
    """BM25 as SQLite computes it: smaller is better."""
