"""Help: every command by task, with its key and its slash command, found by typing."""

from __future__ import annotations

from support.app_harness import AppHarness, run_loaded, screen_text, until

from mistral_chat.ui.commands import all_commands
from mistral_chat.ui.dialogs.help import HelpDialog, command_parts


def test_every_command_of_the_chat_has_a_task() -> None:
    (rest,) = [part for part in command_parts(all_commands(), {}) if part.heading == "App"]
    assert {row.slash.split()[0] for row in rest.rows if row.slash} <= {"/settings", "/theme", "/help", "/quit"}


async def test_typing_finds_a_command_by_its_words_its_key_and_its_slash_name() -> None:
    harness = AppHarness()
    async with run_loaded(harness, (100, 40)) as pilot:
        await pilot.press("f1")
        await until(pilot, lambda: "/persona NAME" in screen_text(harness), "commands are listed by task")
        for typed, found in {
            "rename": "/rename TITLE",
            "ctrl+r": "/regen",
            "/exp": "/export FILE",
            "word left": "Ctrl+Left",
        }.items():
            await pilot.press("ctrl+u", *typed)
            await until(pilot, lambda found=found: found in screen_text(harness), typed)  # type: ignore[misc]  # a default binds it
            assert "/persona" not in screen_text(harness)
        await pilot.press("ctrl+u", *"nothing like it")
        await until(pilot, lambda: "Nothing found" in screen_text(harness))
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.is_current)


async def test_a_question_mark_opens_the_help_wherever_nothing_is_typed() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        for keys in ([], ["shift+tab"], ["ctrl+o"]):
            await pilot.press(*keys, "?")
            await until(pilot, lambda: isinstance(harness.app.screen, HelpDialog))
            await pilot.press("escape")
            await until(pilot, lambda: harness.chat.is_current)
        await pilot.press("escape", "w", "?")
        await until(pilot, lambda: harness.chat.draft == "w?")


async def test_the_key_of_the_palette_does_nothing_in_the_help_that_covers_it() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: not harness.chat.is_current)
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(harness.app.screen, HelpDialog))
        await pilot.press("ctrl+p", "escape", "escape")
        await until(pilot, lambda: harness.chat.is_current)
        assert not harness.chat.notice
