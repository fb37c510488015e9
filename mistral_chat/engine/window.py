"""The rolling window: which turns the model sees, and how its cache gets from one prompt to the next.

Everything here is pure. `fit` chooses whole turns; `transition` turns the difference between what the cache holds and what
it should hold into cuts and splices in place, so that only new text is read. The cache after a transition holds exactly the
tokens of the new encoding, at positions that run without a gap from 0.

The idea of cutting in place is llama.cpp's context shift (``llama_memory_seq_rm`` and ``llama_memory_seq_add``), and keeping
the first tokens at all times is the attention sink of Xiao et al., "Efficient Streaming Language Models with Attention
Sinks" (2023). Cutting whole turns, and editing the head of a turn whose place in the format changes, is this program's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from mistral_chat.engine.encoding.format import Encoding, TurnTokens
from mistral_chat.errors import MessageTooLong
from mistral_chat.generation import PromptTurn

LONGEST_SPLICE = 64
"""Tokens that one turn may have put into its middle; more than this is read again from there on."""

SHORTEST_TAIL = 16
"""A tail no longer than this is read again: that is as quick as an edit in place, and exact."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Take the tokens from `start` up to `stop` out of the cache; those behind them move down."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Splice:
    """Put `tokens` into the cache at `start`; those that stood there and behind move up."""

    start: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Transition:
    """How the cache gets from one encoding to another.

    Each edit's positions hold when its turn comes. After the last one the cache holds the first `keep` tokens of the new
    encoding and nothing else; the rest has to be read.
    """

    edits: tuple[Cut | Splice, ...]
    keep: int

    @property
    def spliced(self) -> int:
        """How many tokens the splices read."""
        return sum(len(edit.tokens) for edit in self.edits if isinstance(edit, Splice))


def take(encoding: Encoding, tokens: int) -> Encoding:
    """The first `tokens` tokens of `encoding`: its last turn may be cut short, and turns behind it are gone."""
    head, left = encoding.head[:tokens], max(0, tokens - len(encoding.head))
    turns: list[TurnTokens] = []
    for turn in encoding.turns:
        if left <= 0:
            break
        parts = []
        for part in (turn.prompt, turn.reply, turn.closing):
            parts.append(part[: max(0, left)])
            left -= len(part)
        turns.append(TurnTokens(turn.key, *parts))
    return Encoding(head=head, turns=tuple(turns))


def transition(old: Encoding, new: Encoding, *, in_place: bool = True, read_last: bool = False) -> Transition:
    """Find the edits that lead from the cache's `old` contents to `new`.

    Turns are matched by key. What stands between matched turns is cut; a matched turn whose tokens differ in a few places is
    spliced; from the first turn that was not in the cache on, only a common prefix is kept, because all that follows has
    been read in another company.

    Args:
        old: what the cache holds.
        new: what it shall hold.
        in_place: whether the cache can be edited in its middle. Without it only the common prefix is kept.
        read_last: leave at least the last token to be read, so that the model has something to continue from.
    """
    edits, kept_old, kept_new = _match(old, new) if in_place and old.head == new.head else ([], 0, 0)
    start = sum(len(t) for t in (new.head, *(turn.tokens for turn in new.turns[:kept_new]))) if kept_new else 0
    behind_old = old.tokens if not kept_old else _tail(old, kept_old)
    behind_new = new.tokens if not kept_new else _tail(new, kept_new)
    keep = start + common_prefix(behind_old, behind_new)
    if edits and _moved(edits, start) <= SHORTEST_TAIL:
        edits, keep = [], common_prefix(old.tokens, new.tokens)
    if read_last:
        keep = min(keep, len(new.tokens) - 1)
    length = len(old.tokens) + sum(len(e.tokens) if isinstance(e, Splice) else e.start - e.stop for e in edits)
    if keep < length:
        edits = _truncate(edits, keep, length)
    return Transition(tuple(edits), keep)


def _match(old: Encoding, new: Encoding) -> tuple[list[Cut | Splice], int, int]:
    """Walk the turns that both have, from the first on; return the edits and how far the walk went in each."""
    edits: list[Cut | Splice] = []
    wanted = {turn.key: place for place, turn in enumerate(new.turns)}
    position = len(old.head)
    next_new = next_old = 0
    pending: list[Cut | Splice] = []
    for place, turn in enumerate(old.turns):
        at = wanted.get(turn.key)
        if at is None:
            pending.append(Cut(position, position + len(turn.tokens)))
            continue
        if at != next_new:
            break
        changes = _respell(turn, new.turns[at], position)
        if changes is None:
            break
        edits += [*pending, *changes]
        pending = []
        position += len(new.turns[at].tokens)
        next_new, next_old = at + 1, place + 1
    return edits, next_old, next_new


