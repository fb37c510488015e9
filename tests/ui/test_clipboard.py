"""Text reaches the user's clipboard by the most trusted way there is, and no other way is claimed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistral_chat.ui.clipboard import clipboard_programs, set_clipboard, terminal_way

ALL = ("pbcopy", "clip.exe", "wl-copy", "xclip", "xsel")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every program, each of which writes what it is given into a file of its name."""
    for name in ALL:
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\n/bin/cat > "{tmp_path}/{name}.got"\n')
        program.chmod(0o700)
    return tmp_path


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("darwin", {"DISPLAY": ":0"}, ["pbcopy"]),
        ("win32", {}, ["clip.exe"]),
        ("linux", {"WSL_DISTRO_NAME": "Ubuntu", "WAYLAND_DISPLAY": "w"}, ["clip.exe", "wl-copy"]),
        ("linux", {"WAYLAND_DISPLAY": "w", "DISPLAY": ":0"}, ["wl-copy", "xclip", "xsel"]),
        ("linux", {"DISPLAY": ":0"}, ["xclip", "xsel"]),
        ("linux", {}, []),
        ("linux", {"SSH_CONNECTION": "far", "WAYLAND_DISPLAY": "w", "DISPLAY": "localhost:10"}, ["xclip", "xsel"]),
        ("darwin", {"SSH_TTY": "/dev/ttys1"}, []),
        ("win32", {"SSH_CONNECTION": "far"}, []),
    ],
)
def test_the_clipboard_order_is_by_trust(folder: Path, platform: str, environ: dict[str, str], expected: list[str]) -> None:
    found = clipboard_programs({"PATH": str(folder), **environ}, platform)
    assert [command[0] for command in found] == expected


async def test_a_failing_program_is_followed_by_the_next(folder: Path) -> None:
    (folder / "wl-copy").write_text("#!/bin/sh\nexit 1\n")
    environ = {"PATH": str(folder), "WAYLAND_DISPLAY": "w", "DISPLAY": ":0"}
    assert await set_clipboard("Grüße 🐁", environ, "linux") == "xclip"
    assert (folder / "xclip.got").read_text(encoding="utf-8") == "Grüße 🐁"


async def test_windows_gets_utf_16(folder: Path) -> None:
    assert await set_clipboard("Grüße 🐁", {"PATH": str(folder)}, "win32") == "clip.exe"
    assert (folder / "clip.exe.got").read_bytes().decode("utf-16-le") == "Grüße 🐁"


async def test_without_a_program_nothing_is_claimed(tmp_path: Path) -> None:
    assert await set_clipboard("text", {"PATH": str(tmp_path), "DISPLAY": ":0"}, "linux") == ""


def test_a_terminal_that_ignores_osc_52_is_named() -> None:
    assert "Terminal.app does not support" in terminal_way({"TERM_PROGRAM": "Apple_Terminal"})
    assert "OSC 52" in terminal_way({})
