"""The llama.cpp library: initialised once, silenced, and its errors collected.

Importing this module loads the shared library. llama.cpp's log goes to Python's logging under ``mistral_chat.llama`` and never
to the terminal; it contains no conversation text.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections import deque
from functools import cache
from typing import Any

# Both must be set before the library is loaded. ggml forks a debugger onto the terminal when it aborts. And OpenMP's threads spin
# for long while they wait for each other, which is ruinous as soon as anything else runs: on two cores the demo model writes 86
# tokens a second on an idle machine, and 1 to 19 while another program is busy. With a short spin it is 77, and 22 to 29.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from mistral_chat.engine.llama.bindings import llama_cpp

log = logging.getLogger("mistral_chat.llama")

WARNING = 3
"""ggml's ``GGML_LOG_LEVEL_WARN``; the error level is one higher."""

_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, WARNING: logging.WARNING, 4: logging.ERROR}
_errors: deque[str] = deque(maxlen=32)
_deferred: list[tuple[int, str]] | None = None


def _write_log(level: int, text: bytes | None, _user_data: Any) -> None:
    """Log one line of llama.cpp. Called from C, on the thread that wrote it."""
    line = (text or b"").decode("utf-8", "replace").strip(" .\n\r")
    if not line:
        return
    if level >= WARNING:
        _errors.append(line)
    if _deferred is not None:
        _deferred.append((level, line))
    else:
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


def hold_log() -> None:
    """Forget earlier errors, and keep llama.cpp's log lines until `release_log`."""
    global _deferred  # noqa: PLW0603 (llama.cpp has one log for the whole process)
    _errors.clear()
    _deferred = []


def release_log(*, drop: bool = False) -> None:
    """Log the lines that were kept, unless they are to be dropped."""
    global _deferred
    lines, _deferred = _deferred, None
    for level, line in () if drop else lines or ():
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


_log_callback = llama_cpp.llama_log_callback(_write_log)


@cache
def init_backend() -> None:
    """Initialise llama.cpp once in this process, and route its log to Python's logging."""
    log.addHandler(logging.NullHandler())  # without any handler, Python writes warnings to the terminal
    llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


def clear_errors() -> None:
    """Forget the warnings and errors logged so far."""
    _errors.clear()


def recent_errors() -> str:
    """The warnings and errors that llama.cpp has logged since `clear_errors`, in one line."""
    return "; ".join(dict.fromkeys(_errors))


def version() -> str:
    """The versions of the Python package and of llama.cpp."""
    from importlib.metadata import version as distribution_version  # which a test of a model does without

    return f"{distribution_version('llama_cpp_python')}/{llama_cpp.llama_version().decode()}"


def system_info() -> str:
    """llama.cpp's description of the CPU features that it uses."""
    return str(llama_cpp.llama_print_system_info().decode())


def can_offload() -> bool:
    """Whether this build can run layers on a GPU."""
    return bool(llama_cpp.llama_supports_gpu_offload())