def _respell(old: TurnTokens, new: TurnTokens, position: int) -> list[Cut | Splice] | None:
    """Edits that make `new` of the same turn's `old` tokens at `position`; None where that is not worth it or not sound."""
    before, after = old.tokens, new.tokens
    if before == after:
        return []
    head = common_prefix(before, after)
    tail = common_prefix(before[head:][::-1], after[head:][::-1])
    inserted = after[head : len(after) - tail]
    if len(inserted) > LONGEST_SPLICE or (inserted and not tail):
        return None
    changes: list[Cut | Splice] = []
    if len(before) - tail > head:
        changes.append(Cut(position + head, position + len(before) - tail))
    if inserted:
        changes.append(Splice(position + head, inserted))
    return changes


def _moved(edits: Sequence[Cut | Splice], end: int) -> int:
    """How many kept tokens stand behind the first edit, when the kept part ends at `end`."""
    return max(0, end - edits[0].start)


def _truncate(edits: list[Cut | Splice], keep: int, length: int) -> list[Cut | Splice]:
    """Add the cut from `keep` to the end, joined with a cut that ends where it begins."""
    if edits and isinstance(last := edits[-1], Cut) and last.start == keep:
        return [*edits[:-1], Cut(keep, length + last.stop - last.start)]
    return [*edits, Cut(keep, length)]


def _tail(encoding: Encoding, turns: int) -> tuple[int, ...]:
    return tuple(token for turn in encoding.turns[turns:] for token in turn.tokens)


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens `one` and `other` begin with alike."""
    length = min(len(one), len(other))
    if tuple(one[:length]) == tuple(other[:length]):
        return length
    return next(place for place in range(length) if one[place] != other[place])


@dataclass(frozen=True, slots=True)
class Fit:
    """The turns that the model will see."""

    kept: tuple[PromptTurn, ...]
    dropped: tuple[PromptTurn, ...]
    encoding: Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The size of the context window and what is kept free in it."""

    size: int
    """Tokens the model may see."""
    reserve: int
    """Tokens kept free for a reply when a turn begins."""
    low_water: float
    """When turns must leave, they leave until no more than this share of the window is filled."""

    def fit(
        self,
        turns: Sequence[PromptTurn],
        encode: Callable[[Sequence[PromptTurn]], Encoding],
        *,
        need: int | None = None,
        firm: Collection[str] = (),
    ) -> Fit:
        """Choose which of `turns` stay, so that their encoding and `need` more tokens fit.

        Whole turns leave, oldest first, and when one must, they leave down to the low-water mark in one go. Pinned turns,
        the last turn and those named in `firm` stay.

        Args:
            turns: the conversation, oldest first.
            encode: makes the prompt of the turns it is given.
            need: tokens that must stay free; the reserve when None.
            firm: keys of turns that may not leave.

        Raises:
            MessageTooLong: what may not leave does not fit by itself.
        """
        need = self.reserve if need is None else need
        kept = list(turns)
        encoding = encode(kept)
        if len(encoding.tokens) + need <= self.size:
            return Fit(tuple(kept), (), encoding)
        dropped: list[PromptTurn] = []
        target = min(self.size - need, int(self.size * self.low_water))
        while (excess := len(encoding.tokens) - target) > 0:
            leaving = self._oldest(kept, encoding, excess, {turns[-1].key, *firm} if turns else set())
            if not leaving:
                break
            dropped += leaving
            gone = {turn.key for turn in leaving}
            kept = [turn for turn in kept if turn.key not in gone]
            encoding = encode(kept)
        if len(encoding.tokens) + need > self.size:
            message = len(encoding.turns[-1].tokens) if encoding.turns else 0
            raise MessageTooLong(message, max(0, self.size - need - (len(encoding.tokens) - message)), self.size)
        return Fit(tuple(kept), tuple(dropped), encoding)

    @staticmethod
    def _oldest(kept: Sequence[PromptTurn], encoding: Encoding, excess: int, firm: set[str]) -> list[PromptTurn]:
        """The oldest turns that may leave and together hold at least `excess` tokens, or all of them."""
        costs = {turn.key: len(turn.tokens) for turn in encoding.turns}
        leaving: list[PromptTurn] = []
        freed = 0
        for turn in kept:
            if freed >= excess:
                break
            if not turn.pinned and turn.key not in firm:
                leaving.append(turn)
                freed += costs.get(turn.key, 0)
        return leaving
