"""Engines over llama.cpp for tests: on tiny models with real vocabularies, or on the demo."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mistral_chat.config import ContextSettings, EngineSettings
from mistral_chat.engine.ledger import Ledger
from mistral_chat.engine.llama.bindings import llama_cpp
from mistral_chat.engine.llama.context import LlamaContext
from mistral_chat.engine.llama.engine import open_engine
from mistral_chat.engine.llama.model import Model
from mistral_chat.generation import CancelToken, Completion, ContextShift, Event, History, Prefill, PromptTurn
from mistral_chat.sampling import Sampling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mistral_chat.engine.encoding.format import Encoding
    from mistral_chat.engine.rolling import RollingEngine
    from mistral_chat.engine.snapshots import SnapshotFolder
    from mistral_chat.engine.tuning import TuningFile

GREEDY = Sampling(temperature=0, max_tokens=16)

TEXT = (
    "The harbour lay quiet in the early light. Two boats had come in during the night, and the men who had sailed them sat on "
    "the wall, drinking coffee from tin cups and saying little. One of them, the older, had a scar along his jaw; the other kept "
    "looking at the water as if something might still come out of it. A dog crossed the square, stopped at the fountain, and "
    "went on. When the bell of the church began to ring, nobody looked up, for it had rung at that hour every day of their lives."
)
"""Prose that a model can make sense of: 113 tokens of the demo."""


def make_engine(
    path: Path,
    *,
    size: int = 512,
    kv_type: Any = "f16",
    snapshots: SnapshotFolder | None = None,
    context: dict[str, Any] | None = None,
    prompt_format: str | None = None,
    explicit_size: bool = True,
    tuning: TuningFile | None = None,
    **settings: Any,
) -> RollingEngine:
    """An engine on one thread: two wait for each other on a busy machine."""
    return open_engine(
        path,
        name="test",
        settings=EngineSettings(kv_type=kv_type, threads=1, **settings),
        context=ContextSettings(size=size, **(context or {})),
        prompt_format=prompt_format,
        explicit_size=explicit_size,
        tuning=tuning,
        snapshots=snapshots,
    )


@contextmanager
def engine_of(path: Path, **settings: Any) -> Iterator[RollingEngine]:
    """The same, closed afterwards."""
    engine = make_engine(path, **settings)
    try:
        yield engine
    finally:
        engine.close()


_set_contents = Ledger.set_contents


def set_checked_contents(ledger: Ledger, encoding: Encoding) -> None:
    """In the place of `Ledger.set_contents`: ledger and cache agree after every step."""
    _set_contents(ledger, encoding)
    tokens, cache = len(encoding.tokens), ledger.cache
    assert cache.n_tokens == tokens <= cache.size
    assert not tokens or cache.pos_min == 0


def cache_of(engine: RollingEngine) -> LlamaContext:
    """The real cache behind an engine."""
    cache = engine._ledger.cache
    assert isinstance(cache, LlamaContext)
    return cache


def model_of(engine: RollingEngine) -> Model:
    return cache_of(engine)._model


class Talk:
    """One conversation with an engine, which keeps its turns."""

    def __init__(self, engine: RollingEngine, *, system: str = "", conversation: str = "", sampling: Sampling = GREEDY) -> None:
        self.engine = engine
        self.system = system
        self.conversation = conversation
        self.sampling = sampling
        self.turns: list[PromptTurn] = []
        self.shifts: list[ContextShift] = []
        self.said = 0
        self.read = 0
        """Tokens that the last turn read before its reply."""

    def history(self, *more: PromptTurn) -> History:
        return History(conversation=self.conversation, system=self.system, turns=(*self.turns, *more))

    def say(self, text: str, *, key: str = "", cancel: CancelToken | None = None, sampling: Sampling | None = None) -> Completion:
        """Send `text`, and keep it with its reply."""
        turn = PromptTurn(key=key or f"t{self.said}", user=text)
        self.said += 1
        completion = None
        for event in self.engine.reply(self.history(turn), sampling or self.sampling, cancel or CancelToken()):
            if isinstance(event, Completion):
                completion = event
            self.note(event)
        assert completion is not None
        self.turns.append(PromptTurn(key=turn.key, user=text, reply=completion.text))
        self.read = completion.usage.prompt_tokens - completion.usage.cached_tokens
        return completion

    def note(self, event: Event) -> None:
        if isinstance(event, ContextShift):
            self.shifts.append(event)

    def kept(self) -> list[PromptTurn]:
        """The turns in the ledger, in the conversation's order."""
        held = {turn.key for turn in self.engine.contents.turns}
        return [turn for turn in self.turns if turn.key in held]


def read_all(events: Iterator[Prefill]) -> None:
    """Prefill to the end."""
    for _ in events:
        """Progress is not looked at."""


def logits(cache: LlamaContext) -> list[float]:
    """The model's last unnormalised score of each token of its vocabulary."""
    row = llama_cpp.llama_get_logits_ith(cache.pointer, -1)
    return list(row[: len(cache._model.vocabulary.texts)])


def next_scores(cache: LlamaContext, tokens: Sequence[int]) -> list[float]:
    """What the model makes of `tokens` behind what is in the cache; they are cut out again."""
    end = cache.n_tokens
    cache.decode(list(tokens))
    scores = logits(cache)
    cache.remove(end, end + len(tokens))
    return scores


def log_probabilities(scores: Sequence[float]) -> list[float]:
    highest = max(scores)
    total = highest + math.log(sum(math.exp(score - highest) for score in scores))
    return [score - total for score in scores]


def divergence(expected: Sequence[float], found: Sequence[float]) -> float:
    """How far the distribution that the scores `found` give is from that of `expected`, in nats (Kullback-Leibler)."""
    pairs = zip(log_probabilities(expected), log_probabilities(found), strict=True)
    return sum(math.exp(p) * (p - q) for p, q in pairs)
