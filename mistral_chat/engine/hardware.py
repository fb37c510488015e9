"""What the machine has, and how a model is run on it. Pure but for the questions to the system at the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mistral_chat.config import EngineSettings
from mistral_chat.memory_estimate import BATCH, MemoryEstimate, ModelDimensions, estimate_memory

SPARE_ON_GPU = 256 * 1024**2
"""Bytes of a GPU's memory that are left to the screen and to what llama.cpp does not tell of."""


class DeviceKind(StrEnum):
    """What sort of device it is."""

    CPU = "cpu"
    GPU = "gpu"
    INTEGRATED = "integrated"
    ACCELERATOR = "accelerator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Something that llama.cpp can compute on. Memory is in bytes."""

    name: str
    description: str
    kind: DeviceKind
    free: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How the model will be run here."""

    n_gpu_layers: int
    """Layers on the GPU; -1 means all."""
    device: str
    """Where most of the model runs."""
    threads: int
    batch: int
    """Tokens that are read in one go, at most."""
    flash_attention: bool
    kv_type: str
    repack: bool
    kv_on_gpu: bool
    aborts: bool
    """Whether llama.cpp can be stopped in the middle of a batch; GPUs finish theirs."""
    needed: MemoryEstimate
    """The memory that this takes."""


def choose_plan(
    settings: EngineSettings,
    devices: Sequence[Device],
    *,
    shape: ModelDimensions,
    weights: int,
    window: int,
    system_info: str,
    cores: int,
    free: int | None,
) -> LoadPlan:
    """Decide how to run a model of `shape` on `devices`.

    As many layers as fit go to the GPU with the most free memory: each takes its share of the weights and of the cache. Flash
    attention is on with a GPU and off on a CPU, where it halves the decode speed in a long context, unless the cache's
    values are quantized, which needs it. Repacking keeps the weights twice, so it is left out where they would not fit twice,
    and where llama.cpp would take its AMX path: on a processor with AMX it dies there in version 0.3.36, on the first batch
    of more than one token.

    Args:
        settings: what a person asked for; it wins.
        devices: what there is, from llama.cpp.
        shape: the model's sizes.
        weights: bytes of the weights.
        window: tokens of the context window.
        system_info: what llama.cpp prints of the processor.
        cores: physical cores.
        free: bytes of main memory that are free, where that is known.
    """
    gpu, layers = _place(settings, devices, shape, weights, window)
    on_gpu = gpu is not None
    flash = settings.flash_attention
    flash_attention = (on_gpu or settings.kv_type != "f16") if flash == "auto" else flash == "on"
    needed = estimate_memory(shape, weights, window=window, kv_type=settings.kv_type, flash_attention=flash_attention)
    repack = settings.repack and "AMX_INT8 = 1" not in system_info and (free is None or needed.total + weights <= free)
    return LoadPlan(
        n_gpu_layers=layers,
        device=gpu.name if gpu else "CPU",
        threads=settings.threads or max(1, cores),
        batch=BATCH,
        flash_attention=flash_attention,
        kv_type=settings.kv_type,
        repack=repack,
        kv_on_gpu=on_gpu,
        aborts=not on_gpu,
        needed=needed,
    )


def _place(
    settings: EngineSettings, devices: Sequence[Device], shape: ModelDimensions, weights: int, window: int
) -> tuple[Device | None, int]:
    """The GPU that takes part, if one does, and how many layers go to it."""
    gpus = [device for device in devices if device.kind in (DeviceKind.GPU, DeviceKind.INTEGRATED)]
    best = max(gpus, key=lambda device: device.free, default=None)
    if best is None or settings.n_gpu_layers == 0:
        return None, 0
    if settings.n_gpu_layers is not None:
        return best, settings.n_gpu_layers
    there = estimate_memory(shape, weights, window=window, kv_type=settings.kv_type, flash_attention=True)
    layers = _layers_that_fit(there, shape, best.free)
    return (best, layers) if layers else (None, 0)


def _layers_that_fit(needed: MemoryEstimate, shape: ModelDimensions, free: int) -> int:
    """How many layers fit in `free` bytes, with their share of the cache; -1 when all do."""
    each = (needed.weights + needed.kv) / (shape.layers + 1)
    fitting = int((free - needed.compute - SPARE_ON_GPU) // each)
    return -1 if fitting > shape.layers else max(0, fitting)


def physical_cores(cpuinfo: Path = Path("/proc/cpuinfo")) -> int:
    """How many physical cores there are; two threads on one core slow llama.cpp down. Guesses where it cannot be asked."""
    logical = os.cpu_count() or 1
    if sys.platform == "darwin":
        return _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu") or logical
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return max(1, logical // 2)
    pairs = set(re.findall(r"^physical id\s*: (\d+)$.*?^core id\s*: (\d+)$", text, re.MULTILINE | re.DOTALL))
    return min(len(pairs), logical) or logical


def measure_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes of main memory that a new program may take without swapping; None where it cannot be asked."""
    if sys.platform == "darwin":
        total = _sysctl("hw.memsize")
        return total * 3 // 4 if total else None
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _sysctl(name: str) -> int | None:
    """One number from macOS."""
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5)
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
