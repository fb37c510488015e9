"""Guessed tokens make a reply faster and never change it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from support.engine_contract import examine
from support.engine_without_model import engine_without_model
from support.fake_kv_cache import FakeKVCache
from support.llama_engines import TEXT, engine_of
from support.words_format import FIRST_WORD, WORDS

from mistral_chat.engine import rolling
from mistral_chat.engine.prompt_lookup import MATCH, PromptLookup
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.generation import CancelToken, Completion, History, PromptTurn, Sampling

CHEAP = ((4, 1.1), (8, 1.3), (16, 1.6))
DEAR = ((4, 3.5), (8, 6.0), (16, 14.0))
TOKENS = list(range(100, 140))


def fed(costs: Sequence[tuple[int, float]], tokens: Sequence[int]) -> PromptLookup:
    lookup = PromptLookup(costs, TOKENS)
    for token in tokens:
        lookup.append(token)
    return lookup


def test_the_tokens_after_an_earlier_match_are_guessed() -> None:
    lookup = fed(CHEAP, [1, *TOKENS[5 : 5 + MATCH]])
    assert lookup.guess(100) == TOKENS[5 + MATCH : 5 + MATCH + 15]
    assert lookup.guess(3) == TOKENS[5 + MATCH : 5 + MATCH + 3], "there is no room for more"
    assert lookup.guess(0) == []


def test_a_short_match_is_not_guessed_from() -> None:
    assert fed(CHEAP, [1, *TOKENS[5 : 4 + MATCH]]).guess(100) == []


def test_nothing_is_guessed_where_it_is_not_faster() -> None:
    assert fed(DEAR, [1, *TOKENS[5 : 5 + MATCH]]).guess(100) == []
    assert fed((), [1, *TOKENS[5 : 5 + MATCH]]).guess(100) == [], "a machine without measurements"


def test_wrong_guesses_end_the_guessing() -> None:
    lookup = fed(CHEAP, [1, *TOKENS[5 : 5 + MATCH]])
    for _ in range(10):
        lookup.record(15, 0)
    assert lookup.guess(100) == []


def test_a_repeating_reply_guesses_from_itself() -> None:
    lookup = fed(CHEAP, [7, 8, 9] * 6)
    assert lookup.guess(3) == [7, 8, 9]


def reply_tokens(
    costs: Sequence[tuple[int, float]], script: list[int], size: int, limit: int | None
) -> tuple[str, tuple[int, ...], int]:
    """What an engine over a scripted cache replies, what is in the cache afterwards, and in how many decodes."""
    cache = FakeKVCache(size)
    engine = engine_without_model(cache)
    engine._batch_costs = tuple(costs)
    decodes, decode = 0, cache.decode

    def counted(*arguments: object, **options: object) -> None:
        nonlocal decodes
        decodes += 1
        decode(*arguments, **options)  # type: ignore[arg-type]  # passed through

    cache.decode = counted  # type: ignore[method-assign]  # counts
    cache.script.extend(script)
    sampling = Sampling(max_tokens=limit)
    turn = PromptTurn(key="a", user="abc a b c. " * 6)
    outcome = examine(engine.reply(History(turns=(turn,)), sampling, CancelToken()))
    assert cache.tokens == engine.contents.tokens, "a wrong guess is left in the cache"
    return outcome.completion.text, cache.tokens, decodes


WORD = st.integers(FIRST_WORD, FIRST_WORD + len(WORDS) - 1)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(WORD.map(lambda token: [token]), st.just(list(range(FIRST_WORD, FIRST_WORD + 12)))), max_size=12),
    st.one_of(st.none(), st.integers(1, 80)),
    st.integers(120, 300),
)
def test_a_reply_with_guesses_is_the_same_reply(pieces: list[list[int]], limit: int | None, size: int) -> None:
    script = [token for piece in pieces for token in piece]
    assert reply_tokens(CHEAP, script, size, limit)[:2] == reply_tokens((), script, size, limit)[:2]


def test_copied_text_takes_fewer_decodes() -> None:
    script = list(range(FIRST_WORD, FIRST_WORD + 14)) * 8
    assert reply_tokens(CHEAP, script, 1000, None)[2] < reply_tokens((), script, 1000, None)[2] / 3


class _Oracle(PromptLookup):
    """Guesses what a plain run of the model wrote, with mistakes."""

    answer: Sequence[int] = ()
    rng = Random(0)

    def __init__(self, costs: Sequence[tuple[int, float]], tokens: Sequence[int]) -> None:
        super().__init__(costs, tokens)
        self._start = len(tokens)

    def guess(self, most: int) -> list[int]:
        done = len(self._tokens) - self._start
        guess = list(self.answer[done : done + min(most, self.rng.randrange(8))])
        return [token if self.rng.random() < 0.8 else (token + 1) % 40_000 for token in guess]


@pytest.fixture(scope="module")
def engine(demo_model: Path) -> Iterator[RollingEngine]:
    with engine_of(demo_model, size=1024) as found:
        yield found


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0, max_tokens=60), Sampling(seed=7, max_tokens=60, repeat_penalty=1.1)]
)
def test_guesses_do_not_change_the_models_reply(
    engine: RollingEngine, monkeypatch: pytest.MonkeyPatch, sampling: Sampling
) -> None:
    """Greedy, and with the same random numbers: each position is sampled from the model's own distribution."""

    def answer(key: str) -> tuple[str, tuple[int, ...]]:
        turn = PromptTurn(key=key, user="Repeat this: " + TEXT[:200])
        events = list(engine.reply(History(turns=(turn,)), sampling, CancelToken()))
        done = next(event for event in events if isinstance(event, Completion))
        return done.text, engine.contents.turns[-1].reply

    plain = answer("plain")
    _Oracle.answer = plain[1]
    monkeypatch.setattr(rolling, "PromptLookup", _Oracle)
    monkeypatch.setattr(engine, "_batch_costs", CHEAP)
    guessed = answer("guessed")
    same = next((i for i, pair in enumerate(zip(plain[1], guessed[1], strict=False)) if pair[0] != pair[1]), len(plain[1]))
    assert same >= len(plain[1]) * 0.5, "the reply is another one from the start on"
    assert guessed[0][:40] == plain[0][:40]
