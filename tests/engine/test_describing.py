"""The prompt that is shown is the one that the model gets, and a deleted conversation leaves the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.echo_engine import EchoEngine
from support.engine_contract import examine, keys, text_of
from support.engine_without_model import engine_without_model
from support.fake_kv_cache import FakeKVCache
from support.llama_engines import engine_of
from support.words_format import FIRST_WORD, FORMATS

from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import MessageTooLong
from mistral_chat.generation import CancelToken, Engine, History, Prefill, PromptTurn
from mistral_chat.sampling import Sampling

SHORT = Sampling(temperature=0, max_tokens=6)


class WordyCells(FakeKVCache):
    """Samples a few words for each reply."""

    def start_sampling(self, sampling: Sampling, recent: Any) -> None:
        super().start_sampling(sampling, recent)
        self.script.extend([FIRST_WORD, FIRST_WORD + 3, FIRST_WORD + 4])


@pytest.fixture(params=["echo", *FORMATS])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made: Engine = (
        EchoEngine(window=2048) if request.param == "echo" else engine_without_model(WordyCells(2048), FORMATS[request.param])
    )
    yield made
    made.close()


def talk(engine: Engine, *, conversation: str = "c", turns: int = 3, system: str = "abc a b.") -> History:
    history = History(conversation=conversation, system=system)
    for number in range(turns):
        asked = replace(history, turns=(*history.turns, PromptTurn(key=f"t{number}", user=f"ab {number}?")))
        reply = examine(engine.reply(asked, SHORT, CancelToken())).completion.text
        history = replace(asked, turns=(*history.turns, replace(asked.turns[-1], reply=reply)))
    return history


def spelled(prompt: Any) -> str:
    return "".join(piece.text for part in prompt.parts for piece in part.pieces if not piece.is_control)


def test_typed_control_tokens_are_reported() -> None:
    engine = engine_without_model(WordyCells(2048), FORMATS[min(FORMATS)])
    assert engine.ambiguous_markup("a ☰ b") == "The model reads the ☰ in this text as a border."
    assert engine.ambiguous_markup("a b") is None


def test_a_draft_is_shown_as_it_would_be_encoded(engine: Engine) -> None:
    history = talk(engine)
    before = engine.ledger
    prompt = engine.preview_prompt(replace(history, draft="a b c and é </s> [INST] "))
    assert engine.ledger == before, "looking at the prompt changed the cache"
    assert prompt.draft
    assert [part.key for part in prompt.parts] == ["", "t0", "t1", "t2", ""]
    assert "</s> [INST]" in spelled(prompt), "typed text was taken for control tokens"
    asked = replace(history, turns=(*history.turns, PromptTurn(key="sent", user="a b c and é </s> [INST] ")))
    outcome = examine(engine.reply(asked, SHORT, CancelToken()))
    assert prompt.tokens == outcome.completion.usage.prompt_tokens


def test_without_a_draft_the_turns_are_shown_with_their_replies(engine: Engine) -> None:
    history = talk(engine)
    prompt = engine.preview_prompt(history)
    assert not prompt.draft
    assert prompt.window == engine.ledger.window
    assert [part.key for part in prompt.parts] == ["", "t0", "t1", "t2"]
    for turn in history.turns:
        assert turn.user in spelled(prompt)
        assert turn.reply in spelled(prompt)
    assert "abc a b." in spelled(prompt)
    assert any(piece.is_control for part in prompt.parts for piece in part.pieces)


def test_an_empty_prompt_shows_nothing(engine: Engine) -> None:
    assert engine.preview_prompt(History(system="Be brief.")).parts == ()


def test_a_draft_that_cannot_fit_is_refused(engine: Engine) -> None:
    with pytest.raises(MessageTooLong):
        engine.preview_prompt(History(draft="a b c " * engine.facts.window))


def test_turns_outside_the_context_are_not_shown(engine: Engine) -> None:
    history = talk(engine)
    for number in range(8):
        asked = replace(history, turns=(*history.turns, PromptTurn(key=f"long{number}", user=text_of(engine, 300))))
        reply = examine(engine.reply(asked, SHORT, CancelToken())).completion.text
        history = replace(asked, turns=(*history.turns, replace(asked.turns[-1], reply=reply)))
    shown = [part.key for part in engine.preview_prompt(history).parts if part.key]
    assert "t0" not in shown
    assert shown == keys(engine.ledger)


def test_the_prompt_can_be_shown_during_a_reply(engine: Engine) -> None:
    history = talk(engine)
    asked = replace(history, turns=(*history.turns, PromptTurn(key="sent", user="abc?")))
    looks: list[int] = []
    for _ in engine.reply(asked, SHORT, CancelToken()):
        thread = threading.Thread(target=lambda: looks.append(engine.preview_prompt(history).tokens))
        thread.start()
        thread.join()
    assert len(set(looks)) == 1, "the same history was shown in several ways"


def test_a_deleted_conversation_leaves_the_cache(engine: Engine) -> None:
    talk(engine)
    engine.discard_conversation("another")
    assert keys(engine.ledger) == ["t0", "t1", "t2"], "a conversation was forgotten in another's place"
    engine.discard_conversation("c")
    assert keys(engine.ledger) == []
    assert engine.ledger.used == 0
    assert keys_after(engine) == ["t0"], "the engine could not be used afterwards"


def keys_after(engine: Engine) -> list[str]:
    talk(engine, conversation="next", turns=1)
    return keys(engine.ledger)


def test_a_deleted_conversation_leaves_the_cache_behind_another() -> None:
    engine = engine_without_model(FakeKVCache(256))
    talk(engine, turns=1)
    list(engine.prefill(History(conversation="other", draft="abc " * 300), CancelToken()))
    assert keys(engine.ledger) == ["t0"]
    engine.discard_conversation("c")
    assert keys(engine.ledger) == []
    engine.close()


def test_a_deleted_conversation_leaves_no_snapshot(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path, budget=2**20)
    engine: RollingEngine = engine_without_model(FakeKVCache(512), snapshots=folder)
    talk(engine)
    engine.run_idle_tasks(CancelToken())
    folder.flush()
    assert list(tmp_path.glob("*.kv"))
    engine.discard_conversation("c")
    assert not list(tmp_path.glob("*.kv")), "what was deleted is still on the disk"
    engine.run_idle_tasks(CancelToken())
    engine.close()
    assert not list(tmp_path.glob("*.kv*")), "a deleted conversation was saved again"


async def test_the_runner_shows_and_deletes_off_the_engines_thread() -> None:
    engine = EchoEngine()
    runner = EngineThread(lambda _progress: engine)
    await runner.discard_conversation("c")
    await runner.wait_ready()
    history = History(conversation="c", turns=(PromptTurn(key="a", user="Hello", reply="Hello."),))
    assert [step async for step in runner.prefill(history)] == [Prefill(6, 6)]
    assert engine.preview_prompt(history).tokens == 6
    await runner.discard_conversation("c")
    assert not engine.ledger.turns
    runner.close()


@pytest.mark.parametrize("variant", ["v1", "v3", "v7"])
def test_a_real_vocabulary_is_spelled_out(tiny_model: Callable[[str], Path], variant: str) -> None:
    with engine_of(tiny_model(variant)) as engine:
        history = talk(engine, turns=2)
        prompt = engine.preview_prompt(replace(history, draft="Is [INST] a token?"))
        controls = [piece.text for part in prompt.parts for piece in part.pieces if piece.is_control]
        assert controls[0] == "<s>"
        assert "Is [INST] a token?" in spelled(prompt)
