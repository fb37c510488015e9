"""Closing leaves nothing: no waiting reply, no thread, no traceback on the screen."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.echo_engine import EchoEngine
from support.effort import PATIENCE
from support.slow_engine import SlowEngine, begun, collect, history

from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import EngineError, EngineFailed
from mistral_chat.generation import Completion, Prefill
from mistral_chat.sampling import Sampling


async def test_a_closed_runner_refuses_replies(runner: EngineThread, engine: SlowEngine) -> None:
    await runner.wait_ready()
    runner.close(PATIENCE)
    assert engine.closed.is_set()
    assert runner.loaded is None
    with pytest.raises(EngineError):
        await collect(runner, history())
    runner.close(PATIENCE)


async def test_a_runner_closed_before_its_start_refuses_too() -> None:
    runner = EngineThread(lambda _: EchoEngine())
    runner.close()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(EngineError):
            await collect(runner, history())


async def test_closing_stops_the_current_reply(runner: EngineThread, engine: SlowEngine) -> None:
    task = asyncio.create_task(collect(runner, history(key="cut")))
    await begun(engine)
    await asyncio.to_thread(runner.close, PATIENCE)
    assert engine.closed.is_set()
    events = await task
    assert isinstance(events[-1], Completion)
    assert events[-1].finish_reason == "cancelled"


async def test_closing_stops_queued_replies(runner: EngineThread, engine: SlowEngine) -> None:
    tasks = [asyncio.create_task(collect(runner, history(key=key))) for key in ("first", "second", "third")]
    await begun(engine)
    await asyncio.to_thread(runner.close, PATIENCE)
    for events in await asyncio.gather(*tasks):
        assert isinstance(events[-1], Completion)
    assert engine.closed.is_set()


def test_two_loops_can_use_one_engine_one_after_the_other() -> None:
    runner = EngineThread(lambda _: EchoEngine())
    for _ in range(2):
        assert isinstance(asyncio.run(collect(runner, history()))[-1], Completion)
    runner.close(PATIENCE)


def test_a_closed_event_loop_stops_its_reply() -> None:
    engine = SlowEngine()
    runner = EngineThread(lambda _: engine)
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        reply = runner.reply(history(), Sampling())
        assert isinstance(await anext(reply), Prefill)
        left.append(reply)

    left: list[object] = []
    loop.run_until_complete(begin())
    loop.close()
    engine.let(1)
    runner.close(PATIENCE)
    assert not runner._thread.is_alive(), "the engine writes for a loop that is gone"
    left.clear()


def test_an_error_while_closing_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A traceback on standard error would end up in the middle of the screen."""

    class Stubborn(EchoEngine):
        def close(self) -> None:
            raise EngineFailed("It would not let go.")

    runner = EngineThread(lambda _: Stubborn())
    assert isinstance(asyncio.run(collect(runner, history()))[-1], Completion)
    runner.close(PATIENCE)
    assert "EngineFailed" in caplog.text


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    for _ in range(3):
        runner = EngineThread(lambda _: EchoEngine())
        asyncio.run(collect(runner, history()))
        runner.close(PATIENCE)
    assert threading.active_count() == before
