"""Opens the real engine: model, KV cache, prompt format and context window, configured for this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from mistral_chat.config import ContextSettings, EngineSettings
from mistral_chat.config.settings import SMALLEST_WINDOW
from mistral_chat.engine import hardware
from mistral_chat.engine.encoding.choose import choose_format
from mistral_chat.engine.encoding.format import PromptFormat
from mistral_chat.engine.llama import backend
from mistral_chat.engine.llama.context import LlamaContext
from mistral_chat.engine.llama.devices import list_devices
from mistral_chat.engine.llama.model import Model, open_vocabulary, parse_adapters, read_dimensions
from mistral_chat.engine.llama.probe import Probe
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.engine.snapshots import SnapshotFolder, identify
from mistral_chat.engine.tuning import TuningFile, TuningJob
from mistral_chat.engine.window import ContextWindow
from mistral_chat.errors import NotEnoughMemory, UsageError
from mistral_chat.generation import LoadedModel
from mistral_chat.memory_estimate import CELLS, ModelDimensions
from mistral_chat.paths import parts_of

_ALL_LAYERS = 10_000
"""More layers than any model has."""


def open_engine(
    path: Path,
    *,
    name: str,
    settings: EngineSettings,
    context: ContextSettings,
    prompt_format: str | None = None,
    shape: ModelDimensions | None = None,
    explicit_size: bool = False,
    snapshots: SnapshotFolder | None = None,
    tuning: TuningFile | None = None,
    on_progress: Callable[[float], bool] | None = None,
    probe: Probe | None = None,
) -> RollingEngine:
    """Load the model at `path` and create its engine. It belongs to the calling thread from then on.

    Args:
        path: the GGUF file, or the first of a split one.
        name: the model's name, for display.
        settings: how llama.cpp is to run.
        context: the context window.
        prompt_format: overrides the file's own prompt format.
        shape: the model's dimensions, if the file's header was read already; None lets llama.cpp read them first.
        explicit_size: whether the user chose the window's size; the default shrinks to what the model was trained for.
        snapshots: stores snapshots; None stores none.
        tuning: stores measured speeds; a model without one is measured when idle. None uses the defaults.
        on_progress: called with the loaded share of the weights; returns False to stop.
        probe: test-loads the model in a child process.

    Raises:
        MistralChatError: the model, its adapters, its prompt format or its window cannot be used, or it would not fit.
    """
    adapters, shape = parse_adapters(settings.lora), shape or _read_dimensions(path)
    wanted, context = context.size, _fit_context(name, context, shape, explicit=explicit_size)
    job = TuningJob(path=path, settings=settings, key=tuning_key(path, settings), file=tuning) if tuning else None
    plan = plan_load(path, settings, window=context.size, shape=shape, tuning=job.file.get(job.key) if job else None)
    model, chosen, cache = _load_parts(
        path, plan, adapters, prompt_format, size=context.size, on_progress=on_progress, probe=probe
    )
    return RollingEngine(
        cache,
        model.vocabulary,
        chosen,
        ContextWindow(size=cache.size, reserve=min(context.reserve, cache.size // 8), low_water=context.low_water),
        _facts(model, name, chosen.name, plan, window=cache.size, wanted=wanted),
        identity=_identity(path, plan, cache.size, chosen.name, adapters) if snapshots else "",
        snapshots=snapshots,
        tuning=plan.tuning,
        when_idle=_where_the_chat_runs(job, plan).run_once if job else None,
    )


def _identity(path: Path, plan: hardware.LoadPlan, size: int, prompt_format: str, adapters: Sequence[tuple[Path, float]]) -> str:
    """Identifies everything that a snapshot depends on."""
    marks = [(str(file), scale, file.stat().st_size, file.stat().st_mtime_ns) for file, scale in adapters]
    return identify(path, backend.version(), size, plan.kv_type, plan.flash_attention, prompt_format, marks)


def _where_the_chat_runs(job: TuningJob, plan: hardware.LoadPlan) -> TuningJob:
    """The job with as many layers on the GPU as in the chat, so that it runs the same way or not at all."""
    layers = _ALL_LAYERS if plan.n_gpu_layers < 0 else plan.n_gpu_layers
    return replace(job, settings=replace(job.settings, n_gpu_layers=layers)) if layers else job


def tuning_key(path: Path, settings: EngineSettings) -> str:
    """Identifies what the speed of the model at `path` depends on: file, llama.cpp build, machine, and the user's settings."""
    machine = (backend.system_info(), hardware.usable_cpus(), [(each.name, each.description) for each in list_devices()])
    chosen = (settings.n_gpu_layers, settings.threads, settings.kv_type, settings.flash_attention, settings.repack)
    return identify(path, backend.version(), machine, chosen)


