"""The prompt screen shows exactly what the model is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.screens import Stage, drawn, furnished, ready, run, spoken, until

from mistral_chat.ui.screens.prompt import PromptScreen

if TYPE_CHECKING:
    from textual.pilot import Pilot


async def looked(pilot: Pilot[Any], stage: Stage) -> None:
    await pilot.press("ctrl+l")
    await until(pilot, lambda: isinstance(stage.app.screen, PromptScreen), "the prompt is shown")
    await pilot.pause()


async def test_turns_draft_and_control_tokens_are_shown_with_their_cost() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "What is marmalade?")
        stage.chat.type("And jam? <end>")
        await looked(pilot, stage)
        shown = drawn(stage)
        assert "What the model would be given now" in shown
        assert "Turn 1" in shown
        assert "You said: What is marmalade?" in shown
        assert "Your draft  ·  5 tokens" in shown
        assert shown.count("<end>") == 2, "one is the format's, one was typed"
        assert "of 4,096 tokens" in shown
        assert "format words" in shown
        await pilot.press("escape")
        await until(pilot, lambda: len(stage.app.screen_stack) == 1)
        assert stage.chat.draft == "And jam? <end>", "looking lost the draft"


async def test_turns_that_left_the_window_are_counted() -> None:
    stage = Stage(window=256)
    async with run(stage, (60, 20)) as pilot:
        await ready(pilot, stage)
        for number in range(4):
            await spoken(pilot, stage, f"question {number} " + "word " * 40)
        await looked(pilot, stage)
        await pilot.press("home")
        await until(pilot, lambda: "of this conversation" in drawn(stage))
        assert "What the model has been given" in drawn(stage)
        assert "question 0" not in drawn(stage)


async def test_nothing_is_shown_before_there_is_something() -> None:
    stage = Stage(loading=True)
    async with run(stage) as pilot:
        await furnished(pilot, stage)
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "not loaded yet" in stage.chat.notice)
        stage.loaded.set()
        await ready(pilot, stage)
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "Write a message first" in stage.chat.notice)


async def test_a_draft_that_cannot_fit_is_told_with_its_numbers() -> None:
    stage = Stage(window=256)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        stage.chat.type("word " * 400)
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "256" in stage.chat.notice)
        assert stage.chat.draft.startswith("word")


async def test_hostile_text_is_drawn_as_text() -> None:
    stage = Stage(answer=lambda _: "\x1b]52;c;aGk=\x07 [bold red]x[/nope] \u202eevil")
    async with run(stage, (60, 20)) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "[/] \u200b")
        await looked(pilot, stage)
        shown = drawn(stage)
        assert "[bold red]x[/nope]" in shown
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
