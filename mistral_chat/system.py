"""Differences between Linux, macOS and Windows: locks, files in use, process limits, the console, termination.

Modules that exist on one system only are imported inside functions, behind a test of `sys.platform` that type checkers follow.
No other module of the program imports them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from pathlib import Path

Result = TypeVar("Result")

_RETRIES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if sys.platform == "win32" else ()
"""Seconds between attempts to replace or delete a file. Windows refuses both while a virus scanner reads it."""

_HANDLES: Final = (-10, -11, -12)
"""The numbers of a Windows console's standard handles."""

_CLOSE_EVENTS: Final = frozenset({2, 5, 6})
"""CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT and CTRL_SHUTDOWN_EVENT."""

CLOSE_SECONDS: Final = 4.5
"""Windows ends a process about five seconds after it closed its console."""

DEVICE_NAMES: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *(f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³")}
)
"""Names that Windows takes for devices, with any extension."""


# Files.


def largest_file() -> int | None:
    """The bytes that a file of this process may have; None without a limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else limit


def free_bytes(path: Path) -> int | None:
    """The free bytes on the disk of `path`, which may not exist yet; None if they cannot be known."""
    import shutil

    for each in (path, *path.parents):
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(each)
            return usage.free if usage.total else None  # /proc and the like have no size
    return None


def retry_in_use(act: Callable[[], Result], retries: tuple[float, ...] = _RETRIES) -> Result:
    """Do `act`, and retry after each pause in `retries` while the system reports that the file is in use.

    Raises:
        OSError: the last attempt failed too, or for another reason.
    """
    for seconds in retries:
        try:
            return act()
        except PermissionError:
            time.sleep(seconds)
    return act()


def replace(source: Path, target: Path) -> None:
    """Give the file `source` the name `target` in one step; a file with that name is replaced.

    Raises:
        OSError: the system refuses, or a program uses `target` for longer than two seconds.
    """
    _make_writable(target)
    retry_in_use(lambda: source.replace(target))


def delete(path: Path) -> None:
    """Delete the file at `path`, if there is one.

    Raises:
        OSError: the system refuses, or a program uses the file for longer than two seconds.
    """
    _make_writable(path)
    retry_in_use(lambda: path.unlink(missing_ok=True))


def _make_writable(path: Path) -> None:
    """Let a read-only file be replaced and deleted, which only Windows forbids."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError):
            path.chmod(0o600)


