"""The rolling context window: which turns stay, and how the cache gets from one prompt to the next.

Everything here is pure. `fit` chooses whole turns; `plan_cache_edits` turns the difference between the cache's contents and the
wanted contents into removals and insertions in place, so that only new text is decoded. Afterwards the cache contains exactly
the tokens of the new encoding, at consecutive positions from 0.

Removing tokens in place is llama.cpp's context shift (``llama_memory_seq_rm`` and ``llama_memory_seq_add``), and always keeping
the first tokens is the attention sink of Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (2023).
Removing whole turns, and editing the start of a turn whose place in the format changes, are this program's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from mistral_chat.engine.encoding.format import Encoding, TurnTokens, common_prefix
from mistral_chat.errors import MessageTooLong
from mistral_chat.generation import PromptTurn

LONGEST_INSERT = 64
"""Maximum tokens inserted in the middle of one turn; if more are needed, the turn is decoded again from there on."""

SHORTEST_TAIL = 16
"""A tail of at most this many tokens is decoded again: as fast as an edit in place, and exact."""


@dataclass(frozen=True, slots=True)
class RemoveRange:
    """Remove the tokens from `start` up to `stop`; later tokens shift down."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class InsertTokens:
    """Insert `tokens` at `start`; later tokens shift up."""

    start: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CacheEditPlan:
    """How the cache gets from one encoding to another.

    The positions of each edit are valid when its turn comes. After the last edit, the cache contains the first `keep` tokens of
    the new encoding and nothing else; the rest has to be decoded.
    """

    edits: tuple[RemoveRange | InsertTokens, ...]
    keep: int

    @property
    def inserted(self) -> int:
        """How many tokens are decoded for insertions."""
        return sum(len(edit.tokens) for edit in self.edits if isinstance(edit, InsertTokens))


