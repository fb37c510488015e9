"""An engine and a clock that do what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from support.echo_engine import EchoEngine

from mistral_chat.generation import CancelToken, Delta, Event, History, Prefill
from mistral_chat.sampling import Sampling


class Clock:
    """Seconds that pass only when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class ScriptedEngine(EchoEngine):
    """Remembers what it was asked, and can be made to wait or to fail after a number of deltas."""

    def __init__(self, answer: Callable[[str], str] = lambda text: f"You said: {text}", *, window: int = 4096) -> None:
        super().__init__(answer, window=window)
        self.asked: list[History] = []
        self.sampling: list[Sampling] = []
        self.ahead: list[History] = []
        self.at_start: Callable[[], None] = lambda: None
        self.at_delta: Callable[[int], None] = lambda _: None
        self.at_delta_waits = -1
        self.waiting = threading.Event()

    def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
        self.asked.append(history)
        self.sampling.append(sampling)
        self.at_start()
        deltas = 0
        for event in super().reply(history, sampling, cancel):
            if isinstance(event, Delta):
                self.at_delta(deltas)
                deltas += 1
            yield event
            if deltas == self.at_delta_waits:
                self.waiting.set()
                while not cancel.is_set:
                    threading.Event().wait(0.001)

    def prefill(self, history: History, cancel: CancelToken) -> Iterator[Prefill]:
        self.ahead.append(history)
        return super().prefill(history, cancel)
