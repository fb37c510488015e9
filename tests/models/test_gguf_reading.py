from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from support.gguf_factory import write_gguf
from support.small_gguf import ARRAY, FLOAT32, INT32, STRING, UINT32, Entry, Tensor, small_model

from mistral_chat.errors import ModelUnusable
from mistral_chat.models.gguf import read_header
from mistral_chat.models.metadata import read_metadata

if TYPE_CHECKING:
    from pathlib import Path


def problem_of(path: Path) -> str:
    with pytest.raises(ModelUnusable) as caught:
        read_metadata(path)
    assert caught.value.path == path
    return caught.value.problem


def unusable(folder: Path, content: bytes) -> str:
    path = folder / "file.gguf"
    path.write_bytes(content)
    return problem_of(path)


def test_the_demo_file_is_described(demo_model: Path) -> None:
    metadata = read_metadata(demo_model)
    assert (metadata.architecture, metadata.quantization, metadata.parts, metadata.tokenizer) == ("llama", "Q4_1", 1, "gpt2")
    assert metadata.dimensions.parameters == 134_515_008
    assert (
        metadata.dimensions.layers,
        metadata.dimensions.heads,
        metadata.dimensions.kv_heads,
        metadata.dimensions.head_dim,
    ) == (
        30,
        9,
        3,
        64,
    )
    assert (metadata.dimensions.context, metadata.dimensions.vocabulary, metadata.kv_items) == (8192, 49152, 11520)
    assert "<|im_start|>" in metadata.template
    assert metadata.licence == "apache-2.0"


def test_a_mistral_file_is_described(tmp_path: Path) -> None:
    metadata = read_metadata(write_gguf(tmp_path / "tiny.gguf", "v3", template="mistral-v3"))
    assert (metadata.template, metadata.quantization, metadata.dimensions.vocabulary) == ("mistral-v3", "F16", 32768)


def test_arrays_by_layer_count_each_layer(tmp_path: Path) -> None:
    draft = small_model()
    draft.set("llama.attention.head_count_kv", ARRAY, [2], items=INT32)
    path = tmp_path / "file.gguf"
    path.write_bytes(draft.encoded())
    assert read_metadata(path).kv_items == 2 * (16 + 16)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"GG", "not a GGUF file"),
        (b"<!DOCTYPE html><html>log in</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"lmgg" + bytes(60), "GGML file from 2023"),
        (b"PK\x03\x04" + bytes(60), "ZIP archive"),
        (struct.pack("<Q", 50) + b'{"__metadata__":{}}' + bytes(60), "safetensors"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 5000), "is incomplete"),
    ],
)
def test_a_file_of_another_format_is_named_as_such(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in unusable(tmp_path, content)


def test_a_folder_or_a_missing_file_is_not_a_model(tmp_path: Path) -> None:
    assert problem_of(tmp_path) == "this is not a file."
    assert "cannot be read" in problem_of(tmp_path / "absent.gguf")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry("general.type", STRING, "adapter"), "LoRA adapter"),
        (Entry("general.type", STRING, "mmproj"), "image part"),
        (Entry("general.architecture", STRING, ""), "its architecture"),
        (Entry("general.architecture", STRING, "bert"), "embedding model"),
        (Entry("llama.pooling_type", UINT32, 1), "embedding model"),
        (Entry("tokenizer.ggml.model", STRING, ""), "no vocabulary"),
        (Entry("tokenizer.ggml.model", STRING, "bert"), "do not generate text"),
        (Entry("tokenizer.ggml.tokens", ARRAY, ["a", "a"], STRING), "the same"),
        (Entry("tokenizer.ggml.scores", ARRAY, [0.0], FLOAT32), "260 tokens and 1"),
        (Entry("llama.block_count", UINT32, 0), "llama.block_count is 0"),
        (Entry("llama.block_count", UINT32, 513), "llama.block_count is 513"),
        (Entry("llama.block_count", STRING, "1"), "llama.block_count is not a number"),
        (Entry("llama.expert_count", UINT32, 513), "expert_count"),
        (Entry("llama.expert_count", UINT32, 8), "0 of 8 experts"),
        (Entry("llama.nextn_predict_layers", UINT32, 2), "nextn_predict_layers exceeds"),
        (Entry("llama.attention.layer_norm_rms_epsilon", FLOAT32, -1.0), "epsilon is -1.0"),
        (Entry("general.alignment", UINT32, 16), "alignment is 16"),
        (Entry("general.file_type", 99, 0), "unknown type 99"),
        (Entry("split.count", UINT32, 4), "one of 4 parts"),
        (Entry("general.languages", ARRAY, [], ARRAY), "unknown type 9"),
    ],
)
def test_files_that_crash_llama_cpp_or_cannot_chat_are_refused(tmp_path: Path, entry: Entry, words: str) -> None:
    draft = small_model()
    if entry.kind == 99:
        encoded = draft.encoded()
        place = encoded.index(b"general.file_type") + len(b"general.file_type")
        assert words in unusable(tmp_path, encoded[:place] + struct.pack("<I", 99) + encoded[place + 4 :])
        return
    draft.set(entry.key, entry.kind, entry.value, items=entry.items)
    assert words in unusable(tmp_path, draft.encoded())


