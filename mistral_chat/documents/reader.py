"""Reads documents in a child process under limits of time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final

from mistral_chat.child_process import ChildProcess
from mistral_chat.documents import kinds
from mistral_chat.documents.blocks import Block
from mistral_chat.errors import DocumentUnreadable

SECONDS: Final = 60.0
"""Maximum seconds without an answer. A page of PDF takes about 10 ms, a large text a few seconds."""
SECONDS_IN_ALL: Final = 1800.0
"""Maximum seconds for one document."""

_LONGEST_ANSWER: Final = 256 * 1024**2


class DocumentReader(AbstractContextManager["DocumentReader"]):
    """Reads documents one after another. Not thread-safe."""

    def __init__(self, *, seconds: float = SECONDS, seconds_in_all: float = SECONDS_IN_ALL) -> None:
        """Set the limits. The process is started when first needed."""
        self._seconds = seconds
        self._seconds_in_all = seconds_in_all
        self._child = ChildProcess("mistral_chat.documents.worker")
        self._kept: tuple[tuple[Path, int, int] | None, list[Block]] = (None, [])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process."""
        self.close()

    def read_all(self, path: Path) -> list[Block]:
        """The blocks of the document at `path`, kept until another is read or the file changes. Raises as `read` does."""
        version = _look(path)
        if version != self._kept[0]:
            self._kept = version, list(self.read(path))
        return self._kept[1]

    def read(self, path: Path) -> Iterator[Block]:
        """Yield the blocks of the document at `path`, in order. A file with an unknown suffix is read as text.

        Raises:
            DocumentUnreadable: it is not there, no document, damaged, or takes more time or memory than it may.
        """
        _look(path)
        request = {"path": str(path.absolute()), "kind": kinds.kind_of(path) or "text"}
        whole = False
        try:
            self._child.start()
            with self._child.time_limit(self._seconds_in_all):
                self._child.send(request)
                while True:
                    with self._child.time_limit(self._seconds):
                        answer = self._child.receive(_LONGEST_ANSWER)
                    whole = "problem" in answer or "end" in answer
                    if "problem" in answer:
                        raise DocumentUnreadable(str(answer["problem"]), path)
                    if whole:
                        return
                    for text, headings, line, page, code in answer.get("blocks", ()):
                        yield Block(text, tuple(headings), line, page, code)
        except (OSError, ValueError) as error:
            problem = f"reading {error}" if isinstance(error, TimeoutError) else "the process reading it crashed"
            raise DocumentUnreadable(problem, path) from error
        finally:
            if not whole:
                self.close()

    def close(self) -> None:
        """End the process. The next document starts another."""
        self._child.end()


def _look(path: Path) -> tuple[Path, int, int]:
    """Refuse what is not a file, or is too large; returns what tells this version of the file from others.

    Raises:
        DocumentUnreadable: it is.
    """
    try:
        if not path.is_file():
            raise DocumentUnreadable("it is not a file" if path.exists() else "no such file", path)
        if (facts := path.stat()).st_size > kinds.LARGEST_FILE:
            raise DocumentUnreadable(f"it is larger than {kinds.LARGEST_FILE // 1024**2} MB", path)
    except (OSError, ValueError) as error:
        raise DocumentUnreadable("it cannot be opened", path) from error
    return path.absolute(), facts.st_size, facts.st_mtime_ns
