"""A child process that does what untrusted files make dangerous. It is sent and answers JSON objects, one per line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping
from threading import Event, Timer
from typing import Any, Final

_KEPT_VARIABLES: Final = (
    *("PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("SYSTEMROOT", "APPDATA"),  # of Windows; what pip installs for one user is below APPDATA
)
"""The environment of the child: no secrets."""


class ChildProcess:
    """Runs a module of this program. The process is started when asked for, and ends with this object."""

    def __init__(self, module: str) -> None:
        """Run `module`, which reads standard input and writes standard output."""
        self._module = module
        self.process: subprocess.Popen[bytes] | None = None
        """None before the start and after the end; it may have died meanwhile."""
        self._finalizer: weakref.finalize[[subprocess.Popen[bytes]], ChildProcess] | None = None

    def start(self) -> bool:
        """Start the process unless it is running; returns whether it was started."""
        if self.process is not None and self.process.poll() is None:
            return False
        self.end()
        self.process = subprocess.Popen(
            # -P keeps the working directory off the path, where a file could shadow a library.
            [sys.executable, "-P", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            start_new_session=True,
        )
        self._finalizer = weakref.finalize(self, _end, self.process)
        return True

    def end(self) -> None:
        """Kill the process."""
        self.process = None
        if self._finalizer is not None:
            self._finalizer()

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a line.

        Raises:
            OSError: the process is gone.
        """
        if self.process is None or self.process.stdin is None:
            raise BrokenPipeError
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self, limit: int) -> dict[str, Any]:
        """Wait for a line of at most `limit` bytes.

        Raises:
            OSError: the process is gone.
            ValueError: it ended within the line, or the line is invalid.
        """
        if self.process is None or self.process.stdout is None:
            raise BrokenPipeError
        answer = json.loads(self.process.stdout.readline(limit))
        if not isinstance(answer, dict):
            raise ValueError  # noqa: TRY004 (the child sent it, not a caller)
        return answer

    @contextlib.contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Kill the process after `seconds`.

        Raises:
            TimeoutError: that was what ended the block.
        """
        late = Event()

        def end() -> None:
            late.set()
            if self.process is not None:
                self.process.kill()

        timer = Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, ValueError):
            if late.is_set():
                raise TimeoutError(f"it takes longer than {seconds:g} seconds") from None
            raise
        finally:
            timer.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    process.wait()
