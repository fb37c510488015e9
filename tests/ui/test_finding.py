"""Search, and going to what was found."""

from __future__ import annotations

from pathlib import Path

from support.app_harness import PAUSE, AppHarness, run_loaded, screen_text, send_message, until, until_answered
from textual.widgets import OptionList


async def test_a_hit_far_up_in_a_long_conversation_is_shown() -> None:
    harness = AppHarness()
    pairs = [(f"question {number}", f"answer {number}. " + "More words. " * 30) for number in range(300)]
    pairs[7] = ("Where is the marmalade?", "On the shelf.")
    harness.add_conversation(*pairs, title="Long")
    harness.add_conversation(("Something else", "Fine"), title="Short")
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+f", *"marmalade")
        await until(pilot, lambda: "1 found" in screen_text(harness))
        await pilot.press("enter")
        await until(pilot, lambda: "On the shelf." in screen_text(harness))
        await until(pilot, lambda: "Where is the marmalade?" in screen_text(harness))
        assert not harness.chat.transcript.following
        assert len(harness.chat.views) < 60
        await pilot.press("escape")


async def test_a_hit_on_another_branch_opens_that_branch() -> None:
    harness = AppHarness()
    conversation = harness.add_conversation(("Question", "old pineapple answer"))
    (turn,) = harness.store.turns(conversation)
    other = harness.store.add_sibling(turn.turn_id, model="model")
    harness.store.finish_reply(other, "new answer", finish_reason="stop")
    async with run_loaded(harness) as pilot:
        await harness.chat.open(conversation)
        assert "pineapple" not in screen_text(harness)
        await pilot.press("ctrl+f", *"pineapple")
        await until(pilot, lambda: harness.app.screen.query_one(OptionList).option_count == 1)
        await pilot.press("enter")
        await until(pilot, lambda: "old pineapple answer" in screen_text(harness))
        assert [turn.turn.reply for turn in harness.store.turns(conversation)] == ["old pineapple answer"]


async def test_a_hit_on_another_branch_waits_for_the_reply() -> None:
    harness = AppHarness(answer=lambda _: f"A {PAUSE} reply")
    conversation = harness.start_with(("Question", "old pineapple answer"))
    (turn,) = harness.store.turns(conversation)
    newer = harness.store.add_sibling(turn.turn_id, model="model")
    harness.store.finish_reply(newer, "new answer", finish_reason="stop")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Go on")
        await until(pilot, lambda: "A " in screen_text(harness))
        await pilot.press("ctrl+f", *"pineapple")
        await until(pilot, lambda: harness.app.screen.query_one(OptionList).option_count == 1)
        await pilot.press("enter")
        await until(pilot, lambda: "on another branch. Stop the reply (Esc) first." in harness.chat.notice)
        harness.gate.set()
        await until_answered(pilot, harness)
        assert harness.store.turns(conversation)[0].turn_id == newer, "the reply would be on a branch that is not shown"


async def test_a_conversation_that_is_gone_when_the_palette_opens_it_is_an_error(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    conversation = harness.add_conversation(("Question", "Answer"), title="Pineapple")
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+p", *"pineapple")
        await until(pilot, lambda: "Open the conversation" in screen_text(harness))
        other = harness.open_store()
        other.delete(conversation)
        other.close()
        await pilot.press("enter")
        await until(pilot, lambda: "does not exist" in harness.chat.notice)
        assert harness.app.is_running


async def test_an_empty_or_cancelled_search_changes_nothing() -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+f", *"zebra")
        await until(pilot, lambda: "Nothing found" in screen_text(harness))
        await pilot.press("enter", "down", "up", "escape")
        await until(pilot, lambda: len(harness.app.screen_stack) == 1)
        assert harness.chat.conversation_id is None


async def test_scrolling_up_mounts_older_turns_and_drops_newer_ones() -> None:
    harness = AppHarness()
    harness.start_with(*((f"question {number}", "An answer. " * 40) for number in range(100)))
    async with run_loaded(harness) as pilot:
        transcript = harness.chat.transcript
        await until(pilot, lambda: "question 99" in screen_text(harness), "the end of the conversation is drawn")
        transcript.focus()
        for _ in range(200):
            if transcript.views[0].shown.turn.user == "question 0" and transcript.scroll_y == 0:
                break
            await pilot.press("pageup")
            await pilot.pause()
            assert len(transcript.views) < 60
        assert "question 0" in screen_text(harness)
        await pilot.press("end")
        await until(pilot, lambda: "question 99" in screen_text(harness))
        assert transcript.following


async def test_the_end_is_shown_and_followed_when_a_page_up_was_pressed_just_before() -> None:
    harness = AppHarness()
    harness.start_with(*[(f"Question {number}", "Answer\n\n" * 8) for number in range(8)])
    async with run_loaded(harness) as pilot:
        transcript = harness.screen.transcript
        transcript.focus()
        await until(pilot, lambda: transcript.following and transcript.scroll_y == transcript.max_scroll_y)
        transcript.action_page_up()
        await transcript.action_newest()
        await pilot.pause()
        await pilot.pause()
        assert transcript.following
        assert transcript.scroll_y == transcript.max_scroll_y


async def test_the_visible_line_stays_when_the_width_changes() -> None:
    harness = AppHarness()
    harness.start_with(*((f"question {number}", "An answer. " * 40) for number in range(40)))
    async with run_loaded(harness, (140, 30)) as pilot:
        transcript = harness.chat.transcript
        transcript.focus()
        await pilot.press("pageup", "pageup")
        await pilot.pause()
        top = next(view for view in transcript.views if view.region.bottom > transcript.region.y)
        await pilot.resize_terminal(70, 30)
        await pilot.pause()
        await pilot.pause()
        assert next(view for view in transcript.views if view.region.bottom > transcript.region.y) is top


async def test_hits_of_the_open_conversation_come_first_and_versions_are_listed_once() -> None:
    harness = AppHarness()
    harness.add_conversation(("Bread with rye", "Bread, bread, bread."), title="Other")
    shown = harness.start_with(("How is bread made?", "Slowly."), title="Shown")
    harness.store.finish_reply(harness.store.add_sibling(harness.store.turns(shown)[0].turn_id), "Quickly.", finish_reason="stop")
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+f", *"bread")
        await until(pilot, lambda: "2 found" in screen_text(harness))
        await until(pilot, lambda: "Shown  this conversation" in screen_text(harness))
        rows = [line for line in screen_text(harness).splitlines() if "│  Shown" in line or "│  Other" in line]
        assert ["Shown" in row for row in rows] == [True, False]
