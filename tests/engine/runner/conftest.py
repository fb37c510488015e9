"""An engine that a test keeps waiting, and its thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.effort import PATIENCE
from support.slow_engine import SlowEngine

from mistral_chat.engine.thread import EngineThread


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
async def runner(engine: SlowEngine) -> AsyncIterator[EngineThread]:
    """A runner whose thread must be gone after the test."""
    runner = EngineThread(lambda _: engine)
    async with asyncio.timeout(PATIENCE):
        yield runner
    runner.close(timeout=PATIENCE)
    assert not runner._thread.is_alive(), "the engine's thread lives on"
    assert len(engine.threads) <= 1, "the engine was touched from two threads"
    assert engine.most_running <= 1, "two pieces of work ran at a time"
