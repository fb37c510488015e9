"""Each machine gets the one line that installs the right llama-cpp-python, and the reason why its GPU is not used."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import pytest

from mistral_chat.cli.doctor import gpu_findings
from mistral_chat.cli.wheels import GPU, INDEX, Advice, Machine, advise, installed_release, this_machine
from mistral_chat.engine.hardware import Device, DeviceKind

M1 = GPU("apple", "Apple M1 Pro")
RTX_3080 = GPU("nvidia", "NVIDIA GeForce RTX 3080 Laptop GPU", (8, 6))
RTX_5070 = GPU("nvidia", "NVIDIA GeForce RTX 5070 Laptop GPU", (12, 0))
GTX_1080 = GPU("nvidia", "NVIDIA GeForce GTX 1080", (6, 1))
GTX_970 = GPU("nvidia", "NVIDIA GeForce GTX 970", (5, 2))
RX_7900 = GPU("amd", "AMD Radeon RX 7900 XTX")
IRIS = GPU("intel", "Intel Iris Xe Graphics", integrated=True)

MACHINES = {
    "M1 Pro": (Machine("Darwin", "arm64", gpus=(M1,)), "metal", ""),
    "M1 Pro with a Python for Intel": (Machine("Darwin", "x86_64", gpus=(M1,), translated=True), None, "Rosetta"),
    "Mac with an Intel processor": (Machine("Darwin", "x86_64"), None, "Xcode"),
    "RTX 3080 on Windows": (Machine("Windows", "AMD64", gpus=(IRIS, RTX_3080), cuda=(12, 7)), "cu125", "CUDA 12 runtime"),
    "RTX 3080 on Linux": (Machine("Linux", "x86_64", gpus=(RTX_3080,), cuda=(12, 2)), "cu122", "CUDA 12 runtime"),
    "RTX 3080 on Windows, driver of 2023": (Machine("Windows", "AMD64", gpus=(RTX_3080,), cuda=(12, 2)), "cu118", "CUDA 11"),
    "RTX 5070 on Windows": (Machine("Windows", "AMD64", gpus=(RTX_5070,), cuda=(13, 2)), "cu132", "CUDA 13 runtime"),
    "RTX 5070 on Linux": (Machine("Linux", "x86_64", gpus=(RTX_5070,), cuda=(13, 0)), "cu130", "CUDA 13 runtime"),
    "RTX 5070, first driver": (Machine("Linux", "x86_64", gpus=(RTX_5070,), cuda=(12, 8)), "cu125", "CUDA 12 runtime"),
    "GTX 1080, newest driver": (Machine("Linux", "x86_64", gpus=(GTX_1080,), cuda=(13, 2)), "cu125", "CUDA 12 runtime"),
    "GTX 970": (Machine("Windows", "AMD64", gpus=(GTX_970,), cuda=(12, 4)), "vulkan", "too low for the CUDA wheels"),
    "driver too old": (Machine("Linux", "x86_64", gpus=(RTX_3080,), cuda=(11, 4)), "vulkan", "CUDA 11.4 and is too old"),
    "no driver": (Machine("Linux", "x86_64", gpus=(RTX_3080,)), "cpu", "No working NVIDIA driver"),
    "RX 7900 on Linux": (Machine("Linux", "x86_64", gpus=(RX_7900,)), "vulkan", "ROCm 7.2"),
    "RX 7900 on Windows": (Machine("Windows", "AMD64", gpus=(RX_7900,)), "vulkan", "hip-radeon"),
    "Intel GPU": (Machine("Linux", "x86_64", gpus=(IRIS,)), "vulkan", "rarely faster"),
    "processor only": (Machine("Linux", "x86_64"), "cpu", ""),
    "ARM server": (Machine("Linux", "aarch64"), "cpu", "No GPU wheels"),
    "32-bit Python": (Machine("Windows", "AMD64", bits=32, gpus=(RTX_3080,), cuda=(12, 7)), None, "32-bit Python"),
    "Windows on ARM": (Machine("Windows", "ARM64"), None, "Python on ARM64"),
    "FreeBSD": (Machine("FreeBSD", "amd64"), None, "No wheels exist for FreeBSD"),
}


@pytest.mark.parametrize(("machine", "index", "note"), MACHINES.values(), ids=MACHINES.keys())
def test_each_machine_has_its_index_and_its_note(machine: Machine, index: str | None, note: str) -> None:
    advice = advise(machine)
    assert advice.index == index
    assert note in " ".join(advice.notes)
    line = advice.line("0.3.36")
    assert "llama-cpp-python==0.3.36" in line, "without a version, pip would take the newer source"
    assert ("--prefer-binary" in line) == (f"{INDEX}/{index}" in line) == (index is not None)


def test_the_install_command_can_be_pasted() -> None:
    assert Advice("cu132").line("0.3.36", "python") == (
        "python -m pip install --force-reinstall --no-deps --prefer-binary llama-cpp-python==0.3.36 "
        "--extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cu132"
    )
    assert (
        Advice("cpu").line("0.3.36", r"C:\Program Files\Python\python.exe").startswith(r'"C:\Program Files\Python\python.exe" -m')
    )
    assert installed_release().count(".") == 2


def device(kind: DeviceKind, description: str) -> Device:
    return Device(name="X0", description=description, kind=kind, free=1, total=1)


class TestWhatTheDoctorSays:
    @staticmethod
    def reported(machine: Machine, *devices: Device) -> list[tuple[str, str]]:
        return [(finding.verdict, finding.text) for finding in gpu_findings(devices, machine, built=False)]

    def test_a_gpu_in_use_is_named(self) -> None:
        found = self.reported(MACHINES["RTX 3080 on Linux"][0], device(DeviceKind.GPU, "RTX 3080"))
        assert found == [("ok", "models run on RTX 3080")]

    def test_a_gpu_that_is_not_used_is_explained_with_the_line(self) -> None:
        found = self.reported(MACHINES["RTX 5070 on Windows"][0], device(DeviceKind.CPU, "a processor"))
        assert found[0] == ("warn", f"{RTX_5070.name} is not used: the installed llama-cpp-python has no GPU support")
        assert found[-1][1].startswith("Run: ")
        assert found[-1][1].endswith("/whl/cu132")

    def test_a_missing_driver_comes_before_any_line(self) -> None:
        assert not any("Run:" in text for _, text in self.reported(MACHINES["no driver"][0]))

    def test_rosetta_is_reported_even_without_a_visible_gpu(self) -> None:
        found = self.reported(MACHINES["M1 Pro with a Python for Intel"][0])
        assert found[0][1].startswith("Apple M1 Pro is not used")
        assert any("Apple silicon (arm64)" in text for _, text in found)

    def test_a_build_for_gpus_that_finds_none_lacks_a_driver_or_a_library(self) -> None:
        (first, *_) = gpu_findings([], MACHINES["RTX 3080 on Linux"][0], built=True)
        assert first.text.endswith("is not used: its driver or runtime library is missing")

    def test_a_machine_without_a_gpu_is_fine(self) -> None:
        assert self.reported(MACHINES["processor only"][0]) == [("ok", "none found; models run on the CPU")]


class TestFindingOut:
    """What the systems' own commands say is read; here from texts as they are printed."""

    SMI = "NVIDIA GeForce RTX 3080 Laptop GPU, 8.6\n"
    HEAD = "| NVIDIA-SMI 565.57   Driver Version: 566.03   CUDA Version: 12.7   |\n"

    @staticmethod
    def system(monkeypatch: pytest.MonkeyPatch, system: str, processor: str) -> None:
        monkeypatch.setattr(platform, "system", lambda: system)
        monkeypatch.setattr(platform, "machine", lambda: processor)

    def nvidia(self, command: Sequence[str]) -> str | None:
        if command[0] != "nvidia-smi":
            return None
        return self.SMI if len(command) > 1 else self.HEAD

    def test_an_nvidia_card_on_linux(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.system(monkeypatch, "Linux", "x86_64")
        assert this_machine(self.nvidia, tmp_path) == Machine("Linux", "x86_64", gpus=(RTX_3080,), cuda=(12, 7))

    @pytest.mark.parametrize(
        ("vendor", "memory", "gpu"),
        [
            ("0x10de", None, GPU("nvidia", "An NVIDIA GPU")),
            ("0x1002", 24 * 1024**3, GPU("amd", "An AMD GPU")),
            ("0x1002", 512 * 1024**2, GPU("amd", "An AMD GPU", integrated=True)),
            ("0x8086", None, GPU("intel", "An Intel GPU", integrated=True)),
        ],
    )
    def test_cards_that_only_the_kernel_knows(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, memory: int | None, gpu: GPU
    ) -> None:
        self.system(monkeypatch, "Linux", "x86_64")
        card = tmp_path / "card0" / "device"
        card.mkdir(parents=True)
        (card / "vendor").write_text(f"{vendor}\n")
        if memory is not None:
            (card / "mem_info_vram_total").write_text(f"{memory}\n")
        (tmp_path / "card0-HDMI-A-1").mkdir()
        assert this_machine(lambda _: None, tmp_path).gpus == (gpu,)

    @pytest.mark.parametrize(
        ("answer", "names"),
        [
            ('"AMD Radeon RX 7900 XTX"', ["AMD Radeon RX 7900 XTX"]),
            ('["Intel(R) UHD Graphics", "Microsoft Basic Display Adapter"]', ["Intel(R) UHD Graphics"]),
            ("nonsense", []),
            ("null", []),
            (None, []),
        ],
    )
    def test_cards_that_windows_knows(self, monkeypatch: pytest.MonkeyPatch, answer: str | None, names: list[str]) -> None:
        self.system(monkeypatch, "Windows", "AMD64")
        found = this_machine(lambda command: answer if command[0] == "powershell" else None)
        assert [gpu.name for gpu in found.gpus] == names

    @pytest.mark.parametrize("translated", [False, True])
    def test_a_mac_reports_its_chip_and_rosetta(self, monkeypatch: pytest.MonkeyPatch, *, translated: bool) -> None:
        self.system(monkeypatch, "Darwin", "x86_64" if translated else "arm64")
        answers = {"sysctl.proc_translated": str(int(translated)), "machdep.cpu.brand_string": "Apple M1 Pro\n"}
        found = this_machine(lambda command: answers.get(command[-1]))
        assert found == Machine("Darwin", platform.machine(), gpus=(M1,), translated=translated)

    def test_this_machine_can_be_described(self) -> None:
        assert advise(this_machine()).line(installed_release())
