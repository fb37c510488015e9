"""A session over a store in memory, the engine's real thread, and an engine that follows the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
from support.scripted_engine import Clock, ScriptedEngine
from support.sessions import SessionBench

from mistral_chat.config import Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.session.session import ChatSession
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore


@pytest.fixture
def store() -> Iterator[ConversationStore]:
    store = ConversationStore(open_database(None), now=lambda: datetime.now(UTC))
    yield store
    store.close()


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def bench(store: ConversationStore, engine: ScriptedEngine, clock: Clock) -> AsyncIterator[SessionBench]:
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings(system="Be kind."), clock=clock)
    await bench.host.load()
    yield bench
    await bench.close()


@pytest.fixture
def session(bench: SessionBench) -> ChatSession:
    return bench.open()