def create_private(path: Path) -> int:
    """Create a file that only its owner can read, for binary writing; its descriptor.

    Raises:
        OSError: there is one already, or the system refuses.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read; it replaces one that exists, and is complete or not written at all.

    Raises:
        OSError: the system refuses. The error names the file.
    """
    import secrets  # loads OpenSSL, which most starts of the program do without

    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(create_private(part), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        replace(part, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            delete(part)


def name_problem(name: str) -> str | None:
    """Why a file called `name` would be lost or mean something else on Windows; None for a valid name."""
    if name.partition(".")[0].rstrip(" ").upper() in DEVICE_NAMES:
        return f"“{name}” is a device name on Windows"
    if name != name.rstrip(". "):
        return f"“{name}” ends with a dot or a space, which Windows drops"
    if bad := sorted({letter for letter in name if letter in '<>:"/\\|?*' or ord(letter) < 32}):  # noqa: PLR2004 (controls)
        return f"“{name}” contains {' '.join(map(repr, bad))}, which Windows does not allow in names"
    return None


# Locks.


def lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file for this process until it is closed, however the process ends; False if another process has the lock.

    Args:
        descriptor: the open file.
        wait: wait for the lock.
    """
    if sys.platform == "win32":
        import msvcrt

        while True:
            os.lseek(descriptor, 0, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
                time.sleep(0.01)
            else:
                return True
    else:
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


# Processes.


def disable_core_dumps() -> None:
    """Let no crash of this process, or of its children, write conversations into a core file."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def limit_process(*, memory: int, file_size: int | None = None) -> None:
    """Bound the address space of this process, in bytes, and the files that it writes.

    Linux enforces both. macOS does not enforce the first, and Windows has neither: there the parent's time limit is the bound.
    """
    if sys.platform != "win32":
        import resource

        limits = [(resource.RLIMIT_AS, memory)]
        if file_size is not None:
            limits.append((resource.RLIMIT_FSIZE, file_size))
        for what, limit in limits:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(what, (limit, limit))


def limit_time(seconds: float) -> None:
    """Let the system kill this process after `seconds`, even if its parent is gone; 0 lifts the limit. Not on Windows."""
    if sys.platform != "win32":
        import signal

        signal.setitimer(signal.ITIMER_REAL, seconds)


def lower_priority() -> None:
    """Let other programs go first."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            kernel = _kernel32()
            below_normal = 0x4000
            kernel.SetPriorityClass(kernel.GetCurrentProcess(), below_normal)
        else:
            os.nice(10)


def end_signals() -> tuple[signal.Signals, ...]:
    """The signals that ask this process to end."""
    import signal

    if sys.platform == "win32":
        return (signal.SIGTERM,)
    return (signal.SIGTERM, signal.SIGHUP)


def watch_console_close(ended: Callable[[], bool]) -> object:
    """Call `ended` on a thread of its own when the console window is closed, or the user logs off, on Windows.

    `ended` may take `CLOSE_SECONDS`; then Windows ends the process.

    Returns:
        What must be kept for as long as this is wanted; None on other systems, which send SIGHUP.
    """
    if sys.platform != "win32":
        return None
    import ctypes

    prototype: Any = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint32)
    handler = prototype(lambda event: int(event in _CLOSE_EVENTS and ended()))
    _kernel32().SetConsoleCtrlHandler(handler, 1)
    return handler


# The console.


def console_state() -> list[Any] | None:
    """The terminal's settings; None without a terminal."""
    if sys.platform == "win32":
        import ctypes

        kernel, found = _kernel32(), []
        for handle in _HANDLES:
            mode = ctypes.c_uint32()
            if kernel.GetConsoleMode(kernel.GetStdHandle(handle), ctypes.byref(mode)):
                found.append((handle, mode.value))
        return found or None
    import termios

    try:
        return termios.tcgetattr(0)
    except termios.error:
        return None


def enable_escape_sequences() -> None:
    """Let the console interpret escape sequences, which only Windows has to be asked for."""
    if sys.platform == "win32":
        kernel = _kernel32()
        for handle, mode in console_state() or []:
            if handle != _HANDLES[0]:
                kernel.SetConsoleMode(kernel.GetStdHandle(handle), mode | 0x4)


def restore_console(state: list[Any], ends: bytes) -> None:
    """Write the escape sequences `ends`, and set the terminal as it was at `console_state`.

    Raises:
        OSError: the terminal is gone.
    """
    if sys.platform == "win32":
        os.write(2, ends)  # while the console still understands escape sequences
        kernel = _kernel32()
        for handle, mode in state:
            kernel.SetConsoleMode(kernel.GetStdHandle(handle), mode)
    else:
        import termios

        os.write(2, ends)
        try:
            termios.tcsetattr(0, termios.TCSANOW, state)
        except termios.error as error:
            raise OSError(str(error)) from error


def _kernel32() -> Any:
    """The system library of Windows, with handles as pointers."""
    import ctypes

    if sys.platform != "win32":
        raise NotImplementedError
    library: Any = ctypes.WinDLL("kernel32", use_last_error=True)
    library.GetStdHandle.restype = library.GetCurrentProcess.restype = ctypes.c_void_p
    library.GetStdHandle.argtypes = [ctypes.c_int32]
    library.GetConsoleMode.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.SetConsoleMode.argtypes = library.SetPriorityClass.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    return library
