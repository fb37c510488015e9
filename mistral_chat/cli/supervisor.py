"""A parent process that restores the terminal if the app dies in native code.

llama.cpp runs in the app's process, and a crash there leaves the terminal in the alternate screen, with mouse reports and raw
mode on. So the app is a child, and this process only waits for it. On Linux the child is forked before anything heavy is
imported: a second interpreter would add a third to the time until the first screen. On macOS it is spawned, because Apple's
frameworks, which Metal needs, do not survive a fork; on Windows too, which has no fork.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, Never

from mistral_chat import system

RESTORE: Final = (
    b"\x1b[?1049l"  # the alternate screen
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse reports
    b"\x1b[?1004l\x1b[?2004l\x1b[?2026l\x1b[?2048l"  # focus reports, bracketed paste, synchronized output, size reports
    b"\x1b[<u"  # the kitty keyboard protocol
    b"\x1b[?7h\x1b[0m\x1b[?25h\r\n"  # line wrap, plain text, the cursor
)
"""Turns off every mode that Textual may have turned on."""

GRACE = 3
"""Seconds the app has after SIGTERM or SIGHUP before it is killed."""

SUPERVISED: Final = "_MISTRAL_CHAT_SUPERVISED"
"""Set in the environment of a spawned child, whose parent is already waiting."""

_CRASH: Final = 0xC0000000
"""Exit codes of Windows from here on are exceptions."""

_EXCEPTIONS: Final = {
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction",
    0xC00000FD: "stack overflow",
    0xC0000409: "abort",
    0xC000013A: "console closed",
}


def fresh_command(arguments: Sequence[str], platform: str = sys.platform) -> list[str] | None:
    """The command that spawns the child with the program's `arguments`; None where it is forked."""
    return [sys.executable, "-P", "-m", "mistral_chat", *arguments] if platform in {"darwin", "win32"} else None


def supervise(describe: Callable[[str], str], *, command: list[str] | None = None) -> None:
    """Continue as a child; this process waits for it, and exits as the child does.

    Ctrl+Z stops both and `fg` resumes both. SIGTERM and SIGHUP are passed on, and SIGKILL follows if the child does not obey.
    Does nothing in a child that was started afresh.

    Args:
        describe: makes the sentence for standard error out of the name of the signal, or of Windows' exception, that killed
            the child.
        command: starts the child afresh. It must lead here again, where `SUPERVISED` is found in the environment.

    Raises:
        SystemExit: in the parent, with the child's exit code, or 128 and the signal's number.
    """
    if os.environ.pop(SUPERVISED, ""):
        return
    saved = system.console_state()
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "win32":
        _exit_as(_run(command or fresh_command(sys.argv[1:]) or []), saved, describe)
    else:
        child = _fork(command)
        if child:
            code = os.waitstatus_to_exitcode(_wait(child))
            signal.alarm(0)
            _exit_as(code, saved, describe)


def _exit_as(code: int, saved: list[Any] | None, describe: Callable[[str], str]) -> Never:
    """Exit with the child's `code`; after a crash, first restore the terminal and describe the crash."""
    name = crash_name(code)
    if name is None:
        sys.exit(code)
    if saved is not None:
        with contextlib.suppress(OSError):  # the terminal may be closed
            system.restore_console(saved, RESTORE)
    with contextlib.suppress(OSError):
        os.write(2, f"mistral-chat: {describe(name)}\n".encode())
    sys.exit(128 - code if code < 0 else 1)


def crash_name(code: int) -> str | None:
    """The name of what killed a child that ended with `code`; None if it exited normally."""
    if code < 0:
        return signal.Signals(-code).name
    return _EXCEPTIONS.get(code, f"exception 0x{code:08X}") if code >= _CRASH else None


def _run(command: list[str]) -> int:
    """Start `command` and wait for it on Windows, where Ctrl+C goes to every process of the console, including the child."""
    child = subprocess.Popen(command, env={**os.environ, SUPERVISED: "1"})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parent must outlive the child, which saves while the console is being closed.
    kept = system.watch_console_close(lambda: child.wait(system.CLOSE_SECONDS) is not None)
    code = child.wait()
    del kept
    return code


if sys.platform != "win32":

    def _fork(command: list[str] | None) -> int:
        """Fork; in the child, where the result is 0, start `command` if there is one. The parent is prepared for waiting."""
        # On a busy machine the child may be ready, and its user press Ctrl+C, before this process knows what to do with signals.
        ignored, waited = {signal.SIGINT, signal.SIGTSTP}, _waited()
        signal.pthread_sigmask(signal.SIG_BLOCK, ignored | waited)
        child = os.fork()
        if child == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ignored | waited)
            if command is not None:
                os.environ[SUPERVISED] = "1"
                os.execv(command[0], command)  # noqa: S606 (our own interpreter, and no shell)
            return 0
        # It stops itself after the child; otherwise the shell's `fg` would wake only one.
        for each in ignored:
            signal.signal(each, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # macOS keeps none for a process that does not handle it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ignored)
        return child

    def _waited() -> set[signal.Signals]:
        """The signals that the parent waits for, blocked: Python would run no handler for one that comes just before a wait."""
        return {signal.SIGCHLD, signal.SIGALRM, *system.end_signals()}

    def _wait(child: int) -> int:
        """Wait until the child has ended, stopping and resuming with it, and pass signals on to it; return its status."""
        while True:
            changed, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
            if not changed:
                number = signal.sigwait(_waited())
                if number == signal.SIGALRM:
                    _send(child, signal.SIGKILL)
                elif number != signal.SIGCHLD:
                    _send(child, number)
                    signal.alarm(GRACE)
                continue
            if not os.WIFSTOPPED(status):
                return status
            os.kill(os.getpid(), signal.SIGSTOP)
            # A shell resumes both; Textual would start twice if it were resumed twice.
            changed, status = os.waitpid(child, os.WNOHANG | os.WCONTINUED)
            if not changed:
                _send(child, signal.SIGCONT)
            elif not os.WIFCONTINUED(status):
                return status

    def _send(child: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
