"""Sessions as tests run them: real parts, and a recorder of what they report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from support.effort import PATIENCE

from mistral_chat.config import Settings
from mistral_chat.conversation import Turn
from mistral_chat.engine.thread import EngineThread
from mistral_chat.session.environment import SessionEnvironment
from mistral_chat.session.events import ReplyFailed, SavingEvent, SessionEvent
from mistral_chat.session.model_host import ModelHost
from mistral_chat.session.overrides import Overrides
from mistral_chat.session.reply import NewMessage, ReplyRequest
from mistral_chat.session.retriever import Retriever
from mistral_chat.session.saver import Saver
from mistral_chat.session.session import ChatSession
from mistral_chat.store.records import StoredTurn
from mistral_chat.store.store import ConversationStore


class SessionBench:
    """One store and one model, for as many sessions as a test wants."""

    def __init__(
        self,
        store: ConversationStore,
        open_engine: Callable[[str], EngineThread],
        settings: Settings,
        *,
        started: Overrides | None = None,
        saved: bool = True,
        clock: Callable[[], float] | None = None,
        retry_seconds: float = 0.01,
        retriever: Retriever | None = None,
    ) -> None:
        self.events: list[SessionEvent] = []
        self.saving: list[SavingEvent] = []
        self.unexpected: list[BaseException] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.heard: Callable[[SessionEvent], Coroutine[Any, Any, None]] | None = None
        self.store = store
        self.host = ModelHost(open_engine, "model", emit=self._model_event, spawn=self.spawn)
        self.saver = Saver(
            store, report=self.saving.append, on_unexpected_error=self.unexpected.append, retry_seconds=retry_seconds
        )
        more: dict[str, Any] = {} if clock is None else {"clock": clock}
        self.environment = SessionEnvironment(
            store=store,
            saver=self.saver,
            host=self.host,
            settings=lambda: settings,
            spawn=self.spawn,
            started=started or Overrides(),
            saved=saved,
            retriever=retriever,
            **more,
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.unexpected.append(error)

    async def _model_event(self, _event: object) -> None:
        return

    async def _emit(self, event: SessionEvent) -> None:
        self.events.append(event)
        if self.heard is not None:
            await self.heard(event)

    def open(self, conversation_id: str | None = None, **more: Any) -> ChatSession:
        return ChatSession(self.environment, emit=self._emit, conversation_id=conversation_id, **more)

    async def close(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        await self.host.close()
        await self.saver.close()
        assert self.unexpected == [], "a test that means such an error takes it out of the list"

    async def send(self, session: ChatSession, request: ReplyRequest) -> str:
        """Send a request and wait until its reply has ended and is saved; the id of its turn. Raises why there is none."""
        self.events.clear()
        async with asyncio.timeout(PATIENCE):
            if self.host.engine is None:
                await asyncio.wait({self.host.load()})
            pending = await session.send(request)
            await session.idle()
            await self.saver.flush()
        for event in self.events:
            if isinstance(event, ReplyFailed):
                raise event.error
        assert pending.reply is not None
        return pending.reply.turn.turn_id

    async def say(self, session: ChatSession, text: str) -> str:
        return await self.send(session, NewMessage(text))

    def turns(self, session: ChatSession) -> list[StoredTurn]:
        """The conversation as the store has it."""
        assert session.conversation_id is not None
        return self.store.turns(session.conversation_id)

    def last(self, session: ChatSession) -> Turn:
        """The newest turn as the store has it."""
        return self.turns(session)[-1].turn

    async def settled(self) -> None:
        """Wait until no task runs."""
        while self.tasks:
            await asyncio.wait(self.tasks)


async def until(wanted: Callable[[], object]) -> None:
    """Let the event loop run until `wanted` is true."""
    async with asyncio.timeout(PATIENCE):
        while not wanted():  # noqa: ASYNC110 (the condition is not the program's to signal)
            await asyncio.sleep(0.001)
