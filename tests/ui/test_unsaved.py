"""What is said unsaved reaches no file, and the screen says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.screens import Stage, drawn, ready, run, spoken, until

from mistral_chat.ui.dialogs.confirm import ConfirmDialog

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

HUSHED = "tangerine"


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def hidden(pilot: Pilot[Any], stage: Stage) -> None:
    await pilot.press("ctrl+t")
    await until(pilot, lambda: "A conversation that is not saved" in drawn(stage))


async def test_nothing_of_it_reaches_the_disk_and_going_back_forgets_it(tmp_path: Path) -> None:
    stage = Stage(path=tmp_path / "c.db")
    kept = stage.say(("Question", "A kept answer"), title="Bread")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await stage.chat.open(kept)
        await hidden(pilot, stage)
        assert "not saved" in drawn(stage).splitlines()[-1]
        assert "Bread" not in drawn(stage), "saved conversations are listed as if they could be added to"
        await spoken(pilot, stage, f"My {HUSHED}")
        stage.chat.type(f"draft of a {HUSHED}")
        stage.chat.save_draft()
        runner = stage.chat.runner
        assert runner is not None
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(stage.app.screen, ConfirmDialog))
        await pilot.press("escape")
        await until(pilot, lambda: len(stage.app.screen_stack) == 1)
        assert HUSHED in stage.chat.draft
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(stage.app.screen, ConfirmDialog))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: "A kept answer" in drawn(stage))
        await until(pilot, lambda: "kept again" in stage.chat.notice)
        assert HUSHED not in drawn(stage)
        assert stage.chat.draft == ""
        assert runner.ledger is not None
        seen = {turn.key for turn in runner.ledger.turns}
        assert seen <= {turn.turn_id for turn in stage.store.turns(kept)}, "the model still sees what was not to be kept"
        assert not [text for text in stage.store.input_history() if HUSHED in text]
        assert not stage.screen.has_class("-unsaved")
        await spoken(pilot, stage, "And now?")
        assert len(stage.store.turns(kept)) == 2
    assert HUSHED.encode() not in written(tmp_path)


async def test_a_draft_for_a_new_conversation_comes_along_and_leaves_the_disk(tmp_path: Path) -> None:
    stage = Stage(path=tmp_path / "c.db")
    async with run(stage, (60, 20)) as pilot:
        await ready(pilot, stage)
        stage.chat.type("half a thought")
        stage.chat.save_draft()
        await hidden(pilot, stage)
        assert stage.chat.draft == "half a thought"
        assert stage.store.draft("") == ""


async def test_the_draft_of_a_kept_conversation_stays_with_it() -> None:
    stage = Stage()
    kept = stage.say(("Question", "Answer"))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await stage.chat.open(kept)
        stage.chat.type("later")
        await hidden(pilot, stage)
        assert stage.chat.draft == ""
        await pilot.press("ctrl+t")
        await until(pilot, lambda: stage.chat.draft == "later")
        assert stage.store.draft(kept) == "later"


async def test_quitting_in_between_lets_both_stores_go(tmp_path: Path) -> None:
    stage = Stage(path=tmp_path / "c.db")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await hidden(pilot, stage)
        await spoken(pilot, stage, f"My {HUSHED}")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not stage.app.is_running)
    assert HUSHED.encode() not in written(tmp_path)


async def test_it_waits_for_a_reply_and_says_where_nothing_is_saved_anyway() -> None:
    stage = Stage(saved=False)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        assert "not saved" in drawn(stage)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "Nothing is saved in this run" in stage.chat.notice)
    stage = Stage(answer=lambda _: "one ⏸ two")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        stage.chat.send("Hello")
        await until(pilot, lambda: stage.chat.replying)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "Stop it with Escape" in stage.chat.notice)
        assert stage.chat.saved
