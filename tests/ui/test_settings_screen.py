"""The settings screen shows what holds, and changes the person's file and nothing else in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.screens import Stage, drawn, ready, run, until
from support.settings_screens import settings, staged, write
from textual.widgets import Input, TextArea

from mistral_chat.config.configuration import CommandLineOverride
from mistral_chat.config.settings_file import SettingsFile
from mistral_chat.ui.screens.setting import SettingScreen
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


async def asked(pilot: Pilot[Any], stage: Stage, screen: SettingsScreen, key: str) -> None:
    await mark(pilot, screen, key)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(stage.app.screen, SettingScreen), "the value is asked for")
    await pilot.pause()


async def closed(pilot: Pilot[Any], stage: Stage) -> None:
    await until(pilot, lambda: isinstance(stage.app.screen, SettingsScreen), "the dialog is left")
    await pilot.pause()


async def test_every_setting_is_shown_with_its_source_and_meaning(config: Path) -> None:
    stage = staged(config, **{"sampling.top_k": CommandLineOverride("--top-k", 7)})
    async with run(stage, (120, 80)) as pilot:
        screen = await settings(pilot, stage)
        for name in ("trash_days", "temperature", "low_water", "budget", "kv_type", "folders", "personas", "keymap"):
            assert name in drawn(stage)
        assert "line 3" in drawn(stage)
        assert "--top-k" in drawn(stage)
        await mark(pilot, screen, "sampling.temperature")
        assert "Sampling temperature; 0 is greedy" in drawn(stage)
        assert "A change takes effect with the" in drawn(stage)


async def test_a_value_is_kept_and_the_rest_of_the_file_stays(config: Path) -> None:
    stage = staged(config)
    async with run(stage) as pilot:
        screen = await settings(pilot, stage)
        await asked(pilot, stage, screen, "sampling.temperature")
        assert stage.app.screen.query_one(Input).value == "0.4"
        await pilot.press("1", ".", "5", "enter")
        await closed(pilot, stage)
        assert "temperature is 1.5 now" in screen.notice.text
        assert read(config) == FILE.replace("0.4", "1.5")
        await pilot.press("escape")
        await until(pilot, lambda: len(stage.app.screen_stack) == 1)
        assert stage.chat.settings.sampling.temperature == 1.5
        assert stage.chat.sampling.temperature == 1.5, "the next message does not follow"


async def test_a_wrong_value_is_refused_where_it_is_typed(config: Path) -> None:
    stage = staged(config)
    async with run(stage, (60, 20)) as pilot:
        screen = await settings(pilot, stage)
        await asked(pilot, stage, screen, "sampling.temperature")
        await pilot.press("h", "o", "t", "enter")
        await until(pilot, lambda: "must be a number" in drawn(stage))
        stage.app.screen.query_one(Input).value = "9"
        await pilot.press("enter")
        await until(pilot, lambda: "must be from 0 to 5" in drawn(stage))
        assert read(config) == FILE
        await pilot.press("escape")
        await closed(pilot, stage)


async def test_a_theme_is_taken_at_once(config: Path) -> None:
    stage = staged(config)
    async with run(stage) as pilot:
        screen = await settings(pilot, stage)
        await asked(pilot, stage, screen, "theme")
        await pilot.press("down", "enter")
        await closed(pilot, stage)
        assert stage.app.theme == "mistral-light"
        assert read(config) == FILE.replace("mistral-dark", '"mistral-light"')


async def test_a_system_prompt_of_several_lines_is_kept(config: Path) -> None:
    stage = staged(config)
    async with run(stage, (60, 20)) as pilot:
        screen = await settings(pilot, stage)
        await asked(pilot, stage, screen, "system")
        assert stage.app.screen.query_one(TextArea).has_focus
        await pilot.press(*"Be brief.", "enter", *"Be kind.", "tab", "enter")
        await closed(pilot, stage)
        assert SettingsFile(config).read().settings.system == "Be brief.\nBe kind."
        assert "new conversation" in screen.notice.text


async def test_a_choice_and_the_way_back_to_the_default(config: Path) -> None:
    stage = staged(config)
    async with run(stage) as pilot:
        screen = await settings(pilot, stage)
        await asked(pilot, stage, screen, "engine.kv_type")
        await pilot.press("down", "enter")
        await closed(pilot, stage)
        assert SettingsFile(config).read().settings.engine.kv_type == "q8_0"
        assert "started next" in screen.notice.text
        await asked(pilot, stage, screen, "engine.kv_type")
        await pilot.click("#default")
        await closed(pilot, stage)
        assert SettingsFile(config).read().settings.engine.kv_type == "f16"


async def test_the_file_is_made_with_comments_when_there_is_none(tmp_path: Path) -> None:
    config = tmp_path / "made" / "config.yaml"
    stage = staged(config)
    async with run(stage) as pilot:
        screen = await settings(pilot, stage)
        assert not config.exists(), "looking wrote a file"
        await asked(pilot, stage, screen, "trash_days")
        await pilot.press("7", "enter")
        await closed(pilot, stage)
        assert "trash_days: 7" in read(config)
        assert read(config).startswith("# Settings of mistral-chat.")


async def test_an_option_of_this_run_goes_before_the_file_and_that_is_said(config: Path) -> None:
    stage = staged(config, **{"sampling.temperature": CommandLineOverride("--temperature", 0.1)})
    async with run(stage) as pilot:
        screen = await settings(pilot, stage)
        await asked(pilot, stage, screen, "sampling.temperature")
        await pilot.press("2", "enter")
        await closed(pilot, stage)
        assert "--temperature was given for this run" in screen.notice.text
        assert SettingsFile(config).read().settings.sampling.temperature == 2
        assert stage.chat.settings.sampling.temperature == 0.1


async def test_a_file_that_was_broken_meanwhile_is_told_with_its_line_and_left_alone(config: Path) -> None:
    stage = staged(config)
    async with run(stage) as pilot:
        screen = await settings(pilot, stage)
        write(config, "nope: 1\n")
        await asked(pilot, stage, screen, "trash_days")
        await pilot.press("7", "enter")
        await until(pilot, lambda: "there is no key 'nope'" in drawn(stage))
        await pilot.press("escape")
        await closed(pilot, stage)
        await pilot.press("f5")
        await until(pilot, lambda: "press F5" in drawn(stage))
        assert read(config) == "nope: 1\n"
        write(config, FILE)
        await pilot.press("f5")
        await until(pilot, lambda: "Kept in" in drawn(stage))


async def test_hostile_values_are_drawn_as_text(config: Path) -> None:
    write(config, 'model: "[bold]\\x1b]52;c;aGk=\\x07 \\u202eevil"\nsystem: "[/red]\\x1b[2J"\nkeymap: {"[b]": "\\x1b"}\n')
    stage = staged(config)
    async with run(stage, (60, 20)) as pilot:
        screen = await settings(pilot, stage)
        for key in ("model", "system", "keymap"):
            await mark(pilot, screen, key)
            assert "\x1b" not in drawn(stage)
            assert "\x07" not in drawn(stage)
        await asked(pilot, stage, screen, "model")
        assert "\x1b" not in drawn(stage)
        assert "[bold]" in drawn(stage)


async def test_without_a_file_it_says_what_to_do() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("f12")
        await until(pilot, lambda: "config show" in stage.chat.notice)


async def test_colours_chosen_from_the_list_of_all_commands_are_kept(config: Path) -> None:
    stage = staged(config)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        stage.app.theme = "mistral-light"
        await until(pilot, lambda: "the next time too" in stage.chat.notice)
        assert SettingsFile(config).read().settings.theme == "mistral-light"
        assert "# calm" in read(config)
