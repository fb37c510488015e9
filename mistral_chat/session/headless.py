"""A session without a screen: one conversation, awaited from start to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mistral_chat.config import Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.session.environment import SessionEnvironment
from mistral_chat.session.events import Emit, ModelEvent
from mistral_chat.session.model_host import ModelHost
from mistral_chat.session.overrides import Overrides
from mistral_chat.session.reply import ReplyRequest
from mistral_chat.session.retriever import Retriever
from mistral_chat.session.saver import Saver
from mistral_chat.session.session import ChatSession
from mistral_chat.store.store import ConversationStore

SAVING_PATIENCE = 15.0
"""Seconds that a finished reply waits for a locked database."""


class HeadlessSession:
    """One session with its own model; errors are raised where they are awaited."""

    def __init__(self, session: ChatSession) -> None:
        """Take an open session; `open_headless` creates it."""
        self.session = session

    @property
    def host(self) -> ModelHost:
        """The model."""
        return self.session.environment.host

    async def load(self) -> None:
        """Load the model.

        Raises:
            MistralChatError: it could not be loaded.
        """
        await self.host.load()
        await self.host.ready()

    async def answer(self, request: ReplyRequest) -> None:
        """Send a request and wait until its reply has ended, and it and a title are saved. Events report the rest.

        Raises:
            MistralChatError: the model or the store failed.
        """
        pending = await self.session.send(request)
        await self.session.idle()
        if pending.task is not None:
            await pending.task
        if self.session.titles.task is not None:
            await self.session.titles.task
        await self.session.environment.saver.flush(SAVING_PATIENCE)


@asynccontextmanager
async def open_headless(
    store: ConversationStore,
    open_engine: Callable[[str], EngineThread],
    *,
    settings: Settings,
    emit: Emit,
    on_model: Callable[[ModelEvent], Awaitable[None]],
    model: str = "",
    conversation_id: str | None = None,
    started: Overrides,
    sampling_options: Mapping[str, Any] | None = None,
    saved: bool = True,
    retriever: Retriever | None = None,
) -> AsyncIterator[HeadlessSession]:
    """Open one session, and close everything but the store at the end.

    Args:
        store: the conversations.
        open_engine: makes the engine's thread for a model's name.
        settings: the settings, which the conversation may override.
        emit: takes the session's events.
        on_model: takes the model's loading progress.
        model: the model's name.
        conversation_id: None starts a conversation.
        started: the choices on the command line; saved in the conversation if it exists.
        sampling_options: sampling fields for this run only.
        saved: whether the engine may write to disk.
        retriever: finds passages for messages.
    """
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        tasks.add(task := asyncio.create_task(work))
        return task

    host = ModelHost(open_engine, model, emit=on_model, spawn=spawn)
    saver = Saver(store, report=lambda _: None, on_unexpected_error=lambda _: None)
    shared: dict[str, Any] = {"store": store, "saver": saver, "host": host, "settings": lambda: settings, "spawn": spawn}
    environment = SessionEnvironment(**shared, started=started, saved=saved, retriever=retriever)
    try:
        session = ChatSession(environment, emit=emit, conversation_id=conversation_id, sampling_options=sampling_options)
        if conversation_id is not None and started != Overrides():
            await session.conversation.apply(started)
        try:
            yield HeadlessSession(session)
        finally:
            await session.cancel()
    finally:
        await host.close()
        await saver.close()
