"""The downloads and verifications of one session, which continue in the background."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mistral_chat.errors import MistralChatError
from mistral_chat.models.task import TICK

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mistral_chat.model_listing import ModelRow
    from mistral_chat.models.download import Download
    from mistral_chat.models.operations import Verification
    from mistral_chat.models.service import ModelService
    from mistral_chat.models.task import ModelTask
    from mistral_chat.session.tasks import TaskRegistry

_KEPT: Final = "Downloaded data is kept; the model list resumes it."
_CLOSE_SECONDS: Final = 0.8
"""How long closing waits for tasks to stop. Downloaded bytes are on the disk in any case."""


class Downloads:
    """Starts, follows and stops downloads and verifications on an event loop."""

    def __init__(
        self,
        service: Callable[[], ModelService],
        *,
        spawn: Callable[[Coroutine[None, None, None]], object],
        listener: Callable[[ModelTask], object],
        tasks: TaskRegistry,
    ) -> None:
        """Create an empty set of downloads.

        Args:
            service: opens the service that starts the work; only called when there is some.
            spawn: runs a coroutine on the event loop; unexpected errors are raised from it.
            listener: called on the event loop after each step of progress and after the end of a task.
            tasks: lists the work while it is in progress.
        """
        self.listener = listener
        self.downloads: dict[str, Download] = {}
        """By spec, the newest last: those that run, are paused or have failed."""
        self.verifications: dict[str, Verification] = {}
        """By spec: those that run."""
        self._service = service
        self._spawn = spawn
        self._tasks = tasks

    def activity(self, spec: str) -> ModelTask | None:
        """The task running for the model `spec`."""
        tasks: list[ModelTask | None] = [self.verifications.get(spec), self.downloads.get(spec)]
        return next((task for task in tasks if task is not None and task.state == "running"), None)

    @property
    def running(self) -> list[Download]:
        """The downloads in progress."""
        return [task for task in self.downloads.values() if task.state == "running"]

    @property
    def newest(self) -> str:
        """The spec of the newest download; empty without one."""
        return next(reversed(self.downloads), "")

    def start(self, spec: str) -> Download:
        """Start or resume the download of the model `spec`; returns the running one if there is one.

        Raises:
            ModelNotFound: there is no such model to download.
        """
        task = self.downloads.get(spec)
        if task is None or task.state != "running":
            task = self._service().download(spec)
            self.downloads.pop(spec, None)
            self.downloads[spec] = task
            self._spawn(self._follow(task, _KEPT))
        return task

    def verify(self, row: ModelRow) -> None:
        """Start to verify an installed model, unless that is in progress.

        Raises:
            ModelError: it is not there any more.
        """
        if row.spec not in self.verifications:
            task = self.verifications[row.spec] = self._service().verification(row)
            self._spawn(self._follow(task, ""))

    async def close(self) -> None:
        """Stop every task and wait briefly for it. Downloaded bytes are kept."""
        self.listener = lambda _task: None
        tasks = [*self.downloads.values(), *self.verifications.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*(asyncio.to_thread(task.join, _CLOSE_SECONDS) for task in tasks if task.alive))

    async def _follow(self, task: ModelTask, kept: str) -> None:
        try:
            task.start()
            with self._tasks.begin(task.kind, task.name, cancel=task.cancel, kept=kept) as tracked:
                while task.state == "running":
                    progress = task.progress
                    tracked.tell(progress.share, progress.amounts)
                    self.listener(task)
                    await asyncio.sleep(TICK)
        finally:
            if task.state == "running":
                task.cancel()
            if self.verifications.get(task.spec) is task:
                del self.verifications[task.spec]
            elif task.state == "done" and self.downloads.get(task.spec) is task:
                del self.downloads[task.spec]
            self.listener(task)
        if task.error is not None and not isinstance(task.error, MistralChatError):
            raise task.error
