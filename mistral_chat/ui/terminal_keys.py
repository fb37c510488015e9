"""Which keys work in the current terminal, so that hints and help name one that does.

A pure function of the environment: terminals do not report which keys they keep for themselves, but most can be identified.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CTRL_ARROWS: Final = r"ctrl\+(up|down|left|right)"
_ALT_ARROWS: Final = r"alt\+(up|down|left|right)"
_ALT: Final = r"alt\+.*"
"""On macOS, Option types a character unless the terminal is set to send Meta."""
_LEGACY: Final = r"shift\+enter|ctrl\+(comma|enter|[0-9])"
"""Keys that only terminals with the kitty keyboard protocol, or xterm's modifyOtherKeys, can send."""

_TAKEN: Final = {
    "Apple_Terminal": (_ALT, _CTRL_ARROWS, _LEGACY, "f11", "insert"),
    "iTerm.app": (_ALT, _CTRL_ARROWS, _LEGACY, "f11", "insert"),
    "mac": (_ALT, _CTRL_ARROWS, "f11", "insert"),
    "windows": (_ALT_ARROWS, _LEGACY, "alt\\+enter", "f11"),
    "gnome": (_LEGACY, "f1", "f10", "f11"),
    "vscode": (_LEGACY, r"ctrl\+(p|b|q|f|n)", "f1", "f11"),
    "tmux": (r"ctrl\+b",),
    "other": (),
}
"""The keys that each terminal keeps for itself or cannot send, with its default settings."""


def terminals(environ: Mapping[str, str], platform: str = sys.platform) -> list[str]:
    """The terminals between the user and the app, as keys of the table, such as tmux inside another one."""
    program = environ.get("TERM_PROGRAM", "") or environ.get("LC_TERMINAL", "")
    found = ["tmux"] if environ.get("TMUX") else []
    if program in {"Apple_Terminal", "iTerm.app", "iTerm2", "vscode"}:
        found.append("iTerm.app" if program.startswith("iTerm") else program)
        if program == "vscode" and platform == "darwin":
            found.append("mac")
    elif environ.get("WT_SESSION") or platform == "win32":
        found.append("windows")
    elif environ.get("VTE_VERSION"):
        found.append("gnome")
    elif platform == "darwin":
        found.append("mac")
    return found or ["other"]


def arrives(key: str, environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether `key`, in Textual's words such as ``alt+m``, reaches the app in this terminal with its default settings."""
    taken = (pattern for terminal in terminals(environ, platform) for pattern in _TAKEN[terminal])
    return not any(re.fullmatch(pattern, key) for pattern in taken)


def best_first(keys: Iterable[str], environ: Mapping[str, str], platform: str = sys.platform) -> list[str]:
    """`keys` in order, but those that work first. On a Mac, those that need Fn come after the others."""
    return sorted(keys, key=lambda key: (not arrives(key, environ, platform), not at_hand(key, environ, platform)))


def at_hand(key: str, environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether `key` arrives and can be pressed at once; on a Mac, function keys and those of the keypad need Fn."""
    mac = bool({"Apple_Terminal", "iTerm.app", "mac"} & set(terminals(environ, platform)))
    return arrives(key, environ, platform) and not (mac and re.fullmatch(r"f\d+|pageup|pagedown|home|end|delete", key))


def anywhere(key: str) -> bool:
    """Whether `key` arrives in every terminal, including unknown ones."""
    return re.fullmatch(rf"{_ALT}|{_CTRL_ARROWS}|{_LEGACY}|f\d+|ctrl\+(home|end)|insert|delete", key) is None
