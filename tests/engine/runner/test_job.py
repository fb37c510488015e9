"""The way of text from the engine's thread to the screen: nothing is lost or late, and not every token wakes the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.echo_engine import EchoEngine
from support.effort import PATIENCE, cases

from mistral_chat.engine.engine_job import PACE, EngineJob
from mistral_chat.errors import EngineFailed
from mistral_chat.generation import CancelToken, Delta, Prefill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def at_work(job: EngineJob[Any]) -> Iterator[None]:
    """Let the job run on a thread of its own, and wait for the thread."""
    thread = threading.Thread(target=job.run, args=(EchoEngine(str),))
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the engine's thread would be stuck"


def gives(*values: Any) -> Callable[[Any], Iterator[Any]]:
    return lambda _: iter(values)


@settings(max_examples=cases(20, 500))
@given(st.lists(st.one_of(st.integers(0, 9).map(lambda n: Delta(str(n))), st.integers(1, 9).map(lambda n: Prefill(n, 9)))))
def test_every_event_arrives_once_and_in_order(values: list[Any]) -> None:
    async def taken() -> list[Any]:
        job = EngineJob(gives(*values), CancelToken())
        with at_work(job):
            return [value async for value in job.values()]

    assert asyncio.run(taken()) == values


async def test_a_fast_model_does_not_wake_the_loop_for_each_token(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, wakings = asyncio.get_running_loop(), 0
    call = loop.call_soon_threadsafe

    def counted(*arguments: Any, **options: Any) -> asyncio.Handle:
        nonlocal wakings
        wakings += 1
        return call(*arguments, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    tokens = [Delta("a") for _ in range(5000)]
    job = EngineJob(gives(*tokens), CancelToken())
    began = time.monotonic()
    with at_work(job):
        assert [value async for value in job.values()] == tokens
    assert wakings <= 3 + (time.monotonic() - began) / PACE, "each waking takes the processor from the model"


async def test_no_token_waits_for_the_next() -> None:
    gate = threading.Event()

    def work(_: Any) -> Iterator[Delta]:
        yield Delta("one")
        yield Delta("two")  # within the rest that follows the first
        assert gate.wait(PATIENCE)
        yield Delta("three")

    job = EngineJob(work, CancelToken())
    with at_work(job):
        async with asyncio.timeout(PATIENCE), aclosing(job.values()) as values:
            assert [(await anext(values)).text, (await anext(values)).text] == ["one", "two"]
            gate.set()
            assert (await anext(values)).text == "three"


async def test_the_first_token_comes_at_once_after_the_prompt_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_chat.engine.engine_job.PACE", 100 * PATIENCE)
    gate = threading.Event()

    def work(_: Any) -> Iterator[Prefill | Delta]:
        yield Prefill(9, 9)
        yield Delta("one")
        assert gate.wait(PATIENCE)
        yield Prefill(9, 9)

    job = EngineJob(work, CancelToken())
    with at_work(job):
        async with asyncio.timeout(PATIENCE), aclosing(job.values()) as values:
            assert [await anext(values), await anext(values)] == [Prefill(9, 9), Delta("one")]
            gate.set()
            assert await anext(values) == Prefill(9, 9), "what is no text waits for nothing"


async def test_progress_inside_a_long_batch_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_chat.engine.engine_job.PROGRESS_SECONDS", 0.001)
    gate = threading.Event()

    def work(_: Any) -> Iterator[Prefill]:
        yield Prefill(32, 1000, seconds_left=0.001, batch=512)
        assert gate.wait(PATIENCE)
        yield Prefill(544, 1000, seconds_left=0.0005, batch=456)

    job = EngineJob(work, CancelToken())
    with at_work(job):
        async with asyncio.timeout(PATIENCE), aclosing(job.values()) as values:
            steps = [await anext(values), await anext(values)]
            assert (steps[1].done, steps[1].total) == (544, 1000), "the bar is frozen while a batch takes seconds"
            gate.set()
            steps += [step async for step in values]
    assert [step.done for step in steps] == sorted(step.done for step in steps), "the bar moves back"
    assert steps[-1].done <= 1000


async def test_a_busy_engine_does_not_starve_the_event_loop() -> None:
    cancel, turns = CancelToken(), 0

    def work(_: Any) -> Iterator[Delta]:
        while not cancel.is_set:
            yield Delta("a")

    async def other() -> None:
        nonlocal turns
        for turns in range(20):  # noqa: B007 (how far it came is what is asked)
            await asyncio.sleep(0)

    job = EngineJob(work, cancel)
    with at_work(job):
        task = asyncio.create_task(other())
        async with asyncio.timeout(PATIENCE), aclosing(job.values()) as values:
            async for _ in values:
                if task.done():
                    break
    assert turns == 19, "keys would wait for the end of the reply"


async def test_leaving_the_stream_stops_the_engine_and_waits() -> None:
    cancel, ended = CancelToken(), threading.Event()

    def work(_: Any) -> Iterator[Delta]:
        yield Delta("one")
        while not cancel.is_set:
            time.sleep(0)
        ended.set()

    job = EngineJob(work, cancel)
    with at_work(job):
        async with aclosing(job.values()) as values:
            await anext(values)
        assert ended.is_set(), "the next message would meet a cache that is still changing"


async def test_an_error_arrives_after_the_text_before_it() -> None:
    def work(_: Any) -> Iterator[Delta]:
        yield Delta("one")
        raise EngineFailed("It broke.")

    job = EngineJob(work, CancelToken())
    with at_work(job):
        async with aclosing(job.values()) as values:
            assert (await anext(values)).text == "one"
            with pytest.raises(EngineFailed, match="It broke"):
                await anext(values)
