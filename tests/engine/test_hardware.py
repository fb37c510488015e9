"""What follows from a machine, for machines that the tests do not run on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mistral_chat.config import EngineSettings
from mistral_chat.engine import hardware
from mistral_chat.engine.hardware import (
    Device,
    DeviceKind,
    LoadPlan,
    Machine,
    Tuning,
    choose_plan,
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
    settings: EngineSettings,
    *devices: Device,
    system_info: str = "AVX2 = 1",
    cores: int = 4,
    free: int = 64 * GIBIBYTE,
    tuning: Tuning | None = None,
) -> LoadPlan:
    machine = Machine(devices=[CPU, *devices], system_info=system_info, cores=cores, free=free)
    return choose_plan(settings, machine, shape=MISTRAL, weights=WEIGHTS, window=4096, tuning=tuning)


def test_the_cache_of_a_7b_model_takes_what_was_measured() -> None:
    assert estimate_memory(MISTRAL, WEIGHTS, window=4096).kv == 512 * 1024**2
    assert estimate_memory(MISTRAL, WEIGHTS, window=4096, kv_type="q8_0").kv == 272 * 1024**2


def test_memory_needed_is_model_cache_and_compute() -> None:
    needed = plan(EngineSettings()).needed
    assert needed.weights == WEIGHTS
    assert needed.total == WEIGHTS + 512 * 1024**2 + needed.compute
    assert needed.compute > 0


def test_a_machine_with_only_a_cpu() -> None:
    chosen = plan(EngineSettings(), ACCELERATOR)
    assert chosen == LoadPlan(
        n_gpu_layers=0,
        device="CPU",
        threads=4,
        batch=128,
        flash_attention=False,
        kv_type="f16",
        repack=False,
        on_gpu=False,
        needed=estimate_memory(MISTRAL, WEIGHTS, window=4096, batch=128),
    )


def test_a_large_gpu_takes_every_layer() -> None:
    chosen = plan(EngineSettings(), gpu(12))
    assert (chosen.n_gpu_layers, chosen.device, chosen.flash_attention, chosen.on_gpu) == (-1, "CUDA0", True, True)


def test_a_gpu_with_little_memory_takes_as_many_layers_as_fit() -> None:
    layers = [plan(EngineSettings(), gpu(free)).n_gpu_layers for free in (0, 0.4, 1, 2, 3, 4, 12)]
    assert layers[:2] == [0, 0]
    assert layers[-1] == -1
    assert layers[2:-1] == sorted(set(layers[2:-1]))
    assert all(0 < each <= 32 for each in layers[2:-1])
    nothing = plan(EngineSettings(), gpu(0.4))
    assert (nothing.device, nothing.on_gpu) == ("CPU", False)


def test_the_gpu_with_the_most_free_memory_is_taken() -> None:
    chosen = plan(EngineSettings(), gpu(20, "Vulkan0", DeviceKind.INTEGRATED), gpu(12, "Vulkan1"))
    assert chosen.device == "Vulkan1"


def test_several_gpus_share_the_layers() -> None:
    assert 0 < plan(EngineSettings(), gpu(3)).n_gpu_layers < 32
    assert plan(EngineSettings(), gpu(3), gpu(3, "CUDA1")).n_gpu_layers == -1
    alone = plan(EngineSettings(), gpu(3)).n_gpu_layers
    assert plan(EngineSettings(), gpu(3), gpu(20, "Vulkan0", DeviceKind.INTEGRATED)).n_gpu_layers == alone


@pytest.mark.parametrize(("asked", "layers", "device"), [(0, 0, "CPU"), (10, 10, "CUDA0"), (99, 99, "CUDA0")])
def test_the_user_can_set_the_layers(asked: int, layers: int, device: str) -> None:
    chosen = plan(EngineSettings(n_gpu_layers=asked), gpu(12))
    assert (chosen.n_gpu_layers, chosen.device) == (layers, device)


def test_gpu_layers_stay_on_the_cpu_without_a_gpu() -> None:
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


MEASURED = Tuning(threads=3, batch=256, flash_attention=True, repack=True, prompt_speed=61.0, decode_speed=7.0)


def test_measurements_apply_where_the_user_set_nothing() -> None:
    chosen = plan(EngineSettings(), tuning=MEASURED)
    assert (chosen.threads, chosen.batch, chosen.flash_attention, chosen.repack) == (3, 256, True, True)
    assert chosen.tuning == MEASURED
    users = plan(EngineSettings(threads=2, flash_attention="off", repack=False), tuning=MEASURED)
    assert (users.threads, users.flash_attention, users.repack) == (2, False, False)


def test_weights_are_not_repacked_where_llama_cpp_would_crash() -> None:
    for settings, tuning in ((EngineSettings(repack=True), None), (EngineSettings(), MEASURED)):
        assert plan(settings, system_info="AVX512 = 1 | AMX_INT8 = 1 |", tuning=tuning).repack is False
        assert plan(settings, system_info="AVX512 = 1 | AMX_INT8 = 0 |", tuning=tuning).repack is True


def test_weights_are_not_repacked_where_they_would_not_fit_twice() -> None:
    assert plan(EngineSettings(repack=True), free=16 * GIBIBYTE).repack is True
    assert plan(EngineSettings(repack=True), free=8 * GIBIBYTE).repack is False


def test_the_user_can_set_the_threads() -> None:
    assert plan(EngineSettings(threads=3), cores=8).threads == 3
    assert plan(EngineSettings(), cores=0).threads == 1


def container(monkeypatch: pytest.MonkeyPatch, folder: Path, **files: str) -> None:
    """Let the process be in a container with such limits."""
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text + "\n")
    monkeypatch.setattr(hardware, "_CGROUP", folder)


def test_this_machine_has_a_core_and_memory() -> None:
    assert 1 <= hardware.physical_cores() <= hardware.usable_cpus() <= (os.cpu_count() or 1)
    assert 0 < hardware.measure_memory() < 2**50


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_processors_outside_the_affinity_are_not_used() -> None:
    """`taskset` and schedulers of clusters pin a process; more threads than processors is ruinous."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert hardware.usable_cpus() == hardware.physical_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_containers_limits_are_obeyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    container(monkeypatch, tmp_path, cpu_max="100000 100000", memory_max="600000000", memory_current="200000000")
    assert hardware.usable_cpus() == hardware.physical_cores() == 1
    assert hardware.measure_memory() == 400_000_000
    container(monkeypatch, tmp_path, memory_current="900000000")
    assert hardware.measure_memory() == 0


