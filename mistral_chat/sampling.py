"""How tokens of a reply are sampled. The settings contain it, so the first paint waits for this module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is sampled."""

    temperature: Annotated[float, "Sampling temperature; 0 is greedy."] = 0.7
    top_p: Annotated[float, "Nucleus sampling: sample from the most likely tokens whose probabilities add up to this."] = 0.95
    top_k: Annotated[int, "Sample from this many of the most likely tokens; 0 means no limit."] = 40
    min_p: Annotated[float, "Exclude tokens less likely than this share of the most likely one."] = 0.05
    repeat_penalty: Annotated[float, "Above 1.0, the last 64 tokens become less likely to recur; 1.0 is off."] = 1.0
    seed: Annotated[
        int | None, "The same seed gives the same reply on the same machine; empty: a random seed for each reply."
    ] = None
    max_tokens: Annotated[int | None, "Maximum reply length in tokens; empty: no limit."] = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value is out of its range; the message names it.
        """
        ranges = (("temperature", 0.0, 5.0), ("top_p", 0.0, 1.0), ("min_p", 0.0, 1.0), ("repeat_penalty", 0.5, 2.0))
        for name, low, high in ranges:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g}, not {getattr(self, name):g}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 or more, not {self.top_k}")
        if self.seed is not None and not 0 <= self.seed < 2**32 - 1:
            raise ValueError(f"seed must be from 0 to 4294967294, not {self.seed}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, not {self.max_tokens}")
