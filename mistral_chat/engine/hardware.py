"""The machine's hardware, and how to run a model on it. Pure except for the system queries at the end."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from mistral_chat.config import EngineSettings
from mistral_chat.memory_estimate import BATCH, MemoryEstimate, ModelDimensions, estimate_memory

_CGROUP = Path("/sys/fs/cgroup")
_PERFORMANCE_CPUS = Path("/sys/devices/cpu_core/cpus")
"""Lists the logical CPUs of the performance cores on Linux, if there are efficiency cores too."""

CPU_BATCH = 128
"""Tokens per batch on a CPU that has not been measured: larger batches take memory and are rarely faster."""

SPARE_ON_GPU = 256 * 1024**2
"""Bytes of GPU memory left to the display and to allocations that llama.cpp does not report."""


class DeviceKind(StrEnum):
    """The kind of a device."""

    CPU = "cpu"
    GPU = "gpu"
    INTEGRATED = "integrated"
    ACCELERATOR = "accelerator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device that llama.cpp can compute on. Memory is in bytes."""

    name: str
    description: str
    kind: DeviceKind
    free: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The fastest way to run a model on this machine, as measured by `mistral_chat.engine.tuning`."""

    threads: int
    batch: int
    flash_attention: bool
    repack: bool
    prompt_speed: float
    """Prompt speed in a long prompt, in tokens per second."""
    decode_speed: float
    """Decode speed, in tokens per second."""
    batch_costs: tuple[tuple[int, float], ...] = ()
    """The time of a batch of a few tokens, as a multiple of one token's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How to load a model on this machine."""

    n_gpu_layers: int
    """Layers on the GPU; -1 means all."""
    device: str
    """The device that runs most of the model."""
    threads: int
    batch: int
    """The maximum number of tokens in one decode."""
    flash_attention: bool
    kv_type: str
    repack: bool
    on_gpu: bool
    """Whether a GPU is used: then the KV cache is there, and llama.cpp cannot stop in the middle of a batch."""
    needed: MemoryEstimate
    """The memory needed, without what repacking adds."""
    tuning: Tuning | None = None
    """The measurements on this machine, if there are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The hardware that a model runs on."""

    devices: Sequence[Device]
    """From llama.cpp."""
    system_info: str
    """llama.cpp's description of the CPU."""
    cores: int
    """Physical performance cores."""
    free: int
    """Bytes of free main memory."""


def choose_plan(
    settings: EngineSettings,
    machine: Machine,
    *,
    shape: ModelDimensions,
    weights: int,
    window: int,
    tuning: Tuning | None = None,
) -> LoadPlan:
    """Decide how to run a model of `shape` with `weights` bytes and a `window` of tokens on `machine`.

    As many layers as fit go to the GPUs: each takes its share of the weights and of the cache. The `settings` of the user win
    over what was measured, the `tuning`, which wins over the defaults: flash attention is on with a GPU and off on a CPU, where
    it halves the decode speed in a long context, unless the cache's values are quantized, which needs it; and weights are not
    repacked, which takes long to load and is not always faster.
    """
    gpu, layers = _place(settings, machine.devices, shape, weights, window)
    on_gpu = gpu is not None
    default = Tuning(
        threads=machine.cores,
        batch=BATCH if on_gpu else CPU_BATCH,
        flash_attention=on_gpu,
        repack=False,
        prompt_speed=0.0,
        decode_speed=0.0,
    )
    best = tuning or default
    automatic = best.flash_attention or settings.kv_type != "f16"
    flash_attention = automatic if settings.flash_attention == "auto" else settings.flash_attention == "on"
    needed = estimate_memory(
        shape, weights, window=window, kv_type=settings.kv_type, flash_attention=flash_attention, batch=best.batch
    )
    repack = best.repack if settings.repack is None else settings.repack
    fits_twice = needed.total + needed.weights <= machine.free
    return LoadPlan(
        n_gpu_layers=layers,
        device=gpu.name if gpu else "CPU",
        threads=settings.threads or max(1, best.threads),
        batch=best.batch,
        flash_attention=flash_attention,
        kv_type=settings.kv_type,
        repack=repack and fits_twice and can_repack(machine.system_info),
        on_gpu=on_gpu,
        needed=needed,
        tuning=tuning,
    )


