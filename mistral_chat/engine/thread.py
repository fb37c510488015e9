"""One thread for the engine, and asyncio on the other side of it.

llama.cpp is not reentrant: the context is loaded, used and closed on one thread. Work is handed to that thread one piece at a
time. Prefilling gives way to anything a user waits for.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from enum import StrEnum
from typing import Any, TypeVar

from mistral_chat.engine.engine_job import EngineJob
from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.errors import EngineError, MistralChatError
from mistral_chat.generation import CancelToken, ContextState, Engine, Event, History, LoadedModel, Prefill, Prompt, Sampling

T = TypeVar("T")

log = logging.getLogger(__name__)

IDLE_SECONDS = 3.0
"""Seconds without work after which the engine does its upkeep."""

_CLOSED = "The engine is closed. Open the chat again."

LoadProgress = Callable[[float], bool]
"""Called with the share of the weights that is loaded, 0.0 to 1.0; returns False to give up."""


class RunnerState(StrEnum):
    """How far the engine is."""

    IDLE = "idle"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


class EngineThread:
    """Owns one engine and the thread it lives on."""

    def __init__(self, load: Callable[[LoadProgress], Engine], *, snapshots: SnapshotFolder | None = None) -> None:
        """Take `load`, which makes the engine; it is called on the engine's thread, by `start`.

        Args:
            load: is given a callback for its progress, and raises a `MistralChatError` when it cannot.
            snapshots: where the engine keeps KV states; None keeps none.
        """
        self._load = load
        self.snapshots = snapshots
        """Where KV states are kept: says what is being written or read."""
        self._jobs: queue.SimpleQueue[EngineJob[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._engine: Engine | None = None
        self._settled = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._lock = threading.Lock()
        self._ahead: CancelToken | None = None
        self._idle = CancelToken()
        self._replies: list[CancelToken] = []
        self.state = RunnerState.IDLE
        self.progress = 0.0
        """The share of the weights that is loaded, 0.0 to 1.0."""
        self.error: MistralChatError | None = None
        """Why loading failed."""

    def start(self) -> None:
        """Begin to load, in the background. Calling it again does nothing."""
        if self.state is RunnerState.IDLE:
            self.state = RunnerState.LOADING
            self._thread.start()

    @property
    def facts(self) -> LoadedModel | None:
        """What the engine is; None until it is ready."""
        engine = self._engine
        return engine.facts if engine is not None else None

    @property
    def ledger(self) -> ContextState | None:
        """What the model has in its cache; None until the engine is ready."""
        engine = self._engine
        return engine.ledger if engine is not None else None

    @property
    def busy(self) -> bool:
        """Whether a reply is being written, or waits to be."""
        return bool(self._replies)

    def count(self, text: str) -> int | None:
        """How many tokens `text` takes as a message; None until the engine is ready."""
        engine = self._engine
        return engine.count(text) if engine is not None else None

    def ambiguous_markup(self, text: str) -> str | None:
        """What the model would read as markup in `text`; see `Engine.ambiguous_markup`. None until the engine is ready."""
        engine = self._engine
        return engine.ambiguous_markup(text) if engine is not None else None

    def preview_prompt(self, history: History) -> Prompt | None:
        """The prompt of `history`; see `Engine.preview_prompt`. None until the engine is ready. From any thread."""
        engine = self._engine
        return engine.preview_prompt(history) if engine is not None else None

    async def discard_conversation(self, conversation: str) -> None:
        """Keep nothing of a conversation that was deleted. Waits for what is being written; without an engine there is nothing.

        Raises:
            MistralChatError: the engine failed.
        """
        if self._engine is None:
            return
        self._give_way()

        def drop(engine: Engine) -> Iterator[None]:
            engine.discard_conversation(conversation)
            return iter(())

        await self._submit(drop, CancelToken()).finished()

    async def run_idle_tasks(self) -> None:
        """Do now what the engine does when it has been idle for a while: save the KV state.

        Raises:
            MistralChatError: the engine failed.
        """
        await self.wait_ready()
        cancel = CancelToken()

        def run(engine: Engine) -> Iterator[None]:
            engine.run_idle_tasks(cancel)
            return iter(())

        await self._submit(run, cancel).finished()

    async def wait_ready(self) -> LoadedModel:
        """Wait until the engine is loaded.

        Raises:
            MistralChatError: it could not be loaded.
        """
        self.start()
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self._settled.is_set():
                future: asyncio.Future[None] = loop.create_future()
                self._waiting.append((loop, future))
            else:
                future = loop.create_future()
                future.set_result(None)
        await future
        engine = self._engine
        if engine is None:
            raise self.error or EngineError(_CLOSED)
        return engine.facts

    async def reply(self, history: History, sampling: Sampling) -> AsyncGenerator[Event, None]:
        """Answer the last turn of `history`, as `Engine.reply` does.

        Closing the generator, or cancelling the task that reads it, stops the engine and waits until it has stopped.

        Raises:
            MistralChatError: whatever `Engine.reply` raises, or the engine could not be loaded.
        """
        cancel = CancelToken()
        self._give_way()
        await self.wait_ready()
        self._give_way()
        self._replies.append(cancel)
        try:
            async with aclosing(self._submit(lambda e: e.reply(history, sampling, cancel), cancel).values()) as values:
                async for value in values:
                    yield value
        finally:
            self._replies.remove(cancel)

    async def prefill(self, history: History) -> AsyncGenerator[Prefill, None]:
        """Bring `history` into the cache before it is needed. Any reply stops it at once.

        Raises:
            MistralChatError: the engine could not be loaded, or failed.
        """
        await self.wait_ready()
        if self._replies:
            return
        self._give_way()
        cancel = CancelToken()
        self._ahead = cancel
        try:
            async with aclosing(self._submit(lambda e: e.prefill(history, cancel), cancel).values()) as values:
                async for value in values:
                    yield value
        finally:
            if self._ahead is cancel:
                self._ahead = None

    async def generate_detached(self, history: History, sampling: Sampling) -> str:
        """Answer the last turn of `history` in passing, as `Engine.generate_detached` does. Any reply stops it at once.

        Returns:
            The answer; empty where there is none.

        Raises:
            MistralChatError: the engine could not be loaded, or failed.
        """
        await self.wait_ready()
        if self._replies:
            return ""
        self._give_way()
        cancel = CancelToken()
        self._ahead = cancel
        try:
            work = self._submit(lambda e: iter([e.generate_detached(history, sampling, cancel)]), cancel)
            async with aclosing(work.values()) as texts:
                return "".join([text async for text in texts])
        finally:
            if self._ahead is cancel:
                self._ahead = None

    def stop(self) -> None:
        """Ask the reply that is being written, and any that wait, to end where they are; completions say ``"cancelled"``."""
        for cancel in self._replies:
            cancel.set()

    def close(self, timeout: float | None = 2.0) -> None:
        """Stop what runs and let the engine go; waits for its thread for `timeout` seconds at most."""
        self._give_way()
        self.stop()
        with self._lock:
            started = self._thread.ident is not None
            self.state = RunnerState.CLOSED
            self._jobs.put(None)
            self._idle.set()
        if started:
            self._thread.join(timeout)
        else:
            self._settle(RunnerState.CLOSED)

    def _give_way(self) -> None:
        if self._ahead is not None:
            self._ahead.set()

    def _submit(self, work: Callable[[Engine], Iterator[T]], cancel: CancelToken) -> EngineJob[T]:
        """Queue `work` for the engine's thread."""
        job = EngineJob(work, cancel)
        with self._lock:
            if self.state is not RunnerState.READY:
                raise EngineError(_CLOSED)
            self._jobs.put(job)
            self._idle.set()
        return job

    def _run(self) -> None:
        try:
            engine = self._load(self._note_progress)
        except MistralChatError as error:
            self.error = error
            self._settle(RunnerState.FAILED)
            return
        except Exception as error:  # noqa: BLE001 (a thread's last resort: the screen must learn that loading ended)
            self.error = EngineError(f"The engine could not be started: {type(error).__name__}. The log file has the details.")
            self.error.__cause__ = error
            self._settle(RunnerState.FAILED)
            return
        if self.state is not RunnerState.CLOSED:
            self._engine = engine
            self._settle(RunnerState.READY)
            while (job := self._next_job(engine)) is not None:
                job.run(engine)
            self._engine = None
        self._upkeep(engine.close)
        self._settle(RunnerState.CLOSED)

    def _next_job(self, engine: Engine) -> EngineJob[Any] | None:
        """Wait for work; when there is none for a while, run the engine's idle tasks, which any work stops."""
        try:
            return self._jobs.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            with self._lock:
                self._idle = cancel = CancelToken()
                if not self._jobs.empty():
                    cancel.set()
            self._upkeep(lambda: engine.run_idle_tasks(cancel))
            return self._jobs.get()

    @staticmethod
    def _upkeep(work: Callable[[], None]) -> None:
        """Run what no one waits for. If it fails, the thread continues, and no error is shown."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 (no one waits for it: its type is logged, without any text)
            log.warning("the engine's upkeep failed: %s", type(error).__name__)

    def _note_progress(self, share: float) -> bool:
        self.progress = share
        return self.state is RunnerState.LOADING

    def _settle(self, state: RunnerState) -> None:
        with self._lock:
            if self.state is RunnerState.LOADING:
                self.state = state
            self._settled.set()
            waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            try:
                loop.call_soon_threadsafe(_finish, future)
            except RuntimeError:  # that loop is closed, with no one waiting
                continue


def _finish(future: asyncio.Future[None]) -> None:
    """Let go whoever still waits; a cancelled one does not."""
    if not future.done():
        future.set_result(None)
