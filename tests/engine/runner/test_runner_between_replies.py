"""Between replies: prefilling gives way to requests, and idle tasks run when there are none."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.echo_engine import EchoEngine
from support.effort import PATIENCE
from support.slow_engine import SlowEngine, begun, collect, history

from mistral_chat.engine import thread as room
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import EngineFailed
from mistral_chat.generation import CancelToken, Completion


async def test_prefilling_yields_to_a_reply(runner: EngineThread, engine: SlowEngine) -> None:
    async def ahead() -> int:
        return len([step async for step in runner.prefill(history())])

    task = asyncio.create_task(ahead())
    await asyncio.to_thread(engine.ahead.wait)
    reply = asyncio.create_task(collect(runner, history("hello")))
    assert await task == 1
    assert engine.cancelled == ["ahead"]
    engine.let(100)
    assert isinstance((await reply)[-1], Completion)


async def test_nothing_is_prefilled_during_a_reply(runner: EngineThread, engine: SlowEngine) -> None:
    reply = asyncio.create_task(collect(runner, history()))
    await begun(engine)
    assert [step async for step in runner.prefill(history())] == []
    assert not engine.ahead.is_set()
    runner.stop()
    await reply


async def test_a_newer_draft_stops_prefilling_the_older_one(runner: EngineThread, engine: SlowEngine) -> None:
    async def ahead() -> int:
        return len([step async for step in runner.prefill(history())])

    first = asyncio.create_task(ahead())
    await asyncio.to_thread(engine.ahead.wait)
    second = asyncio.create_task(ahead())
    await first
    assert engine.cancelled == ["ahead"]
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert engine.running == 0


async def test_failed_idle_tasks_leave_the_engine_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving a KV state may fail. The chat continues without it."""

    class Restless(EchoEngine):
        rested = threading.Event()

        def run_idle_tasks(self, cancel: CancelToken) -> None:
            self.rested.set()
            raise EngineFailed("The state could not be saved.")

    monkeypatch.setattr(room, "IDLE_SECONDS", 0.01)
    engine = Restless()
    runner = EngineThread(lambda _: engine)
    async with asyncio.timeout(PATIENCE):
        await runner.wait_ready()
        await asyncio.to_thread(engine.rested.wait)
        assert isinstance((await collect(runner, history()))[-1], Completion)
    runner.close(PATIENCE)
    assert not runner._thread.is_alive()


async def test_idle_tasks_run_once_after_an_idle_moment(
    runner: EngineThread, engine: SlowEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "IDLE_SECONDS", 0.01)
    await runner.wait_ready()
    await asyncio.to_thread(engine.rested.wait)
    assert engine.rests == 1
    engine.rested.clear()
    engine.let(100)
    await collect(runner, history())
    await asyncio.to_thread(engine.rested.wait)
    assert engine.rests == 2
