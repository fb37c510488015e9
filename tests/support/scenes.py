"""Scenes for pictures: how the app is set up, what the user does, and what the screen must then show."""

from __future__ import annotations

import tempfile
import time
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from support.app_harness import (
    AppHarness,
    rendered_rows,
    run,
    send_and_wait,
    send_message,
    until,
    until_answered,
    until_ready,
    until_shown,
)
from support.effort import PATIENCE
from support.pictures import picture
from textual.widgets import Input, TextArea

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from textual.pilot import Pilot


_MOST_LOOKS: Final = 500
"""How often a screen is looked at until it counts as one that moves for ever."""


_TRIES: Final = 50
"""How often a picture that is not the wanted one is taken; some five seconds or more."""


_STILL: Final = 0.02
"""Seconds between two looks at a screen that should not move any more."""

_STILL_LOOKS: Final = 3
"""How often a screen must look as it did before."""


class Step(Protocol):
    """Something that the user does or waits for."""

    async def __call__(self, pilot: Pilot[Any], harness: AppHarness, /) -> None:
        """Do it."""


async def opened(pilot: Pilot[Any], harness: AppHarness) -> None:
    """Begin with the model loaded, and the conversation on the screen read by it."""
    await until_ready(pilot, harness)
    if harness.conversation_id is not None:
        await until(pilot, lambda: harness.chat.ledger and harness.chat.ledger.turns, "it is read")
        await until_ready(pilot, harness)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One state of one screen."""

    name: str
    shows: tuple[str, ...]
    """Texts that are on the screen at every size; without them the picture does not show what its name says."""
    harness: Callable[[], AppHarness] = AppHarness
    start: Step = opened
    """What is waited for before anything is done."""
    steps: tuple[Step, ...] = ()

    async def take(
        self, size: tuple[int, int], themes: Sequence[str], wanted: Callable[[str, str], bool] = lambda _theme, _picture: True
    ) -> dict[str, str]:
        """Play the scene at a size, and take its picture in each of `themes`.

        A picture that is not `wanted` is taken again for a while: a busy machine may be late with something.
        """
        harness = self.harness()
        harness.app.theme = themes[0]
        pictures = {}
        async with run(harness, size) as pilot:
            await self.start(pilot, harness)
            for step in self.steps:
                await step(pilot, harness)
            for theme in themes:
                harness.app.theme = theme
                for _ in range(_TRIES):
                    pictures[theme] = await self._settled(pilot, harness)
                    if wanted(theme, pictures[theme]):
                        break
            harness.loaded.set()
            harness.gate.set()
        return pictures

    async def _settled(self, pilot: Pilot[Any], harness: AppHarness) -> str:
        """The picture, once what the scene shows is there, and nothing moves any more."""
        await see(*self.shows)(pilot, harness)
        for field in harness.app.screen.query(Input):
            field.cursor_blink = False
        for area in harness.app.screen.query(TextArea):
            area.cursor_blink = False
            # A row that was drawn while its cursor was dark is kept, and would be taken for the row with a still one.
            area.notify_style_update()
            area.refresh()
        # What lies behind a dialog, and what a notice moves, is drawn a little later: nothing may have moved for three looks.
        seen, still = picture(harness.app), 0
        for _ in range(_MOST_LOOKS):
            await pilot.pause(_STILL)
            before, seen = seen, picture(harness.app)
            still = still + 1 if seen == before else 0
            if still == _STILL_LOOKS:
                return seen
        raise AssertionError(f"{self.name}: something on the screen moves and does not stop")


def press(*keys: str) -> Step:
    """Press keys by their names."""

    async def step(pilot: Pilot[Any], _harness: AppHarness) -> None:
        await pilot.press(*keys)

    return step


def write(text: str) -> Step:
    """Type where the focus is."""

    async def step(pilot: Pilot[Any], _harness: AppHarness) -> None:
        await pilot.press(*text)

    return step


def send(text: str) -> Step:
    """Send a message or a command, and wait for nothing."""

    async def step(pilot: Pilot[Any], harness: AppHarness) -> None:
        await send_message(pilot, harness, text)

    return step


def ask(text: str) -> Step:
    """Send a message and wait for the end of its reply."""

    async def step(pilot: Pilot[Any], harness: AppHarness) -> None:
        await send_and_wait(pilot, harness, text)

    return step


def draft(text: str) -> Step:
    """Write a draft, and wait until it is weighed."""

    async def step(pilot: Pilot[Any], harness: AppHarness) -> None:
        harness.chat.set_draft(text)
        await until(pilot, lambda: harness.chat.composer.border_subtitle, "the draft is weighed")

    return step


def see(*texts: str) -> Step:
    """Wait until all of `texts` are on the screen."""

    async def step(pilot: Pilot[Any], harness: AppHarness) -> None:
        deadline = time.monotonic() + PATIENCE
        while missing := [text for text in texts if text not in rendered_rows(harness.app)]:
            assert time.monotonic() < deadline, f"never shown: {missing}\n{rendered_rows(harness.app)}"
            await pilot.pause(0.01)

    return step


@contextmanager
def _file(name: str, text: str) -> Iterator[None]:
    """Work in a folder that contains one file."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path(name).write_text(text, encoding="utf-8")
        yield


def attach(name: str, text: str) -> Step:
    """Attach a text file by its path."""

    async def step(pilot: Pilot[Any], harness: AppHarness) -> None:
        with _file(name, text):
            await send_message(pilot, harness, f"/attach {name}")
            await until(pilot, lambda: harness.chat.notice, "it is attached or refused")

    return step


async def replied(pilot: Pilot[Any], harness: AppHarness) -> None:
    """Wait for the end of the reply."""
    await until_answered(pilot, harness)


async def furnish(pilot: Pilot[Any], harness: AppHarness) -> None:
    """Begin as soon as the screen is whole, with a model or without."""
    await until_shown(pilot, harness)


async def anyhow(_pilot: Pilot[Any], _harness: AppHarness) -> None:
    """Begin at once."""
