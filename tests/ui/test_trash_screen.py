"""The trash."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from support.app_harness import PAUSE, AppHarness, run_loaded, screen_text, send_message, until

from mistral_chat.errors import StoreBusy
from mistral_chat.session.saver import Saver

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_a_conversation_is_restored() -> None:
    harness = AppHarness()
    harness.store.trash(harness.add_conversation(("Question", "Answer"), title="Bread"))
    async with run_loaded(harness) as pilot:
        await pilot.press("f10")
        await until(pilot, lambda: "1 conversation" in screen_text(harness))
        await pilot.press("enter")
        await until(pilot, lambda: "Answer" in screen_text(harness))
        assert [summary.title for summary in harness.store.summaries()] == ["Bread"]


async def test_permanent_deletion_is_confirmed_first(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    doomed = harness.add_conversation(("Question about marmalade", "Answer"), title="Bread")
    harness.store.trash(doomed)
    harness.store.trash(harness.add_conversation(("Q", "A"), title="Other"))
    async with run_loaded(harness) as pilot:
        await pilot.press("f10")
        await until(pilot, lambda: "2 conversations" in screen_text(harness))
        if "Other" in screen_text(harness).split("2 conversations")[1].split("Bread")[0]:
            await pilot.press("down")
        await pilot.press("delete")
        await until(pilot, lambda: "permanently?" in screen_text(harness))
        await pilot.press("escape")
        await until(pilot, lambda: "permanently?" not in screen_text(harness))
        assert len(harness.store.summaries(where="trash")) == 2
        await pilot.press("delete")
        await until(pilot, lambda: "permanently?" in screen_text(harness))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "1 conversation" in screen_text(harness))
        assert set(harness.forgotten) == {doomed}
        await pilot.press("escape")
        await until(pilot, lambda: len(harness.app.screen_stack) == 1)
    assert b"marmalade" not in (tmp_path / "c.db").read_bytes()


async def test_deleting_the_open_conversation_shows_the_new_one_with_its_draft(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    doomed = harness.start_with(("Question", "Answer"), title="Bread")
    harness.store.save_draft("", "Half a thought")
    async with run_loaded(harness) as pilot:
        other = harness.open_store()
        other.trash(doomed)
        other.close()
        await pilot.press("f10")
        await until(pilot, lambda: "1 conversation" in screen_text(harness))
        await pilot.press("delete")
        await until(pilot, lambda: "permanently?" in screen_text(harness))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "The trash is empty." in screen_text(harness))
        assert harness.chat.draft == "Half a thought"
        harness.chat.save_draft()
        await harness.screen.opened.saver.flush()
        assert harness.store.draft("") == "Half a thought"


async def test_a_deletion_has_not_failed_when_the_next_conversation_cannot_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(_saver: Saver, _conversation_id: str) -> str:
        raise StoreBusy("Another program is using the database.")

    harness = AppHarness(path=tmp_path / "c.db")
    doomed = harness.start_with(("Question", "Answer"), title="Bread")
    async with run_loaded(harness) as pilot:
        harness.store.trash(doomed)
        await pilot.press("f10")
        await until(pilot, lambda: "1 conversation" in screen_text(harness))
        await pilot.press("delete")
        await until(pilot, lambda: "permanently?" in screen_text(harness))
        monkeypatch.setattr(Saver, "draft", locked)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "another program" in harness.chat.notice.lower())
        await until(pilot, lambda: "The trash is empty." in screen_text(harness))
        monkeypatch.undo()
        await harness.chat.force_poll()
        assert harness.chat.conversation_id is None


async def test_a_deletion_goes_on_when_the_trash_is_closed(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    doomed = harness.add_conversation(("Question", "Answer"), title="Bread")
    harness.store.trash(doomed)
    async with run_loaded(harness) as pilot:
        await pilot.press("f10")
        await until(pilot, lambda: "1 conversation" in screen_text(harness))
        with closing(sqlite3.connect(tmp_path / "c.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await pilot.press("delete")
            await until(pilot, lambda: "permanently?" in screen_text(harness))
            await pilot.press("tab", "enter")
            await until(pilot, lambda: "Deleting" in screen_text(harness))
            await pilot.press("escape")
            await until(pilot, lambda: len(harness.app.screen_stack) == 1)
            other.execute("ROLLBACK")
        await until(pilot, lambda: not harness.store.summaries(where="trash"))
        assert set(harness.forgotten) == {doomed}


async def test_a_deletion_does_not_wait_for_a_reply_elsewhere() -> None:
    harness = AppHarness(answer=lambda _: f"A {PAUSE}")
    harness.store.trash(harness.add_conversation(("Question", "Answer"), title="Bread"))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Hello")
        await until(pilot, lambda: "A " in screen_text(harness))
        await pilot.press("f10")
        await until(pilot, lambda: "1 conversation" in screen_text(harness))
        await pilot.press("delete")
        await until(pilot, lambda: "permanently?" in screen_text(harness))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "The trash is empty." in screen_text(harness))
        assert harness.chat.replying


async def test_the_trash_is_emptied() -> None:
    harness = AppHarness()
    for title in ("One", "Two", "Three"):
        harness.store.trash(harness.add_conversation(("Q", "A"), title=title))
    async with run_loaded(harness, (60, 20)) as pilot:
        await pilot.press("f10")
        await until(pilot, lambda: "3 conversations" in screen_text(harness))
        await pilot.click("#empty")
        await until(pilot, lambda: "Empty the trash?" in screen_text(harness))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "The trash is empty." in screen_text(harness))
        assert len(set(harness.forgotten)) == 3
