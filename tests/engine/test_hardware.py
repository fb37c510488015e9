"""What follows from a machine, for machines that the tests do not run on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mistral_chat.config import EngineSettings
from mistral_chat.engine.hardware import (
    Device,
    DeviceKind,
    LoadPlan,
    choose_plan,
    measure_memory,
    physical_cores,
)
from mistral_chat.memory_estimate import ModelDimensions, estimate_memory

GIBIBYTE = 1024**3
WEIGHTS = 4_368_000_000
MISTRAL = ModelDimensions(
    parameters=7_248_000_000,
    layers=32,
    heads=32,
    kv_heads=8,
    head_dim=128,
    width=4096,
    feed_forward=14336,
    vocabulary=32768,
    context=32768,
)
CPU = Device(name="CPU", description="", kind=DeviceKind.CPU, free=16 * GIBIBYTE, total=32 * GIBIBYTE)
ACCELERATOR = Device(name="AMX", description="", kind=DeviceKind.ACCELERATOR, free=0, total=0)


def gpu(free: float, name: str = "CUDA0", kind: DeviceKind = DeviceKind.GPU) -> Device:
    return Device(name=name, description="", kind=kind, free=int(free * GIBIBYTE), total=24 * GIBIBYTE)


def plan(
    settings: EngineSettings, *devices: Device, system_info: str = "AVX2 = 1", cores: int = 4, free: int | None = None
) -> LoadPlan:
    return choose_plan(
        settings, [CPU, *devices], shape=MISTRAL, weights=WEIGHTS, window=4096, system_info=system_info, cores=cores, free=free
    )


def test_the_cache_of_a_7b_model_takes_what_was_measured() -> None:
    assert estimate_memory(MISTRAL, WEIGHTS, window=4096).kv == 512 * 1024**2
    assert estimate_memory(MISTRAL, WEIGHTS, window=4096, kv_type="q8_0").kv == 272 * 1024**2


def test_a_model_needs_its_weights_its_cache_and_room_to_work() -> None:
    needed = plan(EngineSettings()).needed
    assert needed.weights == WEIGHTS
    assert needed.total == WEIGHTS + 512 * 1024**2 + needed.compute
    assert needed.compute > 0


def test_on_a_cpu_alone() -> None:
    chosen = plan(EngineSettings(), ACCELERATOR)
    assert chosen == LoadPlan(
        n_gpu_layers=0,
        device="CPU",
        threads=4,
        batch=512,
        flash_attention=False,
        kv_type="f16",
        repack=True,
        kv_on_gpu=False,
        aborts=True,
        needed=estimate_memory(MISTRAL, WEIGHTS, window=4096),
    )


def test_a_gpu_with_room_takes_everything() -> None:
    chosen = plan(EngineSettings(), gpu(12))
    assert (chosen.n_gpu_layers, chosen.device, chosen.flash_attention, chosen.kv_on_gpu) == (-1, "CUDA0", True, True)
    assert not chosen.aborts, "a GPU finishes its batch"


def test_a_gpu_with_little_room_takes_as_many_layers_as_fit() -> None:
    layers = [plan(EngineSettings(), gpu(free)).n_gpu_layers for free in (0, 0.4, 1, 2, 3, 4, 12)]
    assert layers[:2] == [0, 0]
    assert layers[-1] == -1
    assert layers[2:-1] == sorted(set(layers[2:-1]))
    assert all(0 < each <= 32 for each in layers[2:-1])
    nothing = plan(EngineSettings(), gpu(0.4))
    assert (nothing.device, nothing.kv_on_gpu, nothing.aborts) == ("CPU", False, True)


def test_the_gpu_with_the_most_free_memory_is_taken() -> None:
    chosen = plan(EngineSettings(), gpu(2, "Vulkan0", DeviceKind.INTEGRATED), gpu(12, "Vulkan1"))
    assert chosen.device == "Vulkan1"


@pytest.mark.parametrize(("asked", "layers", "device"), [(0, 0, "CPU"), (10, 10, "CUDA0"), (99, 99, "CUDA0")])
def test_a_person_decides_about_layers(asked: int, layers: int, device: str) -> None:
    chosen = plan(EngineSettings(n_gpu_layers=asked), gpu(12))
    assert (chosen.n_gpu_layers, chosen.device) == (layers, device)


def test_layers_that_are_asked_for_without_a_gpu_stay_on_the_cpu() -> None:
    assert plan(EngineSettings(n_gpu_layers=10)).n_gpu_layers == 0


@pytest.mark.parametrize(
    ("settings", "on_cpu", "on_gpu"),
    [
        (EngineSettings(), False, True),
        (EngineSettings(flash_attention="on"), True, True),
        (EngineSettings(flash_attention="off"), False, False),
        (EngineSettings(kv_type="q8_0"), True, True),
    ],
)
def test_flash_attention_is_on_where_it_is_quicker_or_needed(settings: EngineSettings, *, on_cpu: bool, on_gpu: bool) -> None:
    assert plan(settings).flash_attention is on_cpu
    assert plan(settings, gpu(12)).flash_attention is on_gpu


def test_weights_are_not_repacked_where_llama_cpp_would_die_of_it() -> None:
    assert plan(EngineSettings(), system_info="AVX512 = 1 | AMX_INT8 = 1 |").repack is False
    assert plan(EngineSettings(), system_info="AVX512 = 1 | AMX_INT8 = 0 |").repack is True
    assert plan(EngineSettings(repack=False)).repack is False


def test_weights_are_not_repacked_where_they_would_not_fit_twice() -> None:
    assert plan(EngineSettings(), free=16 * GIBIBYTE).repack is True
    assert plan(EngineSettings(), free=8 * GIBIBYTE).repack is False


def test_a_person_decides_about_threads() -> None:
    assert plan(EngineSettings(threads=3), cores=8).threads == 3
    assert plan(EngineSettings(), cores=0).threads == 1


CPUINFO = """processor\t: {0}
physical id\t: {1}
siblings\t: 4
core id\t\t: {2}
cpu cores\t: 2

