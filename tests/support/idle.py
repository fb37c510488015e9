"""Waiting until an app under test has done what it was asked to.

Textual's pilot takes an app for idle when its process uses no processor for 20 ms. That costs 20 ms or more for each key, and on
a busy machine an app counts as idle that was only not given the processor. Here an app is idle when nothing waits on its event
loop, its screen is drawn, and no thread of the loop's pool works.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import textual.app
import textual.pilot
from textual._context import active_app

if TYPE_CHECKING:
    from textual.app import App

PATIENCE: Final = 1.0
"""Seconds of the event loop's own work after which the app is taken as it is, as by Textual. A busy machine delays the work, and
ends no wait."""
MOST_LOOKS: Final = 1000
"""Looks, a millisecond apart, after which a thread of the loop's pool is taken for one that waits for the test."""

_held: Final[WeakKeyDictionary[Any, int]] = WeakKeyDictionary()
"""How many threads of a loop's pool were waited for in vain: they wait for something that the test does later."""


async def wait_until_idle(_min_sleep: float = 0.0, _max_sleep: float = 0.0) -> None:
    """Let the app run until it is idle; the arguments are those of Textual's own function, and mean nothing."""
    app = active_app.get()
    loop: Any = asyncio.get_running_loop()
    worked, looks = time.thread_time() + PATIENCE, 0
    while time.thread_time() < worked:
        await asyncio.sleep(0)
        working = working_threads(loop)
        held = _held[loop] = working if looks > MOST_LOOKS else min(working, _held.get(loop, 0))
        if working > held:
            await asyncio.sleep(0.001)
            looks += 1
        elif not loop._ready and not draw(app):
            return


def working_threads(loop: Any) -> int:
    """How many threads of the event loop's pool work; what they found is on the loop when they do not."""
    pool = loop._default_executor
    return 0 if pool is None else pool._work_queue.qsize() + len(pool._threads) - pool._idle_semaphore._value


def draw(app: App[Any]) -> bool:
    """Do now what the app does a frame later: take its new size, draw its screen. Whether there was anything."""
    if not app._screen_stack:
        return False
    if app._resize_timer is not None:
        app._check_resize()
        return True
    if app.screen._update_timer._active.is_set():
        app.screen._on_timer_update()
        return True
    return False


def wait_by_state() -> None:
    """Let every pilot wait by the app's state in place of the processor's."""
    for module in (textual.app, textual.pilot):
        module.wait_for_idle = wait_until_idle  # type: ignore[attr-defined]  # Textual lets no one choose it
