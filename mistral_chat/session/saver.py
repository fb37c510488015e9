"""Saves on a separate thread: nothing on the event loop waits for the disk, and nothing unsaved is dropped.

SQLite waits for seconds if another program has locked the database, and a disk can be full for hours. Everything a session
writes goes through one `Saver`, in order. What cannot be written stays in memory and is retried until it succeeds.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from mistral_chat import system
from mistral_chat.errors import ConversationNotFound, StoreBusy, StoreError
from mistral_chat.session.events import SavingEvent, SavingFailed, SavingResumed

if TYPE_CHECKING:
    from mistral_chat.store.store import ConversationStore

T = TypeVar("T")

RETRY_SECONDS: Final = 2.0
"""Seconds between two retries of a failed write."""

SILENT_SECONDS: Final = 8.0
"""Seconds after which a write that has neither succeeded nor failed is reported. No lock is waited for as long."""

Work = Callable[["ConversationStore"], T]
"""Writes to the store. It runs on the saver's thread."""


class _Job(Generic[T]):
    """One write, and the future that awaits it."""

    def __init__(self, work: Work[T], *, key: Hashable = None, kept: bool) -> None:
        self.work = work
        self.key = key
        self.kept = kept
        """Whether it is retried until it succeeds."""
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class Saver:
    """Writes to one store, in the order of the calls. Its methods belong to the event loop it was made on."""

    def __init__(
        self,
        store: ConversationStore,
        *,
        report: Callable[[SavingEvent], object],
        on_unexpected_error: Callable[[BaseException], object],
        retry_seconds: float = RETRY_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        """Start the thread; it opens its own connection to the store with the first write.

        Args:
            store: what is written to. It is only read from outside.
            report: takes a lasting problem and its end, on the event loop.
            on_unexpected_error: takes an error that is no `StoreError`, on the event loop.
            retry_seconds: seconds between two tries.
            silent_seconds: seconds until a write that does not return is reported.
        """
        self._store = store
        self._report = report
        self._on_unexpected_error = on_unexpected_error
        self._retry_seconds = retry_seconds
        self._silent_seconds = silent_seconds
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._changed = threading.Condition()
        self._jobs: deque[_Job[Any]] = deque()
        self._running: _Job[Any] | None = None
        self._began = 0.0
        """When the running job began."""
        self._watch: asyncio.TimerHandle | None = None
        self._closing = False
        self._writer: ConversationStore | None = None
        self._drafts: dict[str, str] = {}
        self.problem: SavingFailed | None = None
        """Why saving fails now; None while it works."""
        self._thread = threading.Thread(target=self._run, name="saver", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> bool:
        """Whether anything is not saved yet."""
        return bool(self._jobs)

    def write(self, work: Work[T]) -> asyncio.Future[T]:
        """Write once, after all earlier writes; the future has the result of `work`.

        Raises:
            StoreError: it could not be written. Nothing was changed, and it is not tried again.
        """
        return self._add(_Job(work, kept=False))

    def save(self, work: Work[object], *, key: Hashable = None) -> asyncio.Future[object]:
        """Write, and retry until it succeeds; the future is then done.

        Args:
            work: writes; tried again only after a `StoreError` that may pass.
            key: replaces a waiting write with the same key.
        """
        job: _Job[object] = _Job(work, key=key, kept=True)
        with self._changed:
            if key is not None:
                # Two wait where one became stuck while the other was added: the newest is written last.
                waiting: _Job[object]
                for waiting in reversed(self._jobs):
                    if waiting.key == key and waiting is not self._running:
                        waiting.work = work
                        return waiting.future
        job.future.add_done_callback(_observe)
        return self._add(job)

    def save_draft(self, conversation_id: str, text: str) -> None:
        """Save the draft of a conversation; the empty id is the new conversation's."""
        self._drafts[conversation_id] = text

        def saved(_: object) -> None:
            if self._drafts.get(conversation_id) == text:
                del self._drafts[conversation_id]

        saving = self.save(lambda store: store.save_draft(conversation_id, text), key=("draft", conversation_id))
        saving.add_done_callback(saved)

    def draft(self, conversation_id: str) -> str:
        """The draft of a conversation, saved or still waiting."""
        if (unsaved := self._drafts.get(conversation_id)) is not None:
            return unsaved
        return self._store.draft(conversation_id)

    async def flush(self, patience: float | None = None) -> None:
        """Wait until everything is saved.

        Raises:
            StoreError: it is not after `patience` seconds; it stays in memory.
        """
        done, _ = await asyncio.wait({self.save(_nothing)}, timeout=patience)
        if not done:
            raise self.problem.error if self.problem is not None else StoreBusy("Another program is using the database.")

    async def close(self, patience: float = 2.0) -> None:
        """Stop the thread and close its connection. Unsaved data is dropped: call `flush` first."""
        if self._watch is not None:
            self._watch.cancel()
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, patience)

    def _add(self, job: _Job[T]) -> asyncio.Future[T]:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        if self._watch is None and not self._closing:
            self._watch = self._loop.call_later(self._silent_seconds, self._look)
        return job.future

    def _look(self) -> None:
        """Report a disk that does not answer: SQLite waits for one that hangs without an error."""
        self._watch = None
        with self._changed:
            silent = self._running is not None and time.monotonic() - self._began >= self._silent_seconds
        if silent and self.problem is None:
            path = self._store.database.path
            error = StoreError(f"The disk that holds {path} is not responding.")
            self.problem = SavingFailed(error, None)
            self._report(self.problem)
        if self._jobs:
            self._watch = self._loop.call_later(self._silent_seconds, self._look)

    # On the saver's thread.

    def _run(self) -> None:
        while (job := self._next()) is not None:
            if job.future.cancelled() and not job.kept:
                self._finish(job)
                continue
            try:
                self._writer = self._writer or self._store.new_connection()
                result = job.work(self._writer)
            except StoreError as error:
                if job.kept and not isinstance(error, ConversationNotFound):
                    self._stuck(error)
                else:
                    self._finish(job, error=error)
            except Exception as error:  # noqa: BLE001 (a thread's last resort: whoever waits gets the error)
                self._finish(job, error=error)
                if job.kept:
                    self._call(self._on_unexpected_error, error)
            else:
                self._finish(job, result=result)
                if self.problem is not None:
                    self.problem = None
                    self._call(self._report, SavingResumed())
        if self._writer is not None and self._writer.database is not self._store.database:
            with suppress(StoreError):
                self._writer.close()

    def _next(self) -> _Job[Any] | None:
        """Wait for the next job; None when the saver closes."""
        with self._changed:
            self._running = None
            while not self._jobs and not self._closing:
                self._changed.wait()
            if self._closing:
                return None
            self._running, self._began = self._jobs[0], time.monotonic()
            return self._running

    def _finish(self, job: _Job[T], *, result: T | None = None, error: BaseException | None = None) -> None:
        with self._changed:
            self._running = None
            self._jobs.popleft()
        self._call(_settle, job.future, result, error)

    def _stuck(self, error: StoreError) -> None:
        """Keep the first job, fail those that do not retry, and pause before the next attempt."""
        with self._changed:
            self._running = None
            refused = [job for job in self._jobs if not job.kept]
            for job in refused:
                self._jobs.remove(job)
        for job in refused:
            self._call(_settle, job.future, None, error)
        if self.problem is None or type(self.problem.error) is not type(error):
            path = self._store.database.path
            self.problem = SavingFailed(error, None if path is None else system.free_bytes(path))
            self._call(self._report, self.problem)
        until = time.monotonic() + self._retry_seconds
        with self._changed:
            while not self._closing and all(job.kept for job in self._jobs) and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def _call(self, function: Callable[..., object], *values: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, so nothing is waiting
            self._loop.call_soon_threadsafe(function, *values, context=self._context)


def _nothing(_store: ConversationStore) -> None:
    """Write nothing; completes after all earlier writes."""


def _observe(future: asyncio.Future[object]) -> None:
    """Retrieve the result, so that asyncio does not complain if nobody else does."""
    if not future.cancelled():
        future.exception()


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
