"""What the screen for weights looks like, as pictures that a person has looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.hub_server import HubServer
from support.screens import until
from support.shelves import GB, FirstRun, StillShelf, here, point_at, rows, usual_stock

from mistral_chat.errors import DownloadFailed
from mistral_chat.ui.screens.confirm import ConfirmScreen
from mistral_chat.ui.screens.pick import PickScreen
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


async def behind(pilot: Pilot[Any], first: FirstRun) -> None:
    """The download goes on behind the list."""
    await fetching(pilot, first)
    await pilot.press("b")
    await until(pilot, lambda: first.choosing and "fetching 40 %" in rows(first.app))


async def waited_for(pilot: Pilot[Any], first: FirstRun) -> None:
    """The download goes on behind a chat that has no model yet."""
    await behind(pilot, first)
    first.chat.composer.cursor_blink = False
    await pilot.press("escape")
    await until(pilot, lambda: first.chat.is_current and "⟳ fetching 40%" in rows(first.app))


async def checking(pilot: Pilot[Any], first: FirstRun) -> None:
    point_at(first, "demo")
    await pilot.press("v")
    await until(pilot, lambda: "checking 60 %" in rows(first.app))


async def more(pilot: Pilot[Any], first: FirstRun) -> None:
    point_at(first, "ours")
    await pilot.pause()
    await pilot.press("m")
    await until(pilot, lambda: isinstance(first.app.screen, PickScreen))


async def formats(pilot: Pilot[Any], first: FirstRun) -> None:
    point_at(first, "ours")
    await pilot.pause()
    await pilot.press("f")
    await until(pilot, lambda: isinstance(first.app.screen, PickScreen))


async def removing(pilot: Pilot[Any], first: FirstRun) -> None:
    point_at(first, "ours")
    await pilot.pause()
    await pilot.press("delete")
    await until(pilot, lambda: isinstance(first.app.screen, ConfirmScreen))


@pytest.mark.parametrize("theme", ["mistral-dark", "mistral-light"])
@pytest.mark.parametrize("size", [NARROW, MEDIUM, WIDE], ids=str)
def test_the_first_run(paint: Callable[..., None], size: tuple[int, int], theme: str) -> None:
    paint(size, nothing, theme=theme)


@pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
@pytest.mark.parametrize("act", [fetching, paused, asked], ids=["at-40-percent", "paused", "asked-before-leaving"])
def test_a_download(paint: Callable[..., None], size: tuple[int, int], act: Act) -> None:
    paint(size, act)


@pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
@pytest.mark.parametrize("act", [behind, waited_for], ids=["behind-the-list", "behind-a-chat-without-a-model"])
def test_a_download_in_the_background(paint: Callable[..., None], size: tuple[int, int], act: Act) -> None:
    paint(size, act)


@pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
@pytest.mark.parametrize("act", [checking, more, formats, removing], ids=["checking", "more", "formats", "removing"])
def test_what_can_be_done_with_a_model(paint: Callable[..., None], size: tuple[int, int], act: Act) -> None:
    ours = here(
        "Mistral 7B Instruct v0.3",
        "our folder",
        spec="ours",
        quantization="Q4_K_M",
        size=4_372_812_000,
        needs=(4_372_812_000, 537_000_000, 280_000_000),
        frees=4_372_812_000,
        prompt_format="mistral-v3",
        verified=True,
    )
    stock = usual_stock()
    paint(size, act, stock=replace(stock, weights=(ours, *stock.weights), in_use="demo"))


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
