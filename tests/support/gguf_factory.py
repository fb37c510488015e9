"""Tiny GGUF files with real vocabularies, for every test that needs a Mistral model.

The vocabularies are Mistral's own, from the files that the mistral-common package carries. The weights are random and small (two
layers, 64 wide), so the files take 5 to 30 MB, load in llama.cpp in a moment and decode to noise: tokens, KV cells, cuts and
times of calls are real, the text is not. The same arguments always give the same file.

    path = write_gguf(folder / "tiny.gguf", "v3")                      # like a file that llama.cpp's converter wrote
    path = write_gguf(folder / "own.gguf", "v1", template="{% for …")  # with a template of your own
    path = gguf_file(folder, "chatml")                                 # one of VARIANTS, written once for each folder
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gguf
import mistral_common
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

VocabularyName = Literal["v1", "v2", "v3", "v7", "tekken"]

FILES: Mapping[str, str] = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
    "tekken": "tekken_240911.json",
}
"""mistral-common's file of each vocabulary. "v2" is byte for byte what 7B Instruct v0.3 has on the hub."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_TEKKEN_SPECIALS = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What `write_gguf` is given for one of the files that tests ask for by name."""

    vocabulary: VocabularyName
    template: str | None = None
    name: str = "Mistral 7B Instruct, random weights"
    options: Mapping[str, Any] = field(default_factory=dict)


_IM = ("<|im_start|>", "<|im_end|>")

VARIANTS: Mapping[str, Variant] = {
    "v1": Variant(vocabulary="v1", template="mistral-v1"),
    "v1-bare": Variant(vocabulary="v1", name="mistralai_mistral-7b-instruct-v0.1", options={"add_bos": None}),
    "v2": Variant(vocabulary="v2", template="mistral-v3"),
    "v0.3": Variant(vocabulary="v2", template="mistral-v3", name="Mistral-7B-Instruct-v0.3"),
    "v3": Variant(vocabulary="v3", template="mistral-v3"),
    "v3-no-space": Variant(vocabulary="v3", template="mistral-v3", options={"space_prefix": False}),
    "v7": Variant(vocabulary="v7", template="mistral-v7"),
    "tekken": Variant(vocabulary="tekken", template="mistral-v3-tekken"),
    "chatml": Variant(vocabulary="v1", template=CHATML, name="ChatML", options={"control": _IM, "end": "<|im_end|>"}),
    "chatml-user-defined": Variant(vocabulary="v1", template=CHATML, name="ChatML", options={"user_defined": _IM}),
}
"""The files by name. "v1-bare" has no template, as the first quantizations of v0.1; "v0.3" is that model as on the hub."""


@dataclass
class _Tokens:
    """A vocabulary as GGUF stores it."""

    texts: list[bytes]
    kinds: list[int]
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)

    def add(self, text: str, kind: int) -> None:
        """Append a token."""
        self.texts.append(text.encode())
        self.kinds.append(kind)
        if self.scores:
            self.scores.append(0.0)


def gguf_file(folder: Path, variant: str) -> Path:
    """The file of a variant in `folder`, written when it is first asked for."""
    path = folder / f"{variant}.gguf"
    if not path.exists():
        chosen = VARIANTS[variant]
        write_gguf(path, chosen.vocabulary, template=chosen.template, name=chosen.name, **chosen.options)
    return path


