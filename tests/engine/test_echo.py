"""The engine without a model keeps the contract of every engine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.echo_engine import EchoEngine
from support.engine_contract import EngineContract, examine, keys

from mistral_chat.generation import CancelToken, History, PromptTurn
from mistral_chat.sampling import Sampling


class TestEchoEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[EchoEngine]:
        engine = EchoEngine(window=512)
        yield engine
        engine.close()


def ask(engine: EchoEngine, text: str, sampling: Sampling = Sampling()) -> str:  # noqa: B008 (a frozen value)
    return examine(engine.reply(History(turns=(PromptTurn(key="t", user=text),)), sampling, CancelToken())).completion.text


def test_it_echoes_the_message() -> None:
    assert ask(EchoEngine(), "hello  there\n") == "You said: hello  there\n"


def test_the_echo_engine_gives_the_configured_answer() -> None:
    assert ask(EchoEngine(lambda text: text.upper()), "loud") == "LOUD"


def test_an_answer_ends_where_the_context_ends() -> None:
    engine = EchoEngine(lambda _: "word " * 1000, window=256)
    outcome = examine(engine.reply(History(turns=(PromptTurn(key="t", user="go"),)), Sampling(), CancelToken()))
    assert outcome.completion.finish_reason == "length"
    assert engine.ledger.used <= 256


def test_it_writes_at_the_given_speed() -> None:
    began = time.monotonic()
    ask(EchoEngine(tokens_per_second=100), "one two three")
    assert time.monotonic() - began >= 0.04


def test_a_lone_surrogate_is_a_token_like_any_other() -> None:
    engine = EchoEngine()
    assert ask(engine, "\ud800") == "You said: \ud800"
    assert keys(engine.ledger) == ["t"]
