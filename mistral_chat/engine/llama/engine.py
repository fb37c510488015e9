"""Opens the real engine: weights, cache, prompt format and window, put together for this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from mistral_chat.config import ContextSettings, EngineSettings
from mistral_chat.engine import hardware
from mistral_chat.engine.encoding.choose import choose_format
from mistral_chat.engine.encoding.format import PromptFormat
from mistral_chat.engine.llama import backend
from mistral_chat.engine.llama.context import LlamaContext
from mistral_chat.engine.llama.devices import list_devices
from mistral_chat.engine.llama.model import Model, parse_adapters, read_dimensions
from mistral_chat.engine.llama.vocabulary import open_vocabulary
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.engine.snapshots import SnapshotFolder, identify
from mistral_chat.engine.window import ContextWindow
from mistral_chat.errors import NotEnoughMemory, UsageError
from mistral_chat.generation import LoadedModel
from mistral_chat.memory_estimate import ModelDimensions

_SPLIT = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")


def open_engine(
    path: Path,
    *,
    name: str,
    settings: EngineSettings,
    context: ContextSettings,
    prompt_format: str | None = None,
    shape: ModelDimensions | None = None,
    snapshots: SnapshotFolder | None = None,
    on_progress: Callable[[float], bool] | None = None,
    before_loading: Callable[[], None] | None = None,
    checked: bool = False,
) -> RollingEngine:
    """Load the weights at `path` and make an engine of them. Belongs to the calling thread from then on.

    Args:
        path: the GGUF file, or the first of a split one.
        name: the model's name, for people.
        settings: how llama.cpp is to run.
        context: the window that the model sees.
        prompt_format: how messages become tokens, where the file's own way is not to be used.
        shape: the model's sizes, where the file's header was read already; None lets llama.cpp read them first.
        snapshots: where KV states are kept; None keeps none.
        on_progress: is told the share of the weights that is loaded; answers False to give up.
        before_loading: is called once it is known that the model fits, and may refuse by raising.
        checked: check the ledger against the cache after every step, at some cost.

    Raises:
        EngineLoadFailed: llama.cpp refuses the file or the adapters.
        NotEnoughMemory: it would not fit.
        PromptFormatError: the prompt format is unknown, or the file has none.
        UsageError: the window is larger than what the model was trained to see, or an adapter is misspelt.
    """
    adapters = parse_adapters(settings.lora)
    plan = _plan(path, name, settings, context, shape or _read_dimensions(path))
    if before_loading is not None:
        before_loading()
    model, chosen, cache = _load(path, plan, adapters, prompt_format, size=context.size, on_progress=on_progress)
    marks = [(str(file), scale, file.stat().st_size, file.stat().st_mtime_ns) for file, scale in adapters]
    made_with = (backend.version(), cache.size, plan.kv_type, plan.flash_attention, chosen.name, marks)
    return RollingEngine(
        cache=cache,
        tokenizer=model.vocabulary,
        prompt_format=chosen,
        window=ContextWindow(size=cache.size, reserve=min(context.reserve, cache.size // 8), low_water=context.low_water),
        facts=_facts(model, name, chosen.name, plan.device, cache.size),
        identity=identify(path, *made_with) if snapshots else "",
        snapshots=snapshots,
        checked=checked,
    )


def _load(
    path: Path,
    plan: hardware.LoadPlan,
    adapters: Sequence[tuple[Path, float]],
    prompt_format: str | None,
    *,
    size: int,
    on_progress: Callable[[float], bool] | None,
) -> tuple[Model, PromptFormat, LlamaContext]:
    """Load everything that llama.cpp holds; what was loaded is let go when a part of it fails."""
    model = Model(path, n_gpu_layers=plan.n_gpu_layers, repack=plan.repack, on_progress=on_progress)
    try:
        model.require_text_generation()
        for file, scale in adapters:
            model.add_adapter(file, scale)
        chosen = choose_format(model.vocabulary, model.vocabulary.template, model.vocabulary.name, prompt_format)
        cache = LlamaContext(model, plan, size)
    except BaseException:
        model.close()
        raise
    return model, chosen, cache


def _facts(model: Model, name: str, prompt_format: str, device: str, window: int) -> LoadedModel:
    return LoadedModel(
        model=name,
        prompt_format=prompt_format,
        device=device,
        window=window,
        context_trained=model.context_trained,
        parameters=model.parameters,
        bytes=model.bytes,
    )


def _read_dimensions(path: Path) -> ModelDimensions:
    with open_vocabulary(path) as vocabulary:
        return read_dimensions(vocabulary)


def _plan(path: Path, name: str, settings: EngineSettings, context: ContextSettings, shape: ModelDimensions) -> hardware.LoadPlan:
    """Look at the model's sizes and at the machine, and decide how to run the one on the other."""
    trained = shape.context
    if trained and context.size > trained:
        raise UsageError(
            f"{name} was trained to see {trained:,} tokens, and a window of {context.size:,} was asked for. "
            f"Set --ctx-size, or context.size in config.yaml, to {trained:,} or less."
        )
    free = hardware.measure_memory()
    plan = hardware.choose_plan(
        settings,
        list_devices(),
        shape=shape,
        weights=_bytes_on_disk(path),
        window=context.size,
        system_info=backend.system_info(),
        cores=hardware.physical_cores(),
        free=free,
    )
    if settings.check_memory and plan.n_gpu_layers == 0 and free is not None and plan.needed.total > free:
        raise NotEnoughMemory(path, plan.needed.total, free)
    return plan


def _bytes_on_disk(path: Path) -> int:
    """The size of the weights, all parts of a split file together; 0 where the file cannot be asked."""
    parts = [path]
    if found := _SPLIT.search(path.name):
        stem = path.name[: found.start()]
        parts = [path.with_name(f"{stem}-{part:05d}-of-{found[1]}.gguf") for part in range(1, int(found[1]) + 1)]
    return sum(part.stat().st_size for part in parts if part.is_file())
