"""Tunes Python for the app: garbage collection, and switching between the screen's and the engine's threads."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Final

_THRESHOLDS: Final = (5_000, 5, 20)
"""Thresholds for `gc.set_threshold`. Drawing creates many objects and almost no garbage: with the defaults, one key in a
hundred waits a tenth of a second for a collection while a reply grows.
"""

_SWITCH_SECONDS: Final = 0.0005
"""After this time, a thread that draws yields to the engine's thread. With Python's default of five milliseconds, a model waits
that long between two tokens whenever the screen is drawn.
"""


@contextlib.contextmanager
def tuned() -> Iterator[None]:
    """Import the app inside this context. What is imported stays, so collecting garbage in it would only cost time.

    Without the collector, the start takes a twentieth less, and later collections are shorter.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)
        gc.enable()
        sys.setswitchinterval(_SWITCH_SECONDS)
