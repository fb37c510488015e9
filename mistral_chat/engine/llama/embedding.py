"""An embedding model in its own context, on the CPU, next to the chat model.

Texts on the same subject have vectors that point the same way: the dot product of two is their cosine, 1.0 for identical texts.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from mistral_chat import system
from mistral_chat.engine.llama import backend
from mistral_chat.engine.llama.bindings import llama_cpp
from mistral_chat.engine.llama.model import Model
from mistral_chat.errors import EngineFailed, EngineLoadFailed
from mistral_chat.paths import private_folder
from mistral_chat.text import break_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TOKENS: Final = 512
"""Maximum tokens of one text, and of all texts in one batch. A passage has about 300."""
AT_ONCE: Final = 16
"""Maximum texts per batch."""

Pooling = Literal["mean", "cls", "last"]
"""How the vectors of a text's tokens become one."""
_POOLINGS: Final[dict[Pooling, int]] = {
    "mean": llama_cpp.LLAMA_POOLING_TYPE_MEAN,
    "cls": llama_cpp.LLAMA_POOLING_TYPE_CLS,
    "last": llama_cpp.LLAMA_POOLING_TYPE_LAST,
}
_LONGEST_WORD: Final = 200
_CHARACTERS: Final = 16 * TOKENS


class Prefixes(NamedTuple):
    """The prefixes that a model was trained with."""

    query: str = ""
    passage: str = ""


_SEARCHING: Final = Prefixes("Represent this sentence for searching relevant passages: ")
_PREFIXES: Final = (
    ("bge-m3", Prefixes()),
    ("bge-", _SEARCHING),
    ("mxbai-embed", _SEARCHING),
    ("arctic-embed", _SEARCHING),
    ("nomic-embed-text", Prefixes("search_query: ", "search_document: ")),
    ("embeddinggemma", Prefixes("task: search result | query: ", "title: none | text: ")),
    ("e5-", Prefixes("query: ", "passage: ")),
    ("qwen3-embedding", Prefixes("Instruct: Given a question, retrieve passages that answer it\nQuery: ")),
)
"""Prefixes by a part of the model's name, from the model cards."""


def prefixes_of(*names: str) -> Prefixes:
    """The prefixes of the first of `names` that is known; names of a model or of its file."""
    for name in names:
        plain = name.lower().replace("_", "-").replace(" ", "-")
        for part, prefixes in _PREFIXES:
            if part in plain:
                return prefixes
    return Prefixes()


