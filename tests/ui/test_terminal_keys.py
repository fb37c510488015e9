"""Hints and help name keys that arrive in the terminal at hand."""

from __future__ import annotations

import pytest

from mistral_chat.ui.terminal_keys import arrives, best_first, terminals

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
