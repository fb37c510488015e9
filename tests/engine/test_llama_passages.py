"""Passages over the real cache: read with one message, gone with its reply, and without a trace once the engine was idle."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.llama_engines import TEXT, cache_of, divergence, engine_of, next_scores, read_all

from mistral_chat.conversation import Passage
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.generation import CancelToken, Completion, History, PromptTurn
from mistral_chat.sampling import Sampling

PASSAGES = (
    Passage(kind="document", text=TEXT, source="harbour.pdf p. 4"),
    Passage(kind="document", text=TEXT[::-1], source="notes.md 12-31"),
)
GREEDY = Sampling(temperature=0, max_tokens=12)


def history(*turns: PromptTurn) -> History:
    return History(conversation="one", system="Be brief.", turns=turns)


def answer(engine: RollingEngine, *turns: PromptTurn) -> tuple[tuple[PromptTurn, ...], Completion]:
    """Answer the last of `turns`; the turns with the reply, and how it ended."""
    done = next(event for event in engine.reply(history(*turns), GREEDY, CancelToken()) if isinstance(event, Completion))
    last = turns[-1]
    reply = PromptTurn(key=last.key, user=last.user, reply=done.text, passages=last.passages)
    return (*turns[:-1], reply), done


def processed(done: Completion) -> int:
    return done.usage.prompt_tokens - done.usage.cached_tokens


@pytest.mark.parametrize("variant", ["v1", "v3", "v7", "tekken", "chatml"])
def test_the_turn_after_passages_costs_no_more_than_its_message(tiny_model: Callable[[str], Path], variant: str) -> None:
    with engine_of(tiny_model(variant), size=2048) as engine:
        turns, _ = answer(engine, PromptTurn(key="a", user=TEXT))
        turns, done = answer(engine, *turns, PromptTurn(key="b", user="What lay quiet?", passages=PASSAGES))
        tokens = sum(engine.count(each.text) for each in PASSAGES)
        assert tokens < processed(done) < tokens + 150
        turns, done = answer(engine, *turns, PromptTurn(key="d", user="And then?"))
        assert processed(done) <= engine.count("And then?") + 64


def test_after_an_idle_moment_the_model_has_no_trace_of_them(demo_model: Path) -> None:
    with engine_of(demo_model, size=1024) as engine, engine_of(demo_model, size=1024) as fresh:
        turns, _ = answer(engine, PromptTurn(key="a", user="Good morning."))
        turns, _ = answer(engine, *turns, PromptTurn(key="b", user="What lay quiet?", passages=PASSAGES))
        read_all(fresh.prefill(history(*turns), CancelToken()))
        probe = fresh.contents.tokens[-1:]
        before = divergence(next_scores(cache_of(fresh), probe), next_scores(cache_of(engine), probe))
        engine.run_idle_tasks(CancelToken())
        after = divergence(next_scores(cache_of(fresh), probe), next_scores(cache_of(engine), probe))
        sys.stdout.write(f"against a fresh prefill: {before:.4f} after the removal, {after:.4f} after an idle moment\n")
        assert after < 0.01
        assert after < before