class EmbeddingModel:
    """A loaded embedding model. Thread-safe; calls are serialised."""

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        prefixes: Prefixes | None = None,
        pooling: Pooling | None = None,
        kept: Path | None = None,
    ) -> None:
        """Load the model at `path`.

        Args:
            path: a GGUF file.
            threads: how many threads it may use.
            prefixes: the prefixes it was trained with; None looks them up by its name.
            pooling: how a text's tokens become one vector; None takes what the file says.
            kept: the folder for the vectors of texts that never change; None keeps none.

        Raises:
            EngineLoadFailed: llama.cpp refuses the file, or it is no embedding model.
        """
        self._lock = threading.Lock()
        self._kept = kept
        self._model = Model(path)
        self._context: Any = None
        self._batch: Any = None
        try:
            self._open_context(threads, _POOLINGS[pooling] if pooling else llama_cpp.LLAMA_POOLING_TYPE_UNSPECIFIED)
        except BaseException:
            self.close()
            raise
        self.dimensions = int(llama_cpp.llama_model_n_embd_out(self._model.pointer))
        """The length of a vector."""
        self.name = self._model.vocabulary.name or path.stem
        """The model's name. Untrusted text."""
        self.key = f"{self.name}/{self.dimensions}/{self._model.bytes}"
        """Identifies the model that made a vector. Vectors of different models cannot be compared."""
        self.prefixes = prefixes if prefixes is not None else prefixes_of(path.stem, self.name)

    def _open_context(self, threads: int, pooling: int) -> None:
        backend.clear_errors()
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = TOKENS
        params.n_seq_max = AT_ONCE
        params.kv_unified = True
        params.embeddings = True
        params.pooling_type = pooling
        params.n_threads = params.n_threads_batch = threads
        params.offload_kqv = False
        params.op_offload = False
        self._context = llama_cpp.llama_init_from_model(self._model.pointer, params)
        if not self._context:
            raise EngineLoadFailed(self._model.path, backend.recent_errors() or "there is not enough memory for its context")
        if llama_cpp.llama_pooling_type(self._context) not in _POOLINGS.values():
            raise EngineLoadFailed(
                self._model.path, "it is not an embedding model. Choose one such as all-MiniLM-L6-v2 or bge-small-en-v1.5."
            )
        self._batch = llama_cpp.llama_batch_init(TOKENS, 0, 1)

    def close(self) -> None:
        """Free the model. No other call may follow."""
        with self._lock:
            if self._batch is not None:
                llama_cpp.llama_batch_free(self._batch)
            if self._context:
                llama_cpp.llama_free(self._context)
            self._batch = self._context = None
            self._model.close()

    def embed_query(self, text: str) -> NDArray[np.float16]:
        """Embed a question as a vector of length 1.

        Raises:
            EngineFailed: llama.cpp fails, or the model was closed.
        """
        vector: NDArray[np.float16] = self._embed([self.prefixes.query + text])[0]
        return vector

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Embed texts to be searched, one vector of length 1 per row. Only the first `TOKENS` of a text count.

        Raises:
            EngineFailed: llama.cpp fails, or the model was closed.
        """
        return self._embed([self.prefixes.passage + text for text in texts])

    def embed_kept(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """The vectors of passages that never change. They are read from a file after the first time.

        Raises:
            EngineFailed: as `embed_passages`.
        """
        if self._kept is None:
            return self.embed_passages(texts)
        digest = hashlib.sha256("\0".join([self.key, self.prefixes.passage, *texts]).encode("utf-8", "replace")).hexdigest()
        path = self._kept / f"{digest[:24]}.f16"
        with suppress(OSError):
            content = path.read_bytes()
            if len(content) == 2 * self.dimensions * len(texts):
                return np.frombuffer(content, np.float16).reshape(len(texts), -1)
        vectors = self.embed_passages(texts)
        with suppress(OSError):  # it is only quicker with it
            private_folder(self._kept)
            system.write_private(path, vectors.tobytes())
        return vectors

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float16]:
        with self._lock:
            if not self._context:
                raise EngineFailed("The embedding model was closed while it was in use.")
            tokens = [self._tokenize(text) for text in texts]
            vectors = np.zeros((len(texts), self.dimensions), np.float32)
            start = 0
            while start < len(texts):
                end = _fitting(tokens, start)
                vectors[start:end] = self._read(tokens[start:end])
                start = end
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        normal: NDArray[np.float16] = (vectors / np.maximum(lengths, 1e-9)).astype(np.float16)
        return normal

    def _tokenize(self, text: str) -> list[int]:
        """Tokenize `text` between the model's start and end tokens, cut to `TOKENS`."""
        raw = break_words(text[:_CHARACTERS], _LONGEST_WORD).encode("utf-8", "replace")
        buffer = (llama_cpp.llama_token * (len(raw) + 8))()
        vocabulary = llama_cpp.llama_model_get_vocab(self._model.pointer)
        count = llama_cpp.llama_tokenize(vocabulary, raw, len(raw), buffer, len(buffer), True, False)  # noqa: FBT003 (a C function)
        if count < 0:
            raise EngineFailed("llama.cpp could not tokenize a text for the embedding model.")
        tokens = list(buffer[:count])
        return tokens if count <= TOKENS else [*tokens[: TOKENS - 1], tokens[-1]]

    def _read(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Embed one batch of texts, as the model returns the vectors."""
        batch, place = self._batch, 0
        for number, tokens in enumerate(texts):
            for position, token in enumerate(tokens):
                batch.token[place], batch.pos[place] = token, position
                batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, number, 1
                place += 1
        batch.n_tokens = place
        memory = llama_cpp.llama_get_memory(self._context)
        if memory:
            llama_cpp.llama_memory_clear(memory, False)  # noqa: FBT003 (a C function)
        if place and llama_cpp.llama_decode(self._context, batch) != 0:
            raise EngineFailed("The embedding model failed on a text.")
        found = np.zeros((len(texts), self.dimensions), np.float32)
        for number, tokens in enumerate(texts):
            if tokens:
                pointer = llama_cpp.llama_get_embeddings_seq(self._context, number)
                found[number] = np.ctypeslib.as_array(pointer, (self.dimensions,))
        return found


def _fitting(tokens: Sequence[Sequence[int]], start: int) -> int:
    """The end of the batch of texts that starts at `start`."""
    end, size = start, 0
    while end < len(tokens) and end - start < AT_ONCE and size + len(tokens[end]) <= TOKENS:
        size += len(tokens[end])
        end += 1
    return end


def sensible_threads() -> int:
    """Threads for embedding in the background: half of the CPUs, at most four."""
    return max(1, min(4, (os.cpu_count() or 2) // 2))
