"""The waiting parent: gives the terminal back when the app dies of a signal.

llama.cpp runs in the app's process, and a native crash there leaves no one to end the alternate screen, mouse reports and raw
mode. So the app is a child, and this process does nothing but wait: it was forked before anything heavy was imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

RESTORE: Final = (
    b"\x1b[?1049l"  # the alternate screen
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse reports
    b"\x1b[?1004l\x1b[?2004l\x1b[?2026l\x1b[?2048l"  # focus reports, bracketed paste, held frames, size reports
    b"\x1b[<u"  # the kitty keyboard's levels
    b"\x1b[?7h\x1b[0m\x1b[?25h\r\n"  # line wrap, plain text, the cursor
)
"""Ends every mode that Textual may have begun."""

GRACE = 3
"""Seconds the app has after SIGTERM or SIGHUP until it is killed."""

SUPERVISED: Final = "_MISTRAL_CHAT_SUPERVISED"
"""Set in the environment of a child that was started afresh: its parent waits already."""


def without_core_dumps() -> None:
    """Let no crash of this process, or of its children, write what was said into a core file."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def stay_behind(tell: Callable[[int], str], *, command: list[str] | None = None) -> None:
    """Go on as a child; this process stays behind, waits, and exits as the child did.

    Ctrl+Z stops both and `fg` wakes both. SIGTERM and SIGHUP are passed on, and SIGKILL follows when the child does not obey.
    Does nothing where there is no fork, and in a child that was started afresh.

    Args:
        tell: makes the sentence for standard error when the child died of the signal it is given.
        command: starts the child afresh, for platforms whose libraries do not survive a fork. It must lead here again, where
            `SUPERVISED` is found in the environment.

    Raises:
        SystemExit: in the parent, with the child's exit code, or 128 and the signal's number.
    """
    if not hasattr(os, "fork") or os.environ.pop(SUPERVISED, ""):
        return
    saved = _terminal_state()
    passed_on = (signal.SIGTERM, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
        if command is not None:
            os.environ[SUPERVISED] = "1"
            os.execv(command[0], command)  # noqa: S606 (our own interpreter, and no shell)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: _send(child, signal.SIGKILL))
    for each in passed_on:
        signal.signal(each, lambda number, _frame: _pass_on(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
    status = _wait(child)
    signal.alarm(0)
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
    number = os.WTERMSIG(status)
    _restore(saved)
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(2, f"mistral-chat: {tell(number)}\n".encode())
    sys.exit(128 + number)


def _wait(child: int) -> int:
    """Wait until the child has ended, and stop and wake with it."""
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return status
        os.kill(os.getpid(), signal.SIGSTOP)
        # A shell wakes both; Textual would begin twice if it were woken twice.
        changed, status = os.waitpid(child, os.WNOHANG | os.WCONTINUED)
        if not changed:
            _send(child, signal.SIGCONT)
        elif not os.WIFCONTINUED(status):
            return status


def _pass_on(child: int, number: int) -> None:
    _send(child, number)
    signal.alarm(GRACE)


def _send(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _terminal_state() -> list[Any] | None:
    """How the terminal on standard input is set; None where there is none."""
    import termios

    try:
        return termios.tcgetattr(0)
    except termios.error:
        return None


def _restore(saved: list[Any] | None) -> None:
    """End the app's modes and set the terminal as it was."""
    import termios

    if saved is None:
        return
    # A closed terminal refuses both, and there is nobody left to tell.
    with contextlib.suppress(OSError, termios.error):
        os.write(2, RESTORE)
        termios.tcsetattr(0, termios.TCSANOW, saved)
