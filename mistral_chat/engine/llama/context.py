"""One conversation in one llama.cpp context: its KV cache, which is appended to and edited in place.

Positions are consecutive from 0. Removing or inserting tokens shifts later ones; llama.cpp applies the shift lazily, at the
next decode. Until then the cache must not be saved and a decode must not be aborted: either leaves keys that are rotated twice
or not at all, without an error. So this module follows each shift by one decode that cannot be aborted, and `shift_pending`
says whether that decode is still due.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from mistral_chat.engine.hardware import LoadPlan
from mistral_chat.engine.kv_cache import DecodeAborted
from mistral_chat.engine.llama import backend
from mistral_chat.engine.llama.bindings import llama_cpp
from mistral_chat.engine.llama.model import Model
from mistral_chat.engine.llama.sampler import Sampler
from mistral_chat.errors import EngineFailed, EngineLoadFailed
from mistral_chat.generation import CancelToken
from mistral_chat.sampling import Sampling

MAIN, SCRATCH = 0, 1
"""The sequence of the conversation, and the one in which inserted and recomputed tokens are decoded."""

_ABORTED = 2
_NEVER = llama_cpp.ggml_abort_callback()
_TYPES = {"f16": 1, "q8_0": 8}


@cache
def _string_length() -> Any:
    """C's ``strlen`` as an abort callback: 0 while the flag's byte is zero, 1 when it is set, without entering Python."""
    library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    return ctypes.cast(library.strlen, llama_cpp.ggml_abort_callback)


class LlamaContext:
    """One llama.cpp context with one conversation, a `KVCache`. Must be used on one thread."""

    def __init__(self, model: Model, plan: LoadPlan, size: int) -> None:
        """Create a context for at least `size` tokens of `model`, as `plan` says.

        Raises:
            EngineLoadFailed: llama.cpp cannot create it, usually because memory is short.
        """
        backend.clear_errors()
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = size
        params.n_batch = params.n_ubatch = plan.batch
        params.n_seq_max = 2
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = plan.threads
        params.flash_attn_type = int(plan.flash_attention)
        params.type_k = params.type_v = _TYPES[plan.kv_type]
        params.offload_kqv = plan.on_gpu
        self._model = model
        self.can_trim = not (llama_cpp.llama_model_is_recurrent(model.pointer) or llama_cpp.llama_model_is_hybrid(model.pointer))
        self.can_abort = not plan.on_gpu and self.can_trim  # an aborted batch is removed from the end
        self.batch = plan.batch
        self.pointer: Any = llama_cpp.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise EngineLoadFailed(model.path, backend.recent_errors() or "there is not enough memory for its context")
        model.apply_adapters(self.pointer)
        self._memory = llama_cpp.llama_get_memory(self.pointer)
        self._batch = llama_cpp.llama_batch_init(plan.batch, 0, 1)
        self._armed: CancelToken | None = None
        for index in range(plan.batch):
            self._batch.n_seq_id[index] = 1
        self.size = int(llama_cpp.llama_n_ctx(self.pointer))  # llama.cpp rounds it up
        self.can_shift = self.can_trim and bool(llama_cpp.llama_memory_can_shift(self._memory))
        self._sampler: Sampler | None = None
        self.shift_pending = False

    @property
    def n_tokens(self) -> int:
        """The number of tokens in the cache."""
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, MAIN)) + 1

    @property
    def pos_min(self) -> int:
        """The position of the first token: 0, or -1 if the cache is empty."""
        first = int(llama_cpp.llama_memory_seq_pos_min(self._memory, MAIN))
        return first if self.can_trim else min(first, 0)  # a recurrent state is where its last token is

    def decode(
        self, tokens: Sequence[int], cancel: CancelToken | None = None, *, sample_each: bool = False, scratch: int | None = None
    ) -> None:
        """Append `tokens`; see `KVCache.decode`. With a shift pending, the first is decoded by itself and cannot be stopped.

        With `scratch`, they are decoded from that position on in the second sequence.
        """
        if self.shift_pending and cancel is not None and len(tokens) > 1:
            self.decode(tokens[:1], scratch=scratch)
            tokens, scratch = tokens[1:], None if scratch is None else scratch + 1
        batch, count = self._batch, len(tokens)
        position, sequence = (self.n_tokens, MAIN) if scratch is None else (scratch, SCRATCH)
        batch.n_tokens = count
        for index, token in enumerate(tokens):
            batch.token[index], batch.pos[index], batch.logits[index] = token, position + index, sample_each
            batch.seq_id[index][0] = sequence
        batch.logits[count - 1] = 1
        self._arm(None if self.shift_pending else cancel)
        backend.hold_log()
        code = llama_cpp.llama_decode(self.pointer, batch)
        backend.release_log(drop=code == _ABORTED)  # llama.cpp logs three errors for a requested abort
        if code == _ABORTED:
            raise DecodeAborted
        if code:
            reason = backend.recent_errors() or "it gave no reason"
            raise EngineFailed(f"llama.cpp failed while decoding ({code}): {reason}. Send the message again.")
        self.shift_pending = False

    def remove(self, start: int, stop: int) -> None:
        """Remove tokens; see `KVCache.remove`."""
        end = self.n_tokens
        if stop < end and not self.can_shift:
            raise EngineFailed("This model's KV cache cannot be edited in place.")
        if not llama_cpp.llama_memory_seq_rm(self._memory, MAIN, start, stop if stop < end else -1):
            raise EngineFailed("llama.cpp could not remove tokens from its KV cache.")
        if stop < end:
            llama_cpp.llama_memory_seq_add(self._memory, MAIN, stop, -1, start - stop)
            self.shift_pending = True

    def insert(self, start: int, tokens: Sequence[int]) -> None:
        """Insert `tokens`; see `KVCache.insert`.

        llama.cpp decodes only at the end of a sequence. So the tokens are decoded in a second sequence that shares the cells
        before `start`, and are then moved to the first.
        """
        llama_cpp.llama_memory_seq_add(self._memory, MAIN, start, -1, len(tokens))
        self.shift_pending = True
        self._decode_in_scratch(start, tokens, None)
        llama_cpp.llama_memory_seq_cp(self._memory, SCRATCH, MAIN, start, start + len(tokens))
        llama_cpp.llama_memory_seq_rm(self._memory, SCRATCH, -1, -1)

    def recompute(self, start: int, tokens: Sequence[int], cancel: CancelToken | None = None) -> None:
        """Decode `tokens` again; see `KVCache.recompute`."""
        end = start + len(tokens)
        try:
            self._decode_in_scratch(start, tokens, cancel)
            llama_cpp.llama_memory_seq_rm(self._memory, MAIN, start, end)
            llama_cpp.llama_memory_seq_cp(self._memory, SCRATCH, MAIN, start, end)
        finally:
            llama_cpp.llama_memory_seq_rm(self._memory, SCRATCH, -1, -1)

    def clear(self) -> None:
        """Empty the cache."""
        llama_cpp.llama_memory_clear(self._memory, True)  # noqa: FBT003 (a C function: the cells are zeroed as well)
        self.shift_pending = False

    def start_sampling(self, sampling: Sampling, recent: Sequence[int]) -> None:
        """Prepare to sample a reply; `recent` are the tokens before it."""
        self.stop_sampling()
        self._sampler = Sampler(sampling, vocabulary=self._model.vocabulary.size, recent=recent)

    def sample(self, place: int = -1) -> int:
        """Sample a token; see `KVCache.sample`."""
        if self._sampler is None:
            raise EngineFailed("The engine was asked for a token outside a reply. Send the message again.")
        return self._sampler.sample(self.pointer, place)

    def stop_sampling(self) -> None:
        """Release the sampler."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None

    def save_state(self) -> bytes | memoryview | None:
        """Serialize the contents for the disk; None while a shift is pending, because the state would be wrong.

        A full context takes half a gigabyte, so the data is passed on without a copy.
        """
        if self.shift_pending:
            return None
        size = llama_cpp.llama_state_seq_get_size(self.pointer, MAIN)
        buffer = bytearray(size)
        written = llama_cpp.llama_state_seq_get_data(self.pointer, (ctypes.c_uint8 * size).from_buffer(buffer), size, MAIN)
        return memoryview(buffer)[:written] if written else None

    def load_state(self, state: bytes | memoryview, tokens: int) -> bool:
        """Replace the contents by `state`, which has `tokens` tokens; False, with an empty cache, if it does not fit.

        ``llama_state_seq_load_file`` kills the process on a short file; this function checks its input.
        """
        self.clear()
        kind = ctypes.c_uint8 * len(state)
        writable = isinstance(state, memoryview) and not state.readonly
        buffer = kind.from_buffer(state) if writable else kind.from_buffer_copy(state)
        taken = llama_cpp.llama_state_seq_set_data(self.pointer, buffer, len(state), MAIN)
        if taken != len(state) or self.pos_min != 0 or self.n_tokens != tokens:
            self.clear()
            return False
        return True

    def close(self) -> None:
        """Free the context and the model."""
        self.free()
        self._model.close()

    def free(self) -> None:
        """Free the context alone."""
        self.stop_sampling()
        if self.pointer:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self.pointer)
            self.pointer = None

    def _decode_in_scratch(self, start: int, tokens: Sequence[int], cancel: CancelToken | None) -> None:
        """Decode `tokens` in a separate sequence that shares the cells before `start`."""
        llama_cpp.llama_memory_seq_cp(self._memory, MAIN, SCRATCH, 0, start)
        self.decode(tokens, cancel, scratch=start)

    def _arm(self, cancel: CancelToken | None) -> None:
        """Let `cancel` abort what is decoded from now on; only a change costs time, and each token is decoded by itself."""
        wanted = cancel if self.can_abort else None
        if wanted is not self._armed:
            callback, address = (_string_length(), wanted.address) if wanted is not None else (_NEVER, 0)
            llama_cpp.llama_set_abort_callback(self.pointer, callback, ctypes.c_void_p(address))
            self._armed = wanted
