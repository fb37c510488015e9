"""How long a download waits for the network, and how often it retries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_chat.errors import DownloadFailed

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Timeouts in seconds, and counts. By default, a dead network fails after 30 s, and a stall is detected after 15 s."""

    connect: float = 10.0
    stall: float = 15.0
    """The longest silence on an open connection."""
    max_attempts: int = 7
    """Failures in a row without progress."""
    first_wait: float = 0.5
    """Before the first retry; doubles with each further one."""
    max_wait: float = 8.0
    max_server_wait: float = 120.0
    """The longest Retry-After that is honoured."""
    progress_bytes: int = 1 << 20
    """New bytes that count as progress and reset the failure count; a lower value would retry a broken download forever."""


class RetryableError(Exception):
    """A failure that a retry may resolve."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        """Create an error with a sentence for the user, and the seconds a server asked to wait."""
        self.reason = reason
        self.wait = wait
        super().__init__(reason)


class DownloadPaused(Exception):
    """The user paused the download."""


class RetryBudget:
    """Counts failures since the last progress, and waits between attempts."""

    def __init__(self, policy: RetryPolicy, stop: threading.Event, notify: Callable[[str], None]) -> None:
        """Create a full budget. `stop` ends a wait; `notify` receives the reason for each one."""
        self._policy = policy
        self._stop = stop
        self._notify = notify
        self._failures = 0

    def reset(self) -> None:
        """Forget earlier failures, after progress."""
        self._failures = 0

    def spend(self, error: RetryableError) -> None:
        """Count a failure, then wait before the next attempt.

        Raises:
            DownloadFailed: no attempt is left, or the server asks for a longer wait than the policy allows.
            DownloadPaused: the user paused the download during the wait.
        """
        self._failures += 1
        reason = error.reason.rstrip(".")
        if self._failures >= self._policy.max_attempts:
            raise DownloadFailed(
                f"{reason}. Gave up after {self._failures} attempts. "
                "Downloaded data is kept; start the download again to resume it."
            ) from error
        if error.wait is not None and error.wait > self._policy.max_server_wait:
            raise DownloadFailed(f"{reason}. The server asks to try again in {error.wait / 60:.0f} minutes.") from error
        backoff = self._policy.first_wait * 2.0 ** (self._failures - 1)
        wait = min(backoff, self._policy.max_wait) if error.wait is None else error.wait
        self._notify(f"{reason}; retrying in {wait:.0f} s" if wait >= 1 else reason)
        if self._stop.wait(wait):
            raise DownloadPaused
