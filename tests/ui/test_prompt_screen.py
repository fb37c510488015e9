"""The prompt screen shows exactly what the model is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.app_harness import AppHarness, run, run_loaded, screen_text, send_and_wait, until, until_ready, until_shown

from mistral_chat.ui.screens.prompt import PromptScreen

if TYPE_CHECKING:
    from textual.pilot import Pilot


async def looked(pilot: Pilot[Any], harness: AppHarness) -> None:
    await pilot.press("ctrl+l")
    await until(pilot, lambda: isinstance(harness.app.screen, PromptScreen), "the prompt is shown")
    await pilot.pause()


async def test_turns_draft_and_control_tokens_are_shown_with_counts() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "What is marmalade?")
        harness.chat.type("And jam? <end>")
        await looked(pilot, harness)
        shown = screen_text(harness)
        assert "Prompt (next)" in shown
        assert "Turn 1" in shown
        assert "You said: What is marmalade?" in shown
        assert "Your draft  ·  5 tokens" in shown
        assert shown.count("<end>") == 2, "one is the format's, one was typed"
        assert "of 4,096 tokens" in shown
        assert "format words" in shown
        await pilot.press("escape")
        await until(pilot, lambda: len(harness.app.screen_stack) == 1)
        assert harness.chat.draft == "And jam? <end>", "looking lost the draft"


async def test_turns_outside_the_context_are_counted() -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness, (60, 20)) as pilot:
        for number in range(4):
            await send_and_wait(pilot, harness, f"question {number} " + "word " * 40)
        await looked(pilot, harness)
        await pilot.press("home")
        await until(pilot, lambda: "of this conversation are not" in screen_text(harness))
        await until(pilot, lambda: "Prompt (last sent)" in screen_text(harness))
        assert "question 0" not in screen_text(harness)


async def test_an_empty_conversation_shows_nothing() -> None:
    harness = AppHarness(loading=True)
    async with run(harness) as pilot:
        await until_shown(pilot, harness)
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "until the model has loaded" in harness.chat.notice)
        harness.loaded.set()
        await until_ready(pilot, harness)
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "Write a message first" in harness.chat.notice)


async def test_a_draft_that_cannot_fit_is_reported_with_numbers() -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        harness.chat.type("word " * 400)
        await until(pilot, lambda: "Too long" in harness.chat.notice)  # which would replace what follows
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "256" in harness.chat.notice)
        assert harness.chat.draft.startswith("word")


async def test_hostile_text_is_drawn_as_text() -> None:
    harness = AppHarness(answer=lambda _: "\x1b]52;c;aGk=\x07 [bold red]x[/nope] \u202eevil")
    async with run_loaded(harness, (60, 20)) as pilot:
        await send_and_wait(pilot, harness, "[/] \u200b")
        await looked(pilot, harness)
        shown = screen_text(harness)
        assert "[bold red]x[/nope]" in shown
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
