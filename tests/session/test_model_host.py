"""The model in memory: when its engine is closed."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.echo_engine import EchoEngine
from support.effort import PATIENCE

from mistral_chat.engine.thread import EngineThread, LoadProgress
from mistral_chat.errors import EngineError
from mistral_chat.session.events import ModelEvent
from mistral_chat.session.model_host import ModelHost


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


async def test_a_model_chosen_while_a_cancelled_one_closes_is_used() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: LoadProgress) -> EchoEngine:
        begun.set()
        assert go_on.wait(PATIENCE)
        return EchoEngine()

    host = ModelHost(
        lambda model: EngineThread(slow if model == "slow" else lambda _: EchoEngine()),
        "slow",
        emit=ignore,
        spawn=asyncio.create_task,
    )
    async with asyncio.timeout(PATIENCE):
        host.load()
        await asyncio.to_thread(begun.wait)
        cancelling = asyncio.create_task(host.cancel_loading(EngineError("Loading was cancelled.")))
        while host.engine is not None:  # noqa: ASYNC110 (it is not signalled)
            await asyncio.sleep(0)
        chosen = host.load("quick")
        go_on.set()
        await asyncio.gather(cancelling, chosen)
        assert host.error is None
        assert host.loaded is not None
        await host.close()


async def test_a_model_that_cannot_be_opened_does_not_stay_loading() -> None:
    def broken(_model: str) -> EngineThread:
        raise PermissionError

    host = ModelHost(broken, "model", emit=ignore, spawn=asyncio.create_task)
    with pytest.raises(PermissionError):
        await host.load()
    with pytest.raises(EngineError, match="could not be opened"):
        await asyncio.wait_for(host.ready(), PATIENCE)
