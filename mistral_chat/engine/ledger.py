"""The ledger: which turn owns which tokens of the KV cache, kept in sync with the cache itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from itertools import accumulate
from typing import Final

from mistral_chat.engine.encoding.format import Encoding
from mistral_chat.engine.kv_cache import DecodeAborted, KVCache
from mistral_chat.engine.window import CacheEditPlan, RemoveRange, plan_cache_edits, truncate
from mistral_chat.generation import CachedTurn, CancelToken, ContextState, Prefill

NOTHING: Final = Encoding(head=(), turns=())

FIRST_BATCH: Final = 64
"""Tokens in the first batch if the speed is unknown: enough to measure it, few enough to show progress soon."""

SMALLEST_BATCH: Final = 32
"""Minimum tokens of a batch that cannot be aborted, however long it takes."""

SMALLEST_RECURRENT: Final = 8
"""The same for a recurrent state, of which no batch can be aborted even on a slow CPU."""

UNABORTABLE_SECONDS: Final = 0.2
"""Maximum seconds of a batch if llama.cpp cannot abort one."""


class Ledger:
    """A cache, and the encoding of its exact contents.

    Every change goes through here, so that the two agree.
    """

    def __init__(
        self,
        cache: KVCache,
        *,
        reserve: int,
        speed: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Keep the ledger of `cache`, which is empty.

        Args:
            cache: the cache.
            reserve: tokens kept free for a reply; only shown.
            speed: tokens a second that a long prompt is decoded at, where that was measured before.
            clock: seconds.
        """
        self.cache = cache
        self._reserve = reserve
        self._speed = speed
        self._smallest = min(SMALLEST_BATCH if cache.can_trim else SMALLEST_RECURRENT, cache.batch)
        self._clock = clock
        self._view: ContextState | None = None
        self._contents = NOTHING
        self.stale_from: tuple[str, int] | None = None
        """Where the stale part of the cache starts, which attended to removed tokens: a turn, and an offset in its tokens."""
        self.pinned: frozenset[str] = frozenset()
        """The keys of the pinned turns."""
        self.passages: Mapping[str, int] = {}
        """The number of passage tokens of each turn that has any, by key."""
        self.changed = False
        """Whether the contents changed since this was last set to False."""

    @property
    def contents(self) -> Encoding:
        """The exact tokens in the cache."""
        return self._contents

    @property
    def view(self) -> ContextState:
        """The contents, for display."""
        if self._view is None:
            self._view = ContextState(
                window=self.cache.size,
                reserve=self._reserve,
                system_tokens=len(self._contents.head),
                turns=tuple(
                    CachedTurn(turn.key, len(turn.tokens), turn.key in self.pinned, self.passages.get(turn.key, 0))
                    for turn in self._contents.turns
                ),
            )
        return self._view

    def token_counts(self) -> dict[str, int]:
        """The number of tokens of each turn, by key."""
        return {turn.key: len(turn.tokens) for turn in self._contents.turns}

    def set_contents(self, encoding: Encoding) -> None:
        """Record that the cache now contains `encoding`."""
        self._contents, self._view, self.changed = encoding, None, True

    def apply(self, encoding: Encoding, *, decode_last: bool = False) -> int:
        """Edit the cache in place until it contains a prefix of `encoding`; returns how many tokens that decoded.

        Args:
            encoding: what the cache shall contain, once the rest is decoded.
            decode_last: leave at least the last token to be decoded.

        Raises:
            EngineFailed: llama.cpp failed; the ledger must be reset.
        """
        plan = plan_cache_edits(self._contents, encoding, in_place=self.cache.can_shift, decode_last=decode_last)
        if plan.edits and not self.cache.can_trim:
            self.cache.clear()
            plan = CacheEditPlan((), 0)
        for edit in plan.edits:
            if isinstance(edit, RemoveRange):
                self.cache.remove(edit.start, edit.stop)
            else:
                self.cache.insert(edit.start, edit.tokens)
        self.set_contents(truncate(encoding, plan.keep))
        return plan.inserted

    def prefill(self, encoding: Encoding, cancel: CancelToken) -> Generator[Prefill, None, bool]:
        """Decode the rest of `encoding`, of which the cache contains a prefix; returns whether all of it was decoded.

        Raises:
            EngineFailed: llama.cpp failed; the ledger must be reset.
        """
        tokens = encoding.tokens
        start = done = len(self._contents.tokens)
        total = len(tokens) - start
        while True:
            batch = tokens[done : done + self._batch_size()]
            left = (len(tokens) - done) / self._speed if self._speed and total else None
            yield Prefill(done - start, total, left if batch or not total else 0.0, len(batch), start)
            if not batch:
                return True
            if cancel.is_set:
                return False
            began = self._clock()
            try:
                self.cache.decode(batch, cancel)
            except DecodeAborted:
                self.set_contents(truncate(encoding, self.cache.n_tokens))
                return False
            done += len(batch)
            self._measure(len(batch), self._clock() - began)
            self.set_contents(truncate(encoding, done))

    def prefill_all(self, encoding: Encoding, cancel: CancelToken) -> bool:
        """Prefill without reporting progress; see `prefill`."""
        for _ in self.prefill(encoding, cancel):
            """Only the result is wanted."""
        return len(self._contents.tokens) == len(encoding.tokens)

    def mark_stale(self, key: str) -> None:
        """Record that everything from the turn `key` on attended to tokens that have been removed."""
        starts = self._starts()
        known = starts.get(self.stale_from[0], self.cache.size) if self.stale_from else self.cache.size
        if self.cache.can_shift and key in starts and starts[key] <= known:
            self.stale_from = (key, 0)

    def recompute_stale(self, cancel: CancelToken) -> bool:
        """Recompute what is stale, so that the cache equals one that was filled from the start.

        It can be stopped after each batch, and the next call continues from there. It needs free space for one batch.

        Returns:
            Whether all of it is done.

        Raises:
            EngineFailed: llama.cpp failed; the ledger must be reset.
        """
        while self.stale_from is not None:
            key, offset = self.stale_from
            tokens = self._contents.tokens
            begins = self._starts().get(key)
            start = len(tokens) if begins is None else begins + offset
            room = self.cache.size - len(tokens)
            batch = tokens[start : start + min(self._batch_size(), room)]
            if not batch and room:
                self.stale_from = None
                break
            if not batch or cancel.is_set:
                return False
            try:
                self.cache.recompute(start, batch, cancel)
            except DecodeAborted:
                return False
            self.stale_from, self.changed = (key, offset + len(batch)), True
        return True

    def reset(self) -> None:
        """Clear the cache and the ledger, because the cache's contents are no longer known."""
        self.cache.clear()
        self.pinned, self.passages, self.stale_from = frozenset(), {}, None
        self.set_contents(NOTHING)
        self.changed = False

    def save_state(self) -> bytes | memoryview | None:
        """Serialize the cache's contents for the disk.

        While a shift is pending, contents would be saved wrong: the last token is decoded a second time, which applies it.
        """
        tokens = self._contents.tokens
        if self.cache.shift_pending and tokens:
            self.cache.remove(len(tokens) - 1, len(tokens))
            self.cache.decode(tokens[-1:])
        return self.cache.save_state()

    def load_state(self, state: bytes | memoryview, contents: Encoding) -> bool:
        """Replace the contents of cache and ledger; False, with both empty, if the cache refuses the state."""
        loaded = self.cache.load_state(state, len(contents.tokens))
        self.pinned, self.passages, self.stale_from = frozenset(), {}, None
        self.set_contents(contents if loaded else NOTHING)
        self.changed = False
        return loaded

    def _starts(self) -> dict[str, int]:
        """The position of each turn's first token."""
        ends = accumulate(self.token_counts().values(), initial=len(self._contents.head))
        return dict(zip(self.token_counts(), ends, strict=False))

    def _batch_size(self) -> int:
        """How many tokens to decode next: a full batch, or fewer if a batch cannot be aborted and takes long."""
        if self._speed is None:
            return min(FIRST_BATCH, self.cache.batch) if self.cache.can_trim else self._smallest
        if self.cache.can_abort:
            return self.cache.batch
        return max(self._smallest, min(self.cache.batch, int(self._speed * UNABORTABLE_SECONDS)))

    def _measure(self, tokens: int, seconds: float) -> None:
        """Update the speed from a batch; a batch of a few tokens says nothing about a full one."""
        if tokens >= self._smallest and seconds > 0:
            measured = tokens / seconds
            self._speed = measured if self._speed is None else (self._speed + measured) / 2
