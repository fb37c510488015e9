"""How long a download waits, and how often it tries again before it gives up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_chat.errors import DownloadFailed

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Seconds and counts. With these a dead network is given up after about half a minute, and a stall is seen after 15 s."""

    connect: float = 10.0
    stall: float = 15.0
    """The longest silence on a connection."""
    budget: int = 7
    """Failures without progress until it gives up."""
    first_wait: float = 0.5
    """Before the first repetition; it doubles each time."""
    longest_wait: float = 8.0
    longest_request: float = 120.0
    """The longest wait that a server may ask for."""
    progress: int = 1 << 20
    """So many bytes more than ever before are progress; fewer do not keep a failing download alive for ever."""


class RetryableError(Exception):
    """Something failed that may work when it is tried again."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        """Say why, and how many seconds the server asks to wait."""
        self.reason = reason
        self.wait = wait
        super().__init__(reason)


class DownloadPaused(Exception):
    """A person paused the download."""


class RetryBudget:
    """Counts failures since the last progress and waits between them."""

    def __init__(self, policy: RetryPolicy, stop: threading.Event, tell: Callable[[str], None]) -> None:
        """Wait as `policy` says, until `stop` is set, and `tell` a person why."""
        self._patience = policy
        self._stop = stop
        self._tell = tell
        self._failures = 0

    def succeeded(self) -> None:
        """Begin to count anew."""
        self._failures = 0

    def failed(self, again: RetryableError) -> None:
        """Count a failure and wait.

        Raises:
            DownloadFailed: that was the last attempt, or the server asks for more time than there is patience for.
            Stopped: a person paused the download meanwhile.
        """
        self._failures += 1
        if self._failures >= self._patience.budget:
            raise DownloadFailed(
                f"{again.reason} It was tried {self._failures} times. "
                "What has arrived is kept; start the download again to go on."
            ) from again
        if again.wait is not None and again.wait > self._patience.longest_request:
            minutes = again.wait / 60
            raise DownloadFailed(f"{again.reason} The server asks to come back in {minutes:.0f} minutes.") from again
        backoff = self._patience.first_wait * 2.0 ** (self._failures - 1)
        wait = min(backoff, self._patience.longest_wait) if again.wait is None else again.wait
        self._tell(f"{again.reason} Trying again in {wait:.0f} s." if wait >= 1 else again.reason)
        if self._stop.wait(wait):
            raise DownloadPaused
