"""The log file of the program and llama.cpp, without conversation text.

A traceback quotes text in its messages and variables, so an exception is logged as its type and code locations.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

from mistral_chat import system
from mistral_chat.paths import private_folder, private_opener

if TYPE_CHECKING:
    import io
    from pathlib import Path
    from types import TracebackType

LARGEST = 1_000_000
"""Bytes. At the next start, a larger log is renamed to ``mistral-chat.log.1``."""

Exception_ = tuple[type[BaseException], BaseException, "TracebackType | None"] | tuple[None, None, None]


class PlacesOnly(logging.Formatter):
    """Formats records; writes an exception as its type and code locations."""

    def formatException(self, ei: Exception_) -> str:  # noqa: N802 (logging's own name)
        """The exception's type and, innermost last, ``file:line function``; neither its message nor source lines."""
        kind, _, trace = ei
        frames = traceback.extract_tb(trace)
        return "\n".join([kind.__name__ if kind else "", *(f"  {f.filename}:{f.lineno} {f.name}" for f in frames)])

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 (logging's own name)
        """Nothing: a stack quotes source lines, and the place of the record is enough."""
        return "" if stack_info else stack_info


def start_log(path: Path | None) -> None:
    """Send everything under the logger ``mistral_chat`` to the file at `path`, or nowhere when that is None.

    A file that cannot be opened, or a full disk, costs the log and not the chat.
    """
    logging.raiseExceptions = False  # a log on a full disk would print tracebacks over the screen
    logger = logging.getLogger("mistral_chat")
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.addHandler(_handler(path))
    logger.setLevel(logging.INFO)


def _handler(path: Path | None) -> logging.Handler:
    if path is None:
        return logging.NullHandler()
    try:
        private_folder(path.parent)
        if path.exists() and path.stat().st_size > LARGEST:
            system.replace(path, path.with_name(path.name + ".1"))
        handler = _PrivateFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError:
        return logging.NullHandler()
    handler.setFormatter(PlacesOnly("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    return handler


class _PrivateFile(logging.FileHandler):
    """A log that only its owner can read."""

    def _open(self) -> io.TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", errors="backslashreplace", opener=private_opener)
