"""The engine's thread: one piece of work at a time, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from mistral_chat.engine import runner as room
from mistral_chat.engine.echo import EchoEngine
from mistral_chat.engine.runner import LoadProgress, Runner, RunnerState
from mistral_chat.errors import EngineError, EngineFailed, EngineLoadFailed, MessageTooLong
from mistral_chat.generation import Cancel, Completion, Delta, Event, History, Prefill, PromptTurn, Sampling

PATIENCE = 10.0
"""Seconds after which a test counts as hung."""


def history(text: str = "one two three", key: str = "t") -> History:
    return History(turns=(PromptTurn(key=key, user=text),))


class SlowEngine(EchoEngine):
    """Writes a reply only as fast as it is let, and says what it is doing."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.running = 0
        self.most_running = 0
        self.threads: set[int] = set()
        self.rests = 0
        self.rested = threading.Event()
        self.closed = threading.Event()
        self.cancelled: list[str] = []
        self.ahead = threading.Event()

    def reply(self, history: History, sampling: Sampling, cancel: Cancel) -> Iterator[Event]:
        self._enter()
        try:
            for event in super().reply(history, sampling, cancel):
                if isinstance(event, Delta):
                    while not self.go_on.acquire(timeout=0.005) and not cancel.is_set:
                        """Wait for the test or for a stop."""
                if isinstance(event, Completion) and event.finish_reason == "cancelled":
                    self.cancelled.append(history.turns[-1].key)
                yield event
        finally:
            self.running -= 1

    def read_ahead(self, history: History, cancel: Cancel) -> Iterator[Prefill]:
        self._enter()
        try:
            self.ahead.set()
            yield Prefill(0, 100)
            while not cancel.is_set and not self.go_on.acquire(timeout=0.005):
                """Read for as long as nobody asks for anything."""
            if cancel.is_set:
                self.cancelled.append("ahead")
        finally:
            self.running -= 1

    def rest(self) -> None:
        self.threads.add(threading.get_ident())
        self.rests += 1
        self.rested.set()

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed.set()

    def let(self, deltas: int) -> None:
        self.go_on.release(deltas)

    def _enter(self) -> None:
        self.threads.add(threading.get_ident())
        self.running += 1
        self.began.release()
        self.most_running = max(self.most_running, self.running)


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
async def runner(engine: SlowEngine) -> AsyncIterator[Runner]:
    """A runner whose thread must be gone after the test."""
    runner = Runner(lambda _: engine)
    async with asyncio.timeout(PATIENCE):
        yield runner
    runner.close(timeout=PATIENCE)
    assert not runner._thread.is_alive(), "the engine's thread lives on"
    assert len(engine.threads) <= 1, "the engine was touched from two threads"
    assert engine.most_running <= 1, "two pieces of work ran at a time"


async def collect(runner: Runner, asked: History) -> list[Event]:
    return [event async for event in runner.reply(asked, Sampling())]


async def begun(engine: SlowEngine) -> None:
    """Wait until the engine begins one more piece of work."""
    assert await asyncio.to_thread(engine.began.acquire, timeout=PATIENCE)


async def test_a_reply_streams_through(runner: Runner, engine: SlowEngine) -> None:
    engine.let(100)
    events = await collect(runner, history())
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "You said: one two three"
    assert isinstance(events[-1], Completion)
    assert not runner.busy
    assert runner.state is RunnerState.READY


async def test_deltas_come_while_the_engine_still_writes(runner: Runner, engine: SlowEngine) -> None:
    engine.let(1)
    async with aclosing(runner.reply(history(), Sampling())) as events:
        async for event in events:
            if isinstance(event, Delta):
                assert runner.busy
                break


async def test_before_it_is_loaded_nothing_is_known(runner: Runner, engine: SlowEngine) -> None:
    assert (runner.facts, runner.ledger, runner.count("a b"), runner.limits("a b")) == (None, None, None, None)
    facts = await runner.wait_ready()
    assert (runner.facts, runner.ledger, runner.count("a b")) == (facts, engine.ledger, 2)
    runner.start()
    assert runner.state is RunnerState.READY, "starting twice does nothing"


async def test_a_stop_ends_the_reply_with_what_it_has(runner: Runner, engine: SlowEngine) -> None:
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


async def test_stopping_when_nothing_runs_does_nothing(runner: Runner, engine: SlowEngine) -> None:
    runner.stop()
    engine.let(100)
    assert (await collect(runner, history()))[-1].finish_reason == "stop"  # type: ignore[union-attr]  # the last is a completion


