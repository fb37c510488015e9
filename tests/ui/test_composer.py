"""No key is lost on its way into the draft, however fast the keys come; and what is refused can be read."""

from __future__ import annotations

import pytest
from support.screens import Stage, drawn, ready, run, say, until
from textual import events


def press_at_once(stage: Stage, *keys: str) -> None:
    """Press keys without a pause, as a terminal brings them when the machine is busy."""
    for key in keys:
        event = events.Key(key, key if len(key) == 1 else None)
        event.set_sender(stage.app)
        stage.app.post_message(event)


@pytest.mark.parametrize("before", [[], ["alt+up"], ["ctrl+o"]], ids=["composer", "turn", "list"])
async def test_the_message_to_edit_can_be_cut_by_the_very_next_key(before: list[str]) -> None:
    stage = Stage()
    stage.begin(("the old question", "Answer"))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press(*before)
        press_at_once(stage, "f3", "ctrl+u", "n", "e", "w")
        await until(pilot, lambda: stage.chat.draft == "new", stage.chat.draft)
        await pilot.pause()
        assert stage.chat.draft == "new"
        assert stage.chat.editing
        await pilot.press("escape")
        assert stage.chat.draft == ""


async def test_letters_typed_just_before_editing_stay_in_the_draft_they_were_typed_into() -> None:
    stage = Stage()
    stage.begin(("the old question", "Answer"))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        press_at_once(stage, "a", "b", "c", "f3", "x")
        await until(pilot, lambda: stage.chat.draft == "the old questionx")
        await pilot.press("escape")
        assert stage.chat.draft == "abc", "the draft that editing took the place of is lost"


async def test_what_is_typed_while_a_conversation_opens_stays() -> None:
    stage = Stage()
    chosen = stage.say(("Question", "Answer"))
    stage.store.save_draft(chosen, "half a ")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        opening = stage.screen.run_worker(stage.chat.open(chosen, "typed "))
        await until(pilot, lambda: stage.chat.draft == "typed ")
        stage.chat.type("on")
        await opening.wait()
        assert stage.chat.draft == "typed on"


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        ("/persona nobody", "There are no personas yet"),
        ("/set temperature hot", "takes a number"),
        ("/regne", "Did you mean /regen?"),
    ],
)
async def test_why_a_command_was_refused_stands_until_the_draft_changes(draft: str, reason: str) -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, draft)
        await until(pilot, lambda: reason in stage.chat.notice)
        for _ in range(20):
            await pilot.pause(0.01)
        assert reason in drawn(stage), "the reason was taken away before it could be read"
        assert stage.chat.draft == draft
        await pilot.press("x")
        await until(pilot, lambda: reason not in stage.chat.notice)


async def test_a_letter_never_overtakes_a_key_that_deletes_or_leaves() -> None:
    stage = Stage()
    stage.begin(("the old question", "Answer"))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        press_at_once(stage, "a", "b", "backspace", "c", "home", "x")
        await until(pilot, lambda: stage.chat.draft == "xac", "backspace and home act in their turn")
        press_at_once(stage, "f3", "y", "escape", "z")
        await until(pilot, lambda: stage.chat.draft == "xacz", "what is typed after Escape is for the draft")
