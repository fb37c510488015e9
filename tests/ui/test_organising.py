"""Organising conversations: filter, archive, tags and pins; and undoing each."""

from __future__ import annotations

from typing import Any

import pytest
from support.app_harness import (
    PAUSE,
    AppHarness,
    run,
    screen_text,
    send_and_wait,
    send_message,
    until,
    until_answered,
    until_ready,
)


def titles(harness: AppHarness, where: Any = "active") -> list[str]:
    return [summary.title for summary in harness.store.summaries(where=where)]


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_the_list_is_filtered_while_typing(size: tuple[int, int]) -> None:
    harness = AppHarness()
    for title in ("Bread and salt", "Tax letters", "Rye bread"):
        harness.add_conversation(("Question", f"Answer about {title}"), title=title)
    async with run(harness, size) as pilot:
        await until_ready(pilot, harness)
        await pilot.press("ctrl+o", "slash", *"bread")
        await until(pilot, lambda: "Tax letters" not in screen_text(harness))
        assert "Rye bread" in screen_text(harness)
        await pilot.press("x")
        await until(pilot, lambda: "No matches" in screen_text(harness))
        await pilot.press("backspace", "down", "down", "enter")
        await until(pilot, lambda: "Answer about Bread and salt" in screen_text(harness), "the second one is opened")
        await pilot.press("escape", "ctrl+o")
        await until(pilot, lambda: "Tax letters" in screen_text(harness), "everything is listed again")


async def test_enter_in_the_filter_opens_the_first() -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "The answer"), title="Only one")
    async with run(harness) as pilot:
        await until_ready(pilot, harness)
        await pilot.press("alt+l", *"only", "enter")
        await until(pilot, lambda: "The answer" in screen_text(harness))


async def test_a_conversation_is_archived_found_and_restored() -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "Answer"), title="Old matters")
    harness.add_conversation(("Question", "Answer"), title="New matters")
    async with run(harness) as pilot:
        await until_ready(pilot, harness)
        await pilot.press("ctrl+o", "down", "alt+a")
        await until(pilot, lambda: titles(harness) == ["New matters"])
        assert "Archived" in harness.chat.notice
        assert "Old matters" not in screen_text(harness).replace(harness.chat.notice, "")
        await pilot.press("alt+v")
        await until(pilot, lambda: "Archived" in screen_text(harness) and "New matters" not in screen_text(harness))
        await pilot.press("alt+a")
        await until(pilot, lambda: "The archive is empty" in screen_text(harness))
        assert titles(harness) == ["New matters", "Old matters"]
        await pilot.press("escape")
        await until(pilot, lambda: "Old matters" in screen_text(harness) and "Archived" not in screen_text(harness))


async def test_tags_are_shown_and_filter() -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "Answer"), title="Bread")
    harness.start_with(("Question", "Answer"), title="Report")
    async with run(harness) as pilot:
        await until_ready(pilot, harness)
        await send_message(pilot, harness, "/tag #work Urgent")
        await until(pilot, lambda: "#urgent #work" in screen_text(harness))
        await pilot.press("alt+l", *"#work")
        await until(pilot, lambda: "Bread" not in screen_text(harness))
        await pilot.press("escape", "escape")
        await send_message(pilot, harness, "/tag -urgent")
        await until(pilot, lambda: "#urgent" not in screen_text(harness))
        await pilot.press("f8")
        await until(pilot, lambda: "Undone: tag" in screen_text(harness))
        await until(pilot, lambda: "#urgent #work" in screen_text(harness))


async def test_actions_are_undone_one_by_one() -> None:
    harness = AppHarness()
    conversation = harness.start_with(("First line", "Answer"))
    async with run(harness) as pilot:
        await until_ready(pilot, harness)
        await pilot.press("f9", "alt+a", "f2")
        await until(pilot, lambda: "Rename the conversation" in screen_text(harness))
        await pilot.press(*"Mine", "enter")
        await until(pilot, lambda: titles(harness, "archived") == ["Mine"])
        await pilot.press("f4")
        await until(pilot, lambda: titles(harness, "trash") == ["Mine"])
        for name in ("delete", "rename", "archive", "pin"):
            await pilot.press("f8")
            await until(pilot, lambda name=name: harness.chat.notice == f"Undone: {name}")  # type: ignore[misc]  # mypy has no type for a lambda's default
        stored = harness.store.conversation(conversation)
        assert (stored.summary.title, stored.title_by) == ("First line", "first_line")
        assert (stored.summary.pinned, stored.summary.archived, stored.summary.trashed) == (False, False, None)
        await pilot.press("f8")
        await until(pilot, lambda: harness.chat.notice == "Nothing to undo.")


async def test_undoing_a_missing_change_is_reported() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"), title="Doomed")
    async with run(harness) as pilot:
        await until_ready(pilot, harness)
        await pilot.press("f4")
        await until(pilot, lambda: titles(harness, "trash"))
        harness.store.empty_trash()
        await pilot.press("f8")
        await until(pilot, lambda: "Delete cannot be undone" in harness.chat.notice)


@pytest.mark.parametrize("key", ["ctrl+r", "f3"])
async def test_regenerating_and_editing_can_be_undone_during_the_reply(key: str) -> None:
    answers = iter(["first answer", f"second {PAUSE} answer"])
    harness = AppHarness(answer=lambda _: next(answers))
    async with run(harness) as pilot:
        await until_ready(pilot, harness)
        await send_and_wait(pilot, harness, "Go")
        await pilot.press(key)
        if key == "f3":
            await pilot.press(*"ing", "enter")
        await until(pilot, lambda: "second" in screen_text(harness))
        await pilot.press("f8")
        await until(pilot, lambda: "Undone:" in harness.chat.notice)
        await until_answered(pilot, harness)
        (turn,) = harness.store.turns(harness.store.latest() or "")
        assert (turn.turn.user, turn.turn.reply) == ("Go", "first answer")
        assert "first answer" in screen_text(harness)


async def test_a_long_list_grows_as_it_is_scrolled() -> None:
    harness = AppHarness()
    for number in range(700):
        harness.store.create(title=f"Talk {number}")
    async with run(harness) as pilot:
        await until_ready(pilot, harness)
        assert harness.chat.conversation_list.option_count < 310
        await pilot.press("ctrl+o", "down", "end")
        await until(pilot, lambda: harness.chat.conversation_list.option_count > 600)
        place = harness.chat.conversation_list.scroll_offset.y
        assert place > 200, "the reader's place is kept"
        await pilot.press("end")
        await until(pilot, lambda: harness.chat.conversation_list.option_count > 700)
        await pilot.press("end")
        await until(pilot, lambda: "Talk 0" in screen_text(harness))


async def test_pinning_renaming_and_regenerating_are_announced() -> None:
    harness = AppHarness()
    chosen = harness.add_conversation(("Question", "Answer"), title="Bread")
    harness.conversation_id = chosen
    harness.app = harness.make_app()
    async with run(harness) as pilot:
        await until_ready(pilot, harness)
        await pilot.press("f9")
        await until(pilot, lambda: "Pinned “Bread”" in harness.chat.notice)
        await pilot.press("f9")
        await until(pilot, lambda: "Unpinned" in harness.chat.notice)
        await pilot.press("f2")
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        await pilot.press(*"Rye", "enter")
        await until(pilot, lambda: "Renamed to “Rye”" in harness.chat.notice)
        await pilot.press("f5")
        await until(pilot, lambda: "already loaded" in harness.chat.notice)
