"""Reads documents in a child process under limits of time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any, Final, Self

from mistral_chat.documents import kinds
from mistral_chat.documents.blocks import Block, EmptyPage
from mistral_chat.errors import DocumentUnreadable

SECONDS: Final = 60.0
"""Maximum seconds without an answer. A page of PDF takes about 10 ms, a large text a few seconds."""
SECONDS_IN_ALL: Final = 1800.0
"""Maximum seconds for one document."""

_LONGEST_ANSWER: Final = 256 * 1024**2
_KEPT_VARIABLES: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class DocumentReader:
    """Reads documents one after another. Not thread-safe."""

    def __init__(self, *, seconds: float = SECONDS, seconds_in_all: float = SECONDS_IN_ALL) -> None:
        """Set the limits. The process is started when first needed."""
        self._seconds = seconds
        self._seconds_in_all = seconds_in_all
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """The reader itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process."""
        self.close()

    def read(self, path: Path, kind: str | None = None) -> Iterator[Block | EmptyPage]:
        """Yield the blocks of the document at `path`, in order, and its pages without text.

        Args:
            path: a file.
            kind: how to read it; None goes by its name, and reads an unknown suffix as text.

        Raises:
            DocumentUnreadable: it is not there, no document, damaged, or takes more time or memory than it may.
        """
        _look(path)
        request = {"path": str(path.absolute()), "kind": kind or kinds.kind_of(path) or "text"}
        whole = False
        process = self._started()
        late: list[bool] = []
        deadline = _killing(process, self._seconds_in_all, late)
        try:
            _send(process, request)
            while True:
                answer = self._answer(process, late)
                if "problem" in answer:
                    whole = True
                    raise DocumentUnreadable(str(answer["problem"]), path)
                if "end" in answer:
                    whole = True
                    return
                if "empty" in answer:
                    yield EmptyPage(answer["empty"])
                for text, headings, line, page, code in answer.get("blocks", ()):
                    yield Block(text, tuple(headings), line, page, code)
        except (OSError, ValueError) as error:
            problem = f"reading it takes longer than {self._seconds:g} seconds" if late else "the process reading it crashed"
            raise DocumentUnreadable(problem, path) from error
        finally:
            deadline.cancel()
            if not whole:
                self.close()

    def close(self) -> None:
        """End the process. The next document starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                # -P keeps the working directory off the path, where a file could shadow a library.
                [sys.executable, "-P", "-m", "mistral_chat.documents.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                start_new_session=True,
            )
        return self._process

    def _answer(self, process: subprocess.Popen[bytes], late: list[bool]) -> dict[str, Any]:
        """Wait for the next answer until the process is killed.

        Raises:
            OSError: the process is gone.
            ValueError: it ended within an answer.
        """
        timer = _killing(process, self._seconds, late)
        try:
            line = process.stdout.readline(_LONGEST_ANSWER) if process.stdout else b""
        finally:
            timer.cancel()
        answer: dict[str, Any] = json.loads(line)
        return answer


def _look(path: Path) -> None:
    """Refuse what is not a file, or is too large.

    Raises:
        DocumentUnreadable: it is.
    """
    try:
        if not path.is_file():
            raise DocumentUnreadable("it is not a file" if path.exists() else "no such file", path)
        if path.stat().st_size > kinds.LARGEST_FILE:
            raise DocumentUnreadable(f"it is larger than {kinds.LARGEST_FILE // 1024**2} MB", path)
    except (OSError, ValueError) as error:
        raise DocumentUnreadable("it cannot be opened", path) from error


def _killing(process: subprocess.Popen[bytes], seconds: float, late: list[bool]) -> Timer:
    """Start a timer that kills `process` and records that in `late`."""

    def end() -> None:
        late.append(True)
        process.kill()

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def _send(process: subprocess.Popen[bytes], request: dict[str, str]) -> None:
    if process.stdin is None:
        raise OSError
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
