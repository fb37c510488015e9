"""The loaded model: its weights, its dimensions and its adapters."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mistral_chat.engine.llama import backend
from mistral_chat.engine.llama.bindings import llama_cpp
from mistral_chat.engine.llama.vocabulary import Vocabulary
from mistral_chat.errors import EngineLoadFailed, UsageError
from mistral_chat.memory_estimate import ModelDimensions
from mistral_chat.paths import expanded


class Model:
    """One GGUF file in memory. Close it after every context created from it."""

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int = 0,
        repack: bool = False,
        vocab_only: bool = False,
        on_progress: Callable[[float], bool] | None = None,
    ) -> None:
        """Load the model at `path`.

        Args:
            path: the GGUF file, or the first of a split one.
            n_gpu_layers: layers for the GPU; -1 means all.
            repack: keep a second copy of the weights that is faster on this CPU.
            vocab_only: leave out the weights.
            on_progress: called with the loaded share, 0.0 to 1.0; returns False to stop.

        Raises:
            EngineLoadFailed: llama.cpp refuses the file, or loading was cancelled.
        """
        backend.init_backend()
        backend.clear_errors()
        self.path = path
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.use_extra_bufts = repack
        params.vocab_only = vocab_only
        callback = None
        if on_progress is not None:
            callback = llama_cpp.llama_progress_callback(lambda share, _: on_progress(share))
            params.progress_callback = callback
        self.pointer: Any = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self.pointer:
            raise EngineLoadFailed(path, backend.recent_errors() or "llama.cpp gave no reason")
        self.vocabulary = Vocabulary(self.pointer)
        self.adapters: list[tuple[Any, float]] = []

    def add_adapter(self, file: Path, scale: float) -> None:
        """Load the LoRA adapter in `file`, to be applied with `scale` to every context created afterwards.

        Raises:
            EngineLoadFailed: llama.cpp refuses the adapter, or it belongs to another model.
        """
        backend.clear_errors()
        adapter = llama_cpp.llama_adapter_lora_init(self.pointer, os.fsencode(file)) if file.is_file() else None
        if not adapter:
            raise EngineLoadFailed(file, backend.recent_errors() or "the LoRA adapter does not exist, or is for another model")
        self.adapters.append((adapter, scale))

    def apply_adapters(self, context: Any) -> None:
        """Apply the loaded adapters to the context behind the pointer `context`."""
        if self.adapters:
            count = len(self.adapters)
            pointers = (llama_cpp.llama_adapter_lora_p_ctypes * count)(*(adapter for adapter, _ in self.adapters))
            scales = (ctypes.c_float * count)(*(scale for _, scale in self.adapters))
            llama_cpp.llama_set_adapters_lora(context, pointers, count, scales)

    @property
    def bytes(self) -> int:
        """The size of all tensors."""
        return int(llama_cpp.llama_model_size(self.pointer))

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return int(llama_cpp.llama_model_n_params(self.pointer))

    @property
    def context_trained(self) -> int:
        """The context length that the model was trained with, in tokens."""
        return int(llama_cpp.llama_model_n_ctx_train(self.pointer))

    def require_text_generation(self) -> None:
        """Check that this model generates text token by token.

        Raises:
            EngineLoadFailed: it does something else, such as embedding text.
        """
        writes = llama_cpp.llama_model_has_decoder(self.pointer) and not llama_cpp.llama_model_has_encoder(self.pointer)
        if not writes or llama_cpp.llama_model_is_diffusion(self.pointer):
            raise EngineLoadFailed(self.path, "it does not generate text. Choose an instruct model.")

    def close(self) -> None:
        """Free the model."""
        if self.pointer:
            self.vocabulary.close()
            for adapter, _ in self.adapters:
                llama_cpp.llama_adapter_lora_free(adapter)
            llama_cpp.llama_model_free(self.pointer)
            self.adapters, self.pointer = [], None


@contextmanager
def open_vocabulary(path: Path) -> Iterator[Vocabulary]:
    """Open the vocabulary of the GGUF file at `path` without its tensors, while the context lasts.

    Raises:
        EngineLoadFailed: llama.cpp refuses the file.
    """
    with closing(Model(path, vocab_only=True)) as model:
        yield model.vocabulary


def read_dimensions(vocabulary: Vocabulary) -> ModelDimensions:
    """The model's dimensions from its metadata; unknown ones default to Mistral 7B's."""
    data, arch = vocabulary.metadata, vocabulary.architecture
    width = _number(data.get(f"{arch}.embedding_length"), 4096)
    heads = _number(data.get(f"{arch}.attention.head_count"), 32)
    return ModelDimensions(
        parameters=0,
        layers=_number(data.get(f"{arch}.block_count"), 32),
        heads=heads,
        kv_heads=_number(data.get(f"{arch}.attention.head_count_kv"), heads),
        head_dim=_number(data.get(f"{arch}.attention.key_length"), max(1, width // heads)),
        width=width,
        feed_forward=_number(data.get(f"{arch}.feed_forward_length"), 4 * width),
        vocabulary=vocabulary.size,
        context=vocabulary.context_trained,
    )


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() and int(text) > 0 else otherwise


def parse_adapters(given: Sequence[str]) -> list[tuple[Path, float]]:
    """Parse LoRA adapters given as FILE or FILE:SCALE; the scale defaults to 1.0.

    Raises:
        UsageError: a scale is not a finite number.
    """
    adapters = []
    for text in given:
        file, colon, scale = text.rpartition(":")
        if not colon or Path(text).is_file():
            file, scale = text, "1"
        try:
            factor = float(scale)
        except ValueError:
            factor = math.nan
        if not math.isfinite(factor):
            raise UsageError(f"{text!r} is not a LoRA adapter. Write FILE or FILE:SCALE, such as style.gguf:0.8.")
        adapters.append((expanded(file), factor))
    return adapters
