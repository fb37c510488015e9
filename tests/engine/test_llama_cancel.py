"""Stopping the real engine: at once, and with nothing wrong afterwards."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.effort import cases
from support.llama_engines import GREEDY, TEXT, Talk, cache_of, divergence, engine_of, make_engine, next_scores, read_all

from mistral_chat.engine.llama.context import LlamaContext
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.generation import CancelToken, Completion, Delta, Event, Prefill, PromptTurn
from mistral_chat.sampling import Sampling

STOPS = cases(60, 2000)
"""How many random stops are tried."""


@pytest.fixture(scope="module")
def demo(demo_model: Path) -> Iterator[RollingEngine]:
    engine = make_engine(demo_model, size=1024)
    yield engine
    engine.close()


def test_a_stop_ends_a_reply_within_one_token(tiny_model: Callable[[str], Path]) -> None:
    with engine_of(tiny_model("v7")) as engine:
        cancel = CancelToken()
        after: list[Event] = []
        turn = PromptTurn(key="a", user="Tell me a long story about the sea.")
        for event in engine.reply(Talk(engine).history(turn), Sampling(temperature=0), cancel):
            if cancel.is_set:
                after.append(event)
            elif isinstance(event, Delta):
                cancel.set()
        assert sum(isinstance(event, Delta) for event in after) <= 1
        assert isinstance(after[-1], Completion)
        assert after[-1].finish_reason == "cancelled"
        assert not cache_of(engine).shift_pending


def set_within_a_batch(cancel: CancelToken, cache: LlamaContext, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Set the flag in the second batch, when the engine has looked at it and llama.cpp has not; when each batch began."""
    real, began = cache.decode, list[float]()

    def decode(tokens: Sequence[int], flag: CancelToken | None = None, **how: Any) -> None:
        began.append(time.perf_counter())
        if len(began) == 2:
            cancel.set()
        real(tokens, flag, **how)

    monkeypatch.setattr(cache, "decode", decode)
    return began


