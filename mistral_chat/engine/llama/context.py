"""The KV cache as a row of tokens that can be read on to, cut, and mended in its middle.

Positions run without a gap from 0. A cut or a splice moves what is behind it; llama.cpp rotates the moved keys lazily, at the
next decode, and until then the cache may neither be saved nor a decode be stopped: either leaves keys that are rotated twice or
not at all, without an error. So a move is always followed, in here, by one decode that cannot be stopped, and `moved` says
whether that decode is still owed.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import llama_cpp

from mistral_chat.engine.hardware import LoadPlan
from mistral_chat.engine.kv_cache import Aborted
from mistral_chat.engine.llama import backend
from mistral_chat.engine.llama.model import Model
from mistral_chat.engine.llama.sampler import Sampler
from mistral_chat.errors import EngineFailed, EngineLoadFailed
from mistral_chat.generation import CancelToken, Sampling

MAIN, SCRATCH = 0, 1
"""The sequence that holds the conversation, and the one in which a splice is read."""

_ABORTED = 2
_NEVER = llama_cpp.ggml_abort_callback()
_TYPES = {"f16": 1, "q8_0": 8}


@cache
def _string_length() -> Any:
    """C's ``strlen`` as an abort callback: 0 while the flag's byte is zero, 1 when it is set; Python is never entered."""
    library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    return ctypes.cast(library.strlen, llama_cpp.ggml_abort_callback)


class Cache:
    """One llama.cpp context with one conversation in it. Belongs to one thread."""

    def __init__(self, model: Model, plan: LoadPlan, size: int) -> None:
        """Make a context for at least `size` tokens of `model`, as `plan` says.

        Raises:
            EngineLoadFailed: llama.cpp cannot make it, mostly for want of memory.
        """
        backend.forget_complaints()
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = size
        params.n_batch = params.n_ubatch = plan.batch
        params.n_seq_max = 2
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = plan.threads
        params.flash_attn_type = int(plan.flash_attention)
        params.type_k = params.type_v = _TYPES[plan.kv_type]
        params.offload_kqv = plan.kv_on_gpu
        self._model = model
        self._aborts = plan.aborts
        self.batch = plan.batch
        """How many tokens can be read in one go."""
        self.pointer: Any = llama_cpp.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise EngineLoadFailed(model.path, backend.complaints() or "there is not enough memory for its context")
        model.apply_adapters(self.pointer)
        self._memory = llama_cpp.llama_get_memory(self.pointer)
        self._batch = llama_cpp.llama_batch_init(plan.batch, 0, 1)
        for place in range(plan.batch):
            self._batch.n_seq_id[place] = 1
        self.size = int(llama_cpp.llama_n_ctx(self.pointer))
        """How many tokens fit: llama.cpp rounds what was asked for up."""
        self.can_move = bool(llama_cpp.llama_memory_can_shift(self._memory))
        """Whether this architecture's cache can be cut in its middle."""
        self._sampler: Sampler | None = None
        self.moved = False
        """Whether tokens were moved since the last decode."""

    @property
    def end(self) -> int:
        """How many tokens are in the cache."""
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, MAIN)) + 1

    @property
    def begin(self) -> int:
        """The first token's position: 0, or -1 when the cache is empty."""
        return int(llama_cpp.llama_memory_seq_pos_min(self._memory, MAIN))

    def read(self, tokens: Sequence[int], cancel: CancelToken | None = None) -> None:
        """Read `tokens`, at most one batch of them, behind what is there.

        Args:
            tokens: what to read.
            cancel: stops it. A decode that tokens were moved before is not stopped: its first token is read by itself.

        Raises:
            Aborted: it was stopped.
            EngineFailed: llama.cpp failed, or there is no room.
        """
        if self.moved and cancel is not None and len(tokens) > 1:
            self._decode(tokens[:1], self.end, MAIN, None)
            tokens = tokens[1:]
        self._decode(tokens, self.end, MAIN, None if self.moved else cancel)

    def cut(self, start: int, stop: int) -> None:
        """Take the tokens from `start` up to `stop` out, and move those behind them down."""
        end = self.end
        if stop < end and not self.can_move:
            raise EngineFailed("This model's cache cannot be cut in its middle.")
        if not llama_cpp.llama_memory_seq_rm(self._memory, MAIN, start, stop if stop < end else -1):
            raise EngineFailed("llama.cpp could not cut its cache.")
        if stop < end:
            llama_cpp.llama_memory_seq_add(self._memory, MAIN, stop, -1, start - stop)
            self.moved = True

    def splice(self, start: int, tokens: Sequence[int]) -> None:
        """Put `tokens` in at `start`, read in the company of what stands before them; those behind move up.

        llama.cpp reads only behind a sequence's end. So the tokens are read in a second sequence that shares the cells before
        `start`, and are then given to the first.

        Raises:
            EngineFailed: llama.cpp failed, or there is no room.
        """
        llama_cpp.llama_memory_seq_add(self._memory, MAIN, start, -1, len(tokens))
        self.moved = True
        llama_cpp.llama_memory_seq_cp(self._memory, MAIN, SCRATCH, 0, start)
        self._decode(tokens, start, SCRATCH, None)
        llama_cpp.llama_memory_seq_cp(self._memory, SCRATCH, MAIN, start, start + len(tokens))
        llama_cpp.llama_memory_seq_rm(self._memory, SCRATCH, -1, -1)

    def clear(self) -> None:
        """Empty the cache."""
        llama_cpp.llama_memory_clear(self._memory, True)  # noqa: FBT003 (a C function: the cells are zeroed as well)
        self.moved = False

    def begin_reply(self, sampling: Sampling, recent: Sequence[int]) -> None:
        """Get ready to draw tokens; `recent` are those before the reply."""
        self.end_reply()
        self._sampler = Sampler(sampling, vocabulary=len(self._model.vocabulary.texts), recent=recent)

    def draw(self) -> int:
        """Draw the token that follows the last one read.

        Raises:
            EngineFailed: no reply was begun.
        """
        if self._sampler is None:
            raise EngineFailed("The engine was asked for a token outside a reply. Send the message again.")
        return self._sampler.draw(self.pointer)

    def end_reply(self) -> None:
        """Draw no more."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None

    def logits(self) -> list[float]:
        """What the model thinks of each token of the vocabulary as the next one: its last unnormalised scores."""
        row = llama_cpp.llama_get_logits_ith(self.pointer, -1)
        return list(row[: len(self._model.vocabulary.texts)])

    def state(self) -> bytes | memoryview | None:
        """The cache's contents for the disk; None while a move is pending, because it would be saved wrong.

        A full window takes half a gigabyte, so it is handed over as it was written and not copied.
        """
        if self.moved:
            return None
        size = llama_cpp.llama_state_seq_get_size(self.pointer, MAIN)
        buffer = bytearray(size)
        written = llama_cpp.llama_state_seq_get_data(self.pointer, (ctypes.c_uint8 * size).from_buffer(buffer), size, MAIN)
        return memoryview(buffer)[:written] if written else None

    def restore(self, state: bytes | memoryview, tokens: int) -> bool:
        """Take up contents that `state` gave, which hold `tokens` tokens; False, and an empty cache, when they do not fit.

        ``llama_state_seq_load_file`` kills the process on a short file; this function checks what it is given.
        """
        self.clear()
        kind = ctypes.c_uint8 * len(state)
        writable = isinstance(state, memoryview) and not state.readonly
        buffer = kind.from_buffer(state) if writable else kind.from_buffer_copy(state)
        taken = llama_cpp.llama_state_seq_set_data(self.pointer, buffer, len(state), MAIN)
        if taken != len(state) or self.begin != 0 or self.end != tokens:
            self.clear()
            return False
        return True

    def close(self) -> None:
        """Let the context and the model go."""
        self.end_reply()
        if self.pointer:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self.pointer)
            self.pointer = None
            self._model.close()

    def _decode(self, tokens: Sequence[int], position: int, sequence: int, cancel: CancelToken | None) -> None:
        count = len(tokens)
        batch = self._batch
        batch.n_tokens = count
        numbers = ctypes.c_int32 * self.batch
        ctypes.memmove(batch.token, numbers(*tokens), 4 * count)
        ctypes.memmove(batch.pos, numbers(*range(position, position + count)), 4 * count)
        ctypes.memset(batch.logits, 0, count)
        for place in range(count):
            batch.seq_id[place][0] = sequence
        batch.logits[count - 1] = 1
        armed = cancel is not None and self._aborts
        if armed and cancel is not None:
            llama_cpp.llama_set_abort_callback(self.pointer, _string_length(), ctypes.c_void_p(cancel.address))
        backend.forget_complaints()
        try:
            code = llama_cpp.llama_decode(self.pointer, batch)
        finally:
            if armed:
                llama_cpp.llama_set_abort_callback(self.pointer, _NEVER, ctypes.c_void_p(0))
        if code == _ABORTED:
            raise Aborted
        if code:
            reason = backend.complaints() or "it gave no reason"
            raise EngineFailed(f"llama.cpp failed while it was reading ({code}): {reason}. Send the message again.")
        self.moved = False
