"""A model's vocabulary: its tokens, what they mean, and llama.cpp's tokenization of plain text."""

from __future__ import annotations

import ctypes
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mistral_chat.engine.encoding.text import utf8
from mistral_chat.engine.encoding.tokenizer import CONTROLS, Attribute
from mistral_chat.engine.llama.bindings import llama_cpp
from mistral_chat.errors import EngineFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SENTENCEPIECE = 1
"""llama.cpp's ``LLAMA_VOCAB_TYPE_SPM``."""

LONGEST_WORD = 1000
"""Maximum characters of a word given to llama.cpp if it splits words with ``std::regex``.

That library recurses for each character of a match, and a word of some 20,000 letters crashes the process. No vocabulary has a
token that long, so splitting such a word costs at most the merge across the split.
"""

_LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD}}}|\s{{{LONGEST_WORD}}}|[\r\n/]{{{LONGEST_WORD}}}")

_SIMPLE_WORDS = frozenset({"gpt-2", "gpt-4o", "llama-bpe", "qwen2", "tekken"})
"""The pre-tokenizers known to take no letters and punctuation as one word, as others do."""

_LONG_SIMPLE_WORD = re.compile(
    f"[^\\s!-/:-@\\[-`{{-~]{{{LONGEST_WORD}}}"  # letters, their marks, digits and signs of any script
    f"|(?:[^\\w\\s]|[_\\r\\n]){{{LONGEST_WORD}}}"  # punctuation, signs and line breaks
    f"|\\s{{{LONGEST_WORD}}}"
)

SPACE = "\u2581"
"""How SentencePiece vocabularies write a space."""


