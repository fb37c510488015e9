"""A fake KV cache without a model that is as strict as llama.cpp: what llama.cpp forbids fails the test."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from support.words_format import EOS

from mistral_chat.engine.kv_cache import DecodeAborted
from mistral_chat.errors import EngineFailed
from mistral_chat.generation import CancelToken
from mistral_chat.sampling import Sampling


class FakeKVCache:
    """`KVCache` as tokens by position.

    Decoding is possible only at the end, sampling only after a decode, and saving only without a pending shift. A
    failure leaves half of what was being done, as llama.cpp does.
    """

    def __init__(self, size: int, *, batch: int = 64, can_shift: bool = True, can_trim: bool = True) -> None:
        self.size = size
        self.batch = batch
        self.can_trim = can_trim
        self.can_shift = can_shift and can_trim
        self.shift_pending = False
        self.closed = False
        self.can_abort = can_trim
        self.slots: dict[int, int] = {}
        self.sights: dict[int, int] = {}
        """By position, a number for all tokens that were in sight when that one was decoded."""
        self.script: deque[int] = deque()
        """The tokens to sample next; the end of the reply when it is empty."""
        self.before_read: Callable[[CancelToken | None], None] = lambda _cancel: None
        """Called before each read; may set the cancel, which then stops this read."""
        self.finished_part = 0
        """How many tokens an aborted or failed read leaves in the cache."""
        self.fail: dict[str, int] = {}
        """How many more calls of ``"decode"``, ``"remove"``, ``"insert"`` succeed; the next one fails, once."""
        self.tokens_read = 0
        self.replies_begun = self.replies_ended = 0
        self.sampling: Sampling | None = None
        self.recent: tuple[int, ...] = ()
        self._logits = False
        self._decoded = 0

    @property
    def tokens(self) -> tuple[int, ...]:
        assert sorted(self.slots) == list(range(len(self.slots))), f"the positions have a gap: {sorted(self.slots)}"
        return tuple(self.slots[place] for place in range(len(self.slots)))

    @property
    def n_tokens(self) -> int:
        return max(self.slots, default=-1) + 1

    @property
    def pos_min(self) -> int:
        return min(self.slots, default=-1)

    def decode(self, tokens: Sequence[int], cancel: CancelToken | None = None, *, sample_each: bool = False) -> None:
        assert not self.closed
        assert not (sample_each and self.shift_pending), "the first token is decoded by itself, and the places are other ones"
        assert 0 < len(tokens) <= self.batch, f"a read of {len(tokens)} tokens with batches of {self.batch}"
        tokens = list(tokens)
        if self.shift_pending and cancel is not None and len(tokens) > 1:
            self._append(tokens[:1])
            tokens = tokens[1:]
        armed = None if self.shift_pending else cancel
        self.before_read(armed)
        if armed is not None and armed.is_set:
            self._append(tokens[: min(self.finished_part, len(tokens) - 1)])
            raise DecodeAborted
        if self._fails("decode"):
            self._append(tokens[: min(self.finished_part, len(tokens) - 1)])
            raise EngineFailed("The read failed.")
        self._append(tokens)
        self._decoded = len(tokens) if sample_each else 0

    def remove(self, start: int, stop: int) -> None:
        assert not self.closed
        end = self.n_tokens
        assert 0 <= start < stop <= end, f"a cut from {start} to {stop} of {end} cells"
        assert self.can_trim, "a recurrent state cannot go back"
        if stop < end and not self.can_shift:
            raise EngineFailed("The cache cannot be cut in its middle.")
        if self._fails("remove"):
            raise EngineFailed("The cut failed.")
        self.slots, self.sights = (self._without(values, start, stop) for values in (self.slots, self.sights))
        self._logits = False
        self.shift_pending = self.shift_pending or stop < end

    def insert(self, start: int, tokens: Sequence[int]) -> None:
        assert not self.closed
        assert self.can_shift, "a splice in a cache that cannot be shift_pending"
        assert 0 < len(tokens) <= self.batch
        assert 0 <= start < self.n_tokens, f"a splice at {start} of {self.n_tokens} cells: nothing follows it"
        count = len(tokens)
        for values in (self.slots, self.sights):
            moved = {place if place < start else place + count: value for place, value in values.items()}
            values.clear()
            values.update(moved)
        self.shift_pending, self._logits = True, False
        if len(self.slots) + count > self.size:
            raise EngineFailed("There is no room for the splice.")
        if self._fails("insert"):
            raise EngineFailed("The splice failed.")
        self._put(start, tokens)
        self.shift_pending = False

    def recompute(self, start: int, tokens: Sequence[int], cancel: CancelToken | None = None) -> None:
        assert not self.closed
        assert tuple(tokens) == self.tokens[start : start + len(tokens)], "other tokens than the cache has there"
        assert 0 < len(tokens) <= min(self.batch, self.size - len(self.slots)), "there is no room for a second copy"
        armed = None if self.shift_pending else cancel
        self.before_read(armed)
        if armed is not None and armed.is_set:
            raise DecodeAborted
        if self._fails("decode"):
            raise EngineFailed("The decode failed.")
        self._put(start, tokens)
        self.shift_pending, self._logits = False, False

    @property
    def is_fresh(self) -> bool:
        """Whether each token was decoded with exactly those in sight that are before it now."""
        seen, before = [], 0
        for token in self.tokens:
            before = hash((before, token))
            seen.append(before)
        return seen == [self.sights[place] for place in range(len(self.slots))]

    def clear(self) -> None:
        assert not self.closed
        self.slots, self.sights, self.shift_pending, self._logits = {}, {}, False, False

    def start_sampling(self, sampling: Sampling, recent: Sequence[int]) -> None:
        self.replies_begun += 1
        self.sampling = sampling
        self.recent = tuple(recent)

    def sample(self, place: int = -1) -> int:
        assert place < self._decoded, "a token was sampled behind one that was not decoded"
        assert self.replies_begun > self.replies_ended, "a token was sampled outside a reply"
        assert self._logits, "a token was sampled where none was decoded before: the model's last scores are stale"
        assert not self.shift_pending
        return self.script.popleft() if self.script else EOS

    def stop_sampling(self) -> None:
        self.replies_ended = self.replies_begun

    def save_state(self) -> bytes | None:
        assert not self.shift_pending, "the state was read while a shift was pending"
        return struct.pack(f"<{len(self.slots)}I", *self.tokens) if self.slots else None

    def load_state(self, state: bytes | memoryview, tokens: int) -> bool:
        assert not self.closed
        self.clear()
        if len(state) != 4 * tokens or tokens > self.size:
            return False
        read = self.tokens_read
        self._put(0, struct.unpack(f"<{tokens}I", state))
        self.tokens_read = read
        return True

    def close(self) -> None:
        assert not self.closed, "closed twice"
        assert self.replies_ended == self.replies_begun
        self.closed = True

    def _append(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            if len(self.slots) >= self.size:
                raise EngineFailed("There is no room left in the cache.")
            self._put(self.n_tokens, [token])
            self.shift_pending, self._logits = False, True

    def _put(self, start: int, tokens: Sequence[int]) -> None:
        before = self.sights.get(start - 1, 0)
        for place, token in enumerate(tokens, start):
            before = hash((before, token))
            self.slots[place], self.sights[place] = token, before
        self.tokens_read += len(tokens)

    @staticmethod
    def _without(values: dict[int, int], start: int, stop: int) -> dict[int, int]:
        left = {place: value for place, value in values.items() if not start <= place < stop}
        return {place if place < start else place - (stop - start): value for place, value in left.items()}

    def _fails(self, call: str) -> bool:
        if call not in self.fail:
            return False
        self.fail[call] -= 1
        if self.fail[call] < 0:
            del self.fail[call]
            return True
        return False
