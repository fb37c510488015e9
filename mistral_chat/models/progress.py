"""What is told of a download while it runs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

Stage = Literal["asking", "waiting", "downloading", "retrying", "verifying", "paused", "done"]

_SPAN = 5.0
"""Seconds over which the speed is averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a download stands."""

    stage: Stage
    """asking the hub, waiting for another process that fetches the same file, downloading, retrying after a fault, verifying
    the SHA-256 of what is here, paused with what has arrived kept, or done."""
    bytes: int
    """What is here."""
    total: int | None
    """The whole file; None until the hub has answered."""
    speed: float = 0.0
    """Bytes a second over the last five seconds."""
    seconds_left: float | None = None
    """At that speed; None where there is none."""
    note: str = ""
    """Why it waits or retries, for a person."""


class Speedometer:
    """The speed over the last seconds, from how much was here when."""

    def __init__(self) -> None:
        """Begin without a speed."""
        self._marks: deque[tuple[float, int]] = deque()

    def speed(self, now: float, position: int) -> float:
        """Note that `position` bytes were here at `now`, in seconds of a monotonic clock; gives bytes a second."""
        if self._marks and position < self._marks[-1][1]:
            self._marks.clear()
        self._marks.append((now, position))
        while len(self._marks) > 2 and now - self._marks[0][0] > _SPAN:  # noqa: PLR2004 (two marks make a speed)
            self._marks.popleft()
        first, start = self._marks[0]
        return (position - start) / (now - first) if now > first else 0.0
