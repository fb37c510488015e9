"""What widgets are given of a conversation: values without a store behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from mistral_chat.conversation import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTurn:
    """A turn as the transcript shows it."""

    turn_id: str
    turn: Turn
    sibling: int = 1
    """Its place among the turns that share its parent, from 1."""
    siblings: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFile:
    """A file that goes along with the draft."""

    name: str
    bytes: int
    tokens: int | None
    """What it takes in the message; None while nobody can count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownConversation:
    """A conversation as the list shows it."""

    conversation_id: str
    title: str
    updated: datetime
    """When something was last said, with a zone."""
    pinned: bool = False
    tags: tuple[str, ...] = ()