async def test_a_cancelled_task_has_stopped_the_engine_when_it_ends(runner: Runner, engine: SlowEngine) -> None:
    engine.let(1)
    task = asyncio.create_task(collect(runner, history(key="left")))
    await begun(engine)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.running == 0, "the engine still writes for somebody who left"
    assert not runner.busy


async def test_a_closed_generator_has_stopped_the_engine_when_it_is_closed(runner: Runner, engine: SlowEngine) -> None:
    engine.let(1)
    reply = runner.reply(history(key="left"), Sampling())
    async for event in reply:
        if isinstance(event, Delta):
            break
    await reply.aclose()
    assert engine.running == 0, "the engine still writes for somebody who left"
    assert engine.cancelled in ([], ["left"])
    assert not runner.busy


async def test_a_task_that_is_cancelled_while_it_draws_has_stopped_the_engine(runner: Runner, engine: SlowEngine) -> None:
    """The screen may be in the middle of showing a delta when a person stops the reply."""
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


async def test_the_next_reply_waits_for_the_one_before(runner: Runner, engine: SlowEngine) -> None:
    engine.let(100)
    first, second = await asyncio.gather(collect(runner, history("first")), collect(runner, history("second")))
    texts = ["".join(event.text for event in events if isinstance(event, Delta)) for events in (first, second)]
    assert texts == ["You said: first", "You said: second"]
    assert not runner.busy