"""


def write_cpuinfo(path: Path, cpus: list[tuple[int, int]]) -> Path:
    path.write_text("".join(CPUINFO.format(i, package, core) for i, (package, core) in enumerate(cpus)))
    return path


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


@pytest.mark.usefixtures("linux")
def test_two_threads_of_one_core_count_once(tmp_path: Path) -> None:
    file = write_cpuinfo(tmp_path / "cpuinfo", [(0, 0), (0, 1), (0, 0), (0, 1), (1, 0), (1, 1), (1, 0), (1, 1)])
    assert physical_cores(file) == 4


@pytest.mark.usefixtures("linux")
def test_where_the_cores_are_not_told_apart_all_count(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: ARM\n")
    assert physical_cores(file) == 8
    assert physical_cores(tmp_path / "none") == 4


@pytest.mark.usefixtures("linux")
def test_free_memory_is_what_linux_says_a_program_may_take(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       32000000 kB\nMemFree:         1000000 kB\nMemAvailable:   16000000 kB\n")
    assert measure_memory(file) == 16_000_000 * 1024
    file.write_text("MemTotal:       32000000 kB\n")
    assert measure_memory(file) is None
    assert measure_memory(tmp_path / "none") is None


def test_a_mac_is_asked_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"hw.perflevel0.physicalcpu": "6\n", "hw.memsize": str(16 * GIBIBYTE)}

    def sysctl(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if command[-1] not in answers:
            raise subprocess.CalledProcessError(1, command)
        return subprocess.CompletedProcess(command, 0, answers[command[-1]], "")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", sysctl)
    assert physical_cores() == 6
    assert measure_memory() == 12 * GIBIBYTE
    answers.clear()
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert physical_cores() == 10
    assert measure_memory() is None
