"""The demo model, asked from the shell as a user or a script does, in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from support.effort import PATIENCE

from mistral_chat.cli.wiring import Program

PROGRAM = [sys.executable, "-m", "mistral_chat"]
ENDLESS = ["--ctx-size", "512", "--temperature", "0", "Write a very long poem about the sea."]
"""The demo model repeats itself at this until it is stopped."""

pytestmark = pytest.mark.usefixtures("demo_model")


def ask(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "ask", "-m", "demo", *arguments], input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def test_json_output_is_reproducible_with_a_seed() -> None:
    found: list[dict[str, Any]] = []
    for _ in range(2):
        done = ask("--json", "--seed", "1", "--max-tokens", "24", stdin="Reply with one word.")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found.append(json.loads(done.stdout))
    assert found[0]["reply"] == found[1]["reply"] != ""
    assert found[0]["model"] == "demo"
    assert found[0]["finish_reason"] in {"stop", "length"}
    assert found[0]["usage"]["prompt_tokens"] > found[0]["usage"]["cached_tokens"] >= 0


def test_ctrl_c_stops_the_reply_and_keeps_what_was_written() -> None:
    arguments = [*PROGRAM, "ask", "-m", "demo", *ENDLESS]
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        written = process.stdout.read(8)
        process.send_signal(signal.SIGINT)
        written += process.stdout.read()
        assert process.wait(PATIENCE) == 130, process.stderr.read()
    store = Program().open_store()
    (turn,) = store.turns(store.latest() or "")
    assert turn.turn.finish_reason == "cancelled"
    assert turn.turn.reply == written.decode().removesuffix("\n") != ""


def test_ctrl_c_as_json_still_prints_the_object() -> None:
    arguments = [*PROGRAM, "ask", "-m", "demo", "--json", *ENDLESS]
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        _wait_for_a_reply(process)
        process.send_signal(signal.SIGINT)
        found = json.loads(process.stdout.read())
        assert process.wait(PATIENCE) == 130
    assert found["finish_reason"] == "cancelled"
    assert found["reply"] != ""


def _wait_for_a_reply(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has saved a part of its reply: once a second it does."""
    deadline = time.monotonic() + 60
    database = Program().paths.database
    store = None
    while time.monotonic() < deadline and process.poll() is None:
        if store is None and database.exists():
            store = Program().open_store()
        latest = store.latest() if store else None
        if store and latest and any(turn.turn.reply for turn in store.turns(latest)):
            store.close()
            return
        select.select([], [], [], 0.05)
    pytest.fail("no part of the reply was saved within a minute")


def test_a_terminal_gets_progress_that_is_erased_and_no_control_characters(tmp_path: Path) -> None:
    """The user sees the reply alone."""
    master, slave = pty.openpty()
    (tmp_path / "text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 8)
    arguments = [*PROGRAM, "ask", "-m", "demo", "--max-tokens", "4", "--stats", "-f", str(tmp_path / "text.txt")]
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # how Linux says that the other end is closed
                break
            seen += piece
        os.close(master)
        assert process.wait(60) == 0
    before, _, rest = seen.rpartition(b"\r\x1b[K")
    assert b"loading the model" in before
    assert b"\x1b" not in rest
    assert b"reply tokens" in rest


def test_a_closed_pipe_ends_quietly() -> None:
    command = f"{sys.executable} -m mistral_chat ask -m demo --max-tokens 30 'Count to ten.' | head -c 1"
    done = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""


def test_message_text_is_stored_in_the_database_alone(own_folders: Path) -> None:
    """No other file contains the words: no log, no cache, no temporary file."""
    before = set(Path(tempfile.gettempdir()).iterdir())
    assert ask("--max-tokens", "4", "The password is xyzzy-plugh.").returncode == 0
    holding = [path for path in own_folders.rglob("*") if path.is_file() and b"xyzzy-plugh" in path.read_bytes()]
    assert {path.name for path in holding} <= {"conversations.db", "conversations.db-wal"}
    assert holding
    left = set(Path(tempfile.gettempdir()).iterdir()) - before
    assert not [path for path in left if path.is_file() and b"xyzzy-plugh" in path.read_bytes()]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace, which sees every connection, is not installed")
def test_asking_uses_no_network(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    watched = ["strace", "-f", "-e", "trace=connect,sendto", "-o", str(trace)]
    done = subprocess.run(
        [*watched, *PROGRAM, "ask", "-m", "demo", "--max-tokens", "2", "Hello."],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("strace may not watch processes here")
    assert done.returncode == 0, done.stderr
    assert "AF_INET" not in trace.read_text()