def truncate(encoding: Encoding, tokens: int) -> Encoding:
    """The first `tokens` tokens of `encoding`: its last turn may be truncated, and later turns are dropped."""
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


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of kept tokens: `length` of them, from `old` on in the cache, which belong at `new`."""

    old: int
    new: int
    length: int


def plan_cache_edits(old: Encoding, new: Encoding, *, in_place: bool = True, decode_last: bool = False) -> CacheEditPlan:
    """Find the edits that lead from the cache's `old` contents to `new`.

    Turns are matched by key. What is between matched turns is removed; a matched turn that differs in a few places is edited;
    from the first turn that was not in the cache on, only a common prefix is kept, because all that follows attended to other
    tokens. All removals come first, from the end to the start, so that there is space for insertions.

    Args:
        old: the cache's contents.
        new: the wanted contents.
        in_place: whether the cache can be edited in place. If not, only the common prefix is kept.
        decode_last: leave at least the last token to be decoded, so that there are logits to sample from.
    """
    before, after = old.tokens, new.tokens
    runs = _runs(old, new) if in_place and old.head == new.head else []
    if sum(run.length for run in runs[1:]) <= SHORTEST_TAIL:
        runs = [_Run(0, 0, common_prefix(before, after))]
    limit = len(after) - 1 if decode_last else len(after)
    runs = [_Run(run.old, run.new, min(run.length, limit - run.new)) for run in runs if run.new < limit]
    removals: list[RemoveRange | InsertTokens] = []
    inserts: list[RemoveRange | InsertTokens] = []
    end_old = end_new = 0
    for run in runs:
        if run.old > end_old:
            removals.append(RemoveRange(end_old, run.old))
        if run.new > end_new:
            inserts.append(InsertTokens(end_new, after[end_new : run.new]))
        end_old, end_new = run.old + run.length, run.new + run.length
    if end_old < len(before):
        removals.append(RemoveRange(end_old, len(before)))
    return CacheEditPlan((*removals[::-1], *inserts), end_new)


def _runs(old: Encoding, new: Encoding) -> list[_Run]:
    """The kept parts of `old`, in order and in as few runs as possible; the first one starts both."""
    before, after = old.tokens, new.tokens
    wanted = {turn.key: place for place, turn in enumerate(new.turns)}
    runs = [_Run(0, 0, len(new.head))]
    done_old = done_new = stop = len(new.head)
    matched = 0
    for turn in old.turns:
        start, stop = stop, stop + len(turn.tokens)
        at = wanted.get(turn.key)
        if at is None:
            continue
        if at != matched:
            break
        other = new.turns[at]
        found = _respell(before[done_old:stop], start - done_old, other.tokens)
        whole = found is not None
        if found is None:  # the turn may have been stopped halfway: what precedes the reply can still be kept
            stop = start + len(turn.prompt)
            found = _respell(before[done_old:stop], start - done_old, other.prompt)
        if found is None:
            break
        runs += [_Run(done_old + run.old, done_new + run.new, run.length) for run in found]
        done_old, done_new = stop, done_new + len(other.tokens if whole else other.prompt)
        if not whole:
            break
        matched += 1
    runs.append(_Run(done_old, done_new, common_prefix(before[done_old:], after[done_new:])))
    return _joined(runs)


def _respell(before: Sequence[int], gap: int, after: Sequence[int]) -> list[_Run] | None:
    """The kept parts of a turn that is to become `after`; None if an edit in place is not worthwhile or not sound.

    Args:
        before: the turn in the cache, behind `gap` tokens of turns that leave. Where the format gives the first turn something
            of its own, such as the system prompt, that is found in there.
        gap: how many tokens leave before the turn.
        after: the turn's new tokens.
    """
    kept, inserted = _ends(before, gap, gap, after)
    if inserted and gap:
        kept, inserted = min((kept, inserted), _ends(before, 0, gap, after), key=lambda found: found[1])
    if inserted > LONGEST_INSERT or (inserted and not kept[-1].length):
        return None
    return kept


def _ends(before: Sequence[int], start: int, own: int, after: Sequence[int]) -> tuple[list[_Run], int]:
    """The common prefix of ``before[start:]`` and `after`, their common suffix in ``before[own:]``, and what is missing."""
    head = common_prefix(before[start:], after)
    tail = common_prefix(before[max(own, start + head) :][::-1], after[head:][::-1])
    runs = [_Run(start, 0, head), _Run(len(before) - tail, len(after) - tail, tail)]
    return runs, len(after) - head - tail


def _joined(runs: Sequence[_Run]) -> list[_Run]:
    """Merge adjacent runs; the first one stays even if it is empty."""
    joined = [runs[0]]
    for run in runs[1:]:
        last = joined[-1]
        if run.old == last.old + last.length and run.new == last.new + last.length:
            joined[-1] = _Run(last.old, last.new, last.length + run.length)
        elif run.length:
            joined.append(run)
    return joined


@dataclass(frozen=True, slots=True)
class FittedTurns:
    """The turns that stay in the context."""

    kept: tuple[PromptTurn, ...]
    dropped: tuple[PromptTurn, ...]
    encoding: Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextWindow:
    """The size of the context window, and what is reserved in it."""

    size: int
    """The size in tokens."""
    reserve: int
    """Tokens reserved for a reply when a turn starts."""
    low_water: float
    """When turns must be evicted, eviction continues until at most this share of the window is used."""

    def fit(
        self,
        turns: Sequence[PromptTurn],
        encode: Callable[[Sequence[PromptTurn]], Encoding],
        *,
        need: int | None = None,
        firm: Collection[str] = (),
    ) -> FittedTurns:
        """Choose which of `turns` stay, so that their encoding and `need` more tokens fit.

        Whole turns are evicted, oldest first, down to the low-water mark in one go. Pinned turns, the last turn and those in
        `firm` stay.

        Args:
            turns: the conversation, oldest first.
            encode: makes the prompt of the turns it is given.
            need: tokens that must stay free; None means the reserve.
            firm: keys of turns that must stay.

        Raises:
            MessageTooLong: what must stay does not fit by itself.
        """
        need = self.reserve if need is None else need
        kept = list(turns)
        encoding = encode(kept)
        if len(encoding.tokens) + need <= self.size:
            return FittedTurns(tuple(kept), (), encoding)
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
            available = max(0, self.size - need - (len(encoding.tokens) - message))
            raise MessageTooLong(message, available, self.size, replied=bool(turns and turns[-1].reply))
        return FittedTurns(tuple(kept), tuple(dropped), encoding)

    @staticmethod
    def _oldest(kept: Sequence[PromptTurn], encoding: Encoding, excess: int, firm: set[str]) -> list[PromptTurn]:
        """The oldest turns that may be evicted and together have at least `excess` tokens, or all of them."""
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
