"""Saves on a separate thread: nothing on the event loop waits for the disk, and nothing unsaved is dropped.

SQLite waits for seconds if another program has locked the database, and a disk can be full for hours. Everything a session
writes goes through one `Saver`, in order. What cannot be written stays in memory and is retried until it succeeds. The thread
only writes; what to write next is decided on the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import shutil
import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

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


@dataclass(slots=True, eq=False)
class _Job(Generic[T]):
    """One write, and the future that awaits it."""

    work: Work[T]
    key: Hashable = None
    kept: bool = False
    """Whether it is retried until it succeeds."""
    future: asyncio.Future[T] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


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
        self._jobs: deque[_Job[Any]] = deque()
        self._running: _Job[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        """Set to try again at once."""
        self._closing = False
        self._asked: SimpleQueue[tuple[Work[Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._writer: ConversationStore | None = None
        self._bytes_free: int | None = None
        """Free space on the disk after the last error."""
        self._drafts: dict[str, str] = {}
        self.problem: SavingFailed | None = None
        """Why saving fails now; None while it works."""
        self._thread = threading.Thread(target=self._serve, name="saver", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> bool:
        """Whether anything is not saved yet."""
        return bool(self._jobs)

    async def write(self, work: Work[T]) -> T:
        """Write once, after all earlier writes, and return the result of `work`.

        Raises:
            StoreError: it could not be written. Nothing was changed, and it is not tried again.
        """
        return await self._add(_Job(work))

    def save(self, work: Work[object], *, key: Hashable = None) -> asyncio.Future[object]:
        """Write, and retry until it succeeds; the future is then done.

        Args:
            work: writes; tried again only after a `StoreError` that may pass.
            key: replaces a waiting write with the same key.
        """
        if key is not None:
            # Two wait where one became stuck while the other was added: the newest is written last.
            waiting: _Job[object]
            for waiting in reversed(self._jobs):
                if waiting.key == key and waiting is not self._running:
                    waiting.work = work
                    return waiting.future
        job = _Job(work, key=key, kept=True)
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
        self._closing = True
        self._hurry.set()
        self._asked.put(None)
        await asyncio.to_thread(self._thread.join, patience)

    def _add(self, job: _Job[T]) -> asyncio.Future[T]:
        self._jobs.append(job)
        if not job.kept:
            self._hurry.set()
        if self._task is None and not self._closing:
            self._task = self._loop.create_task(self._work_off(), context=self._context)
        return job.future

    async def _work_off(self) -> None:
        """Do the jobs, one after another, until none is left."""
        while self._jobs and not self._closing:
            job = self._jobs[0]
            if job.future.cancelled() and not job.kept:
                self._jobs.popleft()
                continue
            self._running = job
            answer = await self._answer(job.work)
            self._running = None
            error = answer.exception()
            if job.kept and isinstance(error, StoreError) and not isinstance(error, ConversationNotFound):
                await self._stuck(error)
                continue
            self._jobs.popleft()
            _settle(job.future, None if error is not None else answer.result(), error)
            if error is None and self.problem is not None:
                self.problem = None
                self._loop.call_soon(self._report, SavingResumed())
            if error is not None and job.kept and not isinstance(error, StoreError):
                self._loop.call_soon(self._on_unexpected_error, error)
        self._task = None

    async def _answer(self, work: Work[T]) -> asyncio.Future[T]:
        """Let the thread do `work`, and report a disk that does not answer: SQLite waits for one that hangs without an error."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._asked.put((work, answer))
        done, _ = await asyncio.wait({answer}, timeout=self._silent_seconds)
        if not done:
            if self.problem is None and not self._closing:
                self._fail(StoreError(f"The disk with {self._store.database.path} does not answer."))
            await asyncio.wait({answer})
        return answer

    async def _stuck(self, error: StoreError) -> None:
        """Keep the jobs that retry, fail the others, and pause before the next attempt."""
        refused = [job for job in self._jobs if not job.kept]
        self._jobs = deque(job for job in self._jobs if job.kept)
        for job in refused:
            _settle(job.future, None, error)
        if not self._closing:
            self._hurry.clear()
        if self.problem is None or type(self.problem.error) is not type(error):
            self._fail(error, self._bytes_free)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._retry_seconds):
                await self._hurry.wait()

    def _fail(self, error: StoreError, free: int | None = None) -> None:
        self.problem = SavingFailed(error, self._store.database.path, free)
        self._loop.call_soon(self._report, self.problem)

    # On the saver's thread.

    def _serve(self) -> None:
        while (asked := self._asked.get()) is not None:
            work, answer = asked
            result: object = None
            error: Exception | None = None
            try:
                result = work(self._connection())
            except Exception as caught:  # noqa: BLE001 (a thread's last resort: whoever waits gets the error)
                error = caught
                self._look_at_disk()
            with suppress(RuntimeError):  # the loop is closed, so nothing is waiting
                self._loop.call_soon_threadsafe(_settle, answer, result, error)
        writer = self._writer
        if writer is not None and writer.database is not self._store.database:
            with suppress(StoreError):
                writer.close()

    def _look_at_disk(self) -> None:
        """Note the free space, here because a disk that hangs does not answer this question either."""
        path, self._bytes_free = self._store.database.path, None
        if path is not None:
            with suppress(OSError):
                self._bytes_free = shutil.disk_usage(path.parent).free

    def _connection(self) -> ConversationStore:
        if self._writer is None:
            self._writer = self._store.new_connection()
        return self._writer


def _nothing(_store: ConversationStore) -> None:
    """Write nothing; completes after all earlier writes."""


def _observe(future: asyncio.Future[object]) -> None:
    """Retrieve the result, so that asyncio does not complain if nobody else does."""
    if not future.cancelled():
        future.exception()


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    """Give whoever still waits the result, or the error."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
