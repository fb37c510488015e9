"""What is fetched and checked beside the chat: several things at once, each with its own end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from support.first_run import StillShelf, offered, usual_stock

from mistral_chat.errors import DownloadFailed
from mistral_chat.ui.background import Background
from mistral_chat.ui.errands import Check, Download, Errands
from mistral_chat.ui.shelf import Arrival

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

ONE, TWO = offered("Q4_K_M", 100), offered("Q8_0", 200)


class GatedShelf(StillShelf):
    """Fetches half at once and the rest when the gate opens; what `troubles` names ends otherwise."""

    def __init__(self) -> None:
        super().__init__(usual_stock())
        self.gate = threading.Event()
        self.troubles: dict[str, Exception] = {}
        self.begun: list[str] = []

    def fetch(self, spec: str, stop: threading.Event) -> Iterator[Arrival]:
        self.begun.append(spec)
        yield Arrival(stage="asking", here=0)
        yield Arrival(stage="downloading", here=50, total=100, speed=10.0, seconds_left=5.0)
        if spec in self.troubles:
            raise self.troubles[spec]
        while not self.gate.wait(0.005) and not stop.is_set():
            pass
        yield Arrival(stage="paused" if stop.is_set() else "done", here=50 if stop.is_set() else 100, total=100)


class Bench:
    """Errands with what they stand on."""

    def __init__(self) -> None:
        self.shelf = GatedShelf()
        self.background = Background(lambda _text: None)
        self.tasks: list[asyncio.Task[None]] = []
        self.ended: list[Download | Check] = []
        self.errands = Errands(self.shelf, self.background, self.begin, self.ended.append)

    def begin(self, errand: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.ensure_future(errand))

    async def until(self, *names: str) -> None:
        """Wait until what goes on is called so."""
        async with asyncio.timeout(10):
            while [job.text for job in self.background.jobs] != list(names):  # noqa: ASYNC110 (the jobs tell nobody of themselves)
                await asyncio.sleep(0.001)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_two_models_are_fetched_at_once_and_each_comes_to_its_end(bench: Bench) -> None:
    one, two = bench.errands.fetch(ONE), bench.errands.fetch(TWO)
    assert bench.errands.fetch(ONE) is one, "it was begun twice"
    await bench.until("fetching 50%", "fetching 50%")
    assert one.detail == "0.0 of 0.0 MB, 0.0 MB/s, 5 s left"
    two.stop.set()
    await two.ended.wait()
    assert (one.state, two.state) == ("running", "paused")
    assert bench.errands.last == TWO.spec
    bench.shelf.gate.set()
    await asyncio.gather(*bench.tasks)
    assert one.state == "done"
    assert bench.ended == [two, one]
    assert bench.background.jobs == []


async def test_what_was_paused_or_has_failed_can_go_on(bench: Bench) -> None:
    bench.shelf.troubles[ONE.spec] = DownloadFailed("The hub does not answer.")
    one = bench.errands.fetch(ONE)
    await asyncio.gather(*bench.tasks)
    assert (one.state, one.problem[1]) == ("failed", "The hub does not answer.")
    bench.shelf.troubles.clear()
    bench.errands.resume(one)
    bench.errands.resume(one)
    bench.shelf.gate.set()
    await asyncio.gather(*bench.tasks)
    assert one.state == "done"
    assert bench.shelf.begun == [ONE.spec, ONE.spec]


async def test_leaving_pauses_everything_and_waits_for_it(bench: Bench) -> None:
    one, two = bench.errands.fetch(ONE), bench.errands.fetch(TWO)
    bench.errands.check(usual_stock().weights[0])
    await bench.until("fetching 50%", "fetching 50%", "checking 60%")
    await bench.errands.leave()
    assert (one.state, two.state) == ("paused", "paused")
    assert bench.errands.checks == {}
    await asyncio.gather(*bench.tasks)


async def test_who_watches_hears_of_every_change_and_of_the_end(bench: Bench) -> None:
    heard: list[tuple[int, str]] = []
    bench.errands.watch = lambda errand: (
        heard.append((errand.arrival.here, errand.state)) if isinstance(errand, Download) else None
    )
    bench.errands.fetch(ONE)
    bench.shelf.gate.set()
    await asyncio.gather(*bench.tasks)
    assert heard == [(0, "running"), (50, "running"), (100, "done")]
    assert bench.ended == [], "it was told twice"


async def test_an_error_that_nobody_foresaw_is_no_download_that_runs_for_ever(bench: Bench) -> None:
    bench.shelf.troubles[ONE.spec] = ZeroDivisionError("a fault of ours")
    one = bench.errands.fetch(ONE)
    with pytest.raises(ZeroDivisionError):
        await asyncio.gather(*bench.tasks)
    assert one.state == "failed"
    assert "What has arrived is kept" in one.problem[1]


async def test_a_check_that_is_ended_from_outside_leaves_no_thread_that_hashes(bench: Bench) -> None:
    bench.errands.check(usual_stock().weights[0])
    await bench.until("checking 60%")
    (check,) = bench.errands.checks.values()
    for task in bench.tasks:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.gather(*bench.tasks)
    assert check.stop.is_set()
    assert bench.errands.checks == {}
