"""The ledger: which turn owns which tokens of the KV cache, kept in step with the cache itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from mistral_chat.engine.encoding.format import Encoding
from mistral_chat.engine.kv_cache import DecodeAborted, KVCache
from mistral_chat.engine.window import RemoveRange, plan_cache_edits, truncate
from mistral_chat.generation import CachedTurn, CancelToken, ContextState, Prefill

NOTHING = Encoding(head=(), turns=())

FIRST_CHUNK = 32
"""Tokens read in one go at first; doubled while a chunk takes less than `CHUNK_SECONDS`, so that progress shows."""

CHUNK_SECONDS = 0.25


class Ledger:
    """A cache and the encoding of exactly what is in it. Every change goes through here, so that the two agree."""

    def __init__(
        self, cache: KVCache, *, reserve: int, checked: bool = False, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Keep the ledger of `cache`, which are empty.

        Args:
            cache: the cache.
            reserve: tokens kept free for a reply; only shown.
            checked: check the ledger against the cache after every step, at some cost.
            clock: seconds.
        """
        self.cache = cache
        self._reserve = reserve
        self._checked = checked
        self._clock = clock
        self._chunk = min(FIRST_CHUNK, cache.batch)
        self._view: ContextState | None = None
        self._contents = NOTHING
        self.pinned: frozenset[str] = frozenset()
        """The keys of the pinned turns."""
        self.changed = False
        """Whether anything was read or cut since this was last set to False."""

    @property
    def contents(self) -> Encoding:
        """Exactly the tokens in the cache."""
        return self._contents

    @property
    def view(self) -> ContextState:
        """What is held, for the screen."""
        if self._view is None:
            self._view = ContextState(
                window=self.cache.size,
                reserve=self._reserve,
                system_tokens=len(self._contents.head),
                turns=tuple(CachedTurn(turn.key, len(turn.tokens), turn.key in self.pinned) for turn in self._contents.turns),
            )
        return self._view

    def token_counts(self) -> dict[str, int]:
        """How many tokens each turn holds, by key."""
        return {turn.key: len(turn.tokens) for turn in self._contents.turns}

    def set_contents(self, encoding: Encoding) -> None:
        """Note that the cache holds `encoding` now.

        Raises:
            AssertionError: it does not, and the ledger is checked.
        """
        self._contents, self._view, self.changed = encoding, None, True
        if self._checked:
            self.check()

    def apply(self, encoding: Encoding, *, read_last: bool = False) -> int:
        """Edit the cache in place until it holds a prefix of `encoding`; return how many tokens had to be read for that.

        Args:
            encoding: what the cache shall hold, once the rest is read.
            read_last: leave at least the last token to be read.

        Raises:
            EngineFailed: llama.cpp failed; the ledger must be reset.
        """
        plan = plan_cache_edits(self._contents, encoding, in_place=self.cache.can_shift, read_last=read_last)
        for change in plan.edits:
            if isinstance(change, RemoveRange):
                self.cache.remove(change.start, change.stop)
            else:
                self.cache.insert(change.start, change.tokens)
        self.set_contents(truncate(encoding, plan.keep))
        return plan.inserted

    def prefill(self, encoding: Encoding, cancel: CancelToken) -> Generator[Prefill, None, bool]:
        """Read the rest of `encoding` behind what is held of it, and return whether all of it was read.

        Raises:
            EngineFailed: llama.cpp failed; the ledger must be reset.
        """
        tokens = encoding.tokens
        start = done = len(self._contents.tokens)
        began = self._clock()
        yield Prefill(0, len(tokens) - start)
        while done < len(tokens):
            if cancel.is_set:
                return False
            chunk_began = self._clock()
            chunk = tokens[done : done + self._chunk]
            try:
                self.cache.decode(chunk, cancel)
            except DecodeAborted:
                self.set_contents(truncate(encoding, self.cache.n_tokens))
                return False
            done += len(chunk)
            self.set_contents(truncate(encoding, done))
            now = self._clock()
            if now - chunk_began < CHUNK_SECONDS:
                self._chunk = min(self._chunk * 2, self.cache.batch)
            yield Prefill(done - start, len(tokens) - start, (now - began) / (done - start) * (len(tokens) - done))
        return True

    def prefill_all(self, encoding: Encoding, cancel: CancelToken) -> bool:
        """Do as `read_on` does, without telling of the progress."""
        reading = self.prefill(encoding, cancel)
        while True:
            try:
                next(reading)
            except StopIteration as end:
                return bool(end.value)

    def reset(self) -> None:
        """Drop everything: what is in the cache is not known any more."""
        self.cache.clear()
        self.pinned = frozenset()
        self.set_contents(NOTHING)
        self.changed = False

    def state(self) -> bytes | memoryview | None:
        """The cache's contents for the disk.

        If a move is still owed its read, the last token is read once more: contents saved before that would be wrong.
        """
        tokens = self._contents.tokens
        if self.cache.shift_pending and tokens:
            self.cache.remove(len(tokens) - 1, len(tokens))
            self.cache.decode(tokens[-1:])
        return self.cache.save_state()

    def restore(self, state: bytes | memoryview, held: Encoding, pinned: frozenset[str]) -> bool:
        """Take up contents and their ledger; False, and nothing held, when the cache refuses them."""
        if not self.cache.load_state(state, len(held.tokens)):
            self.reset()
            return False
        self.pinned = pinned
        self.set_contents(held)
        self.changed = False
        return True

    def check(self) -> None:
        """Check that ledger and cache agree.

        Raises:
            AssertionError: they do not.
        """
        tokens, cache = len(self._contents.tokens), self.cache
        if cache.n_tokens != tokens or (tokens and cache.pos_min != 0) or tokens > cache.size:
            raise AssertionError(f"the ledger holds {tokens} tokens, the cache {cache.pos_min}..{cache.n_tokens} of {cache.size}")
