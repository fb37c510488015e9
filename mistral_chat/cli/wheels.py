"""Finds the build of llama-cpp-python for this machine, and the one line that installs it.

PyPI has only the source of llama-cpp-python. The project publishes wheels on its own indexes, one for each kind of GPU, tagged
for any Python 3 of a platform. Not every release is on every index, so the line pins the version.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

INDEX: Final = "https://abetlen.github.io/llama-cpp-python/whl"

Vendor = Literal["nvidia", "amd", "intel", "apple"]

_CUDA_INDEXES: Final = {
    "Linux": ((13, 2), (13, 0), (12, 5), (12, 4), (12, 3), (12, 2), (12, 1), (11, 8)),
    "Windows": ((13, 2), (13, 0), (12, 5), (12, 4), (11, 8)),
}
"""The versions of CUDA that wheels are published for, the newest first."""

_OLDEST_CUDA: Final = (11, 8)
_OLDEST_COMPUTE: Final = (6, 0)
_OLDEST_FOR_13: Final = (7, 5)
_NEWEST_FOR_11: Final = (8, 9)
_NEWEST_COMPILED: Final = (9, 0)
"""Wheels of CUDA 12 and 13 have code for up to this compute capability, and a form of it that drivers compile for newer GPUs."""

_PCI_VENDORS: Final = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
_BITS: Final = 64
_SECONDS: Final = 5

_ROSETTA: Final = (
    "This Python is built for Intel and runs under Rosetta: slowly, and without the GPU. "
    "Install a Python for Apple silicon (arm64), and mistral-chat with it."
)


@dataclass(frozen=True, slots=True)
class GPU:
    """A graphics processor of this machine, found without llama.cpp."""

    vendor: Vendor
    name: str
    compute: tuple[int, int] | None = None
    """NVIDIA's compute capability."""
    integrated: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which wheel fits."""

    system: str
    """As `platform.system` gives it: Linux, Windows or Darwin."""
    processor: str
    """What Python was built for, as `platform.machine` gives it."""
    bits: int = 64
    gpus: tuple[GPU, ...] = ()
    cuda: tuple[int, int] | None = None
    """The newest CUDA that the NVIDIA driver supports; None without a driver."""
    translated: bool = False
    """Whether this is an Intel Python that Rosetta runs on Apple silicon."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Which wheel to install, and what to do first or to know."""

    index: str | None
    """The last part of the index's address; None if no wheel fits."""
    gpu: GPU | None = None
    """The GPU that the wheel uses."""
    notes: tuple[str, ...] = ()

    def line(self, release: str, python: str = "python") -> str:
        """The command that installs the wheel of this `release`, or compiles it if there is none."""
        python = f'"{python}"' if " " in python else python
        wanted = f"llama-cpp-python=={release}"
        if self.index is None:
            return f"{python} -m pip install --force-reinstall --no-deps {wanted}"
        return (
            f"{python} -m pip install --force-reinstall --no-deps --prefer-binary {wanted} --extra-index-url {INDEX}/{self.index}"
        )


def advise(machine: Machine) -> Advice:
    """Choose the wheel for `machine`."""
    narrow = machine.bits < _BITS
    if narrow or (machine.system == "Windows" and machine.processor.upper() not in {"AMD64", "X86_64"}):
        built = "a 32-bit Python" if narrow else f"Python on {machine.processor}"
        return Advice(None, notes=(f"No wheels exist for {built}. Install a 64-bit Python for x64.",))
    match machine.system:
        case "Darwin":
            return _advise_mac(machine)
        case "Linux" | "Windows":
            return _advise_pc(machine)
        case _:
            return Advice(None, notes=(f"No wheels exist for {machine.system}; pip compiles llama.cpp.",))


def _advise_mac(machine: Machine) -> Advice:
    if machine.translated:
        return Advice(None, notes=(_ROSETTA,))
    if machine.processor == "arm64":
        return Advice("metal", next((gpu for gpu in machine.gpus if gpu.vendor == "apple"), None))
    return Advice(None, notes=("No current wheel supports Macs with an Intel CPU; pip compiles llama.cpp (needs Xcode).",))


def _advise_pc(machine: Machine) -> Advice:
    if machine.processor.lower() not in {"x86_64", "amd64"}:
        known = machine.system == "Linux" and machine.processor.lower() in {"aarch64", "arm64"}
        return Advice("cpu" if known else None, notes=(f"No GPU wheels exist for {machine.processor}.",))
    gpus = sorted(machine.gpus, key=lambda gpu: (gpu.vendor != "nvidia", gpu.integrated))
    if not gpus:
        return Advice("cpu")
    gpu = gpus[0]
    if gpu.vendor == "nvidia":
        return _advise_nvidia(machine, gpu)
    if gpu.vendor == "amd" and not gpu.integrated:
        index, needs = ("hip-radeon", "AMD's HIP SDK") if machine.system == "Windows" else ("rocm72", "ROCm 7.2")
        return Advice("vulkan", gpu, (f"With {needs} installed, the index {index} is faster on some cards.",))
    return Advice("vulkan", gpu, ("An integrated GPU shares the CPU's memory and is rarely faster.",))


