"""Waiting until an app under test has done what it was asked to.

Textual's pilot takes an app for idle when its process uses no processor for 20 ms. That costs 20 ms or more for each key, and on
a busy machine an app counts as idle that was only not given the processor. Here an app is idle when nothing waits on its event
loop, its screen is drawn, and no thread of the loop's pool works.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import textual.app
import textual.pilot
from textual._context import active_app

if TYPE_CHECKING:
    from textual.app import App

PATIENCE: Final = 1.0
"""Seconds of the event loop's own work, and of waiting for a thread of its pool, after which the app is taken as it is, as by
Textual: the thread may wait for something that the test does later. A busy machine delays the work, and ends no wait."""


async def wait_until_idle(_min_sleep: float = 0.0, _max_sleep: float = 0.0) -> None:
    """Let the app run until it is idle; the arguments are those of Textual's own function, and mean nothing."""
    app = active_app.get()
    loop: Any = asyncio.get_running_loop()
    worked, waited = time.thread_time() + PATIENCE, 0.0
    while time.thread_time() < worked and waited < PATIENCE:
        await asyncio.sleep(0)
        if pool_works(loop):
            began = time.monotonic()
            await asyncio.sleep(0.001)
            waited += time.monotonic() - began
        elif not loop._ready and not draw(app):
            return


def pool_works(loop: Any) -> bool:
    """Whether a thread of the event loop's pool is working; what it found is on the loop when it is not."""
    pool = loop._default_executor
    return pool is not None and (pool._work_queue.qsize() > 0 or pool._idle_semaphore._value < len(pool._threads))


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
