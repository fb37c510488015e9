"""Work on the engine's thread, and the transfer of its values to the event loop that awaits them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Final, Generic, TypeVar

from mistral_chat.generation import CancelToken, Delta, Engine, Prefill

T = TypeVar("T")

PACE: Final = 0.12
"""Minimum seconds between two wake-ups of an event loop for text: drawing growing text more often only costs the model speed.
The first token, and every token of a slower model, is delivered immediately.
"""

PROGRESS_SECONDS: Final = 0.5
"""Seconds after which progress inside a long batch is estimated: the engine reports only when a batch is done."""


class EngineJob(Generic[T]):
    """Work that yields values on one thread, awaited by a coroutine on another.

    It is created on the event loop that waits; `run` is called on the engine's thread.
    """

    def __init__(self, work: Callable[[Engine], Iterator[T]], cancel: CancelToken) -> None:
        """Take the work to do, and what ends it early.

        Raises:
            RuntimeError: there is no running event loop.
        """
        self._work = work
        self._cancel = cancel
        self._loop = asyncio.get_running_loop()
        self._given: deque[T] = deque()
        self._something = asyncio.Event()
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._resting = False
        """Whether the loop was woken so recently that more text is held back."""
        self._rest: asyncio.TimerHandle | None = None

    def run(self, engine: Engine) -> None:
        """Do the work, deliver each value, and always mark the end."""
        try:
            for value in self._work(engine):
                self._given.append(value)
                if not isinstance(value, Delta):
                    self._call(self._something.set)
                elif not self._resting:
                    self._resting = True
                    self._call(self._wake)
        except Exception as error:  # noqa: BLE001 (carried over to the waiting coroutine, which raises it)
            self._error = error
        finally:
            self._done.set()
            self._call(self._something.set)

    async def values(self) -> AsyncGenerator[T, None]:
        """Yield each value, and progress estimates inside long batches.

        Closing the generator stops the work and waits until it has stopped.

        Raises:
            BaseException: what the work raised.
        """
        batch: Prefill | None = None
        began = 0.0
        try:
            while True:
                done = self._done.is_set()  # checked first: values delivered before the end are visible when the end is
                self._something.clear()
                for _ in range(len(self._given)):  # and no more, so that a very fast engine does not starve other tasks
                    value = self._given.popleft()
                    batch = value if isinstance(value, Prefill) and value.batch and value.seconds_left else None
                    began = self._loop.time()
                    yield value
                if done:
                    break
                if batch is None:
                    await self._something.wait()
                    continue
                while not await self._happens(PROGRESS_SECONDS):
                    yield batch.after(self._loop.time() - began)  # type: ignore[misc]  # such work yields T = Prefill | ...
            if self._error is not None:
                raise self._error
        finally:
            self._cancel.set()
            while not self._done.is_set():
                self._something.clear()
                await self._something.wait()

    async def _happens(self, seconds: float) -> bool:
        """Wait for the next value or the end, for at most `seconds`; returns whether it came."""
        try:
            async with asyncio.timeout(seconds):
                await self._something.wait()
        except TimeoutError:
            return False
        return True

    def _call(self, function: Callable[[], object]) -> None:
        """Call something on the loop; if the loop is closed, stop the work instead."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            self._cancel.set()

    def _wake(self) -> None:
        self._something.set()
        if self._rest is None:
            self._rest = self._loop.call_later(PACE, self._rested)

    def _rested(self) -> None:
        """Deliver what was held back; if nothing was, the next value is delivered immediately."""
        self._rest = None
        self._resting = False
        if self._given and not self._done.is_set():
            self._resting = True
            self._wake()
