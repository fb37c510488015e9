"""Putting tokens into the middle of the real context: what follows is not read again, and the model hardly knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from support.llama_engines import TEXT, cache_of, divergence, make_engine, model_of, next_scores

from mistral_chat.engine.kv_cache import DecodeAborted
from mistral_chat.engine.llama.context import SCRATCH, LlamaContext
from mistral_chat.generation import CancelToken


@pytest.fixture(scope="module", params=["f16", "q8_0"])
def demo(demo_model: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    engine = make_engine(demo_model, size=512, kv_type=request.param)
    yield engine
    engine.close()


@pytest.fixture
def context(demo: Any) -> LlamaContext:
    found = cache_of(demo)
    found.clear()
    return found


@pytest.fixture
def parts(demo: Any) -> tuple[list[int], list[int], list[int], list[int]]:
    """The beginning, the old middle, the new middle, and what follows."""
    vocabulary = model_of(demo).vocabulary
    text = vocabulary.tokenize(TEXT)
    return text[:40], vocabulary.tokenize(" A whole sentence that will go."), vocabulary.tokenize(" Rain fell."), text[40:]


def test_an_insertion_is_close_to_a_full_prefill(
    context: LlamaContext, parts: tuple[list[int], list[int], list[int], list[int]]
) -> None:
    before, old, new, after = parts
    probe = after[-3:]
    after = after[:-3]
    context.decode(before + new + after)
    fresh = next_scores(context, probe)
    context.clear()
    context.decode(before + old + after)
    context.remove(len(before), len(before) + len(old))
    context.insert(len(before), new)
    assert (context.pos_min, context.n_tokens) == (0, len(before + new + after)), "positions run without a gap"
    assert llama_cpp.llama_memory_seq_pos_max(context._memory, SCRATCH) == -1, "nothing is left in the second sequence"
    assert divergence(fresh, next_scores(context, probe)) < 0.05


def test_an_edited_cache_can_be_saved_and_restored(
    context: LlamaContext, parts: tuple[list[int], list[int], list[int], list[int]]
) -> None:
    before, old, new, after = parts
    context.decode(before + old + after)
    context.remove(len(before), len(before) + len(old))
    context.insert(len(before), new)
    state = context.save_state()
    assert state is not None, "the splice's own read settles the move"
    expected = next_scores(context, after[:4])
    length = context.n_tokens
    context.clear()
    assert context.load_state(state, length)
    found = next_scores(context, after[:4])
    assert divergence(expected, found) < 1e-2
    assert max(range(len(found)), key=found.__getitem__) == max(range(len(expected)), key=expected.__getitem__)


def test_recomputed_tokens_match_a_fresh_prefill(
    context: LlamaContext, parts: tuple[list[int], list[int], list[int], list[int]]
) -> None:
    before, old, _, after = parts
    after, probe = after[:-3], after[-3:]
    context.decode(before + after)
    fresh = next_scores(context, probe)
    context.clear()
    context.decode(before + old + after)
    context.remove(len(before), len(before) + len(old))
    removed = divergence(fresh, next_scores(context, probe))
    context.recompute(len(before), after[:50])
    context.recompute(len(before) + 50, after[50:], CancelToken())
    assert (context.pos_min, context.n_tokens) == (0, len(before + after))
    assert llama_cpp.llama_memory_seq_pos_max(context._memory, SCRATCH) == -1, "nothing is left in the second sequence"
    # The same tokens in other cells add up in another order, which alone makes 0.0025 of the demo.
    assert divergence(fresh, next_scores(context, probe)) < min(removed / 2, 0.01)


def test_a_stop_while_recomputing_changes_nothing(
    context: LlamaContext, parts: tuple[list[int], list[int], list[int], list[int]]
) -> None:
    before, _, _, after = parts
    context.decode(before + after)
    expected = next_scores(context, [400, 500])
    cancel = CancelToken()
    cancel.set()
    with pytest.raises(DecodeAborted):
        context.recompute(len(before), after, cancel)
    assert (context.pos_min, context.n_tokens) == (0, len(before + after))
    assert llama_cpp.llama_memory_seq_pos_max(context._memory, SCRATCH) == -1
    assert divergence(expected, next_scores(context, [400, 500])) < 1e-6


def test_many_insertions_leak_no_cells(context: LlamaContext, parts: tuple[list[int], list[int], list[int], list[int]]) -> None:
    before, _, new, after = parts
    context.decode(before + after)
    for _ in range(20):
        context.insert(len(before), new)
        context.remove(len(before), len(before) + len(new))
    filler = (before + after) * 8
    left = context.size - context.n_tokens
    for start in range(0, left, 128):
        context.decode(filler[start : min(start + 128, left)])
    assert context.n_tokens == context.size, "a splice leaked context of the window"