def _load_parts(
    path: Path,
    plan: hardware.LoadPlan,
    adapters: Sequence[tuple[Path, float]],
    prompt_format: str | None,
    *,
    size: int,
    on_progress: Callable[[float], bool] | None,
    probe: Probe | None,
) -> tuple[Model, PromptFormat, LlamaContext]:
    """Load everything that llama.cpp owns; if a part fails, free what was loaded."""
    if probe is not None:
        probe.wait_loaded()
    model = Model(path, n_gpu_layers=plan.n_gpu_layers, repack=plan.repack, on_progress=on_progress)
    with ExitStack() as undo, ThreadPoolExecutor(1) as reader:
        undo.callback(model.close)
        model.require_text_generation()
        for file, scale in adapters:
            model.add_adapter(file, scale)
        # Both only read the model: one reads every token in Python, the other clears the cache's memory in llama.cpp.
        vocabulary = model.vocabulary
        choosing = reader.submit(choose_format, vocabulary, vocabulary.template, vocabulary.name, prompt_format)
        cache = LlamaContext(model, plan, size)
        undo.callback(cache.free)
        chosen = choosing.result()
        if probe is not None:
            probe.wait_decoded()
        undo.pop_all()
    return model, chosen, cache


def _note(trained: int, window: int, wanted: int) -> str:
    """A note that the context window is smaller than in the settings; empty if it is not."""
    if window >= wanted:
        return ""
    return f"Context reduced from {wanted:,} to {window:,} tokens: the model was trained on {trained:,}."


def _facts(model: Model, name: str, prompt_format: str, plan: hardware.LoadPlan, *, window: int, wanted: int) -> LoadedModel:
    return LoadedModel(
        model=name,
        prompt_format=prompt_format,
        device=plan.device,
        window=window,
        context_trained=model.context_trained,
        parameters=model.parameters,
        bytes=model.bytes,
        threads=plan.threads,
        batch=plan.batch,
        flash_attention=plan.flash_attention,
        repacked=plan.repack,
        batch_costs=plan.tuning.batch_costs if plan.tuning else (),
        note=_note(model.context_trained, window, wanted),
    )


def _read_dimensions(path: Path) -> ModelDimensions:
    with open_vocabulary(path) as vocabulary:
        return read_dimensions(vocabulary)


def _fit_context(name: str, context: ContextSettings, shape: ModelDimensions, *, explicit: bool) -> ContextSettings:
    """The context settings, reduced for a model that was trained on less.

    Raises:
        UsageError: the user chose a larger window than the model was trained for.
    """
    trained = shape.context
    if not trained or context.size <= trained:
        return context
    if explicit:
        raise UsageError(
            f"{name} was trained on a context of {trained:,} tokens, but {context.size:,} were requested. "
            f"Set --ctx-size, or context.size in config.yaml, to {trained:,} or less."
        )
    return replace(context, size=max(SMALLEST_WINDOW, trained // CELLS * CELLS))


def plan_load(
    path: Path,
    settings: EngineSettings,
    *,
    window: int,
    shape: ModelDimensions | None = None,
    tuning: hardware.Tuning | None = None,
) -> hardware.LoadPlan:
    """Decide how to run a model, from its dimensions and the machine's hardware.

    Args:
        path: the GGUF file, or the first of a split one.
        settings: what the user chose.
        window: tokens of the context window.
        shape: the model's dimensions; None reads them.
        tuning: the measurements on this machine, if there are any.

    Raises:
        EngineLoadFailed: the file cannot be read.
        NotEnoughMemory: the model would not fit.
    """
    free = hardware.measure_memory()
    plan = hardware.choose_plan(
        settings,
        hardware.Machine(devices=list_devices(), system_info=backend.system_info(), cores=hardware.physical_cores(), free=free),
        shape=shape or _read_dimensions(path),
        weights=bytes_on_disk(path),
        window=window,
        tuning=tuning,
    )
    if settings.check_memory and plan.n_gpu_layers == 0 and plan.needed.total > free:
        raise NotEnoughMemory(path, plan.needed.total, free)
    return plan


def bytes_on_disk(path: Path) -> int:
    """The size of the model file, including all parts of a split one; 0 if it cannot be read."""
    return sum(part.stat().st_size for part in parts_of(path) if part.is_file())
