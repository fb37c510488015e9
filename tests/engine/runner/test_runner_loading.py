"""Loading reports its progress, and everything that waits for it learns how it ended."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.echo_engine import EchoEngine
from support.effort import PATIENCE
from support.slow_engine import SlowEngine, collect, history

from mistral_chat.engine.thread import EngineThread, LoadProgress, RunnerState
from mistral_chat.errors import EngineError, EngineLoadFailed


async def test_nothing_is_known_before_loading(runner: EngineThread, engine: SlowEngine) -> None:
    assert runner.loaded is None
    assert await runner.wait_ready() == engine.facts
    assert runner.loaded is engine
    runner.start()
    assert runner.state is RunnerState.READY, "starting twice does nothing"


async def test_loading_shows_its_progress() -> None:
    reached, go_on = threading.Event(), threading.Event()

    def load(progress: LoadProgress) -> EchoEngine:
        assert progress(0.5)
        reached.set()
        assert go_on.wait(PATIENCE)
        return EchoEngine()

    runner = EngineThread(load)
    assert runner.state is RunnerState.IDLE
    runner.start()
    await asyncio.to_thread(reached.wait)
    assert (runner.state, runner.progress) == (RunnerState.LOADING, 0.5)
    go_on.set()
    await runner.wait_ready()
    runner.close(PATIENCE)


@pytest.mark.parametrize("error", [EngineLoadFailed, ValueError])
async def test_a_failed_load_is_reported_to_every_waiter(error: type[Exception], tmp_path: object) -> None:
    def load(_: LoadProgress) -> EchoEngine:
        if error is EngineLoadFailed:
            raise EngineError("The file is damaged. Get it again.")
        raise ValueError("what is this")

    runner = EngineThread(load)
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(runner.wait_ready(), collect(runner, history()), return_exceptions=True)
    assert all(isinstance(result, EngineError) for result in results)
    assert runner.state is RunnerState.FAILED
    assert isinstance(runner.error, EngineError)
    with pytest.raises(EngineError):
        await runner.wait_ready()
    if error is ValueError:
        assert isinstance(runner.error.__cause__, ValueError)
        assert "what is this" not in str(runner.error)
    runner.close(PATIENCE)


@pytest.mark.parametrize("obedient", [True, False])
async def test_closing_during_loading_releases_every_waiter(*, obedient: bool) -> None:
    reached, closing = threading.Event(), threading.Event()
    engine = SlowEngine()

    def load(progress: LoadProgress) -> EchoEngine:
        reached.set()
        assert closing.wait(PATIENCE)
        if not progress(0.9) and obedient:
            raise EngineError("The load was given up.")
        return engine

    runner = EngineThread(load)
    waiting = asyncio.create_task(runner.wait_ready())
    await asyncio.to_thread(reached.wait)
    runner.close(timeout=0)
    closing.set()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(EngineError):
            await waiting
    runner._thread.join(PATIENCE)
    assert engine.closed.is_set() is not obedient, "an engine that was loaded after all is closed"
    assert runner.state is RunnerState.CLOSED


async def test_a_cancelled_wait_for_the_load_leaves_the_load_alone() -> None:
    go_on = threading.Event()

    def load(_: LoadProgress) -> EchoEngine:
        assert go_on.wait(PATIENCE)
        return EchoEngine()

    runner = EngineThread(load)
    waiting = asyncio.create_task(runner.wait_ready())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    assert (await runner.wait_ready()).model == "echo"
    runner.close(PATIENCE)
