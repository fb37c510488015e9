"""The one model in memory: loading, switching, and sharing it between sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mistral_chat.errors import EngineError, InvalidText, MistralChatError

if TYPE_CHECKING:
    from mistral_chat.engine.thread import EngineThread
    from mistral_chat.generation import ContextState, Engine, LoadedModel
    from mistral_chat.session.events import ModelEvent

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Runs a coroutine as a task, and reports unexpected errors."""

_PROGRESS_SECONDS = 0.2
"""Seconds between two readings of the loading progress."""


class ModelHost:
    """Owns the engine's thread. One reply is generated at a time, for whichever session."""

    def __init__(
        self,
        open_engine: Callable[[str], EngineThread],
        model: str,
        *,
        emit: Callable[[ModelEvent], Awaitable[None]],
        spawn: Spawn,
    ) -> None:
        """Start without a model.

        Args:
            open_engine: makes the engine's thread for a model as ``-m`` names it, not started. Raises `ModelError`.
            model: what `load` loads first.
            emit: takes the progress and its end.
            spawn: runs loading in the background.
        """
        self._open_engine = open_engine
        self._emit = emit
        self._spawn = spawn
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._loading: asyncio.Task[None] | None = None
        self.model = model
        """The model's name, as ``-m`` takes it."""
        self.engine: EngineThread | None = None
        """The engine's thread; None before it is created, and after it failed to load."""
        self.error: MistralChatError | None = None
        """Why no model is available."""
        self.waiting = 0
        """The number of replies being generated or waiting for the engine."""

    @property
    def loaded_engine(self) -> Engine | None:
        """The engine; None until it is ready. Other threads may only call its thread-safe methods."""
        return self.engine.loaded if self.engine is not None else None

    @property
    def loaded(self) -> LoadedModel | None:
        """The loaded model; None until it is ready."""
        return engine.facts if (engine := self.loaded_engine) is not None else None

    @property
    def context(self) -> ContextState | None:
        """The contents of the KV cache; None until a model is ready."""
        return engine.ledger if (engine := self.loaded_engine) is not None else None

    @property
    def busy(self) -> bool:
        """Whether a reply is being generated or is waiting."""
        return self.waiting > 0

    def load(self, model: str | None = None) -> asyncio.Task[None]:
        """Load `model`, or the current one again. The task ends when it is ready or has failed."""
        self.model = model or self.model
        self.error = None
        if self._loading is not None:
            self._loading.cancel()
        self._loading = self._spawn(self._load(self._loading))
        return self._loading

    async def cancel_loading(self, error: EngineError) -> None:
        """Cancel loading; `error` is raised in whoever waits."""
        loading = self._loading
        if loading is not None:
            loading.cancel()
            await asyncio.wait({loading})
        await self._close_engine()
        if self._loading is loading:  # else another model was chosen in the meantime
            await self._fail(error)

    async def close(self, *, wait: bool = True) -> None:
        """Stop what runs and free the model. Without `wait` the engine's thread does that, and saves the KV state, by itself."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait({self._loading})
        if wait:
            await self._close_engine()
        elif self.engine is not None:
            self.engine.close(timeout=0.0)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[EngineThread]:
        """Wait for the model and for earlier replies, then use the engine exclusively.

        Raises:
            MistralChatError: no model is available.
        """
        self.waiting += 1
        try:
            async with self._turn:
                yield await self.ready()
        finally:
            self.waiting -= 1

    async def ready(self) -> EngineThread:
        """Wait until the model is loaded.

        Raises:
            MistralChatError: it could not be loaded.
        """
        while (engine := self.engine) is None or engine.loaded is None:
            if self.error is not None:
                raise self.error
            self._changed.clear()
            await self._changed.wait()
        return engine

    async def count(self, *texts: str) -> int | None:
        """Count the tokens of `texts` as messages; None until a model is ready, and for text that cannot be encoded."""
        engine = self.loaded_engine
        if engine is None:
            return None
        try:
            counts = [await asyncio.to_thread(engine.count, text) for text in texts if text]
        except InvalidText:
            return None
        return sum(counts)

    async def _load(self, before: asyncio.Task[None] | None) -> None:
        from mistral_chat.session.events import ModelLoaded, ModelLoading

        if before is not None:
            await asyncio.wait({before})
        await self._close_engine()
        try:
            self.engine = engine = await asyncio.to_thread(self._open_engine, self.model)
            ready = asyncio.ensure_future(engine.wait_ready())
            try:
                await self._emit(ModelLoading(0.0))
                while not (await asyncio.wait({ready}, timeout=_PROGRESS_SECONDS))[0]:
                    await self._emit(ModelLoading(engine.progress))
                loaded = ready.result()
            finally:
                ready.cancel()
        except MistralChatError as error:
            await self._fail(error)
        except Exception as error:
            await self._fail(EngineError(f"The model could not be opened ({type(error).__name__}). See the log file."))
            raise
        else:
            self._changed.set()
            await self._emit(ModelLoaded(loaded))

    async def _fail(self, error: MistralChatError) -> None:
        from mistral_chat.session.events import ModelFailed

        self.error = error
        self._changed.set()
        await self._emit(ModelFailed(error))

    async def _close_engine(self) -> None:
        engine, self.engine = self.engine, None
        if engine is not None:
            await asyncio.to_thread(engine.close)
