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

_RECENT: Final = 0.05
"""Seconds for which an answer counts."""


class DiskProbe:
    """Reads from a disk on its own thread, which may wait for it for ever."""

    def __init__(self, look: Callable[[], object], *, close: Callable[[], object] = int, patience: float = PATIENCE) -> None:
        """Call `look`, which reads from the disk and raises nothing, on the thread, and `close` at its end.

        The thread starts with the first question.
        """
        self._look = look
        self._close = close
        self._patience = patience
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._asked = False
        self._answered_at = 0.0
        self._closing = False

    def answers(self) -> bool:
        """Whether the disk answers. While it does not, only the first call waits, for `patience` seconds."""
        with self._changed:
            if self._asked:
                return False
            if time.monotonic() - self._answered_at < _RECENT:
                return True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="disk-probe", daemon=True)
                self._thread.start()
            self._asked = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._asked, self._patience)

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
