"""Plays a conversation on an engine and measures every turn."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_chat.generation import CancelToken, Completion, ContextShift, History, Prefill, PromptTurn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mistral_chat.conversation import Usage
    from mistral_chat.generation import Engine, Sampling

CONVERSATION = "bench"
"""Names the measured conversation for its KV state."""

_TOPIC = "The river was high, the bridge was closed, and the carts waited on the road until the evening came. "


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMeasure:
    """What one turn took; its fields are the keys of ``bench --json``."""

    prompt_tokens: int
    """Tokens the model was given."""
    cached_tokens: int
    """Those that were in the KV cache already."""
    prefilled_tokens: int
    """Those that were read."""
    evicted_turns: int
    """Turns that left the window during this turn, its end included."""
    evicted_tokens: int
    """Tokens of those turns."""
    time_to_first_token: float
    """Seconds from the request to the first token."""
    tokens_per_second: float
    """Decode speed over the reply."""
    ledger_tokens: int
    """Tokens in the cache when the turn was over."""
    window: int
    """Tokens the model may see."""


class Playing:
    """A conversation that goes on turn by turn."""

    def __init__(
        self, engine: Engine, *, system: str, sampling: Sampling, on_progress: Callable[[Prefill], None] | None = None
    ) -> None:
        """Begin an empty conversation.

        Args:
            engine: what answers.
            system: the system prompt.
            sampling: how tokens are drawn.
            on_progress: is told how far a prompt is read.
        """
        self._engine = engine
        self._sampling = sampling
        self._on_progress = on_progress
        self.history = History(conversation=CONVERSATION, system=system)
        """What was said until now."""

    def play(self, messages: Iterable[str]) -> Iterator[TurnMeasure]:
        """Send each of `messages` and yield what its turn took.

        Raises:
            EngineError: a message does not fit, or llama.cpp failed.
        """
        for message in messages:
            turn = PromptTurn(key=f"turn {len(self.history.turns) + 1}", user=message)
            yield self._measure(turn)

    def _measure(self, turn: PromptTurn) -> TurnMeasure:
        shifts: list[ContextShift] = []
        done: Completion | None = None
        asked = replace(self.history, turns=(*self.history.turns, turn))
        for event in self._engine.reply(asked, self._sampling, CancelToken()):
            match event:
                case Prefill() if self._on_progress is not None:
                    self._on_progress(event)
                case ContextShift():
                    shifts.append(event)
                case Completion():
                    done = event
        if done is None:
            raise AssertionError("the engine ended without a completion")
        self.history = replace(self.history, turns=(*self.history.turns, replace(turn, reply=done.text)))
        return self._figures(done.usage, shifts)

    def _figures(self, usage: Usage, shifts: list[ContextShift]) -> TurnMeasure:
        ledger = self._engine.ledger
        return TurnMeasure(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            prefilled_tokens=usage.prompt_tokens - usage.cached_tokens,
            evicted_turns=sum(len(shift.turns) for shift in shifts),
            evicted_tokens=sum(shift.tokens for shift in shifts),
            time_to_first_token=usage.time_to_first_token,
            tokens_per_second=usage.tokens_per_second,
            ledger_tokens=ledger.used,
            window=ledger.window,
        )

    def measure_reopening(self, written: Callable[[], None]) -> tuple[float, int]:
        """Turn to another conversation and back; the seconds that took, and the tokens that had to be read again.

        Args:
            written: waits until the KV state is on the disk.
        """
        self._engine.run_idle_tasks()
        other = History(conversation="", turns=(PromptTurn(key="other", user="Hello.", reply="Hello."),))
        for _ in self._engine.prefill(other, CancelToken()):
            """Only the cache's contents matter."""
        written()
        began = time.perf_counter()
        steps = list(self._engine.prefill(self.history, CancelToken()))
        return time.perf_counter() - began, steps[-1].total if steps else 0


def equal_messages(engine: Engine, *, tokens: int) -> Iterator[str]:
    """Messages without end, each of about `tokens` tokens and different from the last."""
    number = 0
    while True:
        number += 1
        text = f"Part {number}. "
        while engine.count(text) < tokens:
            text += _TOPIC
        yield text


def until_rolling(messages: Iterator[str], playing: Playing, *, after: int, most: int) -> Iterator[TurnMeasure]:
    """Play `messages` until turns have left the window and `after` more turns were played; at most `most` turns."""
    left: int | None = None
    for _, measure in zip(range(most), playing.play(messages), strict=False):
        yield measure
        if left is None:
            left = after if measure.evicted_turns else None
        elif (left := left - 1) == 0:
            return
