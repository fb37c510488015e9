"""Five ways in which this version of llama.cpp corrupts a context or ends the process, and that none can be reached."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from support import ask_hostile_state, effort
from support.llama_engines import (
    TEXT,
    Talk,
    cache_of,
    divergence,
    engine_of,
    logits,
    make_engine,
    model_of,
    next_scores,
    read_all,
)
from support.trust import environment

from mistral_chat.engine.kv_cache import DecodeAborted
from mistral_chat.engine.llama import context as module
from mistral_chat.engine.llama.context import LlamaContext
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.generation import CancelToken

NOISE = 0.01
"""Two ways of computing the same thing differ by this many nats at most: rounding, not another meaning."""


@pytest.fixture(scope="module")
def demo(demo_model: Path) -> Iterator[RollingEngine]:
    engine = make_engine(demo_model, size=512)
    yield engine
    engine.close()


@pytest.fixture
def context(demo: RollingEngine) -> LlamaContext:
    found = cache_of(demo)
    found.clear()
    return found


@pytest.fixture(scope="module")
def tokens(demo: RollingEngine) -> list[int]:
    return model_of(demo).vocabulary.tokenize(TEXT)


def cut_cells(context: LlamaContext, tokens: list[int]) -> list[int]:
    """Put `tokens` into `context` and remove some in the middle, so that a shift is pending; returns what is left."""
    context.clear()
    long = tokens[:100] * 2
    for half in (long[:100], long[100:]):
        context.decode(half)
    context.remove(20, 140)
    assert context.shift_pending
    return long[:20] + long[140:]


@pytest.fixture(scope="module")
def undisturbed(demo: RollingEngine, tokens: list[int]) -> list[float]:
    """What the model makes of the last of `tokens`, when the same cut was made and nothing was stopped."""
    context = cache_of(demo)
    cut_cells(context, tokens)
    context.decode(tokens[100:])
    return logits(context)


class AbortAfter:
    """An abort callback that strikes when the graph has been computed up to a number of nodes."""

    def __init__(self, nodes: int) -> None:
        self.asked = 0
        self.nodes = nodes
        self.callback = llama_cpp.ggml_abort_callback(self.ask)

    def ask(self, _flag: Any) -> bool:
        self.asked += 1
        return self.asked > self.nodes


def test_no_snapshot_is_saved_while_a_shift_is_pending(context: LlamaContext, tokens: list[int]) -> None:
    left = cut_cells(context, tokens)
    assert context.save_state() is None, "a state saved now has keys at their old places, and nothing would say so"
    context.decode(tokens[100:101])
    state = context.save_state()
    assert state is not None
    expected = next_scores(context, tokens[101:105])
    context.decode(tokens[101:105])
    assert context.load_state(state, len(left) + 1)
    assert divergence(expected, next_scores(context, tokens[101:105])) < NOISE, "a reopened conversation remembers something else"


def test_a_snapshot_taken_while_a_shift_is_pending_is_correct(demo_model: Path, tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path / "kv", budget=2**30)
    with engine_of(demo_model, size=512, snapshots=folder) as engine:
        talk = Talk(engine, conversation="c", system="You know the sea.")
        for question in ("Where do gulls sleep when it storms?", "What do sailors eat?", "Name a knot, please."):
            talk.say(question)
        del talk.turns[1]
        read_all(engine.prefill(talk.history(), CancelToken()))
        assert cache_of(engine).shift_pending, "the case that this test is about"
        engine.run_idle_tasks(CancelToken())
        expected = next_scores(cache_of(engine), [400, 401])
        held = engine.contents
    with engine_of(demo_model, size=512, snapshots=SnapshotFolder(tmp_path / "kv", budget=2**30)) as engine:
        read_all(engine.prefill(talk.history(), CancelToken()))
        assert engine.contents == held
        assert divergence(expected, next_scores(cache_of(engine), [400, 401])) < NOISE


@pytest.mark.parametrize("nodes", [0, 15, 150])
def test_a_stop_cannot_interrupt_a_shift(
    context: LlamaContext, tokens: list[int], undisturbed: list[float], monkeypatch: pytest.MonkeyPatch, nodes: int
) -> None:
    left = cut_cells(context, tokens)
    strike = AbortAfter(nodes)
    monkeypatch.setattr(module, "_string_length", lambda: strike.callback)
    with pytest.raises(DecodeAborted):
        context.decode(tokens[100:], CancelToken())
    assert context.n_tokens == len(left) + 1, "the one token that settles the move was read, and no more"
    monkeypatch.undo()
    context.decode(tokens[101:])
    assert divergence(undisturbed, logits(context)) < NOISE, "the model now remembers something else than was said"


def test_an_interrupted_shift_corrupts_the_cache(
    context: LlamaContext, tokens: list[int], undisturbed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_cells(context, tokens)
    strike = AbortAfter(15)
    monkeypatch.setattr(module, "_string_length", lambda: strike.callback)
    context.shift_pending = False  # as without the guard
    with pytest.raises(DecodeAborted):
        context.decode(tokens[100:], CancelToken())
    monkeypatch.undo()
    context.decode(tokens[100:])
    assert divergence(undisturbed, logits(context)) > NOISE, "llama.cpp stops moves safely now: the guard in decode() can go"


def test_a_stop_set_before_a_shift_stops_the_rest(context: LlamaContext, tokens: list[int], undisturbed: list[float]) -> None:
    left = cut_cells(context, tokens)
    cancel = CancelToken()
    cancel.set()
    with pytest.raises(DecodeAborted):
        context.decode(tokens[100:], cancel)
    assert not context.shift_pending
    read = context.n_tokens - len(left)
    context.decode(tokens[100 + read :])
    assert divergence(undisturbed, logits(context)) < NOISE


def test_the_abort_callback_is_strlen_itself() -> None:
    strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
    assert ctypes.cast(module._string_length(), ctypes.c_void_p).value == strlen, "Python would be entered at every graph node"


def test_a_stop_works_while_another_thread_keeps_python_busy(context: LlamaContext, tokens: list[int]) -> None:
    stop = threading.Event()
    cancel = CancelToken()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    def read_for_ever() -> None:
        while True:
            context.decode(tokens, cancel)
            context.remove(0, context.n_tokens)

    busy = threading.Thread(target=compute)
    busy.start()
    threading.Timer(0.1, cancel.set).start()
    try:
        with pytest.raises(DecodeAborted):
            read_for_ever()
    finally:
        stop.set()
        busy.join()
    context.clear()
    context.decode(tokens)
    assert context.n_tokens == len(tokens)


def test_a_full_snapshot_restores_bit_identical_logits(context: LlamaContext, tokens: list[int]) -> None:
    context.decode(tokens[:100])
    state = context.save_state()
    assert state is not None
    expected = next_scores(context, tokens[100:105])
    context.clear()
    assert context.load_state(state, 100)
    assert next_scores(context, tokens[100:105]) == expected, "a reopened conversation continues exactly as it would have"


def test_damaged_snapshots_are_refused_or_harmless(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ask_hostile_state.__file__, str(tiny_model("v7")), str(effort.seed()), str(effort.cases(150, 10_000))],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"seed {effort.seed()}: the process died after {lines[-1:]}: {done.stderr[-2000:]}"
    assert lines[-1] == "still works"
    for line in lines[:-1]:
        kind, _, (taken, begin, end) = (*line.partition(": ")[:2], line.rpartition(": ")[2].split())
        assert (taken, begin, end) in {("True", "0", "40"), ("False", "-1", "0")}, f"seed {effort.seed()}: {line}"
        assert taken == "False" or "flip" in kind or "number" in kind, f"seed {effort.seed()}: {line}"


@pytest.mark.parametrize(("asked", "given"), [(256, 256), (300, 512), (1000, 1024)])
def test_the_context_size_is_llama_cpps_own(tiny_model: Callable[[str], Path], asked: int, given: int) -> None:
    with engine_of(tiny_model("v7"), size=asked) as engine:
        assert engine.facts.window == engine.ledger.window == given
