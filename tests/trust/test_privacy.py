"""Privacy: no connection, no trace of unsaved text, no byte of deleted text."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.gguf_factory import gguf_file
from support.paced_program import END
from support.small_gguf import small_model
from support.stores import open_store
from support.timed_terminal import TimedTerminal
from support.trust import Tally, environment

from mistral_chat.engine.llama.model import open_vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "quetzalcoatl"  # noqa: S105 (a word to look for)
WATCH = """
import os, sys
_log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def _watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind", "socket.getaddrinfo"):
        os.write(_log, f"{event} {arguments[1:]!r}\\n".encode())
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING and isinstance(arguments[0], str):
        os.write(_log, f"write {os.path.abspath(arguments[0])}\\n".encode())
    elif event in ("os.mkdir", "os.rename", "sqlite3.connect"):
        os.write(_log, f"write {arguments[0]!s}\\n".encode())
sys.addaudithook(_watch)
"""
"""Writes down every connection, look-up and written file of the process it runs in and of those that it forks."""

PACED = WATCH + "from support.paced_program import run; run()"
SCREENS = {"search": b"\x06", "models": b"\x1b[18~", "settings": b"\x1b[24~", "prompt": b"\x0c", "help": b"\x1bOP"}
"""Screens that are looked at, with the keys that open them."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "small.gguf"
    path.parent.mkdir()
    path.write_bytes(small_model().encoded())
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@contextmanager
def session(model: Path, log: Path, home: Path, *arguments: str) -> Iterator[TimedTerminal]:
    """The real program in a terminal, with a quick engine; quits in the end."""
    names = {"AUDIT_LOG": str(log), "MISTRAL_CHAT_DATA_DIR": str(home / "data"), "PACED_TOKENS_PER_SECOND": "200"}
    terminal = TimedTerminal(PACED, ["-m", str(model), *arguments], environment(**names))
    try:
        terminal.wait_for("/4k")
        yield terminal
        if terminal.running:
            terminal.press(b"\x11")
            assert terminal.wait_for_end() == 0
    finally:
        terminal.close()


def talk(terminal: TimedTerminal, text: str) -> None:
    terminal.ask(text)
    terminal.wait_for(END)
    terminal.settle()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_session_opens_no_connection(model: Path, log: Path, own_folders: Path, tally: Tally) -> None:
    with session(model, log, own_folders) as terminal:
        for text in ("Write 30 tokens", "Write 40 tokens"):
            with tally.trial("no connection and no look-up in a whole session"):
                talk(terminal, text)
                assert "socket." not in log.read_text()
        for keys in SCREENS.values():
            with tally.trial("no connection and no look-up in a whole session"):
                terminal.press(keys)
                terminal.settle()
                terminal.press(b"\x1b")
                terminal.settle()
                assert "socket." not in log.read_text()
    assert "socket." not in log.read_text()
    assert "conversations.db" in log.read_text(), "the watch saw nothing at all"


def test_the_monitor_sees_a_connection(log: Path) -> None:
    """The test above would pass with a watch that sees nothing."""
    code = WATCH + "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 0.1)\nexcept OSError: pass"
    subprocess.run([sys.executable, "-c", code], env=environment(AUDIT_LOG=str(log)), check=True)
    assert "socket.connect" in log.read_text()


def test_a_run_without_saving_writes_nothing(model: Path, log: Path, own_folders: Path, tally: Tally) -> None:
    before = files(own_folders)
    with tally.trial("--no-save writes no file"), session(model, log, own_folders, "--no-save") as terminal:
        talk(terminal, f"Write 30 {SECRET}")
        terminal.press(f"a draft about {SECRET}".encode())
        terminal.settle()
    written = {line.removeprefix("write ") for line in log.read_text().splitlines() if line.startswith("write ")}
    assert not [path for path in written if path.startswith(str(own_folders)) or "conversations" in path]
    assert files(own_folders) == before


def test_a_temporary_chat_leaves_no_trace(model: Path, log: Path, own_folders: Path, tally: Tally) -> None:
    with tally.trial("a temporary chat leaves no trace on the disk"):
        with session(model, log, own_folders) as terminal:
            terminal.press(b"\x14")
            terminal.settle()
            talk(terminal, f"Write 30 {SECRET}")
            terminal.press(f"a draft about {SECRET}".encode())
            terminal.settle()
            terminal.kill(signal.SIGKILL)
        found = [name for name, content in files(own_folders).items() if SECRET.encode() in content]
        assert found == []


def test_no_deleted_text_stays_in_any_file(tmp_path: Path, own_folders: Path, tally: Tally) -> None:
    weights = gguf_file(tmp_path, "v3")
    data = own_folders / "data"
    environ = environment(MISTRAL_CHAT_DATA_DIR=str(data))
    question = f"What does {SECRET} mean, and where does the word {SECRET} come from?"
    with open_vocabulary(weights) as vocabulary:
        tokens = vocabulary.tokenize(question)[2:-2]

    def holding() -> set[str]:
        """The forms of the text that are found in a file."""
        forms = {
            "UTF-8": SECRET.encode(),
            "UTF-16": SECRET.encode("utf-16-le"),
            "UTF-16 BE": SECRET.encode("utf-16-be"),
            "token ids": b"".join(token.to_bytes(4, "little") for token in tokens),
            "token ids as JSON": ", ".join(map(str, tokens)).encode(),
            "token ids as short JSON": ",".join(map(str, tokens)).encode(),
        }
        contents = files(own_folders).values()
        return {name for name, form in forms.items() if any(form in content for content in contents)}

    command = [sys.executable, "-m", "mistral_chat"]
    subprocess.run([*command, "ask", "-m", str(weights), "--max-tokens", "4", question], env=environ, check=True, timeout=120)
    assert "UTF-8" in holding()
    assert {name for name in holding() if "token" in name}, "no snapshot was written: the test proves nothing of tokens"
    with closing(open_store(data / "conversations.db")) as store:
        conversation = store.latest()
    assert conversation is not None
    with tally.trial("no deleted text in any file, as UTF-8, UTF-16 or token ids"):
        subprocess.run([*command, "chats", "rm", "--now", "--yes", conversation], env=environ, check=True, timeout=60)
        assert holding() == set()
