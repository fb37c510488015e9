"""Background downloads and verifications: several at once, each with its own end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast

import pytest
from support.effort import PATIENCE
from support.first_run import offered, usual_listing

from mistral_chat.errors import DownloadFailed
from mistral_chat.model_listing import DownloadProgress, ModelRow
from mistral_chat.models.retry import DownloadPaused
from mistral_chat.models.task import ModelTask
from mistral_chat.session.downloads import Downloads
from mistral_chat.session.tasks import TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mistral_chat.models.service import ModelService

ONE, TWO = offered("Q4_K_M", 100), offered("Q8_0", 200)


class GatedTask(ModelTask):
    """Does half at once and the rest when the gate opens; `trouble` ends it otherwise."""

    def __init__(self, kind: str, row: ModelRow, gate: threading.Event, trouble: Exception | None) -> None:
        self.kind = kind
        super().__init__(row.spec, row.label)
        self._gate, self._trouble = gate, trouble

    @property
    def progress(self) -> DownloadProgress:
        done = self.state == "done"
        return DownloadProgress(
            stage="done" if done else "downloading", bytes=100 if done else 50, total=100, speed=10.0, seconds_left=5.0
        )

    def _work(self) -> None:
        if self._trouble is not None:
            raise self._trouble
        while not self._gate.wait(0.005):
            if self._stop.is_set():
                raise DownloadPaused


class GatedService:
    """Starts gated tasks; what `troubles` names fails."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.troubles: dict[str, Exception] = {}
        self.started: list[str] = []

    def download(self, spec: str) -> GatedTask:
        self.started.append(spec)
        row = next(row for row in (ONE, TWO) if row.spec == spec)
        return GatedTask("downloading", row, self.gate, self.troubles.get(spec))

    def verification(self, row: ModelRow) -> GatedTask:
        return GatedTask("verifying", row, self.gate, None)


class Bench:
    """Downloads with what they need."""

    def __init__(self) -> None:
        self.service = GatedService()
        self.background = TaskRegistry(lambda _text: None)
        self.tasks: list[asyncio.Task[None]] = []
        self.heard: list[tuple[str, str]] = []
        self.downloads = Downloads(
            lambda: cast("ModelService", self.service), spawn=self.spawn, listener=self.listen, tasks=self.background
        )

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def listen(self, task: ModelTask) -> None:
        self.heard.append((task.spec, task.state))

    @property
    def ended(self) -> list[tuple[str, str]]:
        return [(spec, state) for spec, state in self.heard if state != "running"]

    async def until(self, *names: str) -> None:
        """Wait until the work in the background is called so."""
        async with asyncio.timeout(PATIENCE):
            while [job.text for job in self.background.tasks] != list(names):  # noqa: ASYNC110 (the jobs notify nobody)
                await asyncio.sleep(0.001)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_two_models_can_be_downloaded_at_once(bench: Bench) -> None:
    one, two = bench.downloads.start(ONE.spec), bench.downloads.start(TWO.spec)
    assert bench.downloads.start(ONE.spec) is one, "it was started twice"
    await bench.until("downloading 50%", "downloading 50%")
    assert bench.background.tasks[0].detail == "0.0 of 0.0 MB, 0.0 MB/s, 5 s left"
    assert bench.downloads.running == [one, two]
    two.cancel()
    await asyncio.wait_for(bench.tasks[1], 10)
    assert (one.state, two.state) == ("running", "paused")
    assert bench.downloads.newest == TWO.spec, "a paused download is forgotten"
    bench.service.gate.set()
    await asyncio.gather(*bench.tasks)
    assert bench.ended == [(TWO.spec, "paused"), (ONE.spec, "done")]
    assert list(bench.downloads.downloads) == [TWO.spec]
    assert bench.background.tasks == []


async def test_a_paused_or_failed_download_can_be_resumed(bench: Bench) -> None:
    bench.service.troubles[ONE.spec] = DownloadFailed("The hub does not answer.")
    one = bench.downloads.start(ONE.spec)
    await asyncio.gather(*bench.tasks)
    assert (one.state, str(one.error)) == ("failed", "The hub does not answer.")
    bench.service.troubles.clear()
    again = bench.downloads.start(ONE.spec)
    assert bench.downloads.start(ONE.spec) is again
    bench.service.gate.set()
    await asyncio.gather(*bench.tasks)
    assert again.state == "done"
    assert bench.service.started == [ONE.spec, ONE.spec]


async def test_quitting_pauses_every_download_and_waits(bench: Bench) -> None:
    one, two = bench.downloads.start(ONE.spec), bench.downloads.start(TWO.spec)
    bench.downloads.verify(usual_listing().rows[0])
    await bench.until("downloading 50%", "downloading 50%", "verifying 50%")
    await bench.downloads.close()
    assert (one.state, two.state) == ("paused", "paused")
    assert not any((one.alive, two.alive)), "threads outlive the program"
    await asyncio.gather(*bench.tasks)
    assert bench.downloads.verifications == {}


async def test_quitting_during_the_start_transfers_nothing(bench: Bench) -> None:
    task = bench.downloads.start(ONE.spec)
    bench.service.gate.set()
    await bench.downloads.close()
    await asyncio.gather(*bench.tasks)
    task.join(PATIENCE)
    assert task.state == "paused"


async def test_the_listener_is_notified_of_every_change_and_the_end(bench: Bench) -> None:
    heard: list[str] = []
    bench.downloads.start(ONE.spec)
    await bench.until("downloading 50%")
    bench.downloads.listener = lambda task: heard.append(task.state)
    bench.service.gate.set()
    await asyncio.gather(*bench.tasks)
    assert heard[-1] == "done"
    assert bench.ended == [], "the end was reported twice"


async def test_an_unexpected_error_ends_the_download_and_is_raised(bench: Bench) -> None:
    bench.service.troubles[ONE.spec] = ZeroDivisionError("a fault of ours")
    one = bench.downloads.start(ONE.spec)
    with pytest.raises(ZeroDivisionError):
        await asyncio.gather(*bench.tasks)
    assert one.state == "failed"
    assert bench.ended == [(ONE.spec, "failed")]


async def test_a_cancelled_verification_leaves_no_hashing_thread(bench: Bench) -> None:
    row = usual_listing().rows[0]
    bench.downloads.verify(row)
    await bench.until("verifying 50%")
    task = bench.downloads.verifications[row.spec]
    for spawned in bench.tasks:
        spawned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.gather(*bench.tasks)
    task.join(PATIENCE)
    assert (task.state, task.alive) == ("paused", False)
    assert bench.downloads.verifications == {}