class Vocabulary:
    """The vocabulary of a loaded model, with or without its tensors.

    Everything here only reads, so any thread may use it while another runs the model. The model must outlive it, or `close`
    must be called before the model is freed.
    """

    def __init__(self, model: Any) -> None:
        """Use the vocabulary of the ``llama_model`` behind the pointer `model`."""
        self._vocab: Any = llama_cpp.llama_model_get_vocab(model)
        self.size = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        """The number of tokens."""
        self._pieces: list[bytes | None] = [None] * self.size
        self.bos = int(llama_cpp.llama_vocab_bos(self._vocab))
        self.eos = int(llama_cpp.llama_vocab_eos(self._vocab))
        self.add_bos = bool(llama_cpp.llama_vocab_get_add_bos(self._vocab))
        self.is_sentencepiece = llama_cpp.llama_vocab_type(self._vocab) == _SENTENCEPIECE
        self.metadata: Mapping[str, str] = dict(_read_metadata(model))
        """The scalar entries of the file's metadata. Untrusted text."""

    def close(self) -> None:
        """Detach from the model. Tokenizing afterwards raises `EngineFailed` instead of reading freed memory."""
        self._vocab = None

    @property
    def _pointer(self) -> Any:
        if self._vocab is None:
            raise EngineFailed("The model was closed while it was in use. Open the conversation again.")
        return self._vocab

    @property
    def name(self) -> str:
        """The model's name as the file gives it (``general.name``). Untrusted text; may be empty."""
        return self.metadata.get("general.name", "")

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture, such as ``"llama"``."""
        return self.metadata.get("general.architecture", "")

    @property
    def context_trained(self) -> int:
        """The context length that the model was trained with, in tokens; 0 if the file does not say."""
        value = self.metadata.get(f"{self.architecture}.context_length", "")
        return int(value) if value.isdecimal() else 0

    @property
    def template(self) -> str | None:
        """The chat template in the file: Jinja, or one of llama.cpp's template names. Untrusted text."""
        return self.metadata.get("tokenizer.chat_template")

    @property
    def pre_tokenizer(self) -> str:
        """llama.cpp's name for how a byte-pair vocabulary splits text into words; may be empty."""
        return self.metadata.get("tokenizer.ggml.pre", "")

    @cached_property
    def space_prefix(self) -> bool:
        """Whether a space is added before each text. llama.cpp has no query for this, so it is tested."""
        if not self.is_sentencepiece:
            return False
        plain, spaced = self.tokenize("a"), self.tokenize(" a")
        return plain != spaced and self.texts[plain[0]].startswith(SPACE)

    @cached_property
    def texts(self) -> Sequence[str]:
        """The text of each token in the vocabulary. Bytes that are not UTF-8 are kept as surrogates."""
        text_of, pointer = llama_cpp.llama_vocab_get_text, self._pointer
        return tuple(text_of(pointer, i).decode("utf-8", "surrogateescape") for i in range(self.size))

    @cached_property
    def attributes(self) -> Sequence[int]:
        """Each token's `Attribute` flags."""
        attribute_of, pointer = llama_cpp.llama_vocab_get_attr, self._pointer
        return tuple(attribute_of(pointer, i) for i in range(self.size))

    @cached_property
    def controls(self) -> Mapping[str, int]:
        """The control and unknown tokens, by their text."""
        each = enumerate(zip(self.texts, self.attributes, strict=True))
        return {text: i for i, (text, flags) in each if text and flags & CONTROLS}

    @cached_property
    def user_defined(self) -> Mapping[str, int]:
        """The tokens that llama.cpp always matches in text, by their text."""
        wanted = int(Attribute.USER_DEFINED)  # an operation on a flag takes many times as long
        return {
            text: i
            for i, (text, flags) in enumerate(zip(self.texts, self.attributes, strict=True))
            if text and flags & wanted and not flags & CONTROLS
        }

    def tokenize(self, text: str) -> list[int]:
        """Tokenize `text` with special tokens off, adding nothing but `space_prefix`.

        Raises:
            InvalidText: the text contains a lone surrogate.
            EngineFailed: the model was closed.
        """
        if self.is_sentencepiece or len(text) <= LONGEST_WORD:
            return self._tokenize(utf8(text))
        words = _LONG_SIMPLE_WORD if self.pre_tokenizer in _SIMPLE_WORDS else _LONG_WORD
        return [token for part in _cut(text, words) for token in self._tokenize(utf8(part))]

    def _tokenize(self, raw: bytes) -> list[int]:
        if not raw:
            return []
        # Sizes are rounded up, because ctypes makes and keeps a new type for each length.
        buffer = (llama_cpp.llama_token * (1 << (len(raw) + 8).bit_length()))()
        count = llama_cpp.llama_tokenize(self._pointer, raw, len(raw), buffer, len(buffer), False, False)  # noqa: FBT003 (a C function)
        if count < 0:
            raise EngineFailed("llama.cpp could not tokenize the text. Shorten it and try again.")
        return list(buffer[:count])

    def piece(self, token: int) -> bytes:
        """The text of `token`; empty for control tokens. May be part of a character.

        Raises:
            EngineFailed: the model was closed.
            IndexError: there is no such token.
        """
        known = self._pieces[token]
        if known is None:
            buffer = ctypes.create_string_buffer(512)
            size = llama_cpp.llama_token_to_piece(self._pointer, token, buffer, len(buffer), 0, False)  # noqa: FBT003 (a C function)
            if size < 0:
                buffer = ctypes.create_string_buffer(-size)
                size = llama_cpp.llama_token_to_piece(self._pointer, token, buffer, len(buffer), 0, False)  # noqa: FBT003 (the same)
            known = self._pieces[token] = buffer.raw[: max(size, 0)]
        return known

    def is_eog(self, token: int) -> bool:
        """Whether `token` ends a reply."""
        return token in self.end_tokens

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """All tokens that end a reply."""
        is_end, pointer = llama_cpp.llama_vocab_is_eog, self._pointer
        return frozenset(i for i in range(self.size) if is_end(pointer, i))


def _cut(text: str, words: re.Pattern[str]) -> Iterator[str]:
    """Split `text` inside `words`, which are too long for llama.cpp."""
    start = 0
    for match in words.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    yield text[start:]


def _read_metadata(model: Any) -> Iterator[tuple[str, str]]:
    """The scalar entries of the file's metadata, as text."""
    for index in range(llama_cpp.llama_model_meta_count(model)):
        key = _read_string(llama_cpp.llama_model_meta_key_by_index, model, index)
        yield key, _read_string(llama_cpp.llama_model_meta_val_str_by_index, model, index)


def _read_string(read: Any, model: Any, index: int) -> str:
    """Read one string from llama.cpp, whatever its length."""
    buffer = ctypes.create_string_buffer(4096)
    size = read(model, index, buffer, len(buffer))
    if size >= len(buffer):
        buffer = ctypes.create_string_buffer(size + 1)
        size = read(model, index, buffer, len(buffer))
    return buffer.raw[: max(size, 0)].decode("utf-8", "replace")
