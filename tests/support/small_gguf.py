"""A GGUF file of 40 kB that llama.cpp loads, written by hand so that tests can put any lie into it.

The model is a llama with one layer and a vocabulary of bytes; what it says is noise.

    draft = small_model()
    draft.set("llama.block_count", UINT32, 513)
    path.write_bytes(draft.encoded())
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

UINT8, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 0, 4, 5, 6, 7, 8, 9, 10
F32, F16 = 0, 1
_FORMATS: Final = {
    UINT8: "B",
    1: "b",
    2: "H",
    3: "h",
    UINT32: "I",
    INT32: "i",
    FLOAT32: "f",
    BOOL: "?",
    UINT64: "Q",
    11: "q",
    12: "d",
}
_WIDTH, _INNER, _HEADS = 32, 64, 2


@dataclass
class Entry:
    """One metadata entry; an array's items have the type `items`."""

    key: str
    kind: int
    value: Any
    items: int = UINT32
    count: int | None = None
    """What an array or a text claims as its length; None is the truth."""


@dataclass
class Tensor:
    """One tensor; `place` is what the header claims, None is the truth."""

    name: str
    dimensions: tuple[int, ...]
    kind: int = F32
    place: int | None = None
    size: int | None = None
    """The bytes that its weights take, where its dimensions lie about them."""

    @property
    def bytes(self) -> int:
        """How many bytes its weights take."""
        if self.size is not None:
            return self.size
        product = 1
        for dimension in self.dimensions:
            product *= dimension
        return product * (4 if self.kind == F32 else 2)


@dataclass
class Draft:
    """A GGUF file that can be changed before it is written."""

    entries: list[Entry]
    tensors: list[Tensor]
    magic: bytes = b"GGUF"
    version: int = 3
    tensor_count: int | None = None
    entry_count: int | None = None
    alignment: int = 32
    seed: int = 0

    def set(self, key: str, kind: int, value: Any, *, items: int = UINT32, count: int | None = None) -> None:
        """Replace the entry under `key`, or add it."""
        fresh = Entry(key, kind, value, items, count)
        for place, entry in enumerate(self.entries):
            if entry.key == key:
                self.entries[place] = fresh
                return
        self.entries.append(fresh)

    def drop(self, key: str) -> None:
        """Leave out the entry under `key`."""
        self.entries = [entry for entry in self.entries if entry.key != key]

    def encoded(self) -> bytes:
        """The file."""
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        entries = len(self.entries) if self.entry_count is None else self.entry_count
        head = self.magic + struct.pack("<IQQ", self.version, tensors, entries)
        head += b"".join(_entry(entry) for entry in self.entries)
        place = 0
        for tensor in self.tensors:
            head += _text(tensor.name) + struct.pack(f"<I{len(tensor.dimensions)}Q", len(tensor.dimensions), *tensor.dimensions)
            head += struct.pack("<IQ", tensor.kind, place if tensor.place is None else tensor.place)
            place = _aligned(place + tensor.bytes, self.alignment)
        head += bytes(_aligned(len(head), self.alignment) - len(head))
        return head + self._weights(place)

    def _weights(self, size: int) -> bytes:
        draw = random.Random(self.seed)
        return struct.pack(f"<{size // 4}f", *(draw.gauss(0, 0.1) for _ in range(size // 4)))


def small_model(architecture: str = "llama") -> Draft:
    """The model, sound in every respect."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    kinds = [2, 3, 3, *([6] * 256), 1]
    entries = [
        Entry("general.architecture", STRING, architecture),
        Entry("general.name", STRING, "small"),
        Entry("general.file_type", UINT32, 0),
        Entry(f"{architecture}.block_count", UINT32, 1),
        Entry(f"{architecture}.context_length", UINT32, 512),
        Entry(f"{architecture}.embedding_length", UINT32, _WIDTH),
        Entry(f"{architecture}.feed_forward_length", UINT32, _INNER),
        Entry(f"{architecture}.attention.head_count", UINT32, _HEADS),
        Entry(f"{architecture}.attention.head_count_kv", UINT32, _HEADS),
        Entry(f"{architecture}.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        Entry(f"{architecture}.rope.dimension_count", UINT32, _WIDTH // _HEADS),
        Entry(f"{architecture}.rope.freq_base", FLOAT32, 10000.0),
        Entry("tokenizer.ggml.model", STRING, "llama"),
        Entry("tokenizer.ggml.tokens", ARRAY, words, STRING),
        Entry("tokenizer.ggml.scores", ARRAY, [0.0] * len(words), FLOAT32),
        Entry("tokenizer.ggml.token_type", ARRAY, kinds, INT32),
        Entry("tokenizer.ggml.bos_token_id", UINT32, 1),
        Entry("tokenizer.ggml.eos_token_id", UINT32, 2),
        Entry("tokenizer.ggml.unknown_token_id", UINT32, 0),
        Entry("tokenizer.chat_template", STRING, "mistral-v1"),
    ]
    return Draft(entries, list(_tensors(len(words))))


def _tensors(words: int) -> Iterator[Tensor]:
    yield Tensor("token_embd.weight", (_WIDTH, words))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield Tensor(f"blk.0.{name}.weight", (_WIDTH, _WIDTH))
    yield Tensor("blk.0.ffn_gate.weight", (_WIDTH, _INNER))
    yield Tensor("blk.0.ffn_up.weight", (_WIDTH, _INNER))
    yield Tensor("blk.0.ffn_down.weight", (_INNER, _WIDTH))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        yield Tensor(f"{name}.weight", (_WIDTH,))
    yield Tensor("output.weight", (_WIDTH, words))


def _entry(entry: Entry) -> bytes:
    head = _text(entry.key) + struct.pack("<I", entry.kind)
    if entry.kind == STRING:
        return head + _text(entry.value, entry.count)
    if entry.kind == ARRAY:
        count = len(entry.value) if entry.count is None else entry.count
        head += struct.pack("<IQ", entry.items, count)
        if entry.items == STRING:
            return head + b"".join(_text(item) for item in entry.value)
        return head + b"".join(struct.pack(f"<{_FORMATS[entry.items]}", item) for item in entry.value)
    return head + struct.pack(f"<{_FORMATS[entry.kind]}", entry.value)


def _text(text: str, count: int | None = None) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded) if count is None else count) + encoded


def _aligned(place: int, alignment: int) -> int:
    return -(-place // alignment) * alignment
