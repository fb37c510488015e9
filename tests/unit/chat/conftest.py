"""A chat over a store in memory, the engine's real thread, and an engine that follows the test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from support.scripted_engine import PATIENCE, Clock, ScriptedEngine

from mistral_chat.chat import Chat
from mistral_chat.config import Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore


@pytest.fixture
def store() -> Iterator[ConversationStore]:
    store = ConversationStore(open_database(None, now=lambda: datetime.now(UTC)), now=lambda: datetime.now(UTC))
    yield store
    store.close()


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def runner(engine: ScriptedEngine) -> Iterator[EngineThread]:
    runner = EngineThread(lambda _: engine)
    yield runner
    runner.close(PATIENCE)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chat(store: ConversationStore, runner: EngineThread, clock: Clock) -> Chat:
    return Chat(store=store, runner=runner, settings=Settings(system="Be kind."), clock=clock)
