"""The KV cache interface that the rolling engine needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mistral_chat.generation import CancelToken
from mistral_chat.sampling import Sampling


class DecodeAborted(Exception):
    """A decode was aborted. The batches that it had completed are in the cache."""


class KVCache(Protocol):
    """Tokens at consecutive positions from 0; new tokens can only be appended.

    `mistral_chat.engine.llama.context.LlamaContext` is the real one.
    """

    @property
    def size(self) -> int:
        """The capacity in tokens."""

    @property
    def n_tokens(self) -> int:
        """The number of tokens in the cache."""

    @property
    def pos_min(self) -> int:
        """The position of the first token: 0, or -1 if the cache is empty."""

    @property
    def can_trim(self) -> bool:
        """Whether tokens can be removed from the end. A recurrent state, as in Mamba and LFM2, can only be cleared."""

    @property
    def can_shift(self) -> bool:
        """Whether tokens can be removed and inserted in the middle."""

    @property
    def shift_pending(self) -> bool:
        """Whether tokens were shifted since the last decode; if so, the cache must not be saved."""

    @property
    def batch(self) -> int:
        """The maximum number of tokens in one decode."""

    @property
    def can_abort(self) -> bool:
        """Whether a cancel stops a decode in the middle of a batch; GPUs complete theirs."""

    def decode(self, tokens: Sequence[int], cancel: CancelToken | None = None, *, sample_each: bool = False) -> None:
        """Append `tokens`, at most one batch. With `sample_each`, a token can be sampled after each of them.

        Raises:
            DecodeAborted: `cancel` was set.
            EngineFailed: llama.cpp failed, or the cache is full.
        """

    def remove(self, start: int, stop: int) -> None:
        """Remove the tokens from `start` up to `stop`; later tokens shift down."""

    def insert(self, start: int, tokens: Sequence[int]) -> None:
        """Insert `tokens` at `start`; later tokens shift up."""

    def recompute(self, start: int, tokens: Sequence[int], cancel: CancelToken | None = None) -> None:
        """Decode `tokens`, which are in the cache from `start` on, again, and replace the old keys and values by the new ones.

        Raises:
            DecodeAborted: `cancel` was set; the cache is as it was.
            EngineFailed: llama.cpp failed, or the cache cannot hold a second copy of `tokens`.
        """

    def clear(self) -> None:
        """Empty the cache."""

    def start_sampling(self, sampling: Sampling, recent: Sequence[int]) -> None:
        """Prepare to sample a reply; `recent` are the tokens before it."""

    def sample(self, place: int = -1) -> int:
        """Sample the token after the last decoded one, or after the one at `place` of a batch decoded with `sample_each`."""

    def stop_sampling(self) -> None:
        """Release the sampler."""

    def save_state(self) -> bytes | memoryview | None:
        """Serialize the contents for the disk; None if the cache is empty or cannot be saved now."""

    def load_state(self, state: bytes | memoryview, tokens: int) -> bool:
        """Replace the contents by `state`, which has `tokens` tokens; False, with an empty cache, if it does not fit."""

    def close(self) -> None:
        """Free everything."""
