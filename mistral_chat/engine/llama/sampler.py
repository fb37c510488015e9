"""Samples the next token with llama.cpp's sampler chain, built from `Sampling`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from mistral_chat.engine.llama.bindings import llama_cpp
from mistral_chat.sampling import Sampling

REPEAT_WINDOW = 64
"""The number of recent tokens that the repeat penalty applies to."""


class Sampler:
    """One reply's sampler. Close it when the reply ends."""

    def __init__(self, sampling: Sampling, *, vocabulary: int, recent: Sequence[int] = ()) -> None:
        """Build the chain.

        The repeat penalty comes after top-k, so that it processes a few tokens and not the whole vocabulary.

        Args:
            sampling: the settings.
            vocabulary: how many tokens there are.
            recent: the tokens before the reply, for the repeat penalty.
        """
        self._chain: Any = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for part in self._parts(sampling, vocabulary):
            llama_cpp.llama_sampler_chain_add(self._chain, part)
        if sampling.repeat_penalty != 1.0:
            for token in recent[-REPEAT_WINDOW:]:
                llama_cpp.llama_sampler_accept(self._chain, token)

    @staticmethod
    def _parts(sampling: Sampling, vocabulary: int) -> list[Any]:
        greedy = sampling.temperature <= 0
        parts = []
        if sampling.top_k and not greedy:
            parts.append(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
        if sampling.repeat_penalty != 1.0:
            penalty = sampling.repeat_penalty
            parts.append(llama_cpp.llama_sampler_init_penalties(vocabulary, REPEAT_WINDOW, penalty, 0.0, 0.0))
        if greedy:
            return [*parts, llama_cpp.llama_sampler_init_greedy()]
        seed = sampling.seed if sampling.seed is not None else secrets.randbelow(2**32 - 1)
        return [
            *parts,
            llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1),
            llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1),
            llama_cpp.llama_sampler_init_temp(sampling.temperature),
            llama_cpp.llama_sampler_init_dist(seed),
        ]

    def sample(self, context: Any, place: int) -> int:
        """Sample a token from the last logits of the context behind the pointer `context`."""
        return int(llama_cpp.llama_sampler_sample(self._chain, context, place))

    def close(self) -> None:
        """Free the chain."""
        if self._chain:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None
