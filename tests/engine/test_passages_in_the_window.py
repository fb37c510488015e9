"""Passages come with one message and leave with its reply, and nothing of the chat is decoded again for either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.engine_contract import examine
from support.engine_without_model import engine_without_model
from support.fake_kv_cache import FakeKVCache
from support.words_format import CONTROLS, FIRST_WORD, FORMATS, WordsTokenizer

from mistral_chat.conversation import Passage
from mistral_chat.engine.prompt_builder import passages_text
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.errors import SystemPromptTooLong
from mistral_chat.generation import CancelToken, Delta, History, PromptTurn
from mistral_chat.sampling import Sampling

A = FIRST_WORD
PASSAGES = (
    Passage(kind="document", text="abc " * 40, source="a.pdf p. 4"),
    Passage(kind="document", text="b c " * 40, source="b.md"),
)
TOKENS = len(WordsTokenizer().tokenize(passages_text(PASSAGES)))


def history(*turns: PromptTurn, draft: str = "") -> History:
    return History(conversation="one", system="abc.", turns=turns, draft=draft)


def answer(engine: RollingEngine, cache: FakeKVCache, *turns: PromptTurn, tokens: int = 30) -> tuple[PromptTurn, ...]:
    """Answer the last of `turns`; the turns with the reply."""
    cache.script.extend([A] * tokens)
    text = examine(engine.reply(history(*turns), Sampling(), CancelToken())).completion.text
    return (*turns[:-1], replace(turns[-1], reply=turns[-1].reply + text))


@pytest.fixture(params=FORMATS)
def cache(request: pytest.FixtureRequest) -> FakeKVCache:
    found = FakeKVCache(2000)
    found.make_format = FORMATS[request.param]  # type: ignore[attr-defined]  # goes with the cache to the engine
    return found


@pytest.fixture
def engine(cache: FakeKVCache) -> RollingEngine:
    return engine_without_model(cache, cache.make_format)  # type: ignore[attr-defined]  # see `cache`


def chat(engine: RollingEngine, cache: FakeKVCache, *, pinned: bool = False) -> tuple[PromptTurn, ...]:
    """Two turns, and a third one with passages."""
    turns: tuple[PromptTurn, ...] = ()
    for key in "ab":
        turns = answer(engine, cache, *turns, PromptTurn(key=key, user="a b c. " * 8))
    return answer(engine, cache, *turns, PromptTurn(key="c", user="What?", passages=PASSAGES, pinned=pinned))


def test_passages_are_decoded_with_their_message_and_removed_later(engine: RollingEngine, cache: FakeKVCache) -> None:
    turns: tuple[PromptTurn, ...] = ()
    for key in "ab":
        turns = answer(engine, cache, *turns, PromptTurn(key=key, user="a b c. " * 8))
    read = cache.tokens_read
    turns = answer(engine, cache, *turns, PromptTurn(key="c", user="What?", passages=PASSAGES))
    assert TOKENS < cache.tokens_read - read < TOKENS + 80, "the chat was decoded again for the passages"
    assert engine.ledger.used < TOKENS, "the passages are still in the window"
    assert all(turn.passages == 0 for turn in engine.ledger.turns)
    read = cache.tokens_read
    answer(engine, cache, *turns, PromptTurn(key="d", user="And then?"))
    assert cache.tokens_read - read < 64 + 30, "the next message pays for passages that are gone"


def test_passages_are_counted_while_the_reply_is_written(engine: RollingEngine, cache: FakeKVCache) -> None:
    cache.script.extend([A] * 5)
    asked = PromptTurn(key="a", user="What?", passages=PASSAGES)
    events = engine.reply(history(asked), Sampling(), CancelToken())
    while cache.n_tokens < TOKENS:
        next(events)
    next(events)
    assert engine.ledger.turns[-1].passages == TOKENS
    events.close()  # type: ignore[attr-defined]  # a generator


def test_idle_work_removes_every_trace_of_passages(engine: RollingEngine, cache: FakeKVCache) -> None:
    turns = chat(engine, cache)
    tokens = engine.contents.tokens
    assert not cache.is_fresh
    read = cache.tokens_read
    engine.run_idle_tasks(CancelToken())
    begin = len(tokens) - len(engine.contents.turns[-1].tokens)
    assert engine.contents.tokens == tokens == cache.tokens
    assert is_fresh(cache, begin), "what was removed still shows in the model's memory of the reply"
    assert cache.tokens_read - read == len(tokens) - begin
    answer(engine, cache, *turns, PromptTurn(key="d", user="And then?"))


def is_fresh(cache: FakeKVCache, begin: int) -> bool:
    """Whether the tokens from `begin` on were decoded with exactly the tokens before them that are there now."""
    before = cache.sights[begin - 1]
    for place in range(begin, cache.n_tokens):
        before = hash((before, cache.slots[place]))
        if cache.sights[place] != before:
            return False
    return True


def test_idle_work_saves_no_conversation_under_the_name_of_another(cache: FakeKVCache, tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path / "snapshots", budget=10**9)
    engine = engine_without_model(cache, cache.make_format, snapshots=folder)  # type: ignore[attr-defined]  # see `cache`
    chat(engine, cache)
    assert not list(engine.prefill(History(conversation="two", system="a" * 5000), CancelToken()))
    engine.run_idle_tasks(CancelToken())
    folder.flush()
    assert folder.load("one", "weightless") is not None
    assert folder.load("two", "weightless") is None
    engine.close()


def test_new_work_stops_idle_work(engine: RollingEngine, cache: FakeKVCache) -> None:
    turns = chat(engine, cache)
    cancel = CancelToken()
    cache.before_read = lambda armed: armed.set() if armed is cancel else None
    engine.run_idle_tasks(cancel)
    cache.before_read = lambda _armed: None
    read = cache.tokens_read
    turns = answer(engine, cache, *turns, PromptTurn(key="d", user="And then?"))
    assert cache.tokens_read - read < 64 + 30
    engine.run_idle_tasks(CancelToken())
    assert is_fresh(cache, cache.n_tokens - sum(len(turn.tokens) for turn in engine.contents.turns[-2:]))


def test_a_pinned_turn_keeps_its_passages(engine: RollingEngine, cache: FakeKVCache) -> None:
    turns = chat(engine, cache, pinned=True)
    assert engine.ledger.turns[-1].passages == TOKENS
    assert engine.ledger.used > TOKENS
    read = cache.tokens_read
    answer(engine, cache, *turns, PromptTurn(key="d", user="And then?"))
    assert cache.tokens_read - read < 64 + 30


def test_a_continued_or_regenerated_reply_has_its_passages(engine: RollingEngine, cache: FakeKVCache) -> None:
    turns = chat(engine, cache)
    for last in (turns[-1], replace(turns[-1], reply="")):
        cache.script.extend([A] * 5)
        before = cache.tokens_read
        examine(engine.reply(history(*turns[:-1], last), Sampling(), CancelToken()))
        assert cache.tokens_read - before > TOKENS, "the model answers without what it was to answer from"
        assert engine.ledger.used < TOKENS


def test_an_old_turn_is_decoded_without_its_passages(engine: RollingEngine, cache: FakeKVCache) -> None:
    turns = chat(engine, cache)
    other = engine_without_model(FakeKVCache(2000), cache.make_format)  # type: ignore[attr-defined]  # see `cache`
    list(other.prefill(history(*turns), CancelToken()))
    prompts = [[turn.prompt for turn in each.contents.turns] for each in (other, engine)]
    assert prompts[0] == prompts[1], "what a fresh start decodes is something else"


def test_a_passage_cannot_forge_a_turn(cache: FakeKVCache) -> None:
    forged = (Passage(kind="document", text=" ".join(CONTROLS), source=" ".join(CONTROLS)),)
    prompts = []
    for passages in (PASSAGES, forged):
        fresh = FakeKVCache(2000)
        fresh.script.append(A)
        engine = engine_without_model(fresh, cache.make_format)  # type: ignore[attr-defined]  # see `cache`
        events = engine.reply(history(PromptTurn(key="b", user="What?", passages=passages)), Sampling(), CancelToken())
        next(event for event in events if isinstance(event, Delta))
        prompts.append([token for token in fresh.tokens if token < len(CONTROLS)])
    assert prompts[0] == prompts[1], "a document wrote a control token"


def test_the_preview_has_the_passages_of_pinned_turns_alone(engine: RollingEngine, cache: FakeKVCache) -> None:
    turns = chat(engine, cache)
    assert [part.passages for part in engine.preview_prompt(history(*turns)).parts] == [0, 0, 0, 0]
    pinned = (*turns[:-1], replace(turns[-1], pinned=True))
    assert [part.passages for part in engine.preview_prompt(history(*pinned, draft="Well?")).parts] == [0, 0, 0, TOKENS, 0]


def test_pending_recomputation_survives_a_restart(tmp_path: Path) -> None:
    cache = FakeKVCache(2000)
    engine = engine_without_model(cache, snapshots=SnapshotFolder(tmp_path, budget=100_000))
    turns = chat(engine, cache)
    engine.close()
    cache = FakeKVCache(2000)
    engine = engine_without_model(cache, snapshots=SnapshotFolder(tmp_path, budget=100_000))
    list(engine.prefill(history(*turns), CancelToken()))
    assert cache.tokens_read == 0
    engine.run_idle_tasks(CancelToken())
    assert cache.tokens_read == len(engine.contents.turns[-1].tokens)
    engine.close()


def test_a_system_prompt_that_fills_the_context_is_named() -> None:
    engine = engine_without_model(FakeKVCache(200))
    full = History(system="abc." * 200, turns=(PromptTurn(key="a", user="Hi"),))
    with pytest.raises(SystemPromptTooLong, match="The system prompt takes 400 of the context's 200 tokens"):
        list(engine.reply(full, Sampling(), CancelToken()))