def test_a_stop_during_prefill_is_quick(demo: RollingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk(demo)
    talk.say("Good morning.")
    cancel = CancelToken()
    with monkeypatch.context() as patch:
        began = set_within_a_batch(cancel, cache_of(demo), patch)
        events = list(demo.reply(talk.history(PromptTurn(key="long", user=TEXT * 6)), GREEDY, cancel))
    took = time.perf_counter() - began[1]
    sys.stdout.write(f"stopped {took * 1000:.0f} ms after the flag was set\n")
    assert isinstance(events[-1], Completion)
    assert events[-1].finish_reason == "cancelled"
    assert not any(isinstance(event, Delta) for event in events), "a reply began to a message that was stopped"
    last = events[-2]
    assert isinstance(last, Prefill)
    assert last.done < last.total
    assert len(began) == 2, "the stop waited for the whole prompt"
    assert cache_of(demo).n_tokens == len(demo.contents.tokens)
    assert talk.say("Good night.").text


def test_a_stop_is_not_logged_as_an_error(
    demo: RollingEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, cancel = Talk(demo), CancelToken()
    set_within_a_batch(cancel, cache_of(demo), monkeypatch)
    event = list(demo.reply(talk.history(PromptTurn(key="long", user=TEXT * 6)), GREEDY, cancel))[-1]
    assert isinstance(event, Completion)
    assert event.finish_reason == "cancelled"
    assert not [record for record in caplog.records if record.levelname in {"ERROR", "WARNING"}], "the log cries wolf"


def stop_somewhere(engine: RollingEngine, talk: Talk, rng: random.Random, text: str) -> None:
    """Send a message that is stopped at a random moment: before, at an event, after a time, or not at all."""
    cancel = CancelToken()
    turn = PromptTurn(key=f"s{rng.random()}", user=text)
    way = rng.choice(("before", "event", "time", "abandon"))
    at = rng.randrange(1, 12)
    timer = None
    if way == "before":
        cancel.set()
    elif way == "time":
        timer = threading.Timer(rng.random() * 0.03, cancel.set)
        timer.start()
    events = engine.reply(talk.history(turn), Sampling(temperature=0, max_tokens=20), cancel)
    said = []
    for number, event in enumerate(events):
        talk.note(event)
        if isinstance(event, Delta):
            said.append(event.text)
        if number == at and way == "event":
            cancel.set()
        if number == at and way == "abandon":
            events.close()  # type: ignore[attr-defined]  # a generator
            break
    if timer is not None:
        timer.join()
    if reply := "".join(said):
        talk.turns.append(PromptTurn(key=turn.key, user=text, reply=reply))


class Twin:
    """Another cache to which the same is done as to the first one, but for what was stopped."""

    def __init__(self, cache: LlamaContext, twin: LlamaContext, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.twin = cache, twin
        self.todo: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.read = cache.decode
        monkeypatch.setattr(cache, "decode", self.note_read)
        for name in ("remove", "insert", "clear"):
            monkeypatch.setattr(cache, name, self.noting(getattr(cache, name), getattr(twin, name)))

    def note_read(self, tokens: Sequence[int], cancel: CancelToken | None = None, **how: Any) -> None:
        before, noted = self.cache.n_tokens, len(self.todo)
        try:
            self.read(tokens, cancel, **how)
        finally:
            if read := self.cache.n_tokens - before:
                # What is decoded by itself, because a shift is pending, is part of it.
                self.todo[noted:] = [(self.twin.decode, (tokens[:read],))]

    def noting(self, real: Callable[..., None], twin: Callable[..., None]) -> Callable[..., None]:
        def do(*arguments: Any) -> None:
            self.todo.append((twin, arguments))
            real(*arguments)

        return do

    def check(self) -> None:
        """Bring the twin up to date; both think the same of what comes next, but for rounding."""
        for do, arguments in self.todo:
            do(*arguments)
        self.todo.clear()
        assert self.twin.n_tokens == self.cache.n_tokens
        if self.cache.n_tokens < self.cache.size - 2:
            found = next_scores(self.cache, [400, 500])
            assert divergence(next_scores(self.twin, [400, 500]), found) < 0.001, "a stop has spoilt the cache"


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize("variant", ["v7", "v3"])
def test_random_stops_leave_the_cache_correct(
    tiny_model: Callable[[str], Path], variant: str, kv_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    path = tiny_model(variant)
    with engine_of(path, size=512, kv_type=kv_type) as engine, engine_of(path, size=512, kv_type=kv_type) as other:
        talk = Talk(engine, system="You are terse.")
        twin = Twin(cache_of(engine), cache_of(other), monkeypatch)
        sys.stdout.write(f"seed {seed}\n")
        for number in range(STOPS):
            text = f"Message {number}. " + TEXT[: rng.randrange(900)]
            kind = rng.random()
            if kind < 0.6:
                stop_somewhere(engine, talk, rng, text)
            elif kind < 0.7:
                cancel = CancelToken()
                threading.Timer(rng.random() * 0.01, cancel.set).start()
                for _ in engine.prefill(talk.history(), cancel):
                    """Stopped, or not."""
            elif kind < 0.8 and talk.turns:
                del talk.turns[rng.randrange(len(talk.turns))]
            else:
                talk.say(text)
                held = [turn.key for turn in talk.kept()]
                assert [turn.key for turn in engine.contents.turns] == held
            assert cache_of(engine).n_tokens == len(engine.contents.tokens) <= 512
            if number % 8 == 7:
                twin.check()


def test_a_stop_leaves_no_trace_in_the_next_turn(tiny_model: Callable[[str], Path]) -> None:
    path = tiny_model("v7")
    for steps in range(1, 9):
        with engine_of(path) as stopped, engine_of(path) as alone:
            talks = [Talk(stopped, system="You are terse."), Talk(alone, system="You are terse.")]
            for talk in talks:
                talk.say("Name three rivers.")
            cancel = CancelToken()
            for number, _ in enumerate(stopped.reply(talks[0].history(PromptTurn(key="x", user=TEXT)), GREEDY, cancel)):
                if number == steps:
                    cancel.set()
            replies = [talk.say("And three lakes?").text for talk in talks]
            assert replies[0] == replies[1], f"stopped after {steps} events, the model answers something else"


def test_prefilling_is_stopped_by_its_flag(demo: RollingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk(demo)
    talk.turns = [PromptTurn(key="r", user=TEXT * 4, reply="Yes.")]
    cancel = CancelToken()
    set_within_a_batch(cancel, cache_of(demo), monkeypatch)
    steps = list(demo.prefill(talk.history(), cancel))
    assert steps[-1].done < steps[-1].total
    assert cache_of(demo).n_tokens == len(demo.contents.tokens)
    talk.turns = [PromptTurn(key="r", user=TEXT, reply="Yes.")]
    read_all(demo.prefill(talk.history(), CancelToken()))
    assert [turn.key for turn in demo.contents.turns] == ["r"]