def _advise_nvidia(machine: Machine, gpu: GPU) -> Advice:
    """The CUDA wheel for the driver and the card; Vulkan where there is none."""
    if machine.cuda is None:
        return Advice(
            "cpu", gpu, ("No working NVIDIA driver was found (nvidia-smi). Install the driver, then run doctor again.",)
        )
    compute = gpu.compute or _NEWEST_COMPILED
    if compute < _OLDEST_COMPUTE:
        return Advice("vulkan", gpu, ("Its compute capability is below 6.0, too low for the CUDA wheels.",))
    driver = ".".join(map(str, machine.cuda))
    if machine.cuda < _OLDEST_CUDA:
        return Advice(
            "vulkan", gpu, (f"The NVIDIA driver supports CUDA {driver} and is too old for the CUDA wheels (11.8). Update it.",)
        )
    for found in _CUDA_INDEXES[machine.system]:
        if found <= machine.cuda and _runs(found, compute):
            runtime = f"The wheel needs NVIDIA's CUDA {found[0]} runtime (cudart and cublas). Without it, use the index vulkan."
            return Advice(f"cu{found[0]}{found[1]}", gpu, (runtime,))
    return Advice("vulkan", gpu, (f"No CUDA wheel supports this GPU with a driver for CUDA {driver}. Update the driver.",))


def _runs(cuda: tuple[int, int], compute: tuple[int, int]) -> bool:
    """Whether a wheel for this `cuda` contains code for a GPU of this `compute` capability."""
    if cuda >= (13, 0):
        return compute >= _OLDEST_FOR_13
    return compute <= _NEWEST_FOR_11 if cuda < (12, 0) else True


# Detection.


def installed_release() -> str:
    """The installed version of llama-cpp-python, or else the one that this program was tested with."""
    try:
        return version("llama-cpp-python").partition("+")[0]
    except PackageNotFoundError:
        return "0.3.36"


def this_machine(ask: Callable[[Sequence[str]], str | None] | None = None, pci: Path = Path("/sys/class/drm")) -> Machine:
    """Describe this machine. `ask` runs a command and returns its output, or None if that failed."""
    ask = ask or run_quietly
    system = platform.system()
    found = dict.fromkeys(_nvidia_gpus(ask))
    if system == "Darwin":
        translated = (ask(["/usr/sbin/sysctl", "-n", "sysctl.proc_translated"]) or "").strip() == "1"
        chip = (ask(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]) or "").strip()
        apple = (GPU("apple", chip or "Apple GPU"),) if translated or platform.machine() == "arm64" else ()
        return Machine(system, platform.machine(), 8 * struct.calcsize("P"), apple, translated=translated)
    others = _windows_gpus(ask) if system == "Windows" else _pci_gpus(pci)
    gpus = [*found, *(gpu for gpu in others if gpu.vendor != "nvidia" or not found)]
    cuda = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", ask(["nvidia-smi"]) or "") if found else None
    supported = (int(cuda[1]), int(cuda[2])) if cuda else None
    return Machine(system, platform.machine(), 8 * struct.calcsize("P"), tuple(gpus), supported)


def run_quietly(command: Sequence[str]) -> str | None:
    """The standard output of `command`; None if it is not installed, fails or hangs."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _nvidia_gpus(ask: Callable[[Sequence[str]], str | None]) -> list[GPU]:
    found = []
    for line in (ask(["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]) or "").splitlines():
        name, _, compute = line.rpartition(",")
        numbers = re.fullmatch(r"\s*(\d+)\.(\d+)\s*", compute)
        found.append(GPU("nvidia", name.strip() or line.strip(), (int(numbers[1]), int(numbers[2])) if numbers else None))
    return found


def _pci_gpus(folder: Path) -> list[GPU]:
    """Graphics cards that the Linux kernel reports."""
    found = []
    for file in sorted(folder.glob("card[0-9]*/device/vendor")):
        try:
            vendor = _PCI_VENDORS.get(file.read_text("ascii").strip())
            memory = file.with_name("mem_info_vram_total")
            small = not memory.exists() or int(memory.read_text("ascii")) < 2 * 1024**3
        except (OSError, ValueError):
            continue
        if vendor == "nvidia":
            found.append(GPU("nvidia", "An NVIDIA GPU"))
        elif vendor == "amd":
            found.append(GPU("amd", "An AMD GPU", integrated=small))
        elif vendor == "intel":
            found.append(GPU("intel", "An Intel GPU", integrated=True))
    return found


def _windows_gpus(ask: Callable[[Sequence[str]], str | None]) -> list[GPU]:
    """Graphics cards that Windows reports."""
    query = "@(Get-CimInstance Win32_VideoController).Name | ConvertTo-Json"
    try:
        names = json.loads(ask(["powershell", "-NoProfile", "-NonInteractive", "-Command", query]) or "[]") or []
    except ValueError:
        names = []
    found = []
    for name in [names] if isinstance(names, str) else names:
        lower = str(name).lower()
        if "nvidia" in lower:
            found.append(GPU("nvidia", str(name)))
        elif "radeon" in lower or "amd" in lower:
            found.append(GPU("amd", str(name), integrated="graphics" in lower))
        elif "intel" in lower:
            found.append(GPU("intel", str(name), integrated="arc" not in lower))
    return found
