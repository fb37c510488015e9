"""However the app ends, the terminal is restored and a message says what happened."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.effort import PATIENCE
from support.terminals import Terminal, open_terminal

from mistral_chat.cli.tui import exit_message
from mistral_chat.cli.wiring import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

PARENT = """
import os, signal, sys, time
from mistral_chat.cli import supervisor
signal.signal(signal.SIGHUP, signal.SIG_DFL)
supervisor.GRACE = 60
supervisor.supervise(lambda name: f"ended by {name}")
"""
"""On a busy machine a child may need longer to obey than the program allows. Tests started by nohup would ignore SIGHUP."""

TAKE_OVER = r"""
import tty
tty.setraw(0)
os.write(1, b"\x1b[?1049h\x1b[?1000h\x1b[?1002h\x1b[?1003h\x1b[?1006h\x1b[?1015h\x1b[?1004h\x1b[?2004h\x1b[?25l")
"""

READY = "os.write(1, f'child {os.getpid()} ready'.encode())\n"

STAY = "while True: time.sleep(0.01)\n"
"""Python would sleep through a signal that comes just before the sleep, so each sleep is short."""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    yield from open_terminal()


def child_of(terminal: Terminal) -> int:
    written = terminal.read_until(b" ready")
    return int(written.split(b"child ")[1].split()[0])


def state(pid: int) -> str:
    """A process's state as Linux gives it, such as T for stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for_rows(terminal: Terminal, rows: int) -> None:
    """Read until that many rows were drawn."""
    deadline = time.monotonic() + PATIENCE
    while terminal.written.count(b"\r\n") < rows:
        assert time.monotonic() < deadline, terminal.written[-2000:]
        terminal._read(0.1)


def wait_for_state(pid: int, wanted: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := state(pid)) != wanted:
        assert time.monotonic() < deadline, f"{pid} is {found!r}, not {wanted!r}"
        os.sched_yield()


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL, signal.SIGBUS])
def test_a_native_crash_restores_the_terminal(terminal: Terminal, number: signal.Signals) -> None:
    terminal.run(f"{PARENT}{TAKE_OVER}os.kill(os.getpid(), {int(number)})\n{STAY}")
    assert terminal.wait() == 128 + number
    assert terminal.modes_left_on() == []
    assert terminal.settings() == terminal.before
    assert f"mistral-chat: ended by {number.name}".encode() in terminal.written


def test_an_abort_in_native_code_leaves_no_core_file(terminal: Terminal) -> None:
    terminal.run(
        f"from mistral_chat.system import disable_core_dumps; disable_core_dumps()\n{PARENT}"
        "import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True); os.abort()"
    )
    assert terminal.wait() == 128 + signal.SIGABRT
    assert terminal.written.startswith(b"0\r\n")


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_clean_exit_is_passed_on_silently(terminal: Terminal, code: int) -> None:
    terminal.run(f"{PARENT}sys.exit({code})")
    assert terminal.wait() == code
    assert terminal.written == b""


def test_an_error_in_the_child_is_reported_once(terminal: Terminal) -> None:
    terminal.run(f"{PARENT}sys.exit('no room')")
    assert terminal.wait() == 1
    assert terminal.written.count(b"no room") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_parent_reaches_the_child(terminal: Terminal, number: signal.Signals) -> None:
    leave = f"signal.signal({int(number)}, lambda *_: os._exit(7))\n"
    terminal.run(f"{PARENT}{leave}{READY}{STAY}")
    child_of(terminal)
    terminal.process.send_signal(number)
    assert terminal.wait() == 7


def test_a_child_that_ignores_signals_is_killed(terminal: Terminal) -> None:
    impatient = PARENT.replace("GRACE = 60", "GRACE = 1")
    terminal.run(f"{impatient}{TAKE_OVER}signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{READY}{STAY}")
    child_of(terminal)
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.wait() == 128 + signal.SIGKILL
    assert terminal.modes_left_on() == []


def test_only_the_child_handles_ctrl_c(terminal: Terminal) -> None:
    terminal.run(f"{PARENT}signal.signal(signal.SIGINT, lambda *_: os._exit(9))\n{READY}{STAY}")
    child_of(terminal)
    os.write(terminal.master, b"\x03")
    assert terminal.wait() == 9


@pytest.mark.skipif(sys.platform != "linux", reason="the states of processes are read from /proc")
def test_a_stopped_child_stops_and_resumes_with_its_parent(terminal: Terminal) -> None:
    woken = "signal.signal(signal.SIGCONT, lambda *_: os.write(1, b'woken '))\n"
    terminal.run(f"{PARENT}{woken}{READY}os.kill(os.getpid(), signal.SIGSTOP)\nos.write(1, b'continues')\nsys.exit(5)")
    child = child_of(terminal)
    wait_for_state(terminal.process.pid, "T")
    assert state(child) == "T"
    terminal.process.send_signal(signal.SIGCONT)
    assert terminal.wait() == 5
    assert terminal.written.count(b"woken") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the states of processes are read from /proc")
