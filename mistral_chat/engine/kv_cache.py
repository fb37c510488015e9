"""What the rolling engine needs of a KV cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mistral_chat.generation import CancelToken, Sampling


class DecodeAborted(Exception):
    """A decode was stopped. The batches that it had finished are in the cache."""


class KVCache(Protocol):
    """Tokens at positions without a gap from 0, of which only the end can be appended to.

    `mistral_chat.engine.llama.context.LlamaContext` is the real one.
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
        """Whether tokens can be removed and inserted in the middle."""

    @property
    def shift_pending(self) -> bool:
        """Whether tokens were moved since the last decode: the cache may not be saved now."""

    @property
    def batch(self) -> int:
        """The most tokens in one decode."""

    @property
    def can_abort(self) -> bool:
        """Whether a cancel stops a decode in the middle of a batch; GPUs finish theirs."""

    def decode(self, tokens: Sequence[int], cancel: CancelToken | None = None, *, sample_each: bool = False) -> None:
        """Append `tokens`, at most one batch of them. With `sample_each`, a token can be sampled behind each of them.

        Raises:
            DecodeAborted: `cancel` was set.
            EngineFailed: llama.cpp failed, or there is no room.
        """

    def remove(self, start: int, stop: int) -> None:
        """Remove the tokens from `start` up to `stop`; those behind them move down."""

    def insert(self, start: int, tokens: Sequence[int]) -> None:
        """Insert `tokens` at `start`; those from there on move up."""

    def recompute(self, start: int, tokens: Sequence[int], cancel: CancelToken | None = None) -> None:
        """Decode `tokens`, which are in the cache from `start` on, a second time; the old keys and values go when that is done.

        Raises:
            DecodeAborted: `cancel` was set; the cache is as it was.
            EngineFailed: llama.cpp failed, or there is no room for a second copy of `tokens`.
        """

    def clear(self) -> None:
        """Empty the cache."""

    def start_sampling(self, sampling: Sampling, recent: Sequence[int]) -> None:
        """Prepare to sample a reply; `recent` are the tokens before it."""

    def sample(self, place: int = -1) -> int:
        """Sample the token that follows the last one decoded, or the one at `place` of a batch decoded with `sample_each`."""

    def stop_sampling(self) -> None:
        """Release the sampler."""

    def save_state(self) -> bytes | memoryview | None:
        """The contents, for the disk; None when there are none, or none that can be saved now."""

    def load_state(self, state: bytes | memoryview, tokens: int) -> bool:
        """Replace the contents by `state`, which has `tokens` tokens; False, and an empty cache, when it does not fit."""

    def close(self) -> None:
        """Free everything."""
