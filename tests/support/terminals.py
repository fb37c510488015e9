"""A terminal for a program under test: what it wrote, how it left the terminal, and how it ended."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.effort import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ATTACH = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
"""Makes the terminal on standard input the controlling one of a process that leads its session."""

BEGUN = {1049: "h", 1000: "h", 1002: "h", 1003: "h", 1006: "h", 1015: "h", 1004: "h", 2004: "h", 25: "l"}
"""Private modes, and how a program that takes over the terminal begins each."""


@dataclass
class Terminal:
    """A pseudo-terminal and the program in it."""

    columns: int = 100
    rows: int = 30
    written: bytes = b""
    master: int = field(init=False, default=-1)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.master, self._slave = pty.openpty()
        termios.tcsetwinsize(self._slave, (self.rows, self.columns))
        self.before = self.settings()

    def run(self, code: str, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> None:
        """Start Python on `code` in the terminal, as the leader of a session."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", ATTACH + code, *arguments],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            env={**os.environ, **(environ or {})},
        )

    def settings(self) -> list[Any]:
        """The terminal's settings, as termios gives them."""
        return termios.tcgetattr(self._slave)

    def read_until(self, words: bytes, seconds: float = PATIENCE) -> bytes:
        """Read until `words` were written.

        Raises:
            AssertionError: they were not, in time.
        """
        deadline = time.monotonic() + seconds
        while words not in self.written:
            assert time.monotonic() < deadline, f"{words!r} was not written; {self.written[-2000:]!r}"
            self._read(0.1)
        return self.written

    def wait(self, seconds: float = PATIENCE) -> int:
        """Read until the program has ended, and give its exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"the program still runs; {self.written[-2000:]!r}"
            self._read(0.05)
        while self._read(0.05):
            pass
        return self.process.returncode

    def modes_left_on(self) -> list[int]:
        """The private modes that were begun and never ended."""
        return [
            mode
            for mode, begin in BEGUN.items()
            if self.written.rfind(f"\x1b[?{mode}{begin}".encode())
            > self.written.rfind(f"\x1b[?{mode}{'l' if begin == 'h' else 'h'}".encode())
        ]

    def hang_up(self) -> None:
        """Close the terminal, as a user closes a window."""
        if self.master >= 0:
            os.close(self.master)
            os.close(self._slave)
            self.master = -1

    def close(self) -> None:
        """End the program, if it still runs, and the terminal."""
        if hasattr(self, "process"):
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
        self.hang_up()

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], seconds)
        piece = os.read(self.master, 65536) if ready else b""
        self.written += piece
        return bool(piece)


def open_terminal() -> Iterator[Terminal]:
    """A fixture's body: a terminal that is closed afterwards, whatever happened in it."""
    terminal = Terminal()
    try:
        yield terminal
    finally:
        terminal.close()
