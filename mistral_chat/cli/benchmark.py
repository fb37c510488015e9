"""Plays a conversation and measures every turn."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

from mistral_chat.conversation import Usage
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import MistralChatError
from mistral_chat.generation import History, PromptTurn
from mistral_chat.session.events import ContextShifted, PrefillProgress, ReplyFailed, ReplyFinished, SessionEvent
from mistral_chat.session.headless import HeadlessSession
from mistral_chat.session.reply import NewMessage

_TOPIC = "The river was high, the bridge was closed, and the carts waited on the road until the evening came. "


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMeasure:
    """The figures of one turn; its fields are the keys of ``bench --json``."""

    prompt_tokens: int
    """Tokens of the prompt."""
    cached_tokens: int
    """Prompt tokens that were already in the KV cache."""
    prefilled_tokens: int
    """Prompt tokens that were decoded."""
    evicted_turns: int
    """Turns that were evicted during this turn and at its end."""
    evicted_tokens: int
    """Tokens of those turns."""
    time_to_first_token: float
    """Seconds from the request to the first token."""
    tokens_per_second: float
    """Decode speed of the reply."""
    ledger_tokens: int
    """Tokens in the KV cache at the end of the turn."""
    window: int
    """The size of the context window."""


@dataclass(slots=True)
class TurnEvents:
    """Collects what a session reports during one turn."""

    on_prefill: Callable[[PrefillProgress], None]
    shifts: list[ContextShifted] = field(default_factory=list)
    usage: Usage | None = None
    error: MistralChatError | None = None

    async def take(self, event: SessionEvent) -> None:
        """Take one event."""
        match event:
            case PrefillProgress():
                self.on_prefill(event)
            case ContextShifted():
                self.shifts.append(event)
            case ReplyFinished(completion=completion):
                self.usage = completion.usage if completion is not None else None
            case ReplyFailed(error=error):
                self.error = error

    def clear(self) -> None:
        """Forget the turn's events."""
        self.shifts.clear()
        self.usage = self.error = None


class BenchmarkRun:
    """A conversation measured turn by turn."""

    def __init__(self, running: HeadlessSession, turn: TurnEvents) -> None:
        """Take a new session whose model is loaded, and the collector of its events."""
        self._running = running
        self._turn = turn

    @property
    def engine(self) -> EngineThread:
        """The engine's thread.

        Raises:
            AssertionError: no model is loaded.
        """
        if (engine := self._running.host.engine) is None:
            raise AssertionError("a benchmark needs a model")
        return engine

    async def play(self, messages: Iterable[str]) -> AsyncIterator[TurnMeasure]:
        """Send each of `messages` and yield the figures of its turn.

        Raises:
            MistralChatError: a message does not fit, or llama.cpp failed.
        """
        for message in messages:
            self._turn.clear()
            await self._running.answer(NewMessage(message))
            yield self._figures()

    async def play_until_rolling(self, messages: Iterator[str], *, after: int, most: int) -> AsyncIterator[TurnMeasure]:
        """Play until turns have left the context and `after` more turns were played; at most `most` turns."""
        left: int | None = None
        played = 0
        async for measure in self.play(messages):
            yield measure
            played += 1
            if left is None:
                left = after if measure.evicted_turns else None
            else:
                left -= 1
            if left == 0 or played == most:
                return

    async def measure_reopening(self, written: Callable[[], None]) -> tuple[float, int]:
        """Switch to another conversation and back; return the seconds that took, and the tokens prefilled again.

        Args:
            written: waits until the KV state is on the disk.
        """
        await self.engine.run_idle_tasks()
        await self._prefill(History(turns=(PromptTurn(key="other", user="Hello.", reply="Hello."),)))
        written()
        began = time.perf_counter()
        tokens = await self._prefill(self._running.session.conversation.history())
        return time.perf_counter() - began, tokens

    async def _prefill(self, history: History) -> int:
        total = 0
        async with aclosing(self.engine.prefill(history)) as progress:
            async for event in progress:
                total = event.total
        return total

    def _figures(self) -> TurnMeasure:
        if self._turn.error is not None:
            raise self._turn.error
        usage, state = self._turn.usage, self._running.host.context
        if usage is None or state is None:
            raise AssertionError("the engine ended without a completion")
        return TurnMeasure(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            prefilled_tokens=usage.prompt_tokens - usage.cached_tokens,
            evicted_turns=sum(len(shift.turns) for shift in self._turn.shifts),
            evicted_tokens=sum(shift.tokens for shift in self._turn.shifts),
            time_to_first_token=usage.time_to_first_token,
            tokens_per_second=usage.tokens_per_second,
            ledger_tokens=state.used,
            window=state.window,
        )


def equal_messages(count: Callable[[str], int], *, tokens: int) -> Iterator[str]:
    """Yield messages without end, each of about `tokens` tokens and different from the last."""
    number = 0
    while True:
        number += 1
        text = f"Part {number}. "
        while count(text) < tokens:
            text += _TOPIC
        yield text
