"""Personas, prompt formats and models of one's own are made, changed and taken away in the program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.hostile import STRINGS, dangerous
from support.screens import Stage, drawn, run, say, until
from support.settings_screens import section, staged, write
from textual.widgets import Input, Static, TextArea

from mistral_chat.config import CatalogSource, Persona
from mistral_chat.config.settings_file import SettingsFile
from mistral_chat.generation import Sampling
from mistral_chat.ui.screens.entry import EntryScreen
from mistral_chat.ui.screens.names import NamesScreen

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

FILE = "# mine\npersonas:\n  cook:   # who cooks\n    system: Cook.\n    sampling: {temperature: 0.2}\n"


async def opened(pilot: Pilot[Any], stage: Stage, key: str) -> None:
    await section(pilot, stage, key)
    await until(pilot, lambda: isinstance(stage.app.screen, NamesScreen))
    await pilot.pause()


async def asked(pilot: Pilot[Any], stage: Stage, *keys: str) -> EntryScreen:
    await pilot.press(*keys)
    await until(pilot, lambda: isinstance(stage.app.screen, EntryScreen))
    await pilot.pause()
    screen = stage.app.screen
    assert isinstance(screen, EntryScreen)
    return screen


async def back(pilot: Pilot[Any], stage: Stage) -> None:
    await until(pilot, lambda: isinstance(stage.app.screen, NamesScreen))
    await pilot.pause()


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_persona_is_made_and_can_be_chosen_at_once(tmp_path: Path, size: tuple[int, int]) -> None:
    config = tmp_path / "config.yaml"
    write(config, FILE)
    stage = staged(config)
    async with run(stage, size) as pilot:
        await opened(pilot, stage, "personas")
        assert "cook" in drawn(stage)
        screen = await asked(pilot, stage, "insert")
        await pilot.press(*"clerk", "tab", *"Count.", "tab", *"hot")
        assert screen.query_one(TextArea).text == "Count."
        await pilot.press("enter")
        problem = screen.query_one("#problem", Static)
        await until(pilot, lambda: "must be a number" in str(problem.render()), "a wrong value is told in the dialog")
        await pilot.press("backspace", "backspace", "backspace", *"0.5", "enter")
        await back(pilot, stage)
        assert SettingsFile(config).read().settings.personas["clerk"] == Persona(
            system="Count.", sampling=Sampling(temperature=0.5)
        )
        assert config.read_text().startswith(FILE), "what stood there was changed"
        await pilot.press("escape", "escape")
        await until(pilot, lambda: stage.app.screen is stage.screen)
        await say(pilot, stage, "/persona clerk")
        await until(pilot, lambda: "Persona: clerk" in stage.chat.notice)


async def test_one_field_is_changed_and_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    write(config, FILE)
    stage = staged(config)
    async with run(stage) as pilot:
        await opened(pilot, stage, "personas")
        screen = await asked(pilot, stage, "enter")
        assert screen.query_one(TextArea).text == "Cook."
        temperature = screen.query(Input).first()
        assert temperature.value == "0.2"
        temperature.value = "0.9"
        temperature.focus()
        await pilot.press("enter")
        await back(pilot, stage)
        assert config.read_text() == FILE.replace("0.2", "0.9")


async def test_taking_away_is_asked_about_first(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    write(config, FILE)
    stage = staged(config)
    async with run(stage) as pilot:
        await opened(pilot, stage, "personas")
        await pilot.press("delete")
        await until(pilot, lambda: "Remove “cook”?" in drawn(stage))
        await pilot.press("enter")
        await back(pilot, stage)
        assert config.read_text() == FILE, "the cautious answer is the first"
        await pilot.press("delete")
        await until(pilot, lambda: "Remove “cook”?" in drawn(stage))
        await pilot.press("tab", "enter")
        await back(pilot, stage)
        assert SettingsFile(config).read().settings.personas == {}
        assert "There are none yet" in drawn(stage)
        assert stage.chat.settings.personas == {}


async def test_a_name_is_needed_and_is_given_once(tmp_path: Path) -> None:
    write(tmp_path / "config.yaml", FILE)
    stage = staged(tmp_path / "config.yaml")
    async with run(stage) as pilot:
        await opened(pilot, stage, "personas")
        await asked(pilot, stage, "plus", "enter")
        await until(pilot, lambda: "a name is needed" in drawn(stage))
        await pilot.press(*"cook", "enter")
        await until(pilot, lambda: "There is a 'cook' already" in drawn(stage))
        await pilot.press("escape")
        await back(pilot, stage)


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_model_of_ones_own_is_checked_as_the_file_would_be(tmp_path: Path, size: tuple[int, int]) -> None:
    config = tmp_path / "config.yaml"
    write(config, "")
    stage = staged(config)
    async with run(stage, size) as pilot:
        await opened(pilot, stage, "models.catalog")
        await asked(pilot, stage, "enter")
        await pilot.press(*"mine", "tab", *"nobody", "tab", *"m.gguf", "enter")
        await until(pilot, lambda: "must be OWNER/NAME" in drawn(stage))
        await pilot.press("shift+tab", "end", *"/x", "enter")
        await back(pilot, stage)
        assert SettingsFile(config).read().settings.models.catalog == {
            "mine": CatalogSource(repository="nobody/x", file="m.gguf")
        }


async def test_a_prompt_format_is_given_to_a_model(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    write(config, "")
    stage = staged(config)
    async with run(stage) as pilot:
        await opened(pilot, stage, "models.formats")
        await asked(pilot, stage, "enter")
        await pilot.press(*"my.model", "tab", *"chatml", "enter")
        await back(pilot, stage)
        assert SettingsFile(config).read().settings.models.formats == {"my.model": "chatml"}
        assert "my.model" in drawn(stage)


@pytest.mark.parametrize("text", STRINGS[::40])
async def test_hostile_names_and_texts_are_drawn_as_text(tmp_path: Path, text: str) -> None:
    from mistral_chat.config.named_entries import change_entry
    from mistral_chat.config.reader import read_settings
    from mistral_chat.errors import ConfigError

    try:
        file = change_entry(read_settings("", "f"), "personas", text[:2000], {("system",): text[:20_000]}, "f").text
    except ConfigError:
        file = FILE
    write(tmp_path / "config.yaml", file)
    stage = staged(tmp_path / "config.yaml")
    async with run(stage, (60, 20)) as pilot:
        await opened(pilot, stage, "personas")
        assert not dangerous(drawn(stage)), repr(text)
        await asked(pilot, stage, "enter")
        assert not dangerous(drawn(stage)), repr(text)
