"""What goes on in the background, in one place: what it is called, and how it is stopped."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Job(NamedTuple):
    name: str
    cancel: Callable[[], object] | None
    quiet: bool


class Background:
    """The work that nobody waits for, oldest first."""

    def __init__(self, changed: Callable[[str], object]) -> None:
        """Know of no work.

        Args:
            changed: is given `text` whenever it changes.
        """
        self._changed = changed
        self._jobs: list[_Job] = []

    @property
    def text(self) -> str:
        """What goes on, in a few words; empty when nothing does."""
        names = [job.name for job in self._jobs if not job.quiet]
        return f"⟳ {', '.join(names)}" if names else ""

    @contextmanager
    def doing(self, name: str, cancel: Callable[[], object] | None = None, *, quiet: bool = False) -> Iterator[None]:
        """Know of a piece of work while the block runs.

        Args:
            name: what it is called, such as ``"titling"``.
            cancel: asks it to stop; None where stopping makes no sense.
            quiet: whether something else shows it already.
        """
        job = _Job(name, cancel, quiet)
        self._jobs.append(job)
        self._changed(self.text)
        try:
            yield
        finally:
            # By identity: two pieces of work may be called the same.
            self._jobs = [each for each in self._jobs if each is not job]
            self._changed(self.text)

    def cancel(self) -> list[str]:
        """Stop what can be stopped; its names."""
        stopped = [job for job in self._jobs if job.cancel is not None]
        for job in stopped:
            if job.cancel is not None:
                job.cancel()
        return [job.name for job in stopped]
