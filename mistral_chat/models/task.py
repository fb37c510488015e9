"""A task on one model, in its own thread: started, followed, cancelled."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Literal, Self

from mistral_chat.models.retry import DownloadPaused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_chat.model_listing import DownloadProgress

TICK: Final = 0.2
"""Seconds between two values of progress."""


class ModelTask(ABC):
    """A download or a verification. Any thread may read its state and cancel it."""

    kind = "working"
    """What it does, as a present participle."""

    def __init__(self, spec: str, name: str) -> None:
        """Create a task for the model `spec`, called `name` in messages. It does not start."""
        self.spec = spec
        self.name = name
        self.chats = True
        """Whether the model can chat; others turn text into vectors."""
        self.error: Exception | None = None
        """Why it failed."""
        self._stop = threading.Event()
        self._done = False
        self._thread = threading.Thread(target=self._run, name=self.kind, daemon=True)

    @property
    @abstractmethod
    def progress(self) -> DownloadProgress:
        """The progress now."""

    @abstractmethod
    def _work(self) -> None:
        """Do the work in the task's thread until it is done or `_stop` is set; raises DownloadPaused in that case."""

    @property
    def state(self) -> Literal["running", "paused", "failed", "done"]:
        """Its state. A cancelled task is paused at once, even if its thread takes a moment to end."""
        if self._done:
            return "done"
        if self.error is not None:
            return "failed"
        return "paused" if self._stop.is_set() else "running"

    @property
    def alive(self) -> bool:
        """Whether the thread still works."""
        return self._thread.is_alive()

    def start(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def join(self, seconds: float) -> None:
        """Wait for the thread to end, for at most `seconds`."""
        self._thread.join(seconds)

    def cancel(self) -> None:
        """Ask the thread to stop. Finished work is kept where that is useful."""
        self._stop.set()

    def follow(self) -> Iterator[DownloadProgress]:
        """Start, and yield the progress every 200 ms until the task is done or cancelled. Leaving the iterator cancels it.

        Raises:
            ModelError: it failed.
        """
        self.start()
        try:
            while self._thread.is_alive() and not self._stop.is_set():
                yield self.progress
                self._thread.join(TICK)
        finally:
            if self._thread.is_alive():
                self.cancel()
                self._thread.join(0.5)
        if self.error is not None:
            raise self.error
        yield self.progress

    def _run(self) -> None:
        if self._stop.is_set():
            return
        try:
            self._work()
            self._done = True
        except DownloadPaused:
            self._stop.set()
        except Exception as error:  # noqa: BLE001 (raised again where the task is followed)
            self.error = error
