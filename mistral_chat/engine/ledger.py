"""The ledger: which turn owns which tokens of the KV cache, kept in step with the cache itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from mistral_chat.engine.encoding.format import Encoding
from mistral_chat.engine.kv_cache import Aborted, KVCache
from mistral_chat.engine.window import Cut, take, transition
from mistral_chat.generation import CachedTurn, CancelToken, ContextState, Prefill

NOTHING = Encoding(head=(), turns=())

FIRST_CHUNK = 32
"""Tokens read in one go at first; doubled while a chunk takes less than `CHUNK_SECONDS`, so that progress shows."""

CHUNK_SECONDS = 0.25


class Ledger:
    """A cache and the encoding of exactly what is in it. Every change goes through here, so that the two agree."""

    def __init__(
        self, cells: KVCache, *, reserve: int, checked: bool = False, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Keep the ledger of `cells`, which are empty.

        Args:
            cells: the cache.
            reserve: tokens kept free for a reply; only shown.
            checked: check the ledger against the cache after every step, at some cost.
            clock: seconds.
        """
        self.cells = cells
        self._reserve = reserve
        self._checked = checked
        self._clock = clock
        self._chunk = min(FIRST_CHUNK, cells.batch)
        self._view: ContextState | None = None
        self._held = NOTHING
        self.pinned: frozenset[str] = frozenset()
        """The keys of the pinned turns."""
        self.changed = False
        """Whether anything was read or cut since this was last set to False."""

    @property
    def held(self) -> Encoding:
        """Exactly the tokens in the cache."""
        return self._held

    @property
    def view(self) -> ContextState:
        """What is held, for the screen."""
        if self._view is None:
            self._view = ContextState(
                window=self.cells.size,
                reserve=self._reserve,
                system_tokens=len(self._held.head),
                turns=tuple(CachedTurn(turn.key, len(turn.tokens), turn.key in self.pinned) for turn in self._held.turns),
            )
        return self._view

    def cost(self) -> dict[str, int]:
        """How many tokens each turn holds, by key."""
        return {turn.key: len(turn.tokens) for turn in self._held.turns}

    def hold(self, encoding: Encoding) -> None:
        """Note that the cache holds `encoding` now.

        Raises:
            AssertionError: it does not, and the ledger is checked.
        """
        self._held, self._view, self.changed = encoding, None, True
        if self._checked:
            self.check()

    def edit(self, encoding: Encoding, *, read_last: bool = False) -> int:
        """Edit the cache in place until it holds a prefix of `encoding`; return how many tokens had to be read for that.

        Args:
            encoding: what the cache shall hold, once the rest is read.
            read_last: leave at least the last token to be read.

        Raises:
            EngineFailed: llama.cpp failed; the ledger must be reset.
        """
        plan = transition(self._held, encoding, in_place=self.cells.can_move, read_last=read_last)
        for change in plan.edits:
            if isinstance(change, Cut):
                self.cells.cut(change.start, change.stop)
            else:
                self.cells.splice(change.start, change.tokens)
        self.hold(take(encoding, plan.keep))
        return plan.spliced

    def read_on(self, encoding: Encoding, cancel: CancelToken) -> Generator[Prefill, None, bool]:
        """Read the rest of `encoding` behind what is held of it, and return whether all of it was read.

        Raises:
            EngineFailed: llama.cpp failed; the ledger must be reset.
        """
        tokens = encoding.tokens
        start = done = len(self._held.tokens)
        began = self._clock()
        yield Prefill(0, len(tokens) - start)
        while done < len(tokens):
            if cancel.is_set:
                return False
            chunk_began = self._clock()
            chunk = tokens[done : done + self._chunk]
            try:
                self.cells.read(chunk, cancel)
            except Aborted:
                self.hold(take(encoding, self.cells.end))
                return False
            done += len(chunk)
            self.hold(take(encoding, done))
            now = self._clock()
            if now - chunk_began < CHUNK_SECONDS:
                self._chunk = min(self._chunk * 2, self.cells.batch)
            yield Prefill(done - start, len(tokens) - start, (now - began) / (done - start) * (len(tokens) - done))
        return True

    def read_all(self, encoding: Encoding, cancel: CancelToken) -> bool:
        """Do as `read_on` does, without telling of the progress."""
        reading = self.read_on(encoding, cancel)
        while True:
            try:
                next(reading)
            except StopIteration as end:
                return bool(end.value)

    def reset(self) -> None:
        """Drop everything: what is in the cache is not known any more."""
        self.cells.clear()
        self.pinned = frozenset()
        self.hold(NOTHING)
        self.changed = False

    def state(self) -> bytes | memoryview | None:
        """The cache's contents for the disk.

        If a move is still owed its read, the last token is read once more: contents saved before that would be wrong.
        """
        tokens = self._held.tokens
        if self.cells.moved and tokens:
            self.cells.cut(len(tokens) - 1, len(tokens))
            self.cells.read(tokens[-1:])
        return self.cells.state()

    def restore(self, state: bytes | memoryview, held: Encoding, pinned: frozenset[str]) -> bool:
        """Take up contents and their ledger; False, and nothing held, when the cache refuses them."""
        if not self.cells.restore(state, len(held.tokens)):
            self.reset()
            return False
        self.pinned = pinned
        self.hold(held)
        self.changed = False
        return True

    def check(self) -> None:
        """Check that ledger and cache agree.

        Raises:
            AssertionError: they do not.
        """
        tokens, cells = len(self._held.tokens), self.cells
        if cells.end != tokens or (tokens and cells.begin != 0) or tokens > cells.size:
            raise AssertionError(f"the ledger holds {tokens} tokens, the cache {cells.begin}..{cells.end} of {cells.size}")
