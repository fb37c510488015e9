"""Times how long a program in a terminal takes to show things."""

from __future__ import annotations

import fcntl
import os
import random
import select
import signal
import struct
import termios
import time
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

from support.paced_program import END
from support.terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LETTERS: Final = [chr(code) for first, last in ((0x430, 0x44F), (0x561, 0x586), (0x10D0, 0x10F0)) for code in range(first, last)]
"""Letters that occur in nothing that is measured, more of them than the draft ever contains."""

LOAD: Final = "processor while it streams"
"""The one frame measure that is no time: seconds of the processor in a second."""

COLUMNS, ROWS = 120, 40
STILL: Final = 0.12
"""Seconds without a byte after which the screen counts as drawn; a growing reply is drawn about as often."""


class TimedTerminal:
    """Reads all the time, so that the program never waits for its terminal."""

    def __init__(self, code: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._terminal = Terminal(COLUMNS, ROWS)
        self._terminal.run(code, arguments, environ)
        self._letters = cycle(LETTERS)
        self._rhythm = random.Random(7)
        self._tail = b""
        self.ended = 0.0
        """When the end of the reply was shown, on the monotonic clock."""

    def close(self) -> None:
        """End the program. The app goes before its parent, which would leave it running."""
        if self._terminal.process.poll() is None:
            for pid in reversed(self.pids):
                os.kill(pid, signal.SIGKILL)
        self._terminal.close()

    @property
    def pids(self) -> list[int]:
        """The waiting parent and the app."""
        parent = self._terminal.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
        return [parent, *map(int, children)]

    def processor(self) -> float:
        """Seconds of the processor that the program has used."""
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes of memory of the app, once it is idle; its parent shares nearly all of them."""
        self.watch(1.0)
        status = Path(f"/proc/{self.pids[-1]}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._terminal.master, keys)

    def kill(self, number: signal.Signals) -> None:
        """End the app itself by a signal, and wait for its parent."""
        os.kill(self.pids[-1], number)
        self.wait_for_end()

    @property
    def running(self) -> bool:
        return self._terminal.process.poll() is None

    def wait_for_end(self) -> int:
        """The program's exit code, once it has ended."""
        return self._terminal.wait()

    def ask(self, text: str) -> None:
        """Send a message."""
        self.ended = 0.0
        self.press(text.encode())
        self.wait_for(text.rpartition(" ")[2])
        self.press(b"\r")

    def wait_for(self, text: str, seconds: float = 60) -> float:
        """The moment at which `text` is written to the screen, from now on or in what was read last."""
        wanted, deadline, seen = text.encode(), time.monotonic() + seconds, self._tail
        while wanted not in seen:
            assert time.monotonic() < deadline, f"never shown: {text!r} in {seen[-2000:]!r}"
            seen = seen[-200:] + self._read(0.05)
        return time.monotonic()

    def time_to(self, keys: bytes, text: str) -> float:
        """Seconds from pressing keys until `text` is shown."""
        self._tail = b""
        began = time.monotonic()
        self.press(keys)
        return self.wait_for(text) - began

    def shown_end(self, seconds: float) -> float:
        """The moment at which the reply's end is shown."""
        deadline = time.monotonic() + seconds
        while not self.ended:
            assert time.monotonic() < deadline, "the reply's end was never shown"
            self._read(0.05)
        return self.ended

    def settle(self) -> float:
        """Read until nothing comes for a while; the moment of the last byte. The composer's cursor must not blink."""
        began = last = time.monotonic()
        while self._read(STILL):
            last = time.monotonic()
            assert last - began < 30, "the screen never comes to rest"
        return last

    def watch(self, seconds: float) -> None:
        """Read for so many seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._read(left)

    def echoes(self, keys: int, gap: float = 0.03) -> list[float]:
        """Type so many letters with a pause between them, and clear the draft; seconds until each is shown.

        The pauses are of half to one and a half times `gap`: even ones would fall into step with the drawing of a reply.
        """
        waits = []
        for letter in (next(self._letters) for _ in range(keys)):
            waits.append(self.time_to(letter.encode(), letter))
            self.watch(gap * self._rhythm.uniform(0.5, 1.5))
        self.press(b"\x15")
        self.watch(gap)
        return waits

    def frames(self) -> dict[str, list[float]]:
        """Scroll, resize, and type next to a short reply; seconds that each frame took."""
        times: dict[str, list[float]] = {"scrolling": [], "resizing": [], "typing while it streams": [], LOAD: []}
        self.press(b"\x1b[Z")
        self.settle()
        for key in [b"\x1b[5~"] * 4 + [b"\x1b[6~"] * 3:
            times["scrolling"].append(self._frame(key))
        self.press(b"\x1b[F")
        self.settle()
        for columns in (100, COLUMNS) * 3:
            times["resizing"].append(self._frame(b"", columns))
        self.press(b"\x1b")
        self.watch(0.3)
        self.ask("a short reply of 150")
        self.watch(0.5)  # what sending takes, once, is no part of streaming; the end of the reply before is redrawn
        self.ended = 0.0
        before, began = self.processor(), time.monotonic()
        while not self.ended:
            times["typing while it streams"] += self.echoes(10, gap=0.1)
        seconds = time.monotonic() - began
        times[LOAD].append((self.processor() - before) / seconds)
        self.watch(0.5)
        return times

    def _frame(self, keys: bytes, columns: int = 0) -> float:
        """Seconds until the last byte that a key, or another width, brings to the screen."""
        began = time.monotonic()
        if columns:
            fcntl.ioctl(self._terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        else:
            self.press(keys)
        assert self._read(5), "the screen did not change"
        first = time.monotonic()
        return max(first, self.settle()) - began

    def _read(self, seconds: float) -> bytes:
        ready, _, _ = select.select([self._terminal.master], [], [], seconds)
        piece = os.read(self._terminal.master, 65536) if ready else b""
        if piece:
            together = self._tail[-len(END) :] + piece
            if not self.ended and END.encode() in together:
                self.ended = time.monotonic()
            self._tail = together
        return piece
