"""The app's dependencies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from mistral_chat.config import Settings
    from mistral_chat.config.settings_file import SettingsFile
    from mistral_chat.engine.thread import EngineThread
    from mistral_chat.models.service import ModelService
    from mistral_chat.session.retriever import Retriever
    from mistral_chat.store.store import ConversationStore


@dataclass(slots=True, kw_only=True)
class AppContext:
    """The app's dependencies in one object. Only `settings` changes while the app runs."""

    open_store: Callable[[], ConversationStore]
    """Opens the conversations, once, after the first paint. Raises `StoreError`."""
    open_engine: Callable[[str], EngineThread]
    """Makes the engine's thread, not started, for a model as ``-m`` names it. Raises `ModelError`."""
    settings: Settings
    """The settings in force."""
    models: Callable[[], ModelService]
    """Opens the model service."""
    now: Callable[[], datetime]
    """The clock, with a zone."""
    open_retriever: Callable[[ConversationStore], Retriever] | None = None
    """Opens what finds recalled exchanges and documents, given the conversations; None gives messages neither."""
    saved: bool = True
    """Whether conversations are saved in this run."""
    system: str | None = None
    """The system prompt of new conversations instead of the settings'."""
    persona: str = ""
    """The persona of new conversations."""
    discard_snapshots: Callable[[Iterable[str]], object] = tuple
    """Deletes the KV states of conversations that were deleted permanently."""
    settings_file: SettingsFile | None = None
    """The settings file; None if it cannot be changed."""
    retriever: Retriever | None = None
    """What `open_retriever` opened; set with the conversations."""

    async def begin_retrieval(self, store: ConversationStore) -> None:
        """Open the retriever."""
        if self.open_retriever is not None and self.retriever is None:
            self.retriever = await asyncio.to_thread(self.open_retriever, store)

    async def end_retrieval(self) -> None:
        """Close the retriever."""
        if self.retriever is not None:
            await asyncio.to_thread(self.retriever.close)
