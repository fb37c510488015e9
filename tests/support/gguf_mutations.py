"""Seeded mutations of a small GGUF file: truncated, flipped, with huge counts, wrong types and numbers out of range."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Final

from support.small_gguf import ARRAY, FLOAT32, INT32, STRING, UINT32, UINT64, Draft, small_model

if TYPE_CHECKING:
    from collections.abc import Callable

EDGES: Final = (0, 1, 2, 3, 7, 31, 255, 256, 512, 513, 4095, 65535, 65536, 2**20, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1)
HUGE: Final = (2**16, 2**31, 2**32, 2**40, 2**61, 2**63 - 1, 2**63, 2**64 - 1)
EXTRA: Final = (
    "llama.attention.key_length",
    "llama.attention.value_length",
    "llama.attention.sliding_window",
    "llama.expert_count",
    "llama.expert_used_count",
    "llama.vocab_size",
    "llama.rope.scaling.factor",
    "llama.rope.scaling.original_context_length",
    "general.alignment",
    "general.quantization_version",
    "split.count",
    "split.no",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.add_bos_token",
    "llama.attention.layer_norm_epsilon",
    "llama.pooling_type",
    "llama.leading_dense_block_count",
    "llama.nextn_predict_layers",
)
TEXTS: Final = (
    "",
    "llama",
    "mistral3",
    "gpt2",
    "bert",
    "clip",
    "gemma3",
    "qwen2",
    "mamba",
    "t5",
    "rwkv",
    "no\x1b[2J",
    "x" * 70_000,
)


def mutation(seed: int) -> bytes:
    """The file number `seed`; the same number always gives the same file."""
    draw = random.Random(seed)
    kinds: list[Callable[[random.Random], bytes]] = [_cut, _flipped, _patched, _number, _retyped, _counted, _tensor, _texts]
    return kinds[seed % len(kinds)](draw)


def _cut(draw: random.Random) -> bytes:
    whole = small_model().encoded()
    return whole[: draw.randrange(len(whole))]


def _flipped(draw: random.Random) -> bytes:
    whole = bytearray(small_model().encoded())
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        whole[draw.randrange(len(whole) // 4)] ^= 1 << draw.randrange(8)
    return bytes(whole)


def _patched(draw: random.Random) -> bytes:
    """Overwrite eight bytes of the header with an awkward number."""
    whole = bytearray(small_model().encoded())
    place = draw.randrange(8, 7000)
    whole[place : place + 8] = struct.pack("<Q", draw.choice(HUGE + EDGES))
    return bytes(whole)


def _number(draw: random.Random) -> bytes:
    draft = small_model()
    for _ in range(draw.choice((1, 1, 2))):
        keys = [entry.key for entry in draft.entries if entry.kind == UINT32]
        draft.set(draw.choice([*keys, *EXTRA]), UINT32, draw.choice(EDGES))
    return draft.encoded()


def _retyped(draw: random.Random) -> bytes:
    draft = small_model()
    key = draw.choice([entry.key for entry in draft.entries] + list(EXTRA))
    kind = draw.choice((UINT32, INT32, FLOAT32, STRING, UINT64, ARRAY))
    if kind == ARRAY:
        items = draw.choice((UINT32, INT32, FLOAT32, STRING))
        value = ["a"] if items == STRING else [draw.choice(EDGES[:14])]
        draft.set(key, ARRAY, value * draw.choice((0, 1, 2, 600)), items=items)
    else:
        draft.set(
            key, kind, {STRING: "7", FLOAT32: draw.choice((0.0, -1.0, 1e30, float("nan")))}.get(kind, draw.choice(EDGES[:17]))
        )
    return draft.encoded()


def _counted(draw: random.Random) -> bytes:
    """Lie about how many there are of something."""
    draft = small_model()
    lie = draw.choice(HUGE + EDGES)
    what = draw.randrange(4)
    if what == 0:
        draft.tensor_count = lie
    elif what == 1:
        draft.entry_count = lie
    else:
        entry = draw.choice([entry for entry in draft.entries if entry.kind in {ARRAY, STRING}])
        entry.count = lie
    return draft.encoded()


def _tensor(draw: random.Random) -> bytes:
    draft = small_model()
    tensor = draw.choice(draft.tensors)
    what = draw.randrange(6)
    if what == 0:
        tensor.kind = draw.choice((2, 4, 5, 8, 12, 14, 24, 30, 31, 36, 39, 41, 42, 63, 64, 65, 2**31, 2**32 - 1))
    elif what == 1:
        tensor.place = draw.choice(HUGE + EDGES)
    elif what == 2:
        places = list(tensor.dimensions)
        places[draw.randrange(len(places))] = draw.choice(HUGE + EDGES)
        _claim(draft, tensor.name, tuple(places))
    elif what == 3:
        tensor.name = draw.choice(("", "output.weight", "blk.7.attn_q.weight", "x" * 63, "x" * 64, "x" * 5000))
    elif what == 4:
        draft.tensors.remove(tensor)
    else:
        _claim(draft, tensor.name, draw.choice(((), (1,), (32, 32, 32), (1, 1, 1, 1), (2, 2, 2, 2, 2), (0,), (2**32, 2**32))))
    return draft.encoded()


def _claim(draft: Draft, name: str, dimensions: tuple[int, ...]) -> None:
    """Give a tensor other dimensions and leave the weights as they are."""
    for tensor in draft.tensors:
        if tensor.name == name:
            tensor.size = tensor.bytes
            tensor.dimensions = dimensions


def _texts(draw: random.Random) -> bytes:
    draft = small_model()
    keys = [entry.key for entry in draft.entries if entry.kind == STRING]
    if draw.random() < 0.3:
        draft.drop(draw.choice([entry.key for entry in draft.entries]))
    else:
        draft.set(draw.choice([*keys, "general.type", "tokenizer.ggml.pre"]), STRING, draw.choice(TEXTS))
    return draft.encoded()
