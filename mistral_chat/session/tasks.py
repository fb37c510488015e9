"""Background tasks: names, progress, and cancellation."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from mistral_chat.formatting import format_progress

if TYPE_CHECKING:
    from mistral_chat.engine.snapshots import SnapshotFolder, SnapshotProgress

QUIET_SECONDS: Final = 0.5
"""Shorter tasks are never shown: they would only flicker."""


@dataclass(slots=True, eq=False)
class BackgroundTask:
    """Work in the background, from `TaskRegistry.begin` to `end`, or to the end of its block."""

    name: str
    """The activity, such as ``"titling"``."""
    about: str
    """Its object or purpose. Untrusted text."""
    cancel: Callable[[], object]
    """Asks it to stop."""
    kept: str
    """What remains after it was cancelled, as a sentence."""
    quiet: bool
    """Whether it is already shown elsewhere, so that `TaskRegistry.text` omits it."""
    registry: TaskRegistry = field(repr=False)
    """Lists it."""
    share: float | None = None
    """The completed share, 0.0 to 1.0; None while unknown."""
    detail: str = ""
    """The progress in words."""
    seen: bool = False
    """Whether it has lasted long enough to be shown."""

    def __enter__(self) -> Self:
        """Do the work in a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the task with its block."""
        self.end()

    def end(self) -> None:
        """Remove it from the list. Calling it twice does nothing."""
        self.registry.remove(self)

    def tell(self, share: float | None, detail: str = "") -> None:
        """Report progress: `share` from 0.0 to 1.0, None if unknown, and `detail` in words."""
        self.share, self.detail = share, detail
        self.registry.update(self)

    @property
    def text(self) -> str:
        """Its name and progress, rounded down, so that 100 % means the end."""
        return self.name if self.share is None else f"{self.name} {int(self.share * 100)}%"


def _later(seconds: float, then: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, then)


class TaskRegistry:
    """The running background tasks, oldest first."""

    def __init__(
        self, changed: Callable[[str], object], *, later: Callable[[float, Callable[[], None]], object] = _later
    ) -> None:
        """Start without tasks.

        Args:
            changed: takes `text` whenever it may have changed.
            later: calls a function after a number of seconds.
        """
        self._changed = changed
        self._later = later
        self.tasks: list[BackgroundTask] = []
        """All tasks, however short."""

    @property
    def text(self) -> str:
        """The tasks in a few words; empty if none has lasted long enough to be shown."""
        words = [task.text for task in self.tasks if task.seen and not task.quiet]
        return f"⟳ {', '.join(words)}" if words else ""

    def begin(
        self, name: str, about: str = "", *, cancel: Callable[[], object], kept: str = "", quiet: bool = False
    ) -> BackgroundTask:
        """List a task until it ends; see `BackgroundTask` for what the arguments mean."""
        task = BackgroundTask(name, about, cancel, kept, quiet, self)
        self.tasks.append(task)

        def show() -> None:
            task.seen = True
            self.update(task)

        self._later(QUIET_SECONDS, show)
        return task

    def update(self, task: BackgroundTask) -> None:
        """Report that `task` has changed."""
        if task.seen and task in self.tasks:
            self._changed(self.text)

    def remove(self, task: BackgroundTask) -> None:
        """Remove `task`, if it is listed."""
        self.tasks = [each for each in self.tasks if each is not task]
        self._changed(self.text)

    def cancel(self, only: BackgroundTask | None = None) -> list[BackgroundTask]:
        """Cancel every task, or `only` one; returns the cancelled ones."""
        cancelled = [task for task in self.tasks if only in {None, task}]
        for task in cancelled:
            task.cancel()
        return cancelled


_SNAPSHOT_TASKS: Final = {
    "saving": ("saving snapshot", "so that this conversation reopens at once", "The conversation itself is saved in any case."),
    "restoring": ("loading snapshot", "of this conversation", "The conversation is processed again instead."),
}
"""Name, purpose and effect of cancelling, for writing and for reading a snapshot."""


def watch_snapshots(snapshots: SnapshotFolder, tasks: TaskRegistry) -> None:
    """List the writing and reading of snapshots, which happens on the engine's threads, among `tasks`."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    shown: list[BackgroundTask] = []

    def show(progress: SnapshotProgress | None) -> None:
        if progress is None:
            while shown:
                shown.pop().end()
            return
        if not shown:
            name, about, kept = _SNAPSHOT_TASKS[progress.what]
            shown.append(tasks.begin(name, about, cancel=snapshots.stop, kept=kept))
        shown[0].tell(progress.done / max(1, progress.total), format_progress(progress.done, progress.total))

    def take(progress: SnapshotProgress | None) -> None:
        with suppress(RuntimeError):  # the loop is closed, so nothing is waiting
            loop.call_soon_threadsafe(show, progress, context=context)

    snapshots.subscribe(take)


def cancelled_message(tasks: list[BackgroundTask]) -> str:
    """The notification after tasks were cancelled."""
    if not tasks:
        return "No background tasks."
    kept = dict.fromkeys(task.kept for task in tasks if task.kept)
    return " ".join([f"Cancelled: {', '.join(task.name for task in tasks)}.", *kept])
