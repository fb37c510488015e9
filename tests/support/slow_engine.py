"""An engine that writes only as fast as a test lets it, and how a test asks its thread for a reply."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

from support.echo_engine import EchoEngine
from support.effort import PATIENCE

from mistral_chat.engine.thread import EngineThread
from mistral_chat.generation import CancelToken, Completion, Delta, Event, History, Prefill, PromptTurn
from mistral_chat.sampling import Sampling


def history(text: str = "one two three", key: str = "t") -> History:
    """One question and nothing before it."""
    return History(turns=(PromptTurn(key=key, user=text),))


class SlowEngine(EchoEngine):
    """Writes a reply only as fast as it is let, and says what it is doing."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.running = 0
        self.most_running = 0
        self.threads: set[int] = set()
        self.rests = 0
        self.rested = threading.Event()
        self.closed = threading.Event()
        self.cancelled: list[str] = []
        self.ahead = threading.Event()

    def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
        self._enter()
        try:
            for event in super().reply(history, sampling, cancel):
                if isinstance(event, Delta):
                    while not self.go_on.acquire(timeout=0.005) and not cancel.is_set:
                        """Wait for the test or for a stop."""
                if isinstance(event, Completion) and event.finish_reason == "cancelled":
                    self.cancelled.append(history.turns[-1].key)
                yield event
        finally:
            self.running -= 1

    def prefill(self, history: History, cancel: CancelToken) -> Iterator[Prefill]:
        self._enter()
        try:
            self.ahead.set()
            yield Prefill(0, 100)
            while not cancel.is_set and not self.go_on.acquire(timeout=0.005):
                """Prefill until something is requested."""
            if cancel.is_set:
                self.cancelled.append("ahead")
        finally:
            self.running -= 1

    def run_idle_tasks(self, cancel: CancelToken) -> None:
        self.threads.add(threading.get_ident())
        self.rests += 1
        self.rested.set()

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed.set()

    def let(self, deltas: int) -> None:
        self.go_on.release(deltas)

    def _enter(self) -> None:
        self.threads.add(threading.get_ident())
        self.running += 1
        self.began.release()
        self.most_running = max(self.most_running, self.running)


async def collect(runner: EngineThread, asked: History) -> list[Event]:
    """Every event of one reply."""
    return [event async for event in runner.reply(asked, Sampling())]


async def begun(engine: SlowEngine) -> None:
    """Wait until the engine starts one more piece of work."""
    assert await asyncio.to_thread(engine.began.acquire, timeout=PATIENCE)
