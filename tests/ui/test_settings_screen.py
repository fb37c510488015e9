"""The settings screen shows the values in force, and changes only the chosen one in the user's file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import AppHarness, run, run_loaded, screen_text, until, until_drawn
from support.settings_screens import settings, staged, write
from textual.widgets import Input, Static, TextArea

from mistral_chat.config.configuration import CommandLineOverride
from mistral_chat.config.settings_file import SettingsFile
from mistral_chat.ui.dialogs.setting_editor import SettingEditor
from mistral_chat.ui.screens.settings import SettingsScreen

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

FILE = """\
# My settings.
sampling:
  temperature: 0.4   # calm
theme: mistral-dark
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(FILE)
    return path


def read(path: Path) -> str:
    return path.read_text()


async def mark(pilot: Pilot[Any], screen: SettingsScreen, key: str) -> None:
    screen.listed.highlighted = screen.listed.get_option_index(key)
    await pilot.pause()


async def asked(pilot: Pilot[Any], harness: AppHarness, screen: SettingsScreen, key: str) -> None:
    await mark(pilot, screen, key)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(harness.app.screen, SettingEditor), "the value is asked for")
    await pilot.pause()


async def closed(pilot: Pilot[Any], harness: AppHarness) -> None:
    await until(pilot, lambda: isinstance(harness.app.screen, SettingsScreen), "the dialog is left")
    await pilot.pause()


async def test_every_setting_is_shown_with_its_source_and_meaning(config: Path) -> None:
    harness = staged(config, **{"sampling.top_k": CommandLineOverride("--top-k", 7)})
    async with run(harness, (120, 80)) as pilot:
        screen = await settings(pilot, harness)
        for name in (
            "trash_days",
            "Temperature",
            "Shrink context to",
            "Disk space",
            "kv_type",
            "More model folders",
            "Personas",
            "keymap",
        ):
            assert name in screen_text(harness)
        assert "--top-k" in screen_text(harness)
        await mark(pilot, screen, "sampling.temperature")
        assert "Sampling temperature; 0 is greedy" in screen_text(harness)
        assert "Takes effect with the" in screen_text(harness)


async def test_a_value_is_saved_and_the_rest_of_the_file_stays(config: Path) -> None:
    harness = staged(config)
    async with run(harness) as pilot:
        screen = await settings(pilot, harness)
        await asked(pilot, harness, screen, "sampling.temperature")
        assert harness.app.screen.query_one(Input).value == "0.4"
        await pilot.press("1", ".", "5", "enter")
        await closed(pilot, harness)
        assert "Temperature: 1.5" in screen.notice.text
        assert read(config) == FILE.replace("0.4", "1.5")
        await pilot.press("escape")
        await until(pilot, lambda: len(harness.app.screen_stack) == 1)
        assert harness.chat.settings.sampling.temperature == 1.5
        assert harness.chat.sampling.temperature == 1.5, "the next message does not follow"


async def test_a_wrong_value_is_refused_in_its_field(config: Path) -> None:
    harness = staged(config)
    async with run(harness, (60, 20)) as pilot:
        screen = await settings(pilot, harness)
        await asked(pilot, harness, screen, "sampling.temperature")
        await pilot.press("h", "o", "t", "enter")
        await until(pilot, lambda: "must be a number" in screen_text(harness))
        harness.app.screen.query_one(Input).value = "9"
        await pilot.press("enter")
        await until(pilot, lambda: "must be from 0 to 5" in screen_text(harness))
        assert read(config) == FILE
        await pilot.press("escape")
        await closed(pilot, harness)


async def test_a_theme_applies_at_once(config: Path) -> None:
    harness = staged(config)
    async with run(harness) as pilot:
        screen = await settings(pilot, harness)
        await asked(pilot, harness, screen, "theme")
        await pilot.press("down", "enter")
        await closed(pilot, harness)
        assert harness.app.theme == "mistral-light"
        assert read(config) == FILE.replace("mistral-dark", '"mistral-light"')


async def test_a_system_prompt_of_several_lines_is_saved(config: Path) -> None:
    harness = staged(config)
    async with run(harness, (60, 20)) as pilot:
        screen = await settings(pilot, harness)
        await asked(pilot, harness, screen, "system")
        assert harness.app.screen.query_one(TextArea).has_focus
        await pilot.press(*"Be brief.", "enter", *"Be kind.", "tab", "enter")
        await closed(pilot, harness)
        assert SettingsFile(config).read().settings.system == "Be brief.\nBe kind."
        assert "new conversation" in screen.notice.text


async def test_a_long_system_prompt_keeps_its_end(config: Path) -> None:
    prompt = "Be brief. " * 500 + "Be kind."
    SettingsFile(config).write("system", prompt)
    harness = staged(config)
    async with run(harness, (60, 20)) as pilot:
        screen = await settings(pilot, harness)
        await asked(pilot, harness, screen, "system")
        await pilot.press("X", "ctrl+s")
        await closed(pilot, harness)
    assert SettingsFile(config).read().settings.system == f"X{prompt}"