def can_repack(system_info: str) -> bool:
    """Whether llama.cpp supports repacked weights on the CPU described by `system_info`.

    On a processor with AMX, version 0.3.36 dies on the first batch of more than one token.
    """
    return "AMX_INT8 = 1" not in system_info


def _place(
    settings: EngineSettings, devices: Sequence[Device], shape: ModelDimensions, weights: int, window: int
) -> tuple[Device | None, int]:
    """The GPU with the most free memory, if any is used, and how many layers go to it and to others of its kind.

    llama.cpp spreads layers over all discrete GPUs, and uses an integrated one only where there is no other.
    """
    discrete = [device for device in devices if device.kind is DeviceKind.GPU]
    gpus = discrete or [device for device in devices if device.kind is DeviceKind.INTEGRATED]
    best = max(gpus, key=lambda device: device.free, default=None)
    if best is None or settings.n_gpu_layers == 0:
        return None, 0
    if settings.n_gpu_layers is not None:
        return best, settings.n_gpu_layers
    there = estimate_memory(shape, weights, window=window, kv_type=settings.kv_type, flash_attention=True)
    layers = _layers_that_fit(there, shape, sum(gpu.free for gpu in discrete) or best.free)
    return (best, layers) if layers else (None, 0)


def _layers_that_fit(needed: MemoryEstimate, shape: ModelDimensions, free: int) -> int:
    """How many layers fit in `free` bytes, with their share of the cache; -1 if all do."""
    each = (needed.weights + needed.kv) / (shape.layers + 1)
    fitting = int((free - needed.compute - SPARE_ON_GPU) // each)
    return -1 if fitting > shape.layers else max(0, fitting)


def physical_cores() -> int:
    """The number of threads to start: one for each physical performance core that this process may use.

    Two threads on one core slow llama.cpp down, and so does a slow core among fast ones. Affinity and a container's limit count.
    """
    usable = usable_cpus()
    cores = psutil.cpu_count(logical=False) or max(1, usable // 2)
    return max(1, min(cores, usable, performance_cores() or cores))


def usable_cpus() -> int:
    """The number of logical CPUs that this process may use, limited by its affinity and its container."""
    process = psutil.Process()
    allowed = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1
    quota = _cgroup_numbers("cpu.max")  # microseconds of CPU time in each period, and the period
    return max(1, min(allowed, math.ceil(quota[0] / quota[1])) if len(quota) > 1 and quota[1] else allowed)


def performance_cores() -> int | None:
    """The number of performance cores of a hybrid CPU; None if all cores are alike or the system does not say."""
    if sys.platform == "darwin":
        return _sysctl("hw.perflevel0.physicalcpu")
    try:
        threads = _PERFORMANCE_CPUS.read_text(encoding="ascii")
    except OSError:
        return None
    ranges = [part.split("-") for part in threads.strip().split(",") if part]
    logical = sum(int(span[-1]) - int(span[0]) + 1 for span in ranges)
    threads_per_core = 1 if psutil.cpu_count() == psutil.cpu_count(logical=False) else 2
    return max(1, logical // threads_per_core) if logical else None


def measure_memory() -> int:
    """Bytes of main memory that a new process may use without swapping, limited by its container, whose cache gives way."""
    available = psutil.virtual_memory().available
    limit, used = _cgroup_numbers("memory.max"), _cgroup_numbers("memory.current")
    cached = sum(map(int, re.findall(r"^(?:in)?active_file (\d+)", _cgroup_text("memory.stat"), re.MULTILINE)))
    return int(min(available, max(0, limit[0] - used[0] + cached))) if limit and used else int(available)


def _cgroup_numbers(name: str) -> list[int]:
    """The numbers in a control group's file; none without a limit, or if the file does not exist."""
    words = _cgroup_text(name).split()
    return [int(word) for word in words] if all(word.isdecimal() for word in words) else []


def _cgroup_text(name: str) -> str:
    try:
        return (_CGROUP / name).read_text(encoding="ascii")
    except OSError:
        return ""


def _sysctl(name: str) -> int | None:
    """One number from macOS."""
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5)
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
