"""The rare accidents of the rolling engine, one by one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.engine_contract import examine, keys
from support.engine_without_model import engine_without_model
from support.fake_kv_cache import FakeKVCache
from support.words_format import BYTES, FIRST_WORD, FORMATS, INST, ChatFormat

from mistral_chat.engine.encoding.format import Encoding
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.errors import EngineError, EngineFailed, PromptFormatError
from mistral_chat.generation import CancelToken, ContextShift, Delta, History, PromptTurn
from mistral_chat.sampling import Sampling

A = FIRST_WORD


def turn(key: str, length: int = 20, reply: str = "") -> PromptTurn:
    return PromptTurn(key=key, user="a" * length, reply=reply)


def history(*turns: PromptTurn, draft: str = "") -> History:
    return History(conversation="one", system="abc.", turns=turns, draft=draft)


def answer(engine: RollingEngine, cache: FakeKVCache, *turns: PromptTurn, tokens: int = 5) -> tuple[PromptTurn, ...]:
    """Answer the last of `turns` with `tokens` tokens; the turns with the reply."""
    cache.script.extend([A] * tokens)
    text = examine(engine.reply(history(*turns), Sampling(), CancelToken())).completion.text
    return (*turns[:-1], PromptTurn(key=turns[-1].key, user=turns[-1].user, reply=text))


class FailingFormat(ChatFormat):
    """A template whose process is killed at one call."""

    left = -1
    """How many more calls succeed; never fails if negative."""

    def encode(self, *arguments: Any, **named: Any) -> Encoding:
        self.left -= 1
        if self.left == -1:
            raise PromptFormatError("The template takes longer than 5 seconds.")
        return super().encode(*arguments, **named)


@pytest.mark.parametrize("calls", range(1, 6))
def test_a_template_that_fails_once_does_not_change_what_the_model_reads_later(calls: int) -> None:
    cache = FakeKVCache(400)
    engine = engine_without_model(cache, FailingFormat)
    turns = answer(engine, cache, turn("a"))
    assert isinstance(engine._format, FailingFormat)
    engine._format.left = calls
    cache.script.extend([A] * 5)
    with suppress(PromptFormatError):
        list(engine.reply(history(*turns, turn("b", 30)), Sampling(), CancelToken()))
    assert cache.tokens == engine.contents.tokens
    engine._format.left = calls
    with suppress(PromptFormatError):
        engine.generate_detached(history(*turns, turn("c", 25)), Sampling(), CancelToken())
    assert cache.tokens == engine.contents.tokens
    engine._format.left = -1
    cache.script.clear()
    turns = answer(engine, cache, *turns, turn("d", 10))
    assert cache.tokens == engine.contents.tokens
    assert keys(engine.ledger) == ["a", "d"]


def test_a_complete_reply_is_no_error_if_the_next_prompt_cannot_be_built() -> None:
    cache = FakeKVCache(400)
    engine = engine_without_model(cache, FailingFormat)
    assert isinstance(engine._format, FailingFormat)
    engine._format.left = 2  # the prompt, and the ledger's record of the reply
    assert answer(engine, cache, turn("a"))[-1].reply == "aaaaa"
    assert engine._format.left < 0, "it did not fail"


@pytest.mark.parametrize("shape", FORMATS)
def test_a_reply_that_fills_the_context_drops_the_oldest_turns(shape: str) -> None:
    cache = FakeKVCache(320)
    engine = engine_without_model(cache, FORMATS[shape])
    turns: tuple[PromptTurn, ...] = ()
    for key in "abc":
        turns = answer(engine, cache, *turns, turn(key))
    cache.script.extend([A] * 260)
    outcome = examine(engine.reply(history(*turns, turn("long")), Sampling(), CancelToken()))
    kinds = [type(event) for event in outcome.events]
    assert ContextShift in kinds[kinds.index(Delta) :]
    assert outcome.completion.finish_reason == "stop"
    assert outcome.completion.text == "a" * 260
    assert keys(engine.ledger)[-1] == "long"
    assert "a" not in keys(engine.ledger)


def test_a_reply_that_fills_the_context_alone_ends_there() -> None:
    cache = FakeKVCache(200)
    cache.script.extend([A] * 400)
    outcome = examine(engine_without_model(cache).reply(history(turn("long")), Sampling(), CancelToken()))
    assert outcome.completion.finish_reason == "length"
    assert cache.n_tokens == 200


def test_a_token_that_text_cannot_contain_ends_a_reply() -> None:
    cache = FakeKVCache(200)
    cache.script.extend([A, INST, A])
    outcome = examine(engine_without_model(cache).reply(history(turn("a")), Sampling(), CancelToken()))
    assert (outcome.completion.text, outcome.completion.finish_reason) == ("a", "stop")


def test_a_stop_during_eviction_is_honoured() -> None:
    """The engine may have to read a few tokens again there, which can take a while."""
    cache = FakeKVCache(320, can_shift=False)
    engine = engine_without_model(cache)
    turns: tuple[PromptTurn, ...] = ()
    for key in "abc":
        turns = answer(engine, cache, *turns, turn(key))
    cache.script.extend([A] * 260)
    cancel = CancelToken()
    events = []
    for event in engine.reply(history(*turns, turn("long")), Sampling(), cancel):
        events.append(event)
        if isinstance(event, ContextShift) and any(isinstance(each, Delta) for each in events):
            cancel.set()
    outcome = examine(iter(events))
    assert outcome.completion.finish_reason == "cancelled"
    assert len(outcome.completion.text) > 20
    assert cache.tokens == engine.contents.tokens


def test_a_failure_after_the_reply_leaves_the_reply_whole() -> None:
    cache = FakeKVCache(400)
    engine = engine_without_model(cache)
    cache.script.extend([A] * 3)
    events = engine.reply(history(turn("one")), Sampling(), CancelToken())
    found = [next(events)]
    while not isinstance(found[-1], Delta) or len([each for each in found if isinstance(each, Delta)]) < 3:
        found.append(next(events))
    cache.fail = {"decode": 1}
    outcome = examine(iter([*found, *events]))
    assert (outcome.completion.text, outcome.completion.finish_reason) == ("aaa", "stop")
    assert engine.ledger.used == 0
    assert answer(engine, cache, *(turn("one", reply="aaa"), turn("two")))[-1].reply == "aaaaa"


def test_a_stopped_reply_frees_space_for_the_next_turn() -> None:
    cache = FakeKVCache(320)
    engine = engine_without_model(cache)
    turns: tuple[PromptTurn, ...] = ()
    for key in "abc":
        turns = answer(engine, cache, *turns, turn(key))
    cache.script.extend([A] * 300)
    cancel = CancelToken()
    written = 0
    for event in engine.reply(history(*turns, turn("long")), Sampling(), cancel):
        written += isinstance(event, Delta)
        if cache.n_tokens >= 300:
            cancel.set()
    assert written
    assert engine.ledger.used <= 320 * 3 // 4
    assert keys(engine.ledger)[-1] == "long"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cache: cache.fail.update(decode=0),
        lambda cache: cache.fail.update(remove=0),
    ],
)
def test_a_failure_while_prefilling_drops_everything(spoil: Callable[[FakeKVCache], None]) -> None:
    cache = FakeKVCache(400)
    engine = engine_without_model(cache)
    turns = answer(engine, cache, turn("a", 40))
    turns = answer(engine, cache, *turns, turn("b", 40))
    spoil(cache)
    with pytest.raises(EngineFailed):
        list(engine.prefill(history(turns[1], draft="a new draft that is long enough to be read"), CancelToken()))
    assert engine.ledger.used == 0
    assert cache.n_tokens == 0


def test_a_draft_drops_no_turns() -> None:
    cache = FakeKVCache(320)
    engine = engine_without_model(cache)
    turns: tuple[PromptTurn, ...] = ()
    for key in "abc":
        turns = answer(engine, cache, *turns, turn(key))
    before = engine.ledger
    for length in (220, 1000):
        assert list(engine.prefill(history(*turns, draft="a" * length), CancelToken())) == []
        assert engine.ledger == before


def test_a_draft_is_prefilled_before_it_is_sent() -> None:
    cache = FakeKVCache(400)
    engine = engine_without_model(cache)
    turns = answer(engine, cache, turn("a"))
    list(engine.prefill(history(*turns, draft="a" * 100), CancelToken()))
    sent = examine(engine.reply(history(*turns, turn("b", 110)), Sampling(), CancelToken()))
    assert sent.read < 30


def test_a_failed_save_loses_only_the_snapshot(tmp_path: Path) -> None:
    cache = FakeKVCache(400)
    engine = engine_without_model(cache, snapshots=SnapshotFolder(tmp_path, budget=10_000))
    turns = answer(engine, cache, turn("a", 40))
    turns = answer(engine, cache, *turns, turn("b", 40))
    list(engine.prefill(history(turns[1]), CancelToken()))
    cache.shift_pending = True
    cache.fail = {"decode": 0}
    engine.run_idle_tasks(CancelToken())
    assert engine.ledger.used == 0
    assert list(tmp_path.glob("*.kv")) == []
    assert answer(engine, cache, turns[1], turn("c"))[-1].reply == "aaaaa"
    engine.close()


def test_a_conversation_that_was_left_before_it_was_opened_is_not_loaded(tmp_path: Path) -> None:
    """Going through a list of conversations would wait for the half gigabyte of each."""
    cache = FakeKVCache(400)
    engine = engine_without_model(cache, snapshots=SnapshotFolder(tmp_path, budget=10_000))
    turns = answer(engine, cache, turn("a"))
    list(engine.prefill(History(conversation="two", turns=(turn("b", reply="a"),)), CancelToken()))
    assert keys(engine.ledger) == ["b"]
    left = CancelToken()
    left.set()
    assert list(engine.prefill(history(*turns), left)) == []
    assert keys(engine.ledger) == ["b"]
    list(engine.prefill(history(*turns), CancelToken()))
    assert keys(engine.ledger) == ["a"]
    engine.close()


def test_an_incomplete_character_does_not_start_the_next_reply() -> None:
    cache = FakeKVCache(400)
    engine = engine_without_model(cache)
    cache.script.append(BYTES + 0xF0)
    cache.fail = {"decode": 1}
    with pytest.raises(EngineFailed):
        engine.generate_detached(history(turn("title", 3)), Sampling(), CancelToken())
    cache.script.extend([A] * 3)
    assert engine.generate_detached(history(turn("title", 3)), Sampling(), CancelToken()) == "aaa"
    assert engine.ledger.used == 0


def test_memory_is_freed_before_the_snapshot_is_written(tmp_path: Path) -> None:
    freed: list[bool] = []

    class Snapshots(SnapshotFolder):
        def close(self) -> None:
            freed.append(cache.closed)
            super().close()

    cache = FakeKVCache(400)
    engine = engine_without_model(cache, snapshots=Snapshots(tmp_path, budget=10_000))
    answer(engine, cache, turn("a", 40))
    engine.close()
    assert freed == [True]
    assert len(list(tmp_path.glob("*.kv"))) == 1


def test_reopening_decodes_nothing_again(tmp_path: Path) -> None:
    cache = FakeKVCache(400)
    engine = engine_without_model(cache, snapshots=SnapshotFolder(tmp_path, budget=10_000))
    turns = answer(engine, cache, turn("a", 40))
    engine.close()
    cache = FakeKVCache(400)
    engine = engine_without_model(cache, snapshots=SnapshotFolder(tmp_path, budget=10_000))
    assert list(engine.prefill(history(*turns), CancelToken())) == []
    assert cache.tokens_read == 0
    assert keys(engine.ledger) == ["a"]
    engine.close()


def test_returning_from_a_conversation_that_does_not_fit_decodes_nothing_again(tmp_path: Path) -> None:
    cache = FakeKVCache(400)
    engine = engine_without_model(cache, snapshots=SnapshotFolder(tmp_path, budget=10_000))
    cache.script.extend([BYTES + ord("a")] * 5)  # the tokenizer writes this text with other tokens
    text = examine(engine.reply(history(turn("a")), Sampling(), CancelToken())).completion.text
    turns = (turn("a", reply=text),)
    list(engine.prefill(history(*turns), CancelToken()))
    read = cache.tokens_read
    other = History(conversation="two", system="a" * 1000, turns=(turn("b"),))
    assert list(engine.prefill(other, CancelToken())) == []
    assert list(engine.prefill(history(*turns), CancelToken())) == []
    assert cache.tokens_read == read
    engine.close()


def test_a_deleted_conversation_leaves_the_context_even_if_its_file_cannot_be_deleted(tmp_path: Path) -> None:
    cache = FakeKVCache(400)
    engine = engine_without_model(cache, snapshots=SnapshotFolder(tmp_path, budget=10_000))
    answer(engine, cache, turn("a", 40))
    engine.run_idle_tasks(CancelToken())
    assert engine._snapshots is not None
    engine._snapshots.flush()
    (file,) = tmp_path.glob("*.kv")
    file.unlink()
    file.mkdir()
    with pytest.raises(EngineError, match="could not be deleted"):
        engine.discard_conversation("one")
    assert engine.ledger.used == cache.n_tokens == 0
    file.rmdir()
    engine.close()


def test_a_title_for_another_conversation_leaves_the_context_to_its_own(tmp_path: Path) -> None:
    """What is in the context is saved, and is deleted, with the conversation that it is from."""
    cache = FakeKVCache(400)
    engine = engine_without_model(cache, snapshots=SnapshotFolder(tmp_path, budget=10_000))
    pinned = PromptTurn(key="a", user="a" * 40, pinned=True)
    answer(engine, cache, pinned)
    before = engine.ledger
    cache.script.extend([A] * 3)
    other = History(conversation="two", turns=(turn("b"),))
    assert engine.generate_detached(other, Sampling(), CancelToken()) == "aaa"
    assert engine.ledger == before
    engine.discard_conversation("one")
    assert engine.ledger.used == 0
    engine.close()


def test_a_title_decodes_only_its_question_with_a_model_that_cannot_go_back(tmp_path: Path) -> None:
    cache = FakeKVCache(4000, can_trim=False)
    engine = engine_without_model(cache, snapshots=SnapshotFolder(tmp_path, budget=100_000))
    turns = answer(engine, cache, PromptTurn(key="a", user="a" * 1000, pinned=True))
    before, tokens, read = engine.ledger, cache.tokens, cache.tokens_read
    cache.script.extend([A] * 3)
    assert engine.generate_detached(history(*turns, turn("title")), Sampling(), CancelToken()) == "aaa"
    assert cache.tokens_read - read < 100, "Esc cannot stop decoding the whole conversation again"
    assert (engine.ledger, cache.tokens) == (before, tokens)
    engine.close()
    assert len(list(tmp_path.glob("*.kv"))) == 1, "the conversation is decoded again when it is opened"


def test_a_title_leaves_an_empty_cache_empty_with_a_model_that_cannot_go_back() -> None:
    cache = FakeKVCache(400, can_trim=False)
    engine = engine_without_model(cache)
    cache.script.extend([A] * 3)
    assert engine.generate_detached(history(turn("title", 3)), Sampling(), CancelToken()) == "aaa"
    assert engine.ledger.used == cache.n_tokens == 0
