"""A temporary chat reaches no file, and the screen says so."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import PAUSE, AppHarness, run_loaded, screen_text, send_and_wait, send_message, until
from support.effort import PATIENCE

from mistral_chat.errors import StoreBusy
from mistral_chat.ui.dialogs.confirm import ConfirmDialog

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot


HUSHED = "tangerine"


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def hidden(pilot: Pilot[Any], harness: AppHarness) -> None:
    await pilot.press("ctrl+t")
    await until(pilot, lambda: "Temporary chat" in screen_text(harness))


async def test_a_temporary_chat_is_never_saved(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    kept = harness.add_conversation(("Question", "A kept answer"), title="Bread")
    async with run_loaded(harness) as pilot:
        await harness.chat.open(kept)
        await hidden(pilot, harness)
        assert "not saved" in screen_text(harness).splitlines()[-1]
        assert "Bread" not in screen_text(harness), "saved conversations are listed as if they could be added to"
        assert "Conversations are hidden" in screen_text(harness), "the conversations seem to be lost"
        await send_and_wait(pilot, harness, f"My {HUSHED}")
        harness.chat.type(f"draft of a {HUSHED}")
        harness.chat.save_draft()
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(harness.app.screen, ConfirmDialog))
        await pilot.press("escape")
        await until(pilot, lambda: len(harness.app.screen_stack) == 1)
        assert HUSHED in harness.chat.draft
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(harness.app.screen, ConfirmDialog))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "A kept answer" in screen_text(harness))
        await until(pilot, lambda: "saved again" in harness.chat.notice)
        assert HUSHED not in screen_text(harness)
        assert harness.chat.draft == ""
        assert harness.chat.ledger is not None
        seen = {turn.key for turn in harness.chat.ledger.turns}
        assert seen <= {turn.turn_id for turn in harness.store.turns(kept)}, "the model still sees what was not to be kept"
        assert not [text for text in harness.store.input_history() if HUSHED in text]
        assert not harness.screen.has_class("-unsaved")
        await send_and_wait(pilot, harness, "And now?")
        assert len(harness.store.turns(kept)) == 2
    assert HUSHED.encode() not in written(tmp_path)


async def test_a_draft_moves_into_the_temporary_chat(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    async with run_loaded(harness, (60, 20)) as pilot:
        harness.chat.type("half a thought")
        harness.chat.save_draft()
        await hidden(pilot, harness)
        assert harness.chat.draft == "half a thought"
        await until(pilot, lambda: harness.store.draft("") == "")


async def test_a_saved_conversation_keeps_its_draft() -> None:
    harness = AppHarness()
    kept = harness.add_conversation(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await harness.chat.open(kept)
        harness.chat.type("later")
        await hidden(pilot, harness)
        assert harness.chat.draft == ""
        await pilot.press("ctrl+t")
        await until(pilot, lambda: harness.chat.draft == "later")
        assert harness.store.draft(kept) == "later"


async def test_what_cannot_be_sent_can_be_sent_in_a_temporary_chat(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    harness = AppHarness(path=path)
    harness.start_with(("Question", "Answer"), title="Bread")
    async with run_loaded(harness) as pilot:
        harness.chat.shorten_busy_timeout()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            harness.chat.composer.focus()
            await pilot.press(*"urgent", "enter")
            await until(pilot, lambda: "Ctrl+T starts a temporary chat" in harness.chat.notice)
            assert harness.chat.draft == "urgent"
            await until(pilot, lambda: harness.screen.opened.saver.problem is not None)
            await pilot.pause()
            assert "Ctrl+T starts a temporary chat" in harness.chat.notice, "the warning that lasts comes after it"
            await hidden(pilot, harness)
            assert harness.chat.draft == "urgent"
            await pilot.press("enter")
            await until(pilot, lambda: "You said: urgent" in screen_text(harness))
            await pilot.press("ctrl+t")
            await until(pilot, lambda: isinstance(harness.app.screen, ConfirmDialog))
            await pilot.press("tab", "enter")
            await until(pilot, lambda: "chat discarded" in harness.chat.notice)
            assert "saved again" not in harness.chat.notice
            assert harness.chat.draft == "urgent"
            other.execute("ROLLBACK")
        await until(pilot, lambda: harness.store.draft(harness.chat.conversation_id or "") == "urgent")


async def test_a_temporary_chat_stays_if_the_saved_conversations_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AppHarness()
    harness.start_with(("Question", "A kept answer"))

    def busy(_: object) -> None:
        raise StoreBusy("Another program is writing.")

    async with run_loaded(harness) as pilot:
        await hidden(pilot, harness)
        with monkeypatch.context() as patched:
            patched.setattr(harness.store, "state", busy)
            await pilot.press("ctrl+t")
            await until(pilot, lambda: "Another program is writing." in harness.chat.notice)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "A kept answer" in screen_text(harness) and "saved again" in harness.chat.notice)


async def test_quitting_a_temporary_chat_closes_both_stores(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    async with run_loaded(harness) as pilot:
        await hidden(pilot, harness)
        await send_and_wait(pilot, harness, f"My {HUSHED}")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not harness.app.is_running)
    assert HUSHED.encode() not in written(tmp_path)


async def test_quitting_a_temporary_chat_warns_of_what_is_not_saved_behind_it(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    async with run_loaded(harness) as pilot:
        harness.chat.shorten_busy_timeout()
        with closing(sqlite3.connect(tmp_path / "c.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            harness.chat.type("Precious")
            await hidden(pilot, harness)
            await pilot.press("ctrl+q")
            await until(pilot, lambda: "again quits without saving" in harness.chat.notice)
            assert harness.app.is_running


async def test_a_temporary_chat_waits_for_the_current_reply() -> None:
    harness = AppHarness(saved=False)
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: "not saved" in screen_text(harness))
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "Nothing is saved in this session anyway" in harness.chat.notice)
    harness = AppHarness(answer=lambda _: "one ⏸ two")
    async with run_loaded(harness) as pilot:
        await harness.chat.send("Hello")
        await until(pilot, lambda: harness.chat.replying)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "Stop the reply (Esc) first." in harness.chat.notice)
        assert harness.chat.saved


async def test_a_temporary_chat_is_discarded_during_a_reply_elsewhere() -> None:
    harness = AppHarness(answer=lambda _: f"A {PAUSE}")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Hello")
        await until(pilot, lambda: "A " in screen_text(harness))
        await pilot.press("ctrl+n", "ctrl+t")
        await until(pilot, lambda: not harness.chat.saved)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "Temporary chat discarded" in harness.chat.notice)
        assert harness.screen.opened.replying


async def test_quitting_makes_a_message_that_is_not_saved_yet_a_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_chat.ui.screens.chat._SAVING_PATIENCE", PATIENCE)
    harness = AppHarness(path=tmp_path / "c.db")
    async with run_loaded(harness) as pilot:
        with closing(sqlite3.connect(tmp_path / "c.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await send_message(pilot, harness, "Precious")
            await until(pilot, lambda: harness.screen.session.replying and harness.screen.opened.saver._running)
            leaving = asyncio.create_task(harness.screen.leave())
            await until(pilot, lambda: harness.chat.draft == "Precious")
            other.execute("ROLLBACK")
            await leaving
    again = harness.open_store()
    assert again.draft("") == "Precious"
    assert again.latest() is None