def test_a_containers_cache_of_a_downloaded_model_leaves_the_memory_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stat = "anon 50000000\nfile 140000000\ninactive_file 100000000\nactive_file 30000000\nworkingset_activate_file 7"
    container(monkeypatch, tmp_path, memory_max="200000000", memory_current="190000000", memory_stat=stat)
    assert hardware.measure_memory() == 140_000_000


def test_a_container_without_limits_has_the_whole_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = hardware.usable_cpus()
    container(monkeypatch, tmp_path, cpu_max="max 100000", memory_max="max", memory_current="200000000")
    assert hardware.usable_cpus() == whole
    assert hardware.measure_memory() > 10**8


@pytest.mark.parametrize(("threads", "cores"), [(2, 6), (1, 13)])
def test_slow_cores_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threads: int, cores: int) -> None:
    """The cores of some hybrid CPUs run two threads each, those of others one."""
    listed = tmp_path / "cpus"
    monkeypatch.setattr(psutil, "cpu_count", lambda *, logical=True: 20 if logical and threads == 2 else 14)
    monkeypatch.setattr(hardware, "_PERFORMANCE_CPUS", listed)
    monkeypatch.setattr(sys, "platform", "linux")
    assert hardware.performance_cores() is None
    listed.write_text("0-11,16\n")
    assert hardware.performance_cores() == cores


def test_a_mac_reports_its_performance_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"hw.perflevel0.physicalcpu": "6\n"}

    def sysctl(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if command[-1] not in answers:
            raise subprocess.CalledProcessError(1, command)
        return subprocess.CompletedProcess(command, 0, answers[command[-1]], "")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", sysctl)
    assert hardware.performance_cores() == 6
    answers.clear()
    assert hardware.performance_cores() is None
