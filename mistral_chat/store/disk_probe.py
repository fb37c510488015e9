"""Finds out on a thread of its own whether a disk answers.

On a frozen file system, or a network share that is gone, even a read waits for as long as the disk does. Whoever must not wait
asks the probe first.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 1.0
"""Seconds that a disk has to answer. On a busy computer a thread may wait for a good part of them."""

RECENT: Final = 1.0
"""Seconds for which an answer counts. It is renewed meanwhile, so that whoever reads often never waits for the thread."""


class DiskProbe:
    """Reads from a disk on its own thread, which may wait for it for ever."""

    def __init__(
        self,
        look: Callable[[], object],
        *,
        close: Callable[[], object] = int,
        patience: float = PATIENCE,
        recent: float = RECENT,
    ) -> None:
        """Call `look`, which reads from the disk and raises nothing, on the thread, and `close` at its end.

        The thread starts with the first question.
        """
        self._look = look
        self._close = close
        self._patience = patience
        self._recent = recent
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._asked = False
        self._asked_at = self._answered_at = 0.0
        self._closing = False

    def answers(self) -> bool:
        """Whether the disk answers. One that does not is waited for once, for `patience` seconds."""
        now = time.monotonic()
        with self._changed:
            if not self._asked and now - self._answered_at >= self._recent / 10:
                self._ask(now)
            if now - self._answered_at < self._recent:
                return True
            return self._changed.wait_for(lambda: not self._asked, max(0.0, self._asked_at + self._patience - now))

    def _ask(self, now: float) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="disk-probe", daemon=True)
            self._thread.start()
        self._asked, self._asked_at = True, now
        self._changed.notify_all()

    def close(self) -> None:
        """End the thread, if the disk answers."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(self._patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked or self._closing)
                if self._closing:
                    break
            self._look()
            with self._changed:
                self._asked, self._answered_at = False, time.monotonic()
                self._changed.notify_all()
        self._close()