async def test_a_choice_can_be_reset_to_the_default(config: Path) -> None:
    harness = staged(config)
    async with run(harness) as pilot:
        screen = await settings(pilot, harness)
        await asked(pilot, harness, screen, "engine.kv_type")
        await pilot.press("down", "enter")
        await closed(pilot, harness)
        assert SettingsFile(config).read().settings.engine.kv_type == "q8_0"
        assert "after a restart" in screen.notice.text
        await asked(pilot, harness, screen, "engine.kv_type")
        await pilot.click("#reset")
        await closed(pilot, harness)
        assert SettingsFile(config).read().settings.engine.kv_type == "f16"


async def test_a_missing_file_is_created_with_comments(tmp_path: Path) -> None:
    config = tmp_path / "made" / "config.yaml"
    harness = staged(config)
    async with run(harness) as pilot:
        screen = await settings(pilot, harness)
        assert not config.exists(), "looking wrote a file"
        await asked(pilot, harness, screen, "trash_days")
        await pilot.press("7", "enter")
        await closed(pilot, harness)
        assert "trash_days: 7" in read(config)
        assert read(config).startswith("# Settings of mistral-chat.")


async def test_an_option_of_this_run_wins_and_is_shown(config: Path) -> None:
    harness = staged(config, **{"sampling.temperature": CommandLineOverride("--temperature", 0.1)})
    async with run(harness) as pilot:
        screen = await settings(pilot, harness)
        await asked(pilot, harness, screen, "sampling.temperature")
        await pilot.press("2", "enter")
        await closed(pilot, harness)
        assert "--temperature overrides it" in screen.notice.text
        assert SettingsFile(config).read().settings.sampling.temperature == 2
        assert harness.chat.settings.sampling.temperature == 0.1


async def test_a_newly_broken_file_is_reported_and_left_alone(config: Path) -> None:
    harness = staged(config)
    async with run(harness) as pilot:
        screen = await settings(pilot, harness)
        write(config, "nope: 1\n")
        await asked(pilot, harness, screen, "trash_days")
        await pilot.press("7", "enter")
        await until(pilot, lambda: "unknown key 'nope'" in str(harness.app.screen.query_one(".status", Static).content))
        await pilot.press("escape")
        await closed(pilot, harness)
        await pilot.press("f5")
        await until_drawn(pilot, "Correct the settings file")
        assert read(config) == "nope: 1\n"
        write(config, FILE)
        await pilot.press("f5")
        await until(pilot, lambda: "Settings file:" in screen_text(harness))


async def test_hostile_values_are_drawn_as_text(config: Path) -> None:
    write(config, 'model: "[bold]\\x1b]52;c;aGk=\\x07 \\u202eevil"\nsystem: "[/red]\\x1b[2J"\nkeymap: {"[b]": "\\x1b"}\n')
    harness = staged(config)
    async with run(harness, (60, 20)) as pilot:
        screen = await settings(pilot, harness)
        for key in ("model", "system", "keymap"):
            await mark(pilot, screen, key)
            assert "\x1b" not in screen_text(harness)
            assert "\x07" not in screen_text(harness)
        await asked(pilot, harness, screen, "model")
        assert "\x1b" not in screen_text(harness)
        assert "[bold]" in screen_text(harness)


async def test_without_a_file_the_screen_says_what_to_do() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("f12")
        await until(pilot, lambda: "config show" in harness.chat.notice)


async def test_a_theme_chosen_in_the_palette_is_saved(config: Path) -> None:
    harness = staged(config)
    async with run_loaded(harness) as pilot:
        harness.app.theme = "mistral-light"
        await until(pilot, lambda: "Theme set to mistral-light" in harness.chat.notice)
        assert SettingsFile(config).read().settings.theme == "mistral-light"
        assert "# calm" in read(config)


async def test_reply_statistics_stay_as_they_were_chosen(config: Path) -> None:
    harness = staged(config)
    async with run_loaded(harness) as pilot:
        await pilot.press(*"/details", "enter")
        await until(pilot, lambda: harness.chat.notice == "Reply statistics on.")
        await until(pilot, lambda: SettingsFile(config).read().settings.statistics)
        write(config, "model: [")
        await pilot.press(*"/details", "enter")
        await until(pilot, lambda: "Changed for this session only" in harness.chat.notice)
        assert not harness.chat.settings.statistics
    write(config, "statistics: true")
    again = staged(config)
    again.start_with(("Question", "Answer"))
    async with run_loaded(again) as pilot:
        await until(pilot, lambda: "finished" in screen_text(again))
        screen = await settings(pilot, again)
        screen.listed.highlighted = screen.listed.get_option_index("statistics")
        await until(pilot, lambda: "Show token counts" in screen_text(again))
        await pilot.press("escape")
