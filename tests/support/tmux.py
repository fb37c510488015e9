"""A terminal as a user sees it: a tmux of its own, whose screen can be read and whose keys can be pressed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.effort import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Tmux:
    """One window in a private tmux. It stays when its program has ended, and another can be started in it."""

    def __init__(self, socket: Path, size: tuple[int, int] = (100, 30)) -> None:
        """Open the window; where tmux is not installed, the test is skipped."""
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed, and this test plays in one")
        self._tmux = ["tmux", "-S", str(socket), "-f", os.devnull]
        self._begun, self._ended = socket.with_suffix(".pid"), socket.with_suffix(".code")
        columns, rows = size
        # An idle shell holds the window until the first program takes it.
        self._run(
            "new-session", "-d", "-x", str(columns), "-y", str(rows), "cat", ";", "set-option", "-g", "remain-on-exit", "on"
        )

    def start(self, command: str, environ: Mapping[str, str]) -> None:
        """Run a command in the window, in place of what ran there."""
        for note in (self._begun, self._ended):
            note.unlink(missing_ok=True)
        # tmux does not always come to know an exit code, so a shell writes it down.
        inner = shlex.join(["sh", "-c", f"echo $$ > {shlex.quote(str(self._begun))}; exec {command}"])
        outer = f"{inner}; echo $? > {shlex.quote(str(self._ended))}"
        given = [part for name, value in environ.items() for part in ("-e", f"{name}={value}")]
        self._run("respawn-pane", "-k", *given, outer)

    @property
    def screen(self) -> str:
        """The screen now."""
        return self._run("capture-pane", "-p")

    @property
    def pid(self) -> int:
        """The process that was started in the window."""
        return int(self._begun.read_text(encoding="ascii"))

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names."""
        self._run("send-keys", *keys)

    def write(self, text: str) -> None:
        """Type `text`."""
        self._run("send-keys", "-l", text)

    def wait_for(self, *texts: str, what: str = "") -> str:
        """The first screen that shows all of `texts`."""
        return self.wait_until(lambda screen: all(text in screen for text in texts), what or " and ".join(map(repr, texts)))

    def wait_without(self, text: str) -> str:
        """The first screen that does not show `text`."""
        return self.wait_until(lambda screen: text not in screen, f"a screen without {text!r}")

    def wait_until(self, wanted: Callable[[str], object], what: str) -> str:
        """The first screen for which `wanted` is true."""
        pause, deadline = threading.Event(), time.monotonic() + PATIENCE
        while not wanted(screen := self.screen):
            assert time.monotonic() < deadline, f"never shown: {what}\n{screen}"
            pause.wait(0.05)
        return screen

    def wait_for_the_end(self) -> str:
        """The exit code of the program, as a shell reports it."""
        pause, deadline = threading.Event(), time.monotonic() + PATIENCE
        while not (self._ended.is_file() and (code := self._ended.read_text(encoding="ascii").strip())):
            assert time.monotonic() < deadline, f"never ended:\n{self.screen}"
            pause.wait(0.05)
        return code

    def modes(self) -> str:
        """Whether the program uses the alternate screen, and the mouse: two digits."""
        return self._run("display-message", "-p", "#{alternate_on}#{mouse_any_flag}").strip()

    def close(self) -> None:
        """End the tmux and what runs in it."""
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)

    def _run(self, *arguments: str) -> str:
        # Without an environment of its own the child would inherit LINES and COLUMNS, which readline sets behind Python's back.
        done = subprocess.run([*self._tmux, *arguments], check=True, capture_output=True, text=True, env=dict(os.environ))
        return done.stdout
