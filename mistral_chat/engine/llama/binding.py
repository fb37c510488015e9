"""llama.cpp itself: started once, silenced, and asked what went wrong.

Importing this module loads the shared library. llama.cpp's log goes to Python's logging under ``mistral_chat.llama`` and never
to the terminal; it holds no conversation text.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections import deque
from typing import Any

# ggml forks a debugger onto the terminal when it aborts, unless this stands before the library is loaded.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import llama_cpp  # noqa: E402 (the variable above must stand first)

log = logging.getLogger("mistral_chat.llama")

_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
_recent: deque[str] = deque(maxlen=64)
_started = False


def _write_log(level: int, text: bytes | None, _user_data: Any) -> None:
    line = (text or b"").decode("utf-8", "replace").strip()
    if not line or line == ".":
        return
    if level >= logging_level_of_ggml_warning:
        _recent.append(line)
    log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


logging_level_of_ggml_warning = 3
"""GGML_LOG_LEVEL_WARN."""

_log_callback = llama_cpp.llama_log_callback(_write_log)
"""Kept for the life of the process: llama.cpp holds a pointer to it."""


def start() -> None:
    """Start llama.cpp once in this process and route its log."""
    global _started  # noqa: PLW0603 (the library itself is process-wide state)
    if not _started:
        llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        _started = True


def forget_complaints() -> None:
    """Drop the warnings and errors noted so far."""
    _recent.clear()


def complaints() -> str:
    """What llama.cpp complained of since `forget_complaints`, in one line; empty when it did not."""
    return "; ".join(dict.fromkeys(_recent))


def version() -> str:
    """Which llama.cpp this is: the Python package's version and the library's own."""
    return f"{llama_cpp.__version__}/{llama_cpp.llama_version().decode()}" if hasattr(llama_cpp, "llama_version") else llama_cpp.__version__
