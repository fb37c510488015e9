"""Guessed tokens make a reply faster and never change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from support.engine_contract import examine
from support.engine_without_model import engine_without_model
from support.fake_kv_cache import FakeKVCache
from support.llama_engines import TEXT, cache_of, engine_of, log_probabilities, logits, model_of
from support.small_gguf import UINT32, small_model
from support.words_format import FIRST_WORD, WORDS

from mistral_chat.engine import rolling
from mistral_chat.engine.prompt_lookup import MATCH, PromptLookup
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.generation import CancelToken, Completion, History, PromptTurn
from mistral_chat.sampling import Sampling

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


def reply_of(engine: RollingEngine, user: str, sampling: Sampling) -> tuple[str, tuple[int, ...]]:
    """A reply in a conversation of its own: its text and its tokens."""
    events = list(engine.reply(History(turns=(PromptTurn(key="one", user=user),)), sampling, CancelToken()))
    text, tokens = next(event.text for event in events if isinstance(event, Completion)), engine.contents.turns[-1].reply
    engine.discard_conversation("")
    return text, tokens


@pytest.fixture(scope="module")
def byte_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RollingEngine]:
    """An engine over a model with a vocabulary of bytes and random weights, whose replies are noise of a few likely tokens."""
    path = tmp_path_factory.mktemp("bytes") / "bytes.gguf"
    draft = small_model()
    draft.set("llama.context_length", UINT32, 2048)
    path.write_bytes(draft.encoded())
    with engine_of(path, size=1024) as found:
        yield found


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many tokens were guessed, and how many of them were right, for each guess."""
    found: list[tuple[int, int]] = []
    record = PromptLookup.record

    def counted(self: PromptLookup, guessed: int, right: int) -> None:
        found.append((guessed, right))
        record(self, guessed, right)

    monkeypatch.setattr(PromptLookup, "record", counted)
    return found


LONG = Sampling(temperature=0, max_tokens=200)


@pytest.mark.parametrize(
    "user", ["ab", "Repeat: " + TEXT[:100], "xyz " * 20, "How are you?", "one two three four five six seven"]
)
def test_a_greedy_reply_with_guesses_is_the_plain_one(
    byte_engine: RollingEngine, monkeypatch: pytest.MonkeyPatch, verified: list[tuple[int, int]], user: str
) -> None:
    """To the token, with weights in full precision: there, a batch gives the scores that single tokens give."""
    plain = reply_of(byte_engine, user, LONG)
    assert not verified
    monkeypatch.setattr(byte_engine, "_batch_costs", CHEAP)
    assert reply_of(byte_engine, user, LONG) == plain
    assert len(plain[1]) == 200
    assert sum(right for _, right in verified) > 50, "hardly a guess was right, so nothing is shown"
    assert any(right < guessed for guessed, right in verified), "no guess was wrong, so nothing is shown"


def test_a_quantized_model_with_guesses_parts_only_between_likely_tokens(
    engine: RollingEngine, monkeypatch: pytest.MonkeyPatch, verified: list[tuple[int, int]]
) -> None:
    """llama.cpp itself scores a token otherwise in a batch than alone there, by a tenth of a nat in the median."""
    user = "Correct the spelling mistakes in this text: " + TEXT.replace("th", "ht", 2)
    plain = reply_of(engine, user, LONG)[1]
    monkeypatch.setattr(engine, "_batch_costs", CHEAP)
    guessed = reply_of(engine, user, LONG)[1]
    assert sum(right for _, right in verified) > 10
    end = min(model_of(engine).vocabulary.end_tokens)
    pairs = enumerate(zip_longest(plain, guessed, fillvalue=end))
    first = next((place for place, (one, other) in pairs if one != other), None)
    if first is not None:
        tokens = [(*reply, end)[first] for reply in (plain, guessed)]
        prompt = engine._format.encode("", [PromptTurn(key="one", user=user)]).tokens
        cache, before = cache_of(engine), [*prompt, *plain[:first]]
        for start in range(0, len(before), cache.batch):
            cache.decode(before[start : start + cache.batch])
        found = log_probabilities(logits(cache))
        engine._ledger.reset()
        assert abs(found[tokens[0]] - found[tokens[1]]) < 0.5


def test_guesses_do_not_change_the_distribution_of_replies(byte_engine: RollingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chi-square of two samples of short replies, with and without guesses."""
    engine, count, length = byte_engine, 2000, 3

    def sample(first_seed: int) -> Counter[tuple[int, ...]]:
        """How often each beginning comes in `count` replies."""
        found: Counter[tuple[int, ...]] = Counter()
        for seed in range(first_seed, first_seed + count):
            sampling = Sampling(temperature=1.0, top_p=1.0, min_p=0.0, top_k=4, seed=seed, max_tokens=length)
            found[reply_of(engine, "ab", sampling)[1]] += 1
        return found

    plain = sample(0)
    _Oracle.answer = plain.most_common()[-1][0]  # a rare one: guesses that are believed make it a common one
    monkeypatch.setattr(rolling, "PromptLookup", _Oracle)
    monkeypatch.setattr(engine, "_batch_costs", CHEAP)
    guessed = sample(count)
    common = [reply for reply, times in (plain + guessed).items() if times >= 10]
    assert len(common) > 10, "the model knows too few replies to compare"
    rest = [sum(times for reply, times in sample.items() if reply not in common) for sample in (plain, guessed)]
    cells = [*((plain[reply], guessed[reply]) for reply in common), *([tuple(rest)] if sum(rest) >= 10 else [])]
    chi_square = sum((one - other) ** 2 / (one + other) for one, other in cells)
    freedom = len(cells) - 1
    # Wilson and Hilferty's approximation: 3.7 standard deviations are exceeded by chance once in ten thousand times.
    deviation = ((chi_square / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / (2 / (9 * freedom)) ** 0.5
    assert deviation < 3.7, f"chi-square {chi_square:.1f} with {freedom} degrees of freedom"


def test_the_random_numbers_are_the_same_with_guesses(engine: RollingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(seed=7, max_tokens=60, repeat_penalty=1.1)
    user = "Repeat this: " + TEXT[:200]
    plain = reply_of(engine, user, sampling)
    _Oracle.answer = plain[1]
    monkeypatch.setattr(rolling, "PromptLookup", _Oracle)
    monkeypatch.setattr(engine, "_batch_costs", CHEAP)
    guessed = reply_of(engine, user, sampling)
    pairs = zip(plain[1], guessed[1], strict=False)
    same = next((place for place, (one, other) in enumerate(pairs) if one != other), len(plain[1]))
    assert same >= len(plain[1]) * 0.5, "the reply is another one from the start on"
