"""What all sessions of one store share."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from mistral_chat.config import Settings
from mistral_chat.session.model_host import ModelHost, Spawn
from mistral_chat.session.overrides import Overrides
from mistral_chat.session.retriever import Retriever
from mistral_chat.session.saver import Saver
from mistral_chat.session.tasks import TaskRegistry
from mistral_chat.store.store import ConversationStore


async def _no_screen(_conversation_id: str, _turn_id: str) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnvironment:
    """The store, the model, and everything else that sessions need."""

    store: ConversationStore
    """Read on the event loop; written only through the saver."""
    saver: Saver
    host: ModelHost
    settings: Callable[[], Settings]
    spawn: Spawn
    started: Overrides = field(default_factory=Overrides)
    """Choices on the command line for new conversations."""
    saved: bool = True
    """Whether conversations are saved; if not, the engine writes nothing to disk either."""
    tasks: TaskRegistry = field(default_factory=lambda: TaskRegistry(lambda _: None))
    undo: deque[tuple[str, Callable[[], Awaitable[object]]]] = field(default_factory=lambda: deque(maxlen=50))
    """The last actions: the text after "Undone:" in the notice, and what restores the state before, or raises `StoreError`."""
    return_to: Callable[[str, str], Awaitable[None]] = _no_screen
    """Shows a conversation on the branch of a turn, to undo an edit or a regeneration."""
    retriever: Retriever | None = None
    """Finds passages for messages; None finds nothing."""
    clock: Callable[[], float] = time.monotonic
