"""A whole conversation as one value, for import and export.

Keys are the ids in the store it was exported from. Another store keeps them if they are free, so that a conversation imported
twice is recognised.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from mistral_chat.conversation import Turn
    from mistral_chat.sampling import Sampling


def derived_key(*parts: object) -> str:
    """A key where a file has none: the same parts give the same key."""
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="replace")).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeTurn:
    """A turn and its parent."""

    key: str
    parent: str | None
    """The key of the turn above it; None at the top."""
    created: datetime
    turn: Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedConversation:
    """A conversation with all of its branches."""

    key: str
    title: str = ""
    title_by: Literal["first_line", "model", "person"] = "person"
    created: datetime
    updated: datetime
    system: str = ""
    model: str = ""
    sampling: Sampling | None = None
    persona: str = ""
    recall: bool | None = None
    """Whether exchanges are recalled; None means as the settings say."""
    pinned: bool = False
    archived: bool = False
    tags: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    """The names of the collections of documents that it uses."""
    draft: str = ""
    """The message that was being typed."""
    turns: tuple[TreeTurn, ...] = ()
    """Parents before children, siblings in the order they were made."""
    current: str | None = None
    """The key of the turn that ends the current path."""

    def __post_init__(self) -> None:
        """Check that the turns form a tree.

        Raises:
            ValueError: a time has no time zone, a key is given twice, or a parent or the current turn is not there.
        """
        if self.created.tzinfo is None or self.updated.tzinfo is None:
            raise ValueError("a time has no time zone")
        keys: set[str] = set()
        for turn in self.turns:
            if turn.created.tzinfo is None:
                raise ValueError(f"the time of turn {turn.key!r} has no time zone")
            if turn.parent is not None and turn.parent not in keys:
                raise ValueError(f"turn {turn.key!r} has the parent {turn.parent!r}, which does not precede it")
            if turn.key in keys:
                raise ValueError(f"turn {turn.key!r} is given twice")
            keys.add(turn.key)
        if self.current is None and keys:
            raise ValueError("there is no current turn")
        if self.current is not None and self.current not in keys:
            raise ValueError(f"the current turn {self.current!r} does not exist")

    @property
    def path(self) -> tuple[TreeTurn, ...]:
        """The turns of the current branch, oldest first."""
        turns = {turn.key: turn for turn in self.turns}
        path, key = [], self.current
        while key is not None:
            path.append(turns[key])
            key = turns[key].parent
        return tuple(reversed(path))
