"""A user who does anything at any time, while the engine and the disk sometimes fail."""

from __future__ import annotations

import logging
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.app_harness import AppHarness, run_loaded, until
from support.effort import cases, seed
from support.stores import assert_index_is_true

from mistral_chat.errors import EngineFailed
from mistral_chat.ui.app import MistralChatApp

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from support.trust import Tally
    from textual.pilot import Pilot

pytestmark = pytest.mark.no_cover
"""What is lost or broken is looked for; measuring what is covered besides would take twice as long."""

KEYS = (
    *("escape", "enter", "tab", "up", "down", "pageup", "pagedown", "home", "end", "backspace", "space", "delete"),
    *("ctrl+n", "ctrl+b", "ctrl+o", "ctrl+r", "ctrl+f", "ctrl+l", "ctrl+t", "ctrl+p", "ctrl+u", "ctrl+j"),
    *(
        "alt+left",
        "alt+right",
        "alt+up",
        "alt+down",
        "alt+p",
        "alt+x",
        "alt+k",
        "alt+d",
        "alt+a",
        "alt+v",
        "alt+l",
        "alt+w",
        "alt+r",
    ),
    *("alt+r", "f1", "f2", "f3", "f4", "f5", "f6", "f8", "f9", "f10", "f11", "f12"),
)
"""All but those that leave the app, open an editor or write a file."""

DRAFTS = (
    *(
        "Hello",
        "What is [INST]?",
        "/set temperature 0.3",
        "/persona",
        "/tag bread",
        "/rename Ä 🦆 \x07",
        "/undo",
        "/nonsense",
        "//x",
    ),
    *("word " * 60, "```\ncode\n```", "\u202eright to left", "fail", "//x"),
)


class RandomUser:
    def __init__(self, harness: AppHarness, pilot: Pilot[Any], path: Path) -> None:
        self.harness, self.pilot, self.path = harness, pilot, path
        self.chance = random.Random(seed())
        self.known: dict[str, str] = {}
        """Every question that the store has had, by its turn."""
        self.did: list[str] = []
        self._actions: list[tuple[Callable[[], Coroutine[Any, Any, str]], int]] = [
            (self._press, 12),
            (self._send, 4),
            (self._type, 2),
            (self._hold_the_lock, 1),
            (self._resize, 1),
            (self._wait, 1),
        ]

    async def act(self) -> None:
        """Do one thing."""
        actions, weights = zip(*self._actions, strict=True)
        (action,) = self.chance.choices(actions, weights)
        self.did.append(await action())
        await self.pilot.pause()

    async def _press(self) -> str:
        key = self.chance.choice(KEYS)
        await self.pilot.press(key)
        return key

    async def _send(self) -> str:
        text = self.chance.choice(DRAFTS)
        self.harness.chat.set_draft(text)
        self.harness.chat.composer.focus()
        await self.pilot.press("enter")
        return f"send {text[:20]!r}"

    async def _type(self) -> str:
        await self.pilot.press(*self.chance.choice(("hello", "xyz", "12")))
        return "type"

    async def _hold_the_lock(self) -> str:
        """Let another program lock the database while two keys are pressed."""
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=5)) as other:
            other.execute("BEGIN IMMEDIATE")
            await self.pilot.press("x", self.chance.choice(("ctrl+n", "f9", "down")))
            other.execute("ROLLBACK")
        return "hold the lock"

    async def _resize(self) -> str:
        size = self.chance.choice(((60, 20), (100, 30), (140, 40)))
        await self.pilot.resize_terminal(*size)
        return f"resize to {size}"

    async def _wait(self) -> str:
        await until(self.pilot, lambda: not self.harness.chat.replying, "the reply ends")
        return "wait"

    def look(self) -> None:
        """What must be true after any action."""
        assert self.harness.app.is_running
        assert self.harness.app._exception is None
        with closing(sqlite3.connect(self.path, timeout=5)) as connection:
            there = dict(connection.execute("SELECT turns.id, user FROM turns"))
            conversations = {each for (each,) in connection.execute("SELECT id FROM conversations")}
        gone = self.known.keys() - there.keys()
        assert not gone or set(self.harness.forgotten) - conversations, f"turns vanished: {gone}"
        for turn, user in self.known.items():
            assert there.get(turn, user) == user, "a question changed"
        self.known = there


async def test_a_random_user(
    tmp_path: Path, tally: Tally, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(text: str) -> str:
        if text == "fail":
            raise EngineFailed("llama.cpp failed. The reply was stopped.")
        return f"You said: {text} " + "and so on " * 20

    path = tmp_path / "conversations.db"

    async def stay(_: MistralChatApp) -> None:
        """Quit, the last command of the palette, ends the app rightly, and with it the test."""

    monkeypatch.setattr(MistralChatApp, "action_quit", stay)
    harness = AppHarness(path=path, answer=answer, window=512)
    harness.add_conversation(("How is bread made?", "With flour."), ("And rye?", "The same."), title="Bread")
    async with run_loaded(harness) as pilot:
        user = RandomUser(harness, pilot, path)
        for _ in range(cases(120, 10_000)):
            with tally.trial("a random user, while the engine fails now and then: nothing lost, nothing broken"):
                await user.act()
                user.look()
                broken = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
                assert not broken, f"{broken} after {user.did[-15:]}"
    harness.store.database.integrity_check()
    assert_index_is_true(harness.store)
