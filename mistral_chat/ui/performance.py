"""Tunes Python for the app: garbage collection, and the switch between the screen's and the engine's thread."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Final

_THRESHOLDS: Final = (5_000, 5, 20)
"""How seldom garbage is collected, as `gc.set_threshold` takes it. Drawing makes many objects and hardly any garbage: with the
defaults, one key in a hundred waits a tenth of a second for a collection while a reply grows."""

_SWITCH_SECONDS: Final = 0.0005
"""After this time, a thread that draws lets the engine's thread continue, if both need the interpreter. With Python's own five
milliseconds, a model waits that long between two tokens whenever the screen is drawn."""


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
