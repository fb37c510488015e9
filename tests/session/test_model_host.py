"""The model in memory: when its engine is closed."""

from __future__ import annotations

import asyncio
import threading

from support.echo_engine import EchoEngine

from mistral_chat.engine.thread import EngineThread
from mistral_chat.session.events import ModelEvent
from mistral_chat.session.model_host import ModelHost

PATIENCE = 10.0


async def ignore(_event: ModelEvent) -> None:
    return


async def test_an_app_that_quits_does_not_wait_for_the_snapshot() -> None:
    """The terminal is given back first; the engine's thread saves by itself."""
    go_on, closed = threading.Event(), threading.Event()

    class Saving(EchoEngine):
        def close(self) -> None:
            assert go_on.wait(PATIENCE)
            closed.set()

    engine = EngineThread(lambda _: Saving())
    host = ModelHost(lambda _: engine, "model", emit=ignore, spawn=asyncio.create_task)
    async with asyncio.timeout(PATIENCE):
        await host.load()
        await host.close(wait=False)
    assert not closed.is_set()
    go_on.set()
    engine.close(PATIENCE)
    assert closed.is_set(), "the program would end before the snapshot is saved"
