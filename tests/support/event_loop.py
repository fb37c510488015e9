"""How long the event loop stood still: the longest time that one callback took, without what other programs took from it.

On a busy machine a callback takes as long as the scheduler likes. What counts is its processor time and the time it waited for a
disk, a lock or another thread; Linux tells how long a thread was ready to run and did not.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Standstill:
    """The longest callback so far."""

    seconds: float = 0.0
    what: str = ""


@contextlib.contextmanager
def longest_callback() -> Iterator[Standstill]:
    """Watch the callbacks of this thread's event loop."""
    found = Standstill()
    thread = threading.get_native_id()
    run = asyncio.Handle._run
    statistics = Path(f"/proc/self/task/{thread}/schedstat")

    def times() -> tuple[float, float]:
        """Seconds that this thread ran, and that it was ready to run and did not."""
        ran, ready = (int(each) / 1e9 for each in statistics.read_text().split()[:2]) if statistics.exists() else (0.0, 0.0)
        return ran, ready

    def watched(handle: asyncio.Handle) -> None:
        if threading.get_native_id() != thread:
            run(handle)
            return
        began, (ran, ready), what = time.monotonic(), times(), repr(handle)
        run(handle)
        seconds = time.monotonic() - began - (times()[1] - ready)
        if seconds > found.seconds:
            found.seconds, found.what = seconds, f"{times()[0] - ran:.3f} s of the processor in {what}"

    gc.collect()
    gc.freeze()  # as the program does: what earlier tests left would be looked at again and again
    try:
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(asyncio.Handle, "_run", watched)
            yield found
    finally:
        gc.unfreeze()
