"""The metadata of a GGUF file, and whether it is usable, with a clear reason before llama.cpp sees it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mistral_chat.errors import ModelUnusable
from mistral_chat.memory_estimate import ModelDimensions
from mistral_chat.models.catalog import quantization_in
from mistral_chat.models.gguf import GGML_TYPES, VOCABULARY, Header, read_header
from mistral_chat.paths import parts_of

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.models.catalog import ModelKind

MAX_LAYERS: Final = 512
"""llama.cpp aborts the process above it (LLAMA_MAX_LAYERS), and at 0."""

MAX_EXPERTS: Final = 512
"""llama.cpp aborts the process above it (LLAMA_MAX_EXPERTS)."""

_FILE_TYPES: Final = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
}
"""general.file_type, numbered as in llama.h."""

_NO_CHAT: Final = {
    "clip": "this is the image part (mmproj) of another model, which cannot chat on its own.",
    "mmproj": "this is the image part (mmproj) of another model, which cannot chat on its own.",
    "adapter": "this is a LoRA adapter, not a whole model. Load a model and add the adapter with --lora.",
    "imatrix": "this file contains statistics for quantizing a model, not a model.",
    "vocab": "this file contains only a vocabulary, without weights.",
}
_EMBEDDING: Final = frozenset(
    {
        "bert",
        "modern-bert",
        "neo-bert",
        "eurobert",
        "nomic-bert",
        "nomic-bert-moe",
        "jina-bert-v2",
        "jina-bert-v3",
        "gemma-embedding",
        "llama-embed",
        "t5encoder",
        "wavtokenizer-dec",
    }
)
"""Architectures of models that turn text into vectors or sound and do not generate text."""

_NO_CHAT_TOKENIZERS: Final = frozenset({"bert", "t5", "none", "no_vocab"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFMetadata:
    """The metadata of a GGUF file. Its texts are untrusted."""

    path: Path
    """The file, or the first part of a split one."""
    bytes: int
    """The size of all parts."""
    parts: int
    architecture: str
    name: str
    quantization: str
    dimensions: ModelDimensions
    kv_items: int
    """Elements of the KV cache per token, over all layers."""
    template: str
    """The chat template; empty without one."""
    tokenizer: str
    licence: str


def read_metadata(path: Path, kind: ModelKind = "chat") -> GGUFMetadata:
    """Read and check the model file at `path`, and every part of a split one. It must be a model of this `kind`.

    Raises:
        ModelUnusable: it is damaged, incomplete, hostile or of another kind; the message says which.
    """
    header = read_header(path)
    parts = parts_of(path)
    headers = [header, *(_part(path, part) for part in parts[1:])]
    claimed = header.number("split.count") or 1
    if claimed > 1 and claimed != len(parts):
        raise ModelUnusable(path, f"this is one of {claimed} parts of a model, and its name does not say which.")
    _check_usable(headers, kind)
    return _metadata(header, headers)


def _check_usable(headers: list[Header], kind: ModelKind) -> None:
    """Check that llama.cpp can load the file, whose parts have the `headers`, and that it is a model of this `kind`."""
    header = headers[0]
    path, architecture = header.path, header.text("general.architecture")
    if reason := _NO_CHAT.get(architecture) or _NO_CHAT.get(header.text("general.type")):
        raise ModelUnusable(path, reason)
    if not architecture:
        raise ModelUnusable(path, "the file does not state its architecture, so it cannot be loaded.")
    if kind == "chat" and (architecture in _EMBEDDING or f"{architecture}.pooling_type" in header.metadata):
        raise ModelUnusable(path, f"this is an embedding model ({architecture}), which turns text into vectors and cannot chat.")
    if VOCABULARY not in header.lengths or not header.text("tokenizer.ggml.model"):
        raise ModelUnusable(path, "the file has no vocabulary, so it cannot read or write text.")
    if kind == "chat" and (tokenizer := header.text("tokenizer.ggml.model")) in _NO_CHAT_TOKENIZERS:
        raise ModelUnusable(path, f"its vocabulary ({tokenizer}) is for models that do not generate text.")
    if not any(part.tensors for part in headers):
        raise ModelUnusable(path, _NO_CHAT["vocab"])
    _check_numbers(header, architecture)
    for part in headers:
        _check_tensors(part)
    tokens = header.lengths[VOCABULARY]
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        if header.lengths.get(key, tokens) != tokens:
            raise ModelUnusable(path, f"the file is damaged: it has {tokens:,} tokens and {header.lengths[key]:,} {key}.")


def _check_numbers(header: Header, architecture: str) -> None:
    ranges = {
        "block_count": (1, MAX_LAYERS),
        "embedding_length": (1, 1 << 20),
        "context_length": (1, 1 << 31),
    }
    optional = {
        "attention.head_count": (1, 1 << 16),
        "attention.head_count_kv": (1, 1 << 16),
        "attention.key_length": (1, 1 << 16),
        "attention.value_length": (1, 1 << 16),
        "rope.dimension_count": (0, 1 << 16),
        "feed_forward_length": (0, 1 << 24),
        "expert_count": (0, MAX_EXPERTS),
    }
    for key, (low, high) in {**ranges, **optional}.items():
        full = f"{architecture}.{key}"
        number = header.number(full)
        if number is None and (key in ranges or full in header.metadata):
            raise ModelUnusable(header.path, f"the file is damaged: {full} is not a number.")
        if number is not None and not low <= number <= high:
            raise ModelUnusable(header.path, f"the file is damaged or hostile: {full} is {number:,}, not {low} to {high:,}.")
    experts, used = header.number(f"{architecture}.expert_count") or 0, header.number(f"{architecture}.expert_used_count") or 0
    if used > experts or (experts and not used):
        raise ModelUnusable(header.path, f"the file is damaged: it uses {used} of {experts} experts.")
    if (header.number(f"{architecture}.nextn_predict_layers") or 0) > (header.number(f"{architecture}.block_count") or 0):
        raise ModelUnusable(header.path, "the file is damaged: nextn_predict_layers exceeds block_count.")
    for key in ("layer_norm_rms_epsilon", "layer_norm_epsilon"):
        value = header.metadata.get(f"{architecture}.attention.{key}", 0.0)
        if not isinstance(value, float) or not 0 <= value <= 1:
            raise ModelUnusable(header.path, f"the file is damaged: {architecture}.attention.{key} is {value!r}.")


def _check_tensors(header: Header) -> None:
    """Check one-dimensional tensors: llama.cpp supports them only as F32, and aborts the process on others."""
    for tensor in header.tensors:
        if len(tensor.dimensions) == 1 and tensor.kind != 0:
            kind = GGML_TYPES[tensor.kind][0] if tensor.kind in GGML_TYPES else str(tensor.kind)
            raise ModelUnusable(header.path, f"the file is damaged: its vector {tensor.name!r} has the type {kind}, not F32.")


def _part(first: Path, part: Path) -> Header:
    if not os.path.exists(part):  # noqa: PTH110 (that of Path raises an error for an odd link)
        raise ModelUnusable(first, f"the model is split and its part {part.name} is missing. Download it again.")
    return read_header(part)


def _metadata(header: Header, headers: list[Header]) -> GGUFMetadata:
    of = header.text("general.architecture")
    layers, width = header.number(f"{of}.block_count") or 0, header.number(f"{of}.embedding_length") or 0
    heads = header.number(f"{of}.attention.head_count") or 1
    kv_heads = header.number(f"{of}.attention.head_count_kv") or heads
    head_dim = header.number(f"{of}.attention.key_length") or max(1, width // heads)
    value_dim = header.number(f"{of}.attention.value_length") or head_dim
    per_layer = header.metadata.get(f"{of}.attention.head_count_kv")
    counts = [count for count in per_layer if type(count) is int] if isinstance(per_layer, tuple) else [kv_heads] * layers
    return GGUFMetadata(
        path=header.path,
        bytes=sum(part.bytes for part in headers),
        parts=len(headers),
        architecture=of,
        name=header.text("general.name"),
        quantization=_quantization(header, headers),
        dimensions=ModelDimensions(
            parameters=sum(tensor.elements for part in headers for tensor in part.tensors),
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            width=width,
            feed_forward=header.number(f"{of}.feed_forward_length") or 0,
            vocabulary=header.lengths[VOCABULARY],
            context=header.number(f"{of}.context_length") or 0,
        ),
        kv_items=sum(counts) * (head_dim + value_dim),
        template=header.text("tokenizer.chat_template"),
        tokenizer=header.text("tokenizer.ggml.model"),
        licence=header.text("general.license"),
    )


def _quantization(header: Header, headers: list[Header]) -> str:
    """The quantization that the file states or has in its name, or the type of most of its weights."""
    number = header.number("general.file_type")
    stated = "" if number is None else _FILE_TYPES.get(number, "")
    stated = stated or quantization_in(header.path.name)
    if stated:
        return stated
    weights: Counter[int] = Counter()
    for part in headers:
        for tensor in part.tensors:
            weights[tensor.kind] += tensor.elements
    kind = weights.most_common(1)[0][0]
    return GGML_TYPES[kind][0] if kind in GGML_TYPES else ""
