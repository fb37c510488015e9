"""What the rolling engine needs of a KV cache, and how it is told that a read was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mistral_chat.generation import CancelToken, Sampling


class DecodeAborted(Exception):
    """A read was stopped. What was finished of it is in the cache."""


class KVCache(Protocol):
    """A row of tokens at positions without a gap from 0, of which only the end can be read on to.

    `mistral_chat.engine.llama.context.Cache` is the real one.
    """

    @property
    def size(self) -> int:
        """How many tokens fit."""

    @property
    def n_tokens(self) -> int:
        """How many tokens are in the cache."""

    @property
    def pos_min(self) -> int:
        """The first token's position: 0, or -1 when the cache is empty."""

    @property
    def can_shift(self) -> bool:
        """Whether the cache can be cut in its middle."""

    @property
    def shift_pending(self) -> bool:
        """Whether tokens were shift_pending since the last read: the cache may not be saved now."""

    @property
    def batch(self) -> int:
        """How many tokens can be read in one go."""

    def decode(self, tokens: Sequence[int], cancel: CancelToken | None = None) -> None:
        """Read `tokens` behind what is there.

        Raises:
            DecodeAborted: `cancel` was set.
            EngineFailed: it could not be done, or there is no room.
        """

    def remove(self, start: int, stop: int) -> None:
        """Take the tokens from `start` up to `stop` out, and move those behind them down."""

    def insert(self, start: int, tokens: Sequence[int]) -> None:
        """Put `tokens` in at `start`, and move those behind them up."""

    def clear(self) -> None:
        """Empty the cache."""

    def start_sampling(self, sampling: Sampling, recent: Sequence[int]) -> None:
        """Get ready to draw tokens; `recent` are those before the reply."""

    def sample(self) -> int:
        """Draw the token that follows the last one read."""

    def stop_sampling(self) -> None:
        """Draw no more."""

    def save_state(self) -> bytes | memoryview | None:
        """The contents for the disk; None when there is nothing, or nothing that can be saved now."""

    def load_state(self, state: bytes | memoryview, tokens: int) -> bool:
        """Take up contents of `tokens` tokens; False, and an empty cache, when they do not fit."""

    def close(self) -> None:
        """Let everything go."""
