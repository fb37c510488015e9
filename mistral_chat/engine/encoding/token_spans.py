"""Where each token starts in a rendered text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from mistral_chat.engine.encoding.text import token_bytes, token_ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.engine.encoding.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """A part of the prompt as tokens."""

    start: int
    end: int
    tokens: tuple[int, ...]
    whole: bool
    """Whether it is indivisible, such as a special token or a sampled reply, and not text that can be split between tokens."""


class TokenIndex:
    """The tokens of a prompt, and where each starts in the text."""

    def __init__(self, tokenizer: Tokenizer, text: str, runs: Sequence[TokenSpan]) -> None:
        """Index the tokens of `runs`, which cover `text` in order."""
        self.tokens = [token for run in runs for token in run.tokens]
        self._tokenizer = tokenizer
        self._text = text
        self._runs = runs
        self._starts = [run.start for run in runs]
        self._first = [0, *accumulate(len(run.tokens) for run in runs)]
        self._ends: dict[int, list[int]] = {}

    def token_starting_at(self, place: int) -> int:
        """The first token that starts at or after the position `place`."""
        number = bisect_left(self._starts, place)
        if number and self._runs[number - 1].end > place:
            run = self._runs[number - 1]
            return self._first[number - 1] + (len(run.tokens) if run.whole else self._within(number - 1, place, begun=False))
        return self._first[number]

    def token_containing(self, place: int) -> int:
        """The token that contains the character at `place`."""
        number = bisect_right(self._starts, place) - 1
        run = self._runs[number]
        if number < 0 or run.end <= place:
            return self.token_starting_at(place)
        return self._first[number] + (0 if run.whole else self._within(number, place, begun=True))

    def _within(self, number: int, place: int, *, begun: bool) -> int:
        """The index of the run's token that starts at or after `place`, or, if `begun`, contains it."""
        run = self._runs[number]
        if number not in self._ends:
            ends = token_ends(self._tokenizer, run.tokens)
            extra = max(0, (ends[-1] if ends else 0) - len(token_bytes(self._tokenizer, self._text[run.start : run.end])))
            self._ends[number] = [end - extra for end in ends]
        ends = self._ends[number]
        offset = len(token_bytes(self._tokenizer, self._text[run.start : place]))
        if begun:
            return min(bisect_right(ends, offset), len(run.tokens) - 1)
        return bisect_left(ends, offset) + 1 if offset else 0
