"""The undo stack."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

_LIMIT: Final = 50
"""Maximum number of entries."""


class UndoEntry(NamedTuple):
    """One action that can be undone."""

    name: str
    """The text after "Undone:" in the notification."""
    undo: Callable[[], Awaitable[object]]
    """Restores the state before the action. Raises `StoreError` if what it changed is gone."""


class UndoStack:
    """The most recent actions, newest last."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: deque[UndoEntry] = deque(maxlen=_LIMIT)

    def push(self, name: str, undo: Callable[[], Awaitable[object]]) -> None:
        """Add an entry; see `UndoEntry`."""
        self._entries.append(UndoEntry(name, undo))

    def pop(self) -> UndoEntry | None:
        """Remove and return the newest entry; None if the stack is empty."""
        return self._entries.pop() if self._entries else None
