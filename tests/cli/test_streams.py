"""Standard streams of every kind: closed, full, endless, binary, slow, and terminals that cannot show the chat."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.terminals import Terminal, open_terminal

from mistral_chat.cli import stdin
from mistral_chat.session.attachments import LARGEST_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = "from mistral_chat.cli.main import main; main()"


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    yield from open_terminal()


def shell(command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `command` in a shell, where $APP starts the program."""
    app = f"{sys.executable} -c '{APP}'"
    command = command.replace("$APP", app)
    return subprocess.run(["/bin/sh", "-c", command], env={**os.environ, **environ}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
@pytest.mark.usefixtures("demo_model")
def test_a_closed_stream_loses_no_answer(closed: str) -> None:
    done = shell(f"$APP ask -m demo --no-save --temperature 0 --max-tokens 3 hello {closed}")
    assert (done.returncode, bool(done.stdout.strip())) == (0, True), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["doctor", "paths", "config show", "--version", "chats list"])
def test_without_standard_output_there_is_no_traceback(command: str) -> None:
    assert "Traceback" not in shell(f"$APP {command} >&-").stderr


def test_closed_streams_do_not_redirect_output_into_files(tmp_path: Path) -> None:
    file = str(tmp_path / "f")
    code = f"import os; from mistral_chat.cli import main; main._open_closed_streams(); open('{file}', 'w'); os.write(1, b'x')"
    subprocess.run(["/bin/sh", "-c", f'{sys.executable} -c "{code}" >&- 2>&-'], check=True)
    assert (tmp_path / "f").read_text() == ""


@pytest.mark.parametrize("command", ["config show", "paths --json", "--help"])
def test_a_full_disk_behind_standard_output_is_one_sentence(command: str) -> None:
    done = shell(f"$APP {command} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "mistral-chat: cannot write to standard output: No space left on device\n"


def test_both_outputs_full_is_an_exit_code() -> None:
    assert shell("$APP config show >/dev/full 2>/dev/full").returncode == 1


def test_a_full_disk_under_the_log_is_silent(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    code = (
        "import logging, pathlib; from mistral_chat.cli.logs import start_log; "
        f"start_log(pathlib.Path({str(tmp_path / 'log')!r})); logging.getLogger('mistral_chat').warning('x'); print('continues')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("continues\n", "")


def test_endless_standard_input_is_refused_before_the_memory_is_full() -> None:
    done = shell("ulimit -v 4000000; yes | $APP ask -m demo x")
    assert done.returncode == 1
    assert f"mistral-chat: Standard input is larger than {LARGEST_FILE // 1024**2} MB" in done.stderr


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x7fELF\x02\x01\x01\0\0", "binary data"),
        (b"Gr\xfc\xdfe", "not UTF-8 or UTF-16 text"),
        (b"\xff\xfeab\0", "not UTF-8 or UTF-16 text"),
    ],
)
def test_standard_input_that_is_not_text_is_refused(content: bytes, problem: str) -> None:
    command = [sys.executable, "-c", APP, "ask", "-m", "demo", "What is this?"]
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"mistral-chat: Standard input is ")
    assert problem.encode() in done.stderr


def test_waiting_for_an_open_pipe_is_reported() -> None:
    code = f"from mistral_chat.cli import stdin; stdin.PATIENCE = 0.05; {APP}"
    with subprocess.Popen(
        [sys.executable, "-c", code, "ask", "-m", "none-such", "x"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stderr is not None
        assert program.stdin is not None
        assert program.stderr.readline() == f"mistral-chat: {stdin.WAITING}\n"
        program.stdin.close()
        assert "none-such" in program.stderr.read(), "it does not continue when the pipe is closed"


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in the file system")
def test_waiting_for_a_pipe_to_import_from_is_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-c", APP, "chats", "import", str(tmp_path / "pipe")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"mistral-chat: waiting for {tmp_path / 'pipe'} to end\n"
        (tmp_path / "pipe").write_text("{}")
        assert "neither" in process.communicate(timeout=60)[1]
    assert process.returncode == 1


def test_a_pipe_that_ends_at_once_is_waited_for_silently() -> None:
    began = time.monotonic()
    done = shell("echo hello | $APP ask -m none-such x")
    assert stdin.WAITING not in done.stderr or time.monotonic() - began > stdin.PATIENCE


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"TERM": "dumb"}, b"TERM is \xe2\x80\x9cdumb\xe2\x80\x9d"),
        ({"PYTHONIOENCODING": "iso-8859-1"}, b"LC_ALL=C.UTF-8 mistral-chat"),
    ],
)
def test_an_unsuitable_terminal_gets_an_explanation(terminal: Terminal, environ: dict[str, str], words: bytes) -> None:
    terminal.run(APP, environ=environ)
    assert terminal.wait() == 2
    assert words in terminal.written
    assert b"\x1b[?1049h" not in terminal.written


@pytest.mark.usefixtures("demo_model")
def test_a_dumb_terminal_gets_no_escape_sequences(terminal: Terminal) -> None:
    arguments = ["ask", "-m", "demo", "--no-save", "--temperature", "0", "--max-tokens", "3", "hello"]
    terminal.run(f"import sys\n{APP}", arguments, {"TERM": "dumb"})
    assert terminal.wait() == 0
    assert b"\x1b" not in terminal.written
