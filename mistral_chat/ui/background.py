"""What goes on in the background, in one place: what it is called, how far it is, and how it is stopped."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUIET_SECONDS: Final = 0.5
"""What ends sooner is never shown: a word that comes and goes is noise."""


class Job:
    """A piece of work that nobody waits for."""

    def __init__(
        self, name: str, about: str, cancel: Callable[[], object] | None, kept: str, changed: Callable[[Job], object]
    ) -> None:
        """Know of work that begins now; see `Background.begin`."""
        self.name = name
        """What it is called, such as ``"titling"``."""
        self.about = about
        """What it is done to, or what for; may hold anything."""
        self.kept = kept
        """What to tell when it was stopped."""
        self.cancel = cancel
        """Asks it to stop; None where that makes no sense."""
        self.share: float | None = None
        """How much of it is done, 0.0 to 1.0; None while nobody knows."""
        self.detail = ""
        """How far it is, in words."""
        self.seen = False
        """Whether it has lasted long enough to be shown."""
        self._changed = changed

    def tell(self, share: float | None, detail: str = "") -> None:
        """Say how far it is: `share` from 0.0 to 1.0, None where nobody knows, and `detail` in words."""
        self.share, self.detail = share, detail
        self._changed(self)

    @property
    def text(self) -> str:
        """What it is called, and how far it is; rounded down, so that 100 % is the end."""
        return self.name if self.share is None else f"{self.name} {int(self.share * 100)}%"


def _later(seconds: float, then: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, then)


class Background:
    """The work that nobody waits for, oldest first."""

    def __init__(
        self, changed: Callable[[str], object], *, later: Callable[[float, Callable[[], None]], object] = _later
    ) -> None:
        """Know of no work.

        Args:
            changed: is given `text` whenever it may have changed.
            later: calls something after so many seconds.
        """
        self._changed = changed
        self._later = later
        self._jobs: list[tuple[Job, bool]] = []

    @property
    def text(self) -> str:
        """What goes on, in a few words; empty when nothing does, or nothing that has lasted long enough to be shown."""
        words = [job.text for job, quiet in self._jobs if job.seen and not quiet]
        return f"⟳ {', '.join(words)}" if words else ""

    @property
    def jobs(self) -> list[Job]:
        """All of it, however short."""
        return [job for job, _ in self._jobs]

    def begin(
        self, name: str, about: str = "", *, cancel: Callable[[], object] | None = None, kept: str = "", quiet: bool = False
    ) -> Job:
        """Know of a piece of work until `end` is called for it.

        Args:
            name: what it is called, such as ``"titling"``.
            about: what it is done to, or what for.
            cancel: asks it to stop; None where stopping makes no sense.
            kept: what to tell when it was stopped.
            quiet: whether something else shows it already, so that `text` need not.
        """
        job = Job(name, about, cancel, kept, self._moved)
        self._jobs.append((job, quiet))
        self._later(QUIET_SECONDS, lambda: self._show(job))
        return job

    def end(self, job: Job) -> None:
        """Know of `job` no more. Calling it again does nothing."""
        # By identity: two pieces of work may be called the same.
        self._jobs = [each for each in self._jobs if each[0] is not job]
        self._changed(self.text)

    @contextmanager
    def doing(
        self, name: str, about: str = "", *, cancel: Callable[[], object] | None = None, kept: str = "", quiet: bool = False
    ) -> Iterator[Job]:
        """Know of a piece of work while the block runs. Takes what `begin` does."""
        job = self.begin(name, about, cancel=cancel, kept=kept, quiet=quiet)
        try:
            yield job
        finally:
            self.end(job)

    def cancel(self, only: Job | None = None) -> list[Job]:
        """Stop what can be stopped, or `only` one of it; gives what was stopped."""
        stopped = [job for job in self.jobs if job.cancel is not None and only in {None, job}]
        for job in stopped:
            if job.cancel is not None:
                job.cancel()
        return stopped

    def _show(self, job: Job) -> None:
        job.seen = True
        self._moved(job)

    def _moved(self, job: Job) -> None:
        if job.seen and job in self.jobs:
            self._changed(self.text)


def stopped(jobs: list[Job]) -> str:
    """What a person is told of what was stopped."""
    if not jobs:
        return "Nothing goes on in the background."
    kept = dict.fromkeys(job.kept for job in jobs if job.kept)
    return " ".join([f"Stopped: {', '.join(job.name for job in jobs)}.", *kept])