@pytest.mark.parametrize(
    ("place", "tensor", "words"),
    [
        (0, Tensor("token_embd.weight", (32, 2**40), size=33280), "is incomplete"),
        (0, Tensor("token_embd.weight", (), size=33280), "has 0 dimensions"),
        (0, Tensor("token_embd.weight", (0, 1), size=33280), "has 0 weights"),
        (0, Tensor("token_embd.weight", (33, 2), kind=2, size=33280), "whole number of blocks"),
        (0, Tensor("token_embd.weight", (32, 260), place=64), "wrong offset"),
        (0, Tensor("token_embd.weight", (32, 260), kind=99, size=33280), "unknown type 99"),
        (1, Tensor("token_embd.weight", (32, 32)), "the same name"),
        (8, Tensor("blk.0.attn_norm.weight", (32,), kind=30, size=64), "type BF16, not F32"),
        (8, Tensor("x" * 64, (32,)), "a tensor's name has 64 bytes"),
    ],
)
def test_impossible_tensors_are_refused(tmp_path: Path, place: int, tensor: Tensor, words: str) -> None:
    draft = small_model()
    draft.tensors[place] = tensor
    assert words in unusable(tmp_path, draft.encoded())


def test_a_truncated_file_reports_how_much_is_missing(tmp_path: Path) -> None:
    whole = small_model().encoded()
    path = tmp_path / "file.gguf"
    path.write_bytes(whole)
    read_metadata(path)
    assert f"it has {len(whole) - 1:,} bytes" in unusable(tmp_path, whole[:-1])
    for length in range(4, len(whole) - 1, 997):
        assert unusable(tmp_path, whole[:length])


def test_a_model_without_tensors_is_a_vocabulary(tmp_path: Path) -> None:
    draft = small_model()
    draft.tensors = []
    assert "only a vocabulary" in unusable(tmp_path, draft.encoded())
    draft.drop("general.file_type")  # as if its weights said what it is
    for parts in (1, 2):
        draft.set("split.count", UINT32, parts)
        paths = [tmp_path / f"model-{number:05d}-of-{parts:05d}.gguf" for number in range(1, parts + 1)]
        for path in paths:
            path.write_bytes(draft.encoded())
        assert "only a vocabulary" in problem_of(paths[0])


def test_a_split_model_counts_as_one_and_misses_a_part(tmp_path: Path) -> None:
    first, second = small_model(), small_model()
    for number, draft in enumerate((first, second)):
        draft.set("split.count", UINT32, 2)
        draft.set("split.no", UINT32, number)
    first.tensors, second.tensors = first.tensors[:4], second.tensors[4:]
    paths = [tmp_path / f"model-Q4_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    paths[0].write_bytes(first.encoded())
    assert "its part model-Q4_0-00002-of-00002.gguf is missing" in problem_of(paths[0])
    paths[1].write_bytes(second.encoded())
    metadata = read_metadata(paths[0])
    assert (metadata.parts, metadata.bytes) == (2, sum(path.stat().st_size for path in paths))


def test_the_quantization_comes_from_the_metadata_the_name_or_the_tensors(tmp_path: Path) -> None:
    draft = small_model()
    draft.drop("general.file_type")
    plain, named = tmp_path / "model.gguf", tmp_path / "model-IQ3_M.gguf"
    for path in (plain, named):
        path.write_bytes(draft.encoded())
    assert read_metadata(plain).quantization == "F32"
    assert read_metadata(named).quantization == "IQ3_M"


def test_long_values_are_read_across_the_readers_window(tmp_path: Path) -> None:
    draft = small_model()
    draft.set("general.description", STRING, "é" * 1_500_000)
    draft.set("general.numbers", ARRAY, list(range(400_000)))
    draft.set("general.texts", ARRAY, ["x" * 300_000] * 6, items=STRING)
    path = tmp_path / "file.gguf"
    path.write_bytes(draft.encoded())
    header = read_header(path)
    assert len(header.text("general.description")) == 1_500_000
    assert (header.lengths["general.numbers"], header.lengths["general.texts"]) == (400_000, 6)
    draft.set("general.description", STRING, "x" * (5 << 20))
    assert "general.description has 5,242,880 bytes" in unusable(tmp_path, draft.encoded())


def test_a_badly_published_file_is_not_called_damaged(tmp_path: Path) -> None:
    """Downloading it again would give the same file, so that advice would send people in circles."""
    draft = small_model()
    tokens = next(entry for entry in draft.entries if entry.key == "tokenizer.ggml.tokens")
    tokens.value = [*tokens.value[:-1], tokens.value[-2]]
    problem = unusable(tmp_path, draft.encoded())
    assert "same token twice" in problem
    assert "another file" in problem
    assert "damaged" not in problem
    assert "Download it again" not in problem
