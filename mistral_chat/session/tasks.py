"""Background tasks: names, progress, and cancellation."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from mistral_chat.formatting import format_progress

if TYPE_CHECKING:
    from mistral_chat.engine.snapshots import SnapshotFolder, SnapshotProgress

QUIET_SECONDS: Final = 0.5
"""Shorter tasks are never shown: they would only flicker."""


class BackgroundTask:
    """Work in the background."""

    def __init__(
        self,
        name: str,
        about: str,
        cancel: Callable[[], object] | None,
        kept: str,
        changed: Callable[[BackgroundTask], object],
    ) -> None:
        """Describe a task that starts now; see `TaskRegistry.begin`."""
        self.name = name
        """The activity, such as ``"titling"``."""
        self.about = about
        """Its object or purpose. Untrusted text."""
        self.kept = kept
        """What remains after it was cancelled, as a sentence."""
        self.cancel = cancel
        """Asks it to stop; None if it cannot be cancelled."""
        self.share: float | None = None
        """The completed share, 0.0 to 1.0; None while unknown."""
        self.detail = ""
        """The progress in words."""
        self.seen = False
        """Whether it has lasted long enough to be shown."""
        self._changed = changed

    def tell(self, share: float | None, detail: str = "") -> None:
        """Report progress: `share` from 0.0 to 1.0, None if unknown, and `detail` in words."""
        self.share, self.detail = share, detail
        self._changed(self)

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
        self._tasks: list[tuple[BackgroundTask, bool]] = []

    @property
    def text(self) -> str:
        """The tasks in a few words; empty if none has lasted long enough to be shown."""
        words = [task.text for task, quiet in self._tasks if task.seen and not quiet]
        return f"⟳ {', '.join(words)}" if words else ""

    @property
    def tasks(self) -> list[BackgroundTask]:
        """All tasks, however short."""
        return [task for task, _ in self._tasks]

    def begin(
        self, name: str, about: str = "", *, cancel: Callable[[], object] | None = None, kept: str = "", quiet: bool = False
    ) -> BackgroundTask:
        """Register a task until `end` is called for it.

        Args:
            name: the activity, such as ``"titling"``.
            about: its object or purpose.
            cancel: asks it to stop; None if it cannot be cancelled.
            kept: what remains after it was cancelled.
            quiet: whether it is already shown elsewhere, so that `text` omits it.
        """
        task = BackgroundTask(name, about, cancel, kept, self._moved)
        self._tasks.append((task, quiet))
        self._later(QUIET_SECONDS, lambda: self._show(task))
        return task

    def end(self, task: BackgroundTask) -> None:
        """Remove `task`. Calling it twice does nothing."""
        # By identity: two tasks may have the same name.
        self._tasks = [each for each in self._tasks if each[0] is not task]
        self._changed(self.text)

    @contextmanager
    def track(
        self, name: str, about: str = "", *, cancel: Callable[[], object] | None = None, kept: str = "", quiet: bool = False
    ) -> Iterator[BackgroundTask]:
        """Register a task while the block runs. Takes the arguments of `begin`."""
        task = self.begin(name, about, cancel=cancel, kept=kept, quiet=quiet)
        try:
            yield task
        finally:
            self.end(task)

    def cancel(self, only: BackgroundTask | None = None) -> list[BackgroundTask]:
        """Cancel every cancellable task, or `only` one; returns the cancelled ones."""
        cancelled = [task for task in self.tasks if task.cancel is not None and only in {None, task}]
        for task in cancelled:
            if task.cancel is not None:
                task.cancel()
        return cancelled

    def _show(self, task: BackgroundTask) -> None:
        task.seen = True
        self._moved(task)

    def _moved(self, task: BackgroundTask) -> None:
        if task.seen and task in self.tasks:
            self._changed(self.text)


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
                tasks.end(shown.pop())
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
