"""The engine's thread: replies stream through, one at a time, and a stop or an error releases every waiter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from support.echo_engine import EchoEngine
from support.effort import PATIENCE
from support.slow_engine import SlowEngine, begun, collect, history

from mistral_chat.engine.thread import EngineThread, RunnerState
from mistral_chat.errors import MessageTooLong
from mistral_chat.generation import CancelToken, Completion, Delta, Event, History
from mistral_chat.sampling import Sampling


async def test_a_reply_streams_through(runner: EngineThread, engine: SlowEngine) -> None:
    engine.let(100)
    events = await collect(runner, history())
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "You said: one two three"
    assert isinstance(events[-1], Completion)
    assert not runner._replies
    assert runner.state is RunnerState.READY


async def test_deltas_come_while_the_engine_still_writes(runner: EngineThread, engine: SlowEngine) -> None:
    engine.let(1)
    async with aclosing(runner.reply(history(), Sampling())) as events:
        async for event in events:
            if isinstance(event, Delta):
                assert runner._replies
                break


async def test_a_stop_ends_the_reply_with_what_it_has(runner: EngineThread, engine: SlowEngine) -> None:
    engine.let(1)
    events: list[Event] = []
    async for event in runner.reply(history(), Sampling()):
        events.append(event)
        if isinstance(event, Delta):
            runner.stop()
    completion = events[-1]
    assert isinstance(completion, Completion)
    assert completion.finish_reason == "cancelled"
    assert completion.text


async def test_stopping_an_idle_engine_does_nothing(runner: EngineThread, engine: SlowEngine) -> None:
    runner.stop()
    engine.let(100)
    assert (await collect(runner, history()))[-1].finish_reason == "stop"  # type: ignore[union-attr]  # the last is a completion


async def test_a_cancelled_task_has_stopped_the_engine_when_it_ends(runner: EngineThread, engine: SlowEngine) -> None:
    engine.let(1)
    task = asyncio.create_task(collect(runner, history(key="left")))
    await begun(engine)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.running == 0, "the engine still writes after the caller left"
    assert not runner._replies


async def test_closing_the_generator_stops_the_engine(runner: EngineThread, engine: SlowEngine) -> None:
    engine.let(1)
    reply = runner.reply(history(key="left"), Sampling())
    async for event in reply:
        if isinstance(event, Delta):
            break
    await reply.aclose()
    assert engine.running == 0, "the engine still writes after the caller left"
    assert engine.cancelled in ([], ["left"])
    assert not runner._replies


async def test_a_task_cancelled_while_drawing_has_stopped_the_engine(runner: EngineThread, engine: SlowEngine) -> None:
    """The screen may be in the middle of showing a delta when the user stops the reply."""
    showing = asyncio.Event()

    async def show() -> None:
        async with aclosing(runner.reply(history(), Sampling())) as events:
            async for event in events:
                if isinstance(event, Delta):
                    showing.set()
                    await asyncio.Event().wait()

    engine.let(1)
    task = asyncio.create_task(show())
    await showing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.running == 0


async def test_the_next_reply_waits_for_the_one_before(runner: EngineThread, engine: SlowEngine) -> None:
    engine.let(100)
    first, second = await asyncio.gather(collect(runner, history("first")), collect(runner, history("second")))
    texts = ["".join(event.text for event in events if isinstance(event, Delta)) for events in (first, second)]
    assert texts == ["You said: first", "You said: second"]
    assert not runner._replies


async def test_a_reply_can_be_stopped_while_another_waits(runner: EngineThread, engine: SlowEngine) -> None:
    first = asyncio.create_task(collect(runner, history(key="first")))
    await begun(engine)
    second = asyncio.create_task(collect(runner, history(key="second")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    runner.stop()
    await asyncio.gather(first, second)
    assert engine.cancelled == ["first", "second"]
    assert not runner._replies


async def test_a_finished_reply_does_not_hide_a_running_one(runner: EngineThread, engine: SlowEngine) -> None:
    first = asyncio.create_task(collect(runner, history(key="first")))
    await begun(engine)
    second = asyncio.create_task(collect(runner, history(key="second")))
    engine.let(5)
    await first
    await begun(engine)
    assert runner._replies
    runner.stop()
    await second
    assert engine.cancelled == ["second"]


async def test_an_engine_error_reaches_the_waiter_and_the_thread_survives(runner: EngineThread, engine: SlowEngine) -> None:
    engine.let(100)
    with pytest.raises(MessageTooLong):
        await collect(runner, history("word " * 5000))
    assert not runner._replies
    assert isinstance((await collect(runner, history()))[-1], Completion)


async def test_an_unexpected_error_reaches_the_waiter_too() -> None:
    class Broken(EchoEngine):
        def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
            raise ZeroDivisionError

    runner = EngineThread(lambda _: Broken())
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ZeroDivisionError):
            await collect(runner, history())
        with pytest.raises(ZeroDivisionError):
            await collect(runner, history())
    runner.close(PATIENCE)
