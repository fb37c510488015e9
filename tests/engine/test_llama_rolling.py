"""The context rolls with real vocabularies: the cache contains exactly the prompt of the kept turns, and only new text is
decoded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.llama_engines import Talk, cache_of, engine_of

from mistral_chat.engine.encoding.format import Encoding
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.engine.window import plan_cache_edits
from mistral_chat.generation import PromptTurn
from mistral_chat.sampling import Sampling

LONG_SYSTEM = "You are a patient guide who knows every harbour between Lisbon and Riga. " * 6
SUBJECTS = (
    "gulls",
    "the tide, and why it comes twice a day",
    "ropes, knots and splices",
    "lighthouses",
    "déjà vu",
    "「港」",
    "🐟🐠",
)
WARM = Sampling(temperature=0.9, seed=7, max_tokens=24)

CASES = (
    ("v1", ""),
    ("v1", "You are terse."),
    ("v1", LONG_SYSTEM),
    ("v3", ""),
    ("v3", "You are terse."),
    ("v3", LONG_SYSTEM),
    ("v7", "You are terse."),
    ("tekken", "You are terse."),
    ("chatml", "You are terse."),
)


def question(number: int) -> str:
    rng = random.Random(number)
    return f"Question {number}: tell me about {rng.choice(SUBJECTS)}" + " and more" * rng.randrange(6) + "?"


def encoded(engine: RollingEngine, system: str, turns: Sequence[PromptTurn]) -> Encoding:
    """The prompt that the next turn would start with, with replies as they were sampled, except for that turn itself."""
    drawn = {key: tokens for key, (_, tokens) in engine._prompts.sampled.items()}
    whole = engine._format.encode(system, [*turns, PromptTurn(key="next", user=".")], sampled=drawn)
    return Encoding(whole.head, whole.turns[:-1])


def count_reads(engine: RollingEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list to which the length of everything that llama.cpp reads is added."""
    cache = cache_of(engine)
    real = cache.decode
    lengths: list[int] = []

    def decode(tokens: Sequence[int], *rest: Any, **options: Any) -> None:
        lengths.append(len(tokens))
        real(tokens, *rest, **options)

    monkeypatch.setattr(cache, "decode", decode)
    return lengths


@pytest.mark.parametrize(("variant", "system"), CASES, ids=lambda value: value[:15])
def test_a_long_chat_decodes_only_new_text(
    tiny_model: Callable[[str], Path], variant: str, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine_of(tiny_model(variant), size=512) as engine:
        talk = Talk(engine, system=system, sampling=WARM)
        placed = engine.count(system) if variant == "v3" else 0
        most = 0
        read = count_reads(engine, monkeypatch)
        for number in range(36):
            text = question(number)
            read.clear()
            drawn = talk.say(text).usage.completion_tokens
            kept = talk.kept()
            assert [turn.key for turn in kept] == [turn.key for turn in engine.contents.turns]
            assert engine.contents == encoded(engine, system, kept), f"after turn {number} the model has read something else"
            assert cache_of(engine).n_tokens == len(engine.contents.tokens)
            assert not cache_of(engine).shift_pending, "a shift is pending while the engine is idle"
            new = engine.count(text) + placed + drawn + (engine.count(system) if number == 0 else 0)
            most = max(most, sum(read) - new)
        gone = [key for shift in talk.shifts for key in shift.turns]
        assert gone == [f"t{number}" for number in range(len(gone))], "whole turns leave, oldest first"
        assert len(gone) > 15
        assert most <= 40, "a turn read more than its own text, before its reply or after it"


def test_the_system_prompt_moves_to_the_last_question_in_place(tiny_model: Callable[[str], Path]) -> None:
    with engine_of(tiny_model("v3"), size=512) as engine:
        talk = Talk(engine, system="You are terse.", sampling=WARM)
        for number in range(4):
            talk.say(question(number))
        drawn = {key: tokens for key, (_, tokens) in engine._prompts.sampled.items()}
        before = engine._format.encode(talk.system, talk.turns, sampled=drawn, closed=True)
        assert len(before.tokens) > len(engine.contents.tokens), "the last turn has given the system prompt up already"
        plan = plan_cache_edits(before, engine.contents)
        assert plan.inserted <= 4, "a token or two at the seams"
        assert plan.keep == len(engine.contents.tokens), "nothing is read for it"


def test_the_head_of_v1_stays_when_its_turn_leaves(tiny_model: Callable[[str], Path]) -> None:
    with engine_of(tiny_model("v1"), size=512) as engine:
        turns = [PromptTurn(key=str(number), user=question(number), reply="Yes, quite so.") for number in range(4)]
        old = engine._format.encode(LONG_SYSTEM, turns)
        new = engine._format.encode(LONG_SYSTEM, turns[2:])
        plan = plan_cache_edits(old, new)
        assert plan.keep == len(new.tokens), "all that follows the system prompt would be read again"
        assert plan.inserted <= 4
