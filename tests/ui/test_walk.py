"""A user who knows only ``/`` and ``?`` finds every command by its name, and every slash command does something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.app_harness import AppHarness, run_loaded, screen_text, until, until_answered

from mistral_chat.ui.commands import all_commands, matching
from mistral_chat.ui.dialogs.help import HelpDialog
from mistral_chat.ui.palette import CommandProvider
from mistral_chat.ui.widgets.ordered_keys import Field
from mistral_chat.ui.widgets.slash_menu import SlashMenu

if TYPE_CHECKING:
    from mistral_chat.ui.commands import Command

pytestmark = pytest.mark.no_cover
"""Every command is tested elsewhere; measuring what is covered here too would take twice as long."""

CHAT = (("Say it in code.", "Here:\n\n```python\nprint(1)\n```"), ("And in words.", "One."))


async def test_the_help_names_a_way_to_every_command() -> None:
    harness = AppHarness()
    harness.start_with(*CHAT)
    async with run_loaded(harness, (120, 50)) as pilot:
        await pilot.press("?")
        await until(pilot, lambda: isinstance(harness.app.screen, HelpDialog))
        field = harness.app.screen.query_one(Field)
        for each in all_commands():
            field.value = each.title
            await until(pilot, lambda each=each: names_a_way(screen_text(harness), each), f"a way to {each.title!r}")  # type: ignore[misc]  # a default binds it


def names_a_way(shown: str, wanted: Command) -> bool:
    """Whether a line of the help says what a command does, with a slash name or a key before it."""
    told = wanted.help[:20]
    ways = [line.partition(told)[0].strip(" │▕▏") for line in shown.splitlines() if told in line]
    return any(f"/{wanted.slash}" in way if wanted.slash else way for way in ways)


async def test_the_palette_finds_every_command_by_its_title_and_its_slash_name() -> None:
    harness = AppHarness()
    async with run_loaded(harness):
        palette = CommandProvider(harness.screen)
        for each in all_commands():
            for words in (each.title, each.slash):
                if words and each.id != "app.palette":
                    assert each.title in [hit.text async for hit in palette.search(words)], f"{words!r} does not find {each.id}"


async def test_the_menu_lists_every_slash_command() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("/")
        await until(pilot, lambda: harness.chat.composer.menu_is_open)
        menu, seen = harness.screen.query_one(SlashMenu), set()
        for _ in range(menu.option_count):
            await pilot.press("down")
            assert menu.selected is not None
            seen.add(menu.selected.name)
        assert seen == {each.slash for each in all_commands() if each.slash}


@pytest.mark.parametrize("wanted", [each for each in all_commands() if each.slash], ids=lambda each: each.slash)
async def test_every_command_chosen_in_the_menu_does_something(wanted: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "true")
    harness = AppHarness()
    harness.start_with(*CHAT)
    async with run_loaded(harness) as pilot:
        before = screen_text(harness)
        begun = f"/{wanted.slash[0]}"
        await pilot.press(*begun)
        await until(pilot, lambda: harness.chat.composer.menu_is_open and harness.chat.draft == begun)
        menu, listed = harness.screen.query_one(SlashMenu), matching(begun)
        await until(pilot, lambda: menu.option_count == len(listed), "the menu follows what is typed")
        await pilot.press(*["down"] * (listed.index(wanted) + 1))
        assert menu.selected is not None
        assert menu.selected.name == wanted.slash
        await pilot.press("enter")
        if wanted.id == "app.quit":
            await until(pilot, lambda: not harness.app.is_running, "the app ends")
            return
        await until(
            pilot,
            lambda: not harness.chat.composer.menu_is_open and screen_text(harness) != before,
            f"/{wanted.slash} shows that it did something",
        )
        if harness.chat.is_current:
            await until_answered(pilot, harness) if harness.chat.turns else await pilot.pause()
        shown = screen_text(harness)
        assert "Unknown command" not in shown
        assert "takes no argument" not in shown
