"""What the sessions of one store share."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from mistral_chat.config import Settings
from mistral_chat.session.model_host import ModelHost, Spawn
from mistral_chat.session.overrides import Overrides
from mistral_chat.session.retriever import Retriever
from mistral_chat.session.saver import Saver
from mistral_chat.session.tasks import TaskRegistry
from mistral_chat.session.undo import UndoStack
from mistral_chat.store.store import ConversationStore


async def _no_screen(_conversation_id: str, _turn_id: str) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnvironment:
    """The store, the model and what else every session needs."""

    store: ConversationStore
    """Read on the event loop; written through the saver only."""
    saver: Saver
    host: ModelHost
    settings: Callable[[], Settings]
    spawn: Spawn
    started: Overrides = field(default_factory=Overrides)
    """What the command line chose for new conversations."""
    saved: bool = True
    """Whether conversations are kept; without it the engine keeps nothing on the disk either."""
    tasks: TaskRegistry = field(default_factory=lambda: TaskRegistry(lambda _: None))
    undo: UndoStack = field(default_factory=UndoStack)
    return_to: Callable[[str, str], Awaitable[None]] = _no_screen
    """Shows a conversation on the branch of a turn: undoes an edit or a regenerated reply."""
    retriever: Retriever | None = None
    """Finds what messages are given besides the context; None gives them nothing."""
    clock: Callable[[], float] = time.monotonic
