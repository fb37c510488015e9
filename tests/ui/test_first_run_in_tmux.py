"""The first run in a real terminal, with the real program, the real engine and a hub of our own: from nothing to a reply."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from support.hub_server import Fault, HubServer

from mistral_chat.store.conversations import ConversationStore
from mistral_chat.store.database import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPOSITORY, FILE = "acme/demo-GGUF", "demo-Q4_1.gguf"
PATIENCE = 40.0
"""Seconds after which a screen counts as never coming."""


class Terminal:
    """A terminal of 60 columns and 20 rows, in a tmux of its own."""

    def __init__(self, socket: Path, command: str) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", os.devnull]
        self._run("new-session", "-d", "-x", "60", "-y", "20", command, ";", "set-option", "-g", "remain-on-exit", "on")

    def screen(self) -> str:
        return self._run("capture-pane", "-p")

    def ended(self) -> str:
        """The exit code once the program has ended; empty before."""
        return self._run("display-message", "-p", "#{pane_dead_status}").strip()

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def write(self, text: str) -> None:
        self._run("send-keys", "-l", text)

    def wait_for(self, text: str) -> str:
        """The first screen that shows `text`."""
        pause, deadline = threading.Event(), time.monotonic() + PATIENCE
        while text not in (screen := self.screen()):
            assert time.monotonic() < deadline, f"never shown: {text!r}\n{screen}"
            pause.wait(0.05)
        return screen

    def wait_for_the_end(self) -> str:
        pause, deadline = threading.Event(), time.monotonic() + PATIENCE
        while not self.ended():
            assert time.monotonic() < deadline, f"never ended:\n{self.screen()}"
            pause.wait(0.05)
        return self.ended()

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)

    def _run(self, *arguments: str) -> str:
        # Without an environment of its own the child would inherit LINES and COLUMNS, which readline sets behind Python's back.
        done = subprocess.run([*self._tmux, *arguments], check=True, capture_output=True, text=True, env=dict(os.environ))
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path, demo_weights: Path, own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed, and this test plays in one")
    with HubServer() as hub:
        hub.add(REPOSITORY, FILE, demo_weights)
        hub.misbehave(Fault(rate=40_000_000))
        settings = tmp_path / "config.yaml"
        settings.write_text(
            "model: pocket\n"
            "sampling: {max_tokens: 12, seed: 1}\n"
            f"models:\n  catalog:\n    pocket: {{repository: {REPOSITORY}, file: {FILE}}}\n",
            encoding="utf-8",
        )
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("MISTRAL_CHAT_CONFIG", str(settings))
        monkeypatch.setenv("MISTRAL_CHAT_DATA_DIR", str(tmp_path / "data"))
        terminal = Terminal(tmp_path / "tmux", shlex.join([sys.executable, "-m", "mistral_chat"]))
        yield terminal
        terminal.close()


def test_from_nothing_to_the_first_reply(terminal: Terminal, tmp_path: Path, demo_weights: Path) -> None:
    terminal.wait_for("Asked for")
    terminal.wait_for("leaves this computer.")
    first = terminal.wait_for("disk free")
    assert "pocket" in first
    terminal.press("Enter")
    terminal.wait_for("of 98.4 MB")
    terminal.press("p")
    terminal.wait_for("Go on")
    kept = next((tmp_path / "data" / "models").rglob("*.part")).stat().st_size
    assert 0 < kept < demo_weights.stat().st_size
    terminal.press("p")
    terminal.wait_for("ready")
    terminal.write("Say hello.")
    terminal.press("Enter")
    terminal.wait_for("Say hello.")
    store = ConversationStore(open_database(tmp_path / "data" / "conversations.db", now=_now), now=_now)
    reply = _finished_reply(store)
    terminal.wait_for(reply.split()[0])
    terminal.press("C-q")
    assert terminal.wait_for_the_end() == "0"
    files = [
        path for path in (tmp_path / "data" / "models").rglob("*") if path.is_file() and path.name.endswith((".gguf", ".part"))
    ]
    assert [path.name for path in files] == [FILE]
    store.close()


def _finished_reply(store: ConversationStore) -> str:
    """The first reply, once it is there as a whole."""
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE
    while True:
        turns = store.path(latest) if (latest := store.latest()) else []
        if turns and turns[0].turn.finish_reason is not None:
            return turns[0].turn.reply
        assert time.monotonic() < deadline, "the first message was never answered"
        pause.wait(0.05)


def _now() -> datetime:
    return datetime.now(UTC)