def test_one_fg_resumes_the_whole_process_group(terminal: Terminal) -> None:
    woken = "signal.signal(signal.SIGCONT, lambda *_: (os.write(1, b'resumed'), os._exit(5)))\n"
    as_textual = "signal.signal(signal.SIGTSTP, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))\n"
    terminal.run(f"{PARENT}{as_textual}{woken}{READY}{STAY}")
    child = child_of(terminal)
    os.killpg(terminal.process.pid, signal.SIGTSTP)
    for process in (child, terminal.process.pid):
        wait_for_state(process, "T")
    os.killpg(terminal.process.pid, signal.SIGCONT)
    assert terminal.wait() == 5
    assert terminal.written.count(b"resumed") == 1


def test_a_child_can_be_restarted(terminal: Terminal) -> None:
    again = """
import os, sys
from mistral_chat.cli import supervisor
supervisor.supervise(lambda name: f"ended by {name}", command=[sys.executable, "-c", sys.argv[1], sys.argv[1]])
print("the child", os.getpid() != os.getsid(0), supervisor.SUPERVISED in os.environ)
sys.exit(4)
"""
    terminal.run(again, [again])
    assert terminal.wait() == 4
    assert terminal.written == b"the child True False\r\n"


def test_a_closed_terminal_leaves_no_process_behind(terminal: Terminal) -> None:
    terminal.run(f"{PARENT}{READY}{STAY}")
    child = child_of(terminal)
    terminal.hang_up()
    terminal.process.wait(PATIENCE)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


class TestTheMessage:
    def test_a_native_crash_names_the_log(self) -> None:
        message = exit_message(Program(), "SIGSEGV")
        assert "SIGSEGV" in message
        assert str(Program().paths.log_file) in message
        assert "saved" in message

    def test_an_external_kill_is_reported(self) -> None:
        assert "was terminated (SIGTERM)" in exit_message(Program(), "SIGTERM")

    def test_a_broken_settings_file_does_not_hide_a_crash(self, own_folders: Path) -> None:
        (own_folders / "config" / "mistral-chat").mkdir(parents=True)
        (own_folders / "config" / "mistral-chat" / "config.yaml").write_text("modle: x")
        assert "SIGABRT" in exit_message(Program(), "SIGABRT")


APP = """
import sys
from mistral_chat.cli import supervisor
from mistral_chat.cli.main import cli
supervisor.GRACE = 60
cli.main(sys.argv[1:], prog_name='mistral-chat')
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the child is found in /proc")
@pytest.mark.usefixtures("demo_model")
class TestTheApp:
    @staticmethod
    def child(terminal: Terminal) -> int:
        terminal.read_until(b"Write a message")
        (child,) = Path(f"/proc/{terminal.process.pid}/task/{terminal.process.pid}/children").read_text().split()
        return int(child)

    def test_a_crash_restores_the_terminal_and_names_the_log(self, terminal: Terminal) -> None:
        terminal.run(APP, ["-m", "demo"])
        os.kill(self.child(terminal), signal.SIGABRT)
        assert terminal.wait() == 128 + signal.SIGABRT
        assert terminal.modes_left_on() == []
        assert terminal.settings() == terminal.before
        assert b"mistral-chat.log" in terminal.written

    def test_after_a_stop_and_fg_the_screen_is_drawn_again(self, terminal: Terminal) -> None:
        terminal.run(APP, ["-m", "demo"])
        child = self.child(terminal)
        for _ in range(2):
            os.killpg(terminal.process.pid, signal.SIGTSTP)
            for process in (child, terminal.process.pid):
                wait_for_state(process, "T")
            terminal.written = b""
            os.killpg(terminal.process.pid, signal.SIGCONT)
            wait_for_rows(terminal, terminal.rows - 2)
        terminal.process.send_signal(signal.SIGTERM)
        terminal.wait()

    def test_an_external_signal_ends_the_app_cleanly(self, terminal: Terminal) -> None:
        terminal.run(APP, ["-m", "demo"])
        self.child(terminal)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait() == 128 + signal.SIGTERM
        assert terminal.modes_left_on() == []
        assert terminal.settings() == terminal.before

    @pytest.mark.parametrize(("option", "code"), [("--chat", 1), ("--persona", 2)])
    def test_missing_files_are_reported_before_the_screen_opens(self, terminal: Terminal, option: str, code: int) -> None:
        terminal.run(APP, ["-m", "demo", option, "zzzz"])
        assert terminal.wait() == code
        assert b"\x1b[?1049h" not in terminal.written
        assert terminal.written.count(b"zzzz") == 1