async def test_a_reply_is_stopped_though_another_waits_behind_it(runner: Runner, engine: SlowEngine) -> None:
    first = asyncio.create_task(collect(runner, history(key="first")))
    await begun(engine)
    second = asyncio.create_task(collect(runner, history(key="second")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    runner.stop()
    await asyncio.gather(first, second)
    assert engine.cancelled == ["first", "second"]
    assert not runner.busy


async def test_a_finished_reply_does_not_hide_one_that_runs(runner: Runner, engine: SlowEngine) -> None:
    first = asyncio.create_task(collect(runner, history(key="first")))
    await begun(engine)
    second = asyncio.create_task(collect(runner, history(key="second")))
    engine.let(5)
    await first
    await begun(engine)
    assert runner.busy
    runner.stop()
    await second
    assert engine.cancelled == ["second"]


async def test_reading_ahead_gives_way_to_a_reply(runner: Runner, engine: SlowEngine) -> None:
    async def ahead() -> int:
        return len([step async for step in runner.read_ahead(history())])

    task = asyncio.create_task(ahead())
    await asyncio.to_thread(engine.ahead.wait)
    reply = asyncio.create_task(collect(runner, history("hello")))
    assert await task == 1
    assert engine.cancelled == ["ahead"]
    engine.let(100)
    assert isinstance((await reply)[-1], Completion)


async def test_nothing_is_read_ahead_while_a_reply_is_written(runner: Runner, engine: SlowEngine) -> None:
    reply = asyncio.create_task(collect(runner, history()))
    await begun(engine)
    assert [step async for step in runner.read_ahead(history())] == []
    assert not engine.ahead.is_set()
    runner.stop()
    await reply


async def test_a_newer_draft_stops_reading_the_older_one(runner: Runner, engine: SlowEngine) -> None:
    async def ahead() -> int:
        return len([step async for step in runner.read_ahead(history())])

    first = asyncio.create_task(ahead())
    await asyncio.to_thread(engine.ahead.wait)
    second = asyncio.create_task(ahead())
    await first
    assert engine.cancelled == ["ahead"]
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert engine.running == 0


async def test_an_error_of_the_engine_reaches_who_waits_and_the_thread_goes_on(runner: Runner, engine: SlowEngine) -> None:
    engine.let(100)
    with pytest.raises(MessageTooLong):
        await collect(runner, history("word " * 5000))
    assert not runner.busy
    assert isinstance((await collect(runner, history()))[-1], Completion)


async def test_an_unforeseen_error_reaches_who_waits_as_well() -> None:
    class Broken(EchoEngine):
        def reply(self, history: History, sampling: Sampling, cancel: Cancel) -> Iterator[Event]:
            raise ZeroDivisionError

    runner = Runner(lambda _: Broken())
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ZeroDivisionError):
            await collect(runner, history())
        with pytest.raises(ZeroDivisionError):
            await collect(runner, history())
    runner.close(PATIENCE)


async def test_failed_upkeep_does_not_take_the_engine_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving a KV state may fail. The chat goes on without it."""

    class Restless(EchoEngine):
        rested = threading.Event()

        def rest(self) -> None:
            self.rested.set()
            raise EngineFailed("The state could not be saved.")

    monkeypatch.setattr(room, "REST_AFTER", 0.01)
    engine = Restless()
    runner = Runner(lambda _: engine)
    async with asyncio.timeout(PATIENCE):
        await runner.wait_ready()
        await asyncio.to_thread(engine.rested.wait)
        assert isinstance((await collect(runner, history()))[-1], Completion)
    runner.close(PATIENCE)
    assert not runner._thread.is_alive()


async def test_the_engine_rests_once_when_nothing_was_asked_for_a_while(
    runner: Runner, engine: SlowEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "REST_AFTER", 0.01)
    await runner.wait_ready()
    await asyncio.to_thread(engine.rested.wait)
    assert engine.rests == 1
    engine.rested.clear()
    engine.let(100)
    await collect(runner, history())
    await asyncio.to_thread(engine.rested.wait)
    assert engine.rests == 2


# Loading


async def test_loading_shows_its_progress() -> None:
    reached, go_on = threading.Event(), threading.Event()

    def load(progress: LoadProgress) -> EchoEngine:
        assert progress(0.5)
        reached.set()
        assert go_on.wait(PATIENCE)
        return EchoEngine()

    runner = Runner(load)
    assert runner.state is RunnerState.IDLE
    runner.start()
    await asyncio.to_thread(reached.wait)
    assert (runner.state, runner.progress) == (RunnerState.LOADING, 0.5)
    go_on.set()
    await runner.wait_ready()
    runner.close(PATIENCE)


@pytest.mark.parametrize("error", [EngineLoadFailed, ValueError])
async def test_a_failed_load_is_told_to_everybody_who_waits(error: type[Exception], tmp_path: object) -> None:
    def load(_: LoadProgress) -> EchoEngine:
        if error is EngineLoadFailed:
            raise EngineError("The file is damaged. Get it again.")
        raise ValueError("what is this")

    runner = Runner(load)
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
async def test_closing_while_it_loads_lets_everybody_go(*, obedient: bool) -> None:
    reached, closing = threading.Event(), threading.Event()
    engine = SlowEngine()

    def load(progress: LoadProgress) -> EchoEngine:
        reached.set()
        assert closing.wait(PATIENCE)
        if not progress(0.9) and obedient:
            raise EngineError("The load was given up.")
        return engine

    runner = Runner(load)
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

    runner = Runner(load)
    waiting = asyncio.create_task(runner.wait_ready())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    assert (await runner.wait_ready()).model == "echo"
    runner.close(PATIENCE)


# Closing


async def test_after_it_is_closed_a_reply_is_refused(runner: Runner, engine: SlowEngine) -> None:
    await runner.wait_ready()
    runner.close(PATIENCE)
    assert engine.closed.is_set()
    assert runner.facts is None
    with pytest.raises(EngineError):
        await collect(runner, history())
    runner.close(PATIENCE)


async def test_a_runner_that_was_closed_before_it_began_refuses_too() -> None:
    runner = Runner(lambda _: EchoEngine())
    runner.close()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(EngineError):
            await collect(runner, history())


async def test_closing_stops_the_reply_that_is_written(runner: Runner, engine: SlowEngine) -> None:
    task = asyncio.create_task(collect(runner, history(key="cut")))
    await begun(engine)
    await asyncio.to_thread(runner.close, PATIENCE)
    assert engine.closed.is_set()
    events = await task
    assert isinstance(events[-1], Completion)
    assert events[-1].finish_reason == "cancelled"


async def test_closing_stops_the_replies_that_wait_as_well(runner: Runner, engine: SlowEngine) -> None:
    tasks = [asyncio.create_task(collect(runner, history(key=key))) for key in ("first", "second", "third")]
    await begun(engine)
    await asyncio.to_thread(runner.close, PATIENCE)
    for events in await asyncio.gather(*tasks):
        assert isinstance(events[-1], Completion)
    assert engine.closed.is_set()


def test_two_loops_can_use_one_engine_one_after_the_other() -> None:
    runner = Runner(lambda _: EchoEngine())
    for _ in range(2):
        assert isinstance(asyncio.run(collect(runner, history()))[-1], Completion)
    runner.close(PATIENCE)


def test_a_loop_that_is_gone_stops_the_reply_that_was_for_it() -> None:
    engine = SlowEngine()
    runner = Runner(lambda _: engine)
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

    runner = Runner(lambda _: Stubborn())
    assert isinstance(asyncio.run(collect(runner, history()))[-1], Completion)
    runner.close(PATIENCE)
    assert "EngineFailed" in caplog.text


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    for _ in range(3):
        runner = Runner(lambda _: EchoEngine())
        asyncio.run(collect(runner, history()))
        runner.close(PATIENCE)
    assert threading.active_count() == before
