"""The engine's thread, and its asyncio interface.

llama.cpp is not reentrant: the context is loaded, used and closed on one thread. Work is passed to that thread one piece at a
time. Prefilling yields to anything a user waits for.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from enum import StrEnum
from typing import Any, TypeVar

from mistral_chat.engine.engine_job import EngineJob
from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.errors import EngineError, MistralChatError
from mistral_chat.generation import CancelToken, Engine, Event, History, LoadedModel, Prefill
from mistral_chat.sampling import Sampling

T = TypeVar("T")

log = logging.getLogger(__name__)

IDLE_SECONDS = 3.0
"""Seconds without work after which the engine runs its idle tasks."""

_CLOSED = "The engine is closed. Restart mistral-chat."

LoadProgress = Callable[[float], bool]
"""Called with the loaded share of the weights, 0.0 to 1.0; returns False to cancel."""


class RunnerState(StrEnum):
    """The state of the engine."""

    IDLE = "idle"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


class EngineThread:
    """Owns one engine and its thread."""

    def __init__(self, load: Callable[[LoadProgress], Engine], *, snapshots: SnapshotFolder | None = None) -> None:
        """Take `load`, which creates the engine; `start` calls it on the engine's thread.

        Args:
            load: takes a progress callback, and raises a `MistralChatError` on failure.
            snapshots: stores the engine's snapshots; None stores none.
        """
        self._load = load
        self.snapshots = snapshots
        """Stores the snapshots, and reports what is being written or read."""
        self._jobs: queue.SimpleQueue[EngineJob[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._settled = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._lock = threading.Lock()
        self._ahead = CancelToken()
        self._idle = CancelToken()
        self._replies: list[CancelToken] = []
        self.state = RunnerState.IDLE
        self.loaded: Engine | None = None
        """The engine once it is ready; other threads may only call what `Engine` allows them."""
        self.progress = 0.0
        """The loaded share of the weights, 0.0 to 1.0."""
        self.error: MistralChatError | None = None
        """Why loading failed."""

    def start(self) -> None:
        """Start loading in the background. Calling it again does nothing."""
        if self.state is RunnerState.IDLE:
            self.state = RunnerState.LOADING
            self._thread.start()

    async def discard_conversation(self, conversation: str) -> None:
        """Remove a deleted conversation from the cache and the disk.

        Waits for writes in progress; does nothing without an engine.

        Raises:
            MistralChatError: the engine failed.
        """
        if self.loaded is not None:
            self._give_way()
            await self._call(lambda engine: engine.discard_conversation(conversation), CancelToken())

    async def run_idle_tasks(self) -> None:
        """Run the engine's idle tasks now, such as saving the snapshot.

        Raises:
            MistralChatError: the engine failed.
        """
        await self.wait_ready()
        cancel = CancelToken()
        await self._call(lambda engine: engine.run_idle_tasks(cancel), cancel)

    async def wait_ready(self) -> LoadedModel:
        """Wait until the engine is loaded.

        Raises:
            MistralChatError: it could not be loaded.
        """
        self.start()
        settled = asyncio.Event()
        with self._lock:
            if self._settled.is_set():
                settled.set()
            else:
                self._waiting.append((asyncio.get_running_loop(), settled))
        await settled.wait()
        if self.loaded is None:
            raise self.error or EngineError(_CLOSED)
        return self.loaded.facts

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

    def prefill(self, history: History) -> AsyncGenerator[Prefill, None]:
        """Bring `history` into the cache before it is needed. Any reply interrupts it.

        Raises:
            MistralChatError: the engine could not be loaded, or failed.
        """
        return self._in_passing(lambda engine, cancel: engine.prefill(history, cancel))

    async def generate_detached(self, history: History, sampling: Sampling) -> str:
        """Answer the last turn of `history` and leave the cache as it was. Any reply interrupts it.

        Returns:
            The reply; empty if there is none.

        Raises:
            MistralChatError: the engine could not be loaded, or failed.
        """
        work = self._in_passing(lambda engine, cancel: iter([engine.generate_detached(history, sampling, cancel)]))
        async with aclosing(work) as texts:
            return "".join([text async for text in texts])

    async def _in_passing(self, work: Callable[[Engine, CancelToken], Iterator[T]]) -> AsyncGenerator[T, None]:
        """Do `work` that any reply stops; nothing while there is one."""
        await self.wait_ready()
        if self._replies:
            return
        self._give_way()
        cancel = self._ahead = CancelToken()
        async with aclosing(self._submit(lambda engine: work(engine, cancel), cancel).values()) as values:
            async for value in values:
                yield value

    def stop(self) -> None:
        """Stop the reply being generated and all queued ones; their completions have the finish reason ``"cancelled"``."""
        for cancel in self._replies:
            cancel.set()

    def close(self, timeout: float | None = 2.0) -> None:
        """Stop all work and free the engine; waits for its thread for at most `timeout` seconds."""
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
        self._ahead.set()

    async def _call(self, work: Callable[[Engine], None], cancel: CancelToken) -> None:
        def run(engine: Engine) -> Iterator[None]:
            work(engine)
            return iter(())

        async with aclosing(self._submit(run, cancel).values()) as values:
            async for _ in values:
                """There are no values; the end is awaited."""

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
            self.error = EngineError(f"The engine could not be started ({type(error).__name__}). See the log file.")
            self.error.__cause__ = error
            self._settle(RunnerState.FAILED)
            return
        if self.state is not RunnerState.CLOSED:
            self.loaded = engine
            self._settle(RunnerState.READY)
            while (job := self._next_job(engine)) is not None:
                job.run(engine)
            self.loaded = None
        self._upkeep(engine.close)
        self._settle(RunnerState.CLOSED)

    def _next_job(self, engine: Engine) -> EngineJob[Any] | None:
        """Wait for work; when idle for a while, run the engine's idle tasks, which any work interrupts."""
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
        """Run deferred work. If it fails, the thread continues, and no error is shown."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 (no one waits for it: its type is logged, without any text)
            log.warning("an idle task of the engine failed: %s", type(error).__name__)

    def _note_progress(self, share: float) -> bool:
        self.progress = share
        return self.state is RunnerState.LOADING

    def _settle(self, state: RunnerState) -> None:
        with self._lock:
            if self.state is RunnerState.LOADING:
                self.state = state
            self._settled.set()
            waiting, self._waiting = self._waiting, []
        for loop, settled in waiting:
            with suppress(RuntimeError):  # the loop is closed, so nothing is waiting
                loop.call_soon_threadsafe(settled.set)
