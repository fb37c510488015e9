"""What the screen for weights looks like, as pictures that a person has looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.hub_server import HubServer
from support.screens import until
from support.shelves import GB, FirstRun, StillShelf, usual_stock

from mistral_chat.errors import DownloadFailed
from mistral_chat.ui.shelf import Arrival, Stock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from textual.pilot import Pilot

    from mistral_chat.errors import MistralChatError

    Compare = Callable[..., bool]
    Act = Callable[[Pilot[Any], FirstRun], Awaitable[None]]

NARROW, MEDIUM, WIDE = (60, 20), (100, 30), (200, 50)

PART = Arrival(stage="downloading", here=1_749_124_800, total=4_372_812_000, speed=12_400_000, seconds_left=211)
FAILURE = DownloadFailed(
    "huggingface.co does not answer. It was tried 7 times. What has arrived is kept; start the download again to go on."
)


@pytest.fixture
def paint(tmp_path: Path, snap_compare: Compare) -> Callable[..., None]:
    def paint(
        size: tuple[int, int],
        act: Act,
        *,
        stock: Stock | None = None,
        theme: str = "mistral-dark",
        failure: MistralChatError | None = None,
    ) -> None:
        with HubServer() as hub:
            shelf = StillShelf(stock or usual_stock(), PART, failure)
            first = FirstRun(tmp_path, hub, shelf=shelf, model="mistral-7b-instruct-v0.3")
            first.app.theme = theme

            async def before(pilot: Pilot[Any]) -> None:
                await until(pilot, lambda: first.choosing)
                await act(pilot, first)
                await pilot.pause()

            assert snap_compare(first.app, terminal_size=size, run_before=before)

    return paint


async def nothing(pilot: Pilot[Any], first: FirstRun) -> None:
    await until(pilot, lambda: first.weights.status.status.state)


async def fetching(pilot: Pilot[Any], first: FirstRun) -> None:
    await pilot.press("enter")
    await until(pilot, lambda: (arrival := first.weights.fetching.arrival) and arrival.speed)


async def paused(pilot: Pilot[Any], first: FirstRun) -> None:
    await fetching(pilot, first)
    await pilot.press("p")
    await until(pilot, lambda: first.weights._step == "paused")


async def failed(pilot: Pilot[Any], first: FirstRun) -> None:
    await pilot.press("enter")
    await until(pilot, lambda: first.weights._step == "failed")


async def asked(pilot: Pilot[Any], first: FirstRun) -> None:
    await fetching(pilot, first)
    await pilot.press("escape")
    await pilot.pause()


@pytest.mark.parametrize("theme", ["mistral-dark", "mistral-light"])
@pytest.mark.parametrize("size", [NARROW, MEDIUM, WIDE], ids=str)
def test_the_first_run(paint: Callable[..., None], size: tuple[int, int], theme: str) -> None:
    paint(size, nothing, theme=theme)


@pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
@pytest.mark.parametrize("act", [fetching, paused, asked], ids=["at-40-percent", "paused", "asked-before-leaving"])
def test_a_download(paint: Callable[..., None], size: tuple[int, int], act: Act) -> None:
    paint(size, act)


@pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
def test_a_failed_download(paint: Callable[..., None], size: tuple[int, int]) -> None:
    paint(size, failed, failure=FAILURE)


@pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
def test_nothing_fits(paint: Callable[..., None], size: tuple[int, int]) -> None:
    stock = usual_stock()
    weights = tuple(
        replace(
            each,
            fit="too large",
            recommended=each.spec == "demo",
            reason=each.reason.replace("9.0 GB are free.", "0.3 GB are free; it would not load, or crawl."),
        )
        for each in stock.weights
    )
    paint(size, nothing, stock=replace(stock, weights=weights, chosen="demo", memory=3 * GB // 10, disk=2 * GB))


def test_a_download_that_was_begun_and_files_that_cannot_be_used(paint: Callable[..., None]) -> None:
    stock = usual_stock()
    weights = tuple(replace(each, arrived=1_200_000_000) if each.recommended else each for each in stock.weights)
    unusable = (("/home/ada/models/cut.gguf", "the file is cut: its tensors end at 4.1 GB and the file at 2.2 GB."),)
    paint(MEDIUM, nothing, stock=replace(stock, weights=weights, unusable=unusable))


def test_without_colours(paint: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    paint(NARROW, nothing)
