"""What background work looks like, as pictures that a person has looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.screens import Stage, drawn, ready, until

from mistral_chat.ui.screens.background import BackgroundScreen

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.pilot import Pilot

SIZES = [(60, 20), (100, 30), (200, 50)]


async def busy(pilot: Pilot[Any], stage: Stage) -> None:
    """A download, a check and a title go on."""
    await ready(pilot, stage)
    begin = stage.screen.background.begin
    fetching = begin("fetching", "Mistral 7B Instruct v0.3 Q4_K_M", cancel=lambda: None, kept="What has arrived is kept.")
    begin("checking", "SmolLM2 135M Instruct (demo) Q4_1", cancel=lambda: None).tell(0.61, "60.0 of 98.4 MB")
    begin("titling", "this conversation", cancel=lambda: None)
    fetching.tell(0.4, "1.75 of 4.37 GB, 12.4 MB/s, 3 min 31 s left")
    await until(pilot, lambda: "⟳ fetching 40%, checking 61%, titling" in drawn(stage))


@pytest.mark.parametrize("theme", ["mistral-dark", "mistral-light"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_list_of_what_goes_on(snap_compare: Callable[..., bool], size: tuple[int, int], theme: str) -> None:
    stage = Stage()
    stage.app.theme = theme

    async def before(pilot: Pilot[Any]) -> None:
        await busy(pilot, stage)
        await pilot.press("alt+z")
        await until(pilot, lambda: isinstance(stage.app.screen, BackgroundScreen) and "1.75 of 4.37 GB" in drawn(stage))

    assert snap_compare(stage.app, terminal_size=size, run_before=before)


def test_the_list_when_everything_has_ended(snap_compare: Callable[..., bool]) -> None:
    stage = Stage()

    async def before(pilot: Pilot[Any]) -> None:
        await busy(pilot, stage)
        await pilot.press("alt+z")
        await until(pilot, lambda: isinstance(stage.app.screen, BackgroundScreen))
        await pilot.press("enter")
        for job in stage.screen.background.jobs:
            stage.screen.background.end(job)
        await until(pilot, lambda: "Stop everything" not in drawn(stage))

    assert snap_compare(stage.app, terminal_size=(60, 20), run_before=before)


@pytest.mark.parametrize("size", SIZES[:2], ids=str)
def test_what_goes_on_in_the_line(snap_compare: Callable[..., bool], size: tuple[int, int]) -> None:
    stage = Stage()

    async def before(pilot: Pilot[Any]) -> None:
        await busy(pilot, stage)
        await pilot.pause()

    assert snap_compare(stage.app, terminal_size=size, run_before=before)
