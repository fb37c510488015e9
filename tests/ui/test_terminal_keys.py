"""Hints and help name keys that arrive in the terminal at hand."""

from __future__ import annotations

import pytest
from support.app_harness import PAUSE, AppHarness, run_loaded, screen_text, send_message, until, until_answered

from mistral_chat.ui.commands import all_commands, hint_key
from mistral_chat.ui.dialogs.help import command_parts
from mistral_chat.ui.terminal_keys import anywhere, arrives, at_hand, best_first, terminals

MAC = {"TERM_PROGRAM": "Apple_Terminal"}
ITERM = {"TERM_PROGRAM": "iTerm.app"}
WINDOWS = {"WT_SESSION": "1234"}
GNOME = {"VTE_VERSION": "7600"}
KITTY = {"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}


@pytest.mark.parametrize(
    ("environ", "platform", "arriving", "lost"),
    [
        (
            MAC,
            "darwin",
            ["ctrl+p", "ctrl+j", "escape", "shift+tab", "f2"],
            ["alt+m", "alt+left", "ctrl+up", "shift+enter", "f11"],
        ),
        (ITERM, "darwin", ["ctrl+p", "f1"], ["alt+c", "ctrl+comma", "ctrl+left"]),
        (WINDOWS, "linux", ["alt+m", "f1", "ctrl+up"], ["alt+enter", "alt+left", "f11", "ctrl+comma", "shift+enter"]),
        ({}, "win32", ["alt+m", "ctrl+j"], ["alt+enter", "shift+enter"]),
        (GNOME, "linux", ["alt+m", "ctrl+up", "f2"], ["f1", "f10", "f11", "shift+enter"]),
        ({**GNOME, "TMUX": "socket,1,0"}, "linux", ["ctrl+o"], ["ctrl+b", "f1"]),
        ({"TERM_PROGRAM": "vscode"}, "linux", ["alt+m", "ctrl+r"], ["ctrl+p", "f1"]),
        ({"TERM_PROGRAM": "vscode"}, "darwin", ["ctrl+r"], ["alt+m", "ctrl+up"]),
        ({"LC_TERMINAL": "iTerm2"}, "linux", ["ctrl+p"], ["alt+m"]),
        (KITTY, "linux", ["alt+m", "ctrl+up", "shift+enter", "f11", "ctrl+comma"], []),
        (KITTY, "darwin", ["shift+enter"], ["alt+m"]),
    ],
)
def test_keys_reserved_by_terminals_are_known(
    environ: dict[str, str], platform: str, arriving: list[str], lost: list[str]
) -> None:
    assert [key for key in arriving if not arrives(key, environ, platform)] == []
    assert [key for key in lost if arrives(key, environ, platform)] == []


def test_tmux_depends_on_the_outer_terminal() -> None:
    assert terminals({**MAC, "TMUX": "x"}, "darwin") == ["tmux", "Apple_Terminal"]
    assert terminals({}, "linux") == ["other"]


def test_working_keys_are_listed_first_and_none_is_dropped() -> None:
    assert best_first(["f1", "question_mark"], MAC, "darwin") == ["question_mark", "f1"]
    assert best_first(["f1", "question_mark"], GNOME, "linux") == ["question_mark", "f1"]
    assert best_first(["f1", "question_mark"], KITTY, "linux") == ["f1", "question_mark"]
    assert best_first(["alt+enter", "ctrl+j"], WINDOWS, "win32") == ["ctrl+j", "alt+enter"]
    assert best_first(["alt+x"], MAC, "darwin") == ["alt+x"], "the only key is better than none"


def test_on_a_mac_what_needs_fn_is_not_at_hand() -> None:
    assert at_hand("f6", KITTY, "linux")
    assert not at_hand("f6", MAC, "darwin")
    assert at_hand("ctrl+r", MAC, "darwin")
    assert [key for key in ("alt+m", "f3", "ctrl+up", "ctrl+home", "shift+enter") if anywhere(key)] == []
    assert anywhere("ctrl+o")


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program runs in macOS Terminal."""
    monkeypatch.setenv("TERM_PROGRAM", "Apple_Terminal")
    for name in ("TMUX", "VTE_VERSION", "WT_SESSION", "LC_TERMINAL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("mac")
def test_hints_and_help_name_what_a_mac_sends() -> None:
    assert hint_key("chat.continue") == "/continue"
    assert hint_key("chat.undo") == "/undo"
    assert hint_key("chat.copy_message") == "Shift+Tab, m"
    assert hint_key("app.help") == "?"
    assert hint_key("chat.regenerate") == "Ctrl+R"
    assert hint_key("chat.continue", "f9") == "F9", "a key that the user chose is named"
    rows = [row for part in command_parts(all_commands(), {}) for row in part.rows]
    assert [row.keys for row in rows if "Alt" in row.keys] == []


@pytest.mark.usefixtures("mac")
async def test_the_screen_names_no_key_that_a_mac_does_not_send() -> None:
    harness = AppHarness(answer=lambda _: f"One {PAUSE} two")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Question")
        await until(pilot, lambda: harness.chat.hints[0] == "Esc stop" and "One" in screen_text(harness))
        await pilot.press("escape")
        await until_answered(pilot, harness)
        await until(pilot, lambda: "/continue" in screen_text(harness))
        assert "F6" not in screen_text(harness)
        await send_message(pilot, harness, "/delete")
        await until(pilot, lambda: "to the trash.   /undo" in screen_text(harness))
        await pilot.press("?")
        await until(pilot, lambda: "Shift+Tab, Left" in screen_text(harness) or "Write" in screen_text(harness))
        await pilot.press(*"version")
        await until(pilot, lambda: "Shift+Tab, Left" in screen_text(harness))
        assert "Alt+" not in screen_text(harness)
