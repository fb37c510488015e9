"""The trash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.screens import Stage, drawn, ready, run, until

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_conversation_is_taken_back() -> None:
    stage = Stage()
    stage.store.trash(stage.say(("Question", "Answer"), title="Bread"))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("f10")
        await until(pilot, lambda: "1 deleted" in drawn(stage))
        await pilot.press("enter")
        await until(pilot, lambda: "Answer" in drawn(stage))
        assert [summary.title for summary in stage.store.summaries()] == ["Bread"]


async def test_a_conversation_is_destroyed_only_after_a_question(tmp_path: Path) -> None:
    stage = Stage(path=tmp_path / "c.db")
    doomed = stage.say(("Question about marmalade", "Answer"), title="Bread")
    stage.store.trash(doomed)
    stage.store.trash(stage.say(("Q", "A"), title="Other"))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("f10")
        await until(pilot, lambda: "2 deleted" in drawn(stage))
        if "Other" in drawn(stage).split("2 deleted")[1].split("Bread")[0]:
            await pilot.press("down")
        await pilot.press("delete")
        await until(pilot, lambda: "for good?" in drawn(stage))
        await pilot.press("escape")
        await until(pilot, lambda: "for good?" not in drawn(stage))
        assert len(stage.store.summaries(where="trash")) == 2
        await pilot.press("delete")
        await until(pilot, lambda: "for good?" in drawn(stage))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "1 deleted" in drawn(stage))
        assert stage.forgotten == [doomed]
        await pilot.press("escape")
        await until(pilot, lambda: len(stage.app.screen_stack) == 1)
    assert b"marmalade" not in (tmp_path / "c.db").read_bytes()


async def test_the_trash_is_emptied() -> None:
    stage = Stage()
    for title in ("One", "Two", "Three"):
        stage.store.trash(stage.say(("Q", "A"), title=title))
    async with run(stage, (60, 20)) as pilot:
        await ready(pilot, stage)
        await pilot.press("f10")
        await until(pilot, lambda: "3 deleted" in drawn(stage))
        await pilot.click("#empty")
        await until(pilot, lambda: "Empty the trash?" in drawn(stage))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "The trash is empty." in drawn(stage))
        assert len(stage.forgotten) == 3
