"""Prompt lookup: guesses the next tokens from text already in the context, and verifies them in one batch.

Quoted and edited text repeats long parts of the prompt. If the last tokens occurred before, the tokens that followed them are
the guess. The engine decodes the guess in one batch and samples each position with the reply's own sampler: as long as the
sampled token equals the guess, it is accepted; the first that differs is the next token, and the rest is removed. So the reply
has the same distribution as without guesses (Leviathan, Kalman and Matias, "Fast Inference from Transformers via Speculative
Decoding", 2023, for a draft of probability one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MATCH: Final = 8
"""Tokens that must have occurred before; fewer match by chance."""

_FIRST_RATE: Final = 0.9
"""The acceptance rate assumed before any guess was verified."""

_LEAST_GAIN: Final = 1.1
"""The speedup from which on guessing pays off."""

_MEMORY: Final = 0.7
"""The weight of the previous acceptance rate when a guess has been verified."""


class PromptLookup:
    """Guesses the tokens of one reply."""

    def __init__(self, costs: Sequence[tuple[int, float]], tokens: Sequence[int]) -> None:
        """Guess from `tokens`, the context.

        Args:
            costs: measured on this machine: the number of tokens in a batch, and its time as a multiple of one token's. Without
                any, and where none pays, nothing is guessed.
            tokens: what the model has been given.
        """
        self._costs = [(size, cost) for size, cost in costs if size > 1]
        self._tokens = list(tokens)
        self._followers: dict[tuple[int, ...], int] = {}
        self._indexed = MATCH
        self._rate = _FIRST_RATE
        self._size = self._best_size()

    @property
    def pays(self) -> bool:
        """Whether guessing is faster at the current acceptance rate."""
        return self._size > 0

    def append(self, token: int) -> None:
        """Append a token of the reply."""
        if self._size:  # once it does not pay off, it never does again
            self._tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """Up to `most` tokens that may follow; usually none."""
        if not self._size or most < 1:
            return []
        for end in range(self._indexed, len(self._tokens)):
            self._followers[tuple(self._tokens[end - MATCH : end])] = end
        self._indexed = max(self._indexed, len(self._tokens))
        start = self._followers.get(tuple(self._tokens[-MATCH:]))
        return self._tokens[start : start + min(self._size - 1, most)] if start is not None else []

    def record(self, guessed: int, right: int) -> None:
        """Record that of `guessed` tokens the first `right` were accepted."""
        share = right / min(guessed, right + 1)
        self._rate = _MEMORY * self._rate + (1 - _MEMORY) * share
        self._size = self._best_size()

    def _best_size(self) -> int:
        """The batch size with the highest speed at the current acceptance rate; 0 if none pays off."""
        gains = [(sum(self._rate**place for place in range(size)) / cost, size) for size, cost in self._costs]
        gain, size = max(gains, default=(0.0, 0))
        return size if gain >= _LEAST_GAIN else 0