def write_gguf(
    path: Path,
    vocabulary: VocabularyName = "v3",
    *,
    template: str | None = None,
    name: str = "Mistral 7B Instruct, random weights",
    add_bos: bool | None = True,
    space_prefix: bool | None = None,
    control: Sequence[str] = (),
    user_defined: Sequence[str] = (),
    end: str | None = None,
    layers: int = 2,
    width: int = 64,
    context: int = 32768,
    seed: int = 0,
) -> Path:
    """Write a GGUF file to `path` and return the path.

    Args:
        path: where to; an existing file is replaced.
        vocabulary: whose tokens.
        template: ``tokenizer.chat_template``: Jinja, or one of llama.cpp's names; None leaves the key out.
        name: ``general.name``.
        add_bos: whether llama.cpp is to begin prompts with BOS; None leaves the key out.
        space_prefix: ``tokenizer.ggml.add_space_prefix``; None leaves the key out.
        control: texts of control tokens to append to the vocabulary.
        user_defined: texts of user-defined tokens to append.
        end: the text of the token that ends a reply; None is ``</s>``.
        layers: how many transformer blocks.
        width: the embedding's length, a multiple of 32.
        context: how many tokens the model claims to have been trained on.
        seed: of the random weights.
    """
    tokens = _read(vocabulary)
    for text in control:
        tokens.add(text, gguf.TokenType.CONTROL)
    for text in user_defined:
        tokens.add(text, gguf.TokenType.USER_DEFINED)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(context)
    _add_vocabulary(writer, tokens, end)
    _add_prompt_form(writer, template, add_bos=add_bos, space_prefix=space_prefix)
    _add_weights(writer, len(tokens.texts), layers, width, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_recurrent_gguf(path: Path, kind: Literal["mamba", "lfm2"]) -> Path:
    """Write a model with ChatML whose layers, or one of them, keep a state in place of keys and values; return the path."""
    width = 64
    tokens = _read("v1")
    for text in _IM:
        tokens.add(text, gguf.TokenType.CONTROL)
    writer = gguf.GGUFWriter(path, kind)
    writer.add_name(f"{kind}, random weights")
    writer.add_context_length(4096)
    _add_vocabulary(writer, tokens, "<|im_end|>")
    _add_prompt_form(writer, CHATML, add_bos=False, space_prefix=False)
    writer.add_embedding_length(width)
    writer.add_block_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    rng = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        values = rng.standard_normal(shape, np.float32) * np.float32(0.1)
        if name.endswith("norm"):
            values = np.ones(shape, np.float32)
        if name.endswith("ssm_a"):
            values = -np.abs(values) - 1
        writer.add_tensor(name if name.endswith(("ssm_a", "ssm_d", "bias")) else f"{name}.weight", values)

    add("token_embd", len(tokens.texts), width)
    add("output", len(tokens.texts), width)
    add("output_norm" if kind == "mamba" else "token_embd_norm", width)
    for layer in range(2):
        for tensor, shape in (_mamba_layer if kind == "mamba" else _lfm2_layer)(writer, layer, width).items():
            add(f"blk.{layer}.{tensor}", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _mamba_layer(writer: gguf.GGUFWriter, layer: int, width: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's tensors; the first adds what describes them."""
    inner, state, kernel, rank = 2 * width, 16, 4, 4
    if layer == 0:
        writer.add_feed_forward_length(0)
        writer.add_head_count(0)
        writer.add_ssm_conv_kernel(kernel)
        writer.add_ssm_inner_size(inner)
        writer.add_ssm_state_size(state)
        writer.add_ssm_time_step_rank(rank)
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm": (width,),
        "ssm_in": (2 * inner, width),
        "ssm_conv1d": (inner, kernel),
        "ssm_conv1d.bias": (inner,),
    }
    shapes |= {"ssm_x": (rank + 2 * state, inner), "ssm_dt": (inner, rank), "ssm_dt.bias": (inner,)}
    return shapes | {"ssm_a": (inner, state), "ssm_d": (inner,), "ssm_out": (width, inner)}


def _lfm2_layer(writer: gguf.GGUFWriter, layer: int, width: int) -> dict[str, tuple[int, ...]]:
    """The same of an LFM2, whose first layer is a convolution with a state, and whose second one attends."""
    inner, head = 2 * width, width // 4
    if layer == 0:
        writer.add_feed_forward_length(inner)
        writer.add_head_count(4)
        writer.add_head_count_kv([0, 2])
        writer.add_rope_freq_base(1_000_000.0)
        writer.add_shortconv_l_cache(3)
    shapes: dict[str, tuple[int, ...]] = {"attn_norm": (width,), "ffn_norm": (width,)}
    shapes |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
    if layer == 0:
        return shapes | {
            "shortconv.conv": (width, 3),
            "shortconv.in_proj": (3 * width, width),
            "shortconv.out_proj": (width, width),
        }
    shapes |= {"attn_q": (width, width), "attn_k": (2 * head, width), "attn_v": (2 * head, width)}
    return shapes | {"attn_output": (width, width), "attn_q_norm": (head,), "attn_k_norm": (head,)}


def _add_vocabulary(writer: gguf.GGUFWriter, tokens: _Tokens, end: str | None) -> None:
    """Add the tokens, as the kind of tokenizer needs them, and which of them are unknown, first and last."""
    writer.add_vocab_size(len(tokens.texts))
    if tokens.merges:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("tekken")
        writer.add_token_merges(tokens.merges)
    else:
        writer.add_tokenizer_model("llama")
        writer.add_token_scores(tokens.scores)
    writer.add_token_list(tokens.texts)
    writer.add_token_types(tokens.kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(tokens.texts.index(end.encode()) if end else 2)


def _add_prompt_form(writer: gguf.GGUFWriter, template: str | None, *, add_bos: bool | None, space_prefix: bool | None) -> None:
    """Add what says how prompts are written; what is None is left out."""
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)
        writer.add_add_eos_token(value=False)
    if space_prefix is not None:
        writer.add_add_space_prefix(space_prefix)
    if template is not None:
        writer.add_chat_template(template)


def _add_weights(writer: gguf.GGUFWriter, size: int, layers: int, width: int, rng: np.random.Generator) -> None:
    """Add the tensors of a llama of this shape, four heads sharing two of keys and values, and what describes them."""
    inner, keys = 2 * width, width // 2
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(width // 4)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

    def add(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, rng.standard_normal((rows, columns), np.float32).astype(np.float16) * np.float16(0.1))

    add("token_embd.weight", size, width)
    for layer in range(layers):
        block = f"blk.{layer}."
        shapes = {"attn_q": (width, width), "attn_k": (keys, width), "attn_v": (keys, width), "attn_output": (width, width)}
        shapes |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
        for tensor, (rows, columns) in shapes.items():
            add(f"{block}{tensor}.weight", rows, columns)
        for tensor in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}{tensor}.weight", np.ones(width, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))


def _read(vocabulary: VocabularyName) -> _Tokens:
    """The tokens of one of `FILES`."""
    path = Path(mistral_common.__file__).parent / "data" / FILES[vocabulary]
    return _read_tekken(path) if vocabulary == "tekken" else _read_sentencepiece(path)


def _read_sentencepiece(path: Path) -> _Tokens:
    """The pieces of a SentencePiece model. Its file is a protocol buffer whose field 1 is a piece: text, score, kind."""
    tokens = _Tokens([], [])
    for number, piece in _fields(path.read_bytes()):
        if number == 1 and isinstance(piece, bytes):
            parts = dict(_fields(piece))
            text = parts[1]
            score = parts.get(2, b"\0\0\0\0")
            kind = parts.get(3, gguf.TokenType.NORMAL)
            if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
                raise TypeError(f"{path} is no SentencePiece model")
            tokens.texts.append(text)
            tokens.scores.append(struct.unpack("<f", score)[0])
            tokens.kinds.append(int(kind))
    return tokens


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbered fields of a protocol buffer message: varints as numbers, all else as bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            yield number, varint()
        else:
            length = varint() if wire == 2 else {1: 8, 5: 4}[wire]
            yield number, data[at : at + length]
            at += length


def _read_tekken(path: Path) -> _Tokens:
    """The tokens of a Tekken file: 1,000 control tokens, then byte sequences by rank, written as GPT-2 writes bytes."""
    model = json.loads(path.read_text("utf-8"))
    size = model["config"]["default_vocab_size"]
    specials = model["config"]["default_num_special_tokens"]
    named = [*_TEKKEN_SPECIALS, "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]"]
    named += ["[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]
    texts = [*named, *(f"<SPECIAL_{i}>" for i in range(len(named), specials))]
    words = [base64.b64decode(entry["token_bytes"]) for entry in model["vocab"][: size - specials]]
    letter = _gpt2_letters()
    tokens = _Tokens([text.encode() for text in texts], [int(gguf.TokenType.CONTROL)] * specials)
    tokens.texts += ["".join(letter[byte] for byte in word).encode() for word in words]
    tokens.kinds += [int(gguf.TokenType.NORMAL)] * len(words)
    rank = {word: i for i, word in enumerate(words)}
    for word in words:
        splits = [(word[:i], word[i:]) for i in range(1, len(word))]
        known = [(rank[a], rank[b], a, b) for a, b in splits if a in rank and b in rank]
        for _, _, a, b in sorted(known):
            tokens.merges.append("".join(letter[byte] for byte in a) + " " + "".join(letter[byte] for byte in b))
    return tokens


def _gpt2_letters() -> dict[int, str]:
    """GPT-2's letter for each byte: printable Latin-1 maps to itself, all else follows U+0100 in order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
