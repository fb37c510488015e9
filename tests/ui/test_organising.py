"""Putting conversations in order: filter, archive, tags, pins; and taking each of it back."""

from __future__ import annotations

from typing import Any

import pytest
from support.screens import PAUSE, Stage, answered, drawn, ready, run, say, spoken, until


def titles(stage: Stage, where: Any = "active") -> list[str]:
    return [summary.title for summary in stage.store.summaries(where=where)]


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_the_list_is_narrowed_down_while_typing(size: tuple[int, int]) -> None:
    stage = Stage()
    for title in ("Bread and salt", "Tax letters", "Rye bread"):
        stage.say(("Question", f"Answer about {title}"), title=title)
    async with run(stage, size) as pilot:
        await ready(pilot, stage)
        await pilot.press("ctrl+o", "slash", *"bread")
        await until(pilot, lambda: "Tax letters" not in drawn(stage))
        assert "Rye bread" in drawn(stage)
        await pilot.press("x")
        await until(pilot, lambda: "Nothing fits" in drawn(stage))
        await pilot.press("backspace", "down", "down", "enter")
        await until(pilot, lambda: "Answer about Bread and salt" in drawn(stage), "the second one is opened")
        await pilot.press("escape", "ctrl+o")
        await until(pilot, lambda: "Tax letters" in drawn(stage), "everything is listed again")


async def test_enter_in_the_filter_opens_the_first() -> None:
    stage = Stage()
    stage.say(("Question", "The answer"), title="Only one")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("alt+l", *"only", "enter")
        await until(pilot, lambda: "The answer" in drawn(stage))


async def test_a_conversation_is_archived_found_there_and_brought_back() -> None:
    stage = Stage()
    stage.say(("Question", "Answer"), title="Old matters")
    stage.say(("Question", "Answer"), title="New matters")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("ctrl+o", "down", "down", "alt+a")
        await until(pilot, lambda: titles(stage) == ["New matters"])
        assert "is in the archive" in stage.chat.notice
        assert "Old matters" not in drawn(stage).replace(stage.chat.notice, "")
        await pilot.press("alt+v")
        await until(pilot, lambda: "Archived" in drawn(stage) and "New matters" not in drawn(stage))
        await pilot.press("alt+a")
        await until(pilot, lambda: "The archive is empty" in drawn(stage))
        assert titles(stage) == ["New matters", "Old matters"]
        await pilot.press("escape")
        await until(pilot, lambda: "Old matters" in drawn(stage) and "Archived" not in drawn(stage))


async def test_tags_are_shown_and_filter() -> None:
    stage = Stage()
    stage.say(("Question", "Answer"), title="Bread")
    stage.begin(("Question", "Answer"), title="Report")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "/tag #work Urgent")
        await until(pilot, lambda: "#urgent #work" in drawn(stage))
        await pilot.press("alt+l", *"#work")
        await until(pilot, lambda: "Bread" not in drawn(stage))
        await pilot.press("escape", "escape")
        await say(pilot, stage, "/tag -urgent")
        await until(pilot, lambda: "#urgent" not in drawn(stage))
        await pilot.press("f8")
        await until(pilot, lambda: "Undone: tag" in drawn(stage))
        await until(pilot, lambda: "#urgent #work" in drawn(stage))


async def test_what_was_done_is_undone_one_after_the_other() -> None:
    stage = Stage()
    conversation = stage.begin(("First line", "Answer"))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("f9", "alt+a", "f2")
        await until(pilot, lambda: "Rename the conversation" in drawn(stage))
        await pilot.press(*"Mine", "enter")
        await until(pilot, lambda: titles(stage, "archived") == ["Mine"])
        await pilot.press("f4")
        await until(pilot, lambda: titles(stage, "trash") == ["Mine"])
        for name in ("delete", "rename", "archive", "pin"):
            await pilot.press("f8")
            await until(pilot, lambda name=name: stage.chat.notice == f"Undone: {name}")  # type: ignore[misc]  # mypy has no type for a lambda's default
        stored = stage.store.conversation(conversation)
        assert (stored.summary.title, stored.title_by) == ("First line", "first_line")
        assert (stored.summary.pinned, stored.summary.archived, stored.summary.trashed) == (False, False, None)
        await pilot.press("f8")
        await until(pilot, lambda: stage.chat.notice == "There is nothing to undo.")


async def test_undoing_what_is_gone_says_so() -> None:
    stage = Stage()
    stage.begin(("Question", "Answer"), title="Doomed")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("f4")
        await until(pilot, lambda: titles(stage, "trash"))
        stage.store.empty_trash()
        await pilot.press("f8")
        await until(pilot, lambda: "Delete cannot be undone" in stage.chat.notice)


@pytest.mark.parametrize("key", ["ctrl+r", "f3"])
async def test_regenerating_and_editing_are_undone_even_while_the_reply_is_written(key: str) -> None:
    answers = iter(["first answer", f"second {PAUSE} answer"])
    stage = Stage(answer=lambda _: next(answers))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "Go")
        await pilot.press(key)
        if key == "f3":
            await pilot.press(*"ing", "enter")
        await until(pilot, lambda: "second" in drawn(stage))
        await pilot.press("f8")
        await until(pilot, lambda: "Undone:" in stage.chat.notice)
        await answered(pilot, stage)
        (turn,) = stage.store.turns(stage.store.latest() or "")
        assert (turn.turn.user, turn.turn.reply) == ("Go", "first answer")
        assert "first answer" in drawn(stage)


async def test_a_long_list_grows_as_it_is_scrolled() -> None:
    stage = Stage()
    for number in range(700):
        stage.store.create(title=f"Talk {number}")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        assert stage.chat.conversation_list.option_count < 310
        await pilot.press("ctrl+o", "down", "end")
        await until(pilot, lambda: stage.chat.conversation_list.option_count > 600)
        place = stage.chat.conversation_list.scroll_offset.y
        assert place > 200, "the reader's place is kept"
        await pilot.press("end")
        await until(pilot, lambda: stage.chat.conversation_list.option_count > 700)
        await pilot.press("end")
        await until(pilot, lambda: "Talk 0" in drawn(stage))


async def test_pinning_renaming_and_trying_again_say_what_they_did() -> None:
    stage = Stage()
    chosen = stage.say(("Question", "Answer"), title="Bread")
    stage.conversation_id = chosen
    stage.app = stage.make_app()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("f9")
        await until(pilot, lambda: "“Bread” stays at the top of the list" in stage.chat.notice)
        await pilot.press("f9")
        await until(pilot, lambda: "stands by its day again" in stage.chat.notice)
        await pilot.press("f2")
        await until(pilot, lambda: stage.app.screen is not stage.screen)
        await pilot.press(*"Rye", "enter")
        await until(pilot, lambda: "The title is “Rye” now" in stage.chat.notice)
        await pilot.press("f5")
        await until(pilot, lambda: "Nothing is wrong" in stage.chat.notice)
