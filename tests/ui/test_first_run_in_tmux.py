"""The first run in a real terminal, with the real program, the real engine and a hub of our own: from nothing to a reply."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from support.effort import PATIENCE
from support.hub_server import Fault, HubServer
from support.tmux import Tmux

from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.long

REPOSITORY, FILE = "acme/demo-GGUF", "demo-Q4_1.gguf"


@pytest.fixture
def hub(demo_model: Path) -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.add(REPOSITORY, FILE, demo_model)
        hub.misbehave(Fault(rate=40_000_000))
        yield hub


@pytest.fixture
def terminal(tmp_path: Path, hub: HubServer, own_folders: Path) -> Iterator[Tmux]:
    settings = tmp_path / "config.yaml"
    settings.write_text(
        "model: pocket\n"
        "sampling: {max_tokens: 12, seed: 1}\n"
        f"models:\n  catalog:\n    pocket: {{repository: {REPOSITORY}, file: {FILE}}}\n",
        encoding="utf-8",
    )
    environ = {
        "HF_ENDPOINT": hub.endpoint,
        "MISTRAL_CHAT_CONFIG": str(settings),
        "MISTRAL_CHAT_DATA_DIR": str(tmp_path / "data"),
    }
    terminal = Tmux(tmp_path / "tmux", (60, 20))
    terminal.start(shlex.join([sys.executable, "-m", "mistral_chat"]), environ)
    yield terminal
    terminal.close()


def test_from_nothing_to_the_first_reply(terminal: Tmux, tmp_path: Path, demo_model: Path) -> None:
    terminal.wait_for("Asked for")
    terminal.wait_for("leave this computer.")
    first = terminal.wait_for("disk free")
    assert "pocket" in first
    terminal.press("Enter")
    terminal.wait_for("Download pocket Q4_1?", "Cancel")
    terminal.press("Right", "Enter")
    terminal.wait_for("of 98.4 MB")
    terminal.press("p")
    terminal.wait_for("Resume")
    kept = next((tmp_path / "data" / "models").rglob("*.part")).stat().st_size
    assert 0 < kept < demo_model.stat().st_size
    terminal.press("p")
    terminal.wait_for("Write a message below")
    terminal.write("Say hello.")
    terminal.press("Enter")
    terminal.wait_for("Say hello.")
    store = ConversationStore(open_database(tmp_path / "data" / "conversations.db"), now=_now)
    reply = _finished_reply(store)
    terminal.wait_for(reply.split()[0])
    terminal.press("C-q")
    assert terminal.wait_for_the_end() == "0"
    files = [
        path for path in (tmp_path / "data" / "models").rglob("*") if path.is_file() and path.name.endswith((".gguf", ".part"))
    ]
    assert [path.name for path in files] == [FILE]
    store.close()


def test_chatting_with_the_demo_during_a_download(terminal: Tmux, hub: HubServer, tmp_path: Path) -> None:
    """The user can chat during a long download, and loses nothing of either by quitting."""
    hub.behave()
    hub.misbehave(Fault(stall_after=40_000_000, times=1))
    terminal.wait_for("Asked for", "disk free")
    terminal.press("Enter")
    terminal.wait_for("Download pocket Q4_1?", "Cancel")
    terminal.press("Right", "Enter")
    terminal.wait_for("40.0 of 98.4 MB")
    terminal.press("Escape")
    terminal.wait_for("Continue in the background")
    terminal.press("Down", "Enter")
    terminal.wait_for("Downloading", "downloading 40%")
    terminal.press("Down", "Down")
    terminal.wait_for("Source: demo package")
    terminal.press("Enter")
    terminal.wait_for("Write a message below", "⟳ downloading 40%")
    terminal.write("Say hello.")
    terminal.press("Enter")
    store = ConversationStore(open_database(tmp_path / "data" / "conversations.db"), now=_now)
    assert _finished_reply(store)
    hub.close_stalled()
    terminal.wait_for("Downloaded", "F7 and Enter")
    terminal.press("F7")
    terminal.wait_for("Installed · downloaded", "in use")
    terminal.press("Enter")
    terminal.wait_for("pocket", "/4k")
    terminal.press("C-q")
    assert terminal.wait_for_the_end() == "0"
    store.close()


def _finished_reply(store: ConversationStore) -> str:
    """The first reply, once it is there as a whole."""
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE
    while True:
        turns = store.turns(latest) if (latest := store.latest()) else []
        if turns and turns[0].turn.finish_reason is not None:
            return turns[0].turn.reply
        assert time.monotonic() < deadline, "the first message was never answered"
        pause.wait(0.05)


def _now() -> datetime:
    return datetime.now(UTC)
