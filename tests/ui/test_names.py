"""Custom personas, prompt formats and models are added, changed and removed in the program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import AppHarness, run, screen_text, send_message, until
from support.hostile import PROBES, dangerous
from support.settings_screens import section, staged, write
from textual.widgets import Input, Static, TextArea

from mistral_chat.config import CatalogSource, Persona
from mistral_chat.config.settings_file import SettingsFile
from mistral_chat.sampling import Sampling
from mistral_chat.ui.dialogs.setting_editor import NamedEntriesDialog, SettingEditor

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

FILE = "# mine\npersonas:\n  cook:   # who cooks\n    system: Cook.\n    sampling: {temperature: 0.2}\n"


async def opened(pilot: Pilot[Any], harness: AppHarness, key: str) -> None:
    await section(pilot, harness, key)
    await until(pilot, lambda: isinstance(harness.app.screen, NamedEntriesDialog))
    await pilot.pause()


async def asked(pilot: Pilot[Any], harness: AppHarness, *keys: str) -> SettingEditor:
    await pilot.press(*keys)
    await until(pilot, lambda: isinstance(harness.app.screen, SettingEditor))
    await pilot.pause()
    screen = harness.app.screen
    assert isinstance(screen, SettingEditor)
    return screen


async def back(pilot: Pilot[Any], harness: AppHarness) -> None:
    await until(pilot, lambda: isinstance(harness.app.screen, NamedEntriesDialog))
    await pilot.pause()


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_persona_is_made_and_can_be_chosen_at_once(tmp_path: Path, size: tuple[int, int]) -> None:
    config = tmp_path / "config.yaml"
    write(config, FILE)
    harness = staged(config)
    async with run(harness, size) as pilot:
        await opened(pilot, harness, "personas")
        assert "cook" in screen_text(harness)
        screen = await asked(pilot, harness, "insert")
        await pilot.press(*"clerk", "tab", *"Count.", "tab", *"hot")
        assert screen.query_one(TextArea).text == "Count."
        await pilot.press("enter")
        problem = screen.query_one(".status", Static)
        await until(pilot, lambda: "must be a number" in str(problem.render()), "a wrong value is reported in the dialog")
        await pilot.press("backspace", "backspace", "backspace", *"0.5", "enter")
        await back(pilot, harness)
        assert SettingsFile(config).read().settings.personas["clerk"] == Persona(
            system="Count.", sampling=Sampling(temperature=0.5)
        )
        assert config.read_text().startswith(FILE), "what stood there was changed"
        await pilot.press("escape", "escape")
        await until(pilot, lambda: harness.app.screen is harness.screen)
        await send_message(pilot, harness, "/persona clerk")
        await until(pilot, lambda: "Persona: clerk" in harness.chat.notice)


async def test_one_field_is_changed_and_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    write(config, FILE)
    harness = staged(config)
    async with run(harness) as pilot:
        await opened(pilot, harness, "personas")
        screen = await asked(pilot, harness, "enter")
        assert screen.query_one(TextArea).text == "Cook."
        temperature = screen.query(Input).first()
        assert temperature.value == "0.2"
        temperature.value = "0.9"
        temperature.focus()
        await pilot.press("enter")
        await back(pilot, harness)
        assert config.read_text() == FILE.replace("0.2", "0.9")


async def test_removal_is_confirmed_first(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    write(config, FILE)
    harness = staged(config)
    async with run(harness) as pilot:
        await opened(pilot, harness, "personas")
        await pilot.press("delete")
        await until(pilot, lambda: "Remove “cook”?" in screen_text(harness))
        await pilot.press("enter")
        await back(pilot, harness)
        assert config.read_text() == FILE, "the cautious answer is the first"
        await pilot.press("delete")
        await until(pilot, lambda: "Remove “cook”?" in screen_text(harness))
        await pilot.press("tab", "enter")
        await back(pilot, harness)
        assert SettingsFile(config).read().settings.personas == {}
        assert "None yet" in screen_text(harness)
        assert harness.chat.settings.personas == {}


async def test_a_name_is_required_and_must_be_unique(tmp_path: Path) -> None:
    write(tmp_path / "config.yaml", FILE)
    harness = staged(tmp_path / "config.yaml")
    async with run(harness) as pilot:
        await opened(pilot, harness, "personas")
        await asked(pilot, harness, "plus", "enter")
        await until(pilot, lambda: "enter a name" in screen_text(harness))
        await pilot.press(*"cook", "enter")
        await until(pilot, lambda: "'cook' already exists" in screen_text(harness))
        await pilot.press("escape")
        await back(pilot, harness)


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_custom_model_is_validated_as_in_the_file(tmp_path: Path, size: tuple[int, int]) -> None:
    config = tmp_path / "config.yaml"
    write(config, "")
    harness = staged(config)
    async with run(harness, size) as pilot:
        await opened(pilot, harness, "models.catalog")
        await asked(pilot, harness, "enter")
        await pilot.press(*"mine", "tab", *"nobody", "tab", *"m.gguf", "enter")
        await until(pilot, lambda: "must be OWNER/NAME" in screen_text(harness))
        await pilot.press("shift+tab", "end", *"/x", "enter")
        await back(pilot, harness)
        assert SettingsFile(config).read().settings.models.catalog == {
            "mine": CatalogSource(repository="nobody/x", file="m.gguf")
        }


async def test_a_prompt_format_is_given_to_a_model(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    write(config, "")
    harness = staged(config)
    async with run(harness) as pilot:
        await opened(pilot, harness, "models.formats")
        await asked(pilot, harness, "enter")
        await pilot.press(*"my.model", "tab", *"chatml", "enter")
        await back(pilot, harness)
        assert SettingsFile(config).read().settings.models.formats == {"my.model": "chatml"}
        assert "my.model" in screen_text(harness)


@pytest.mark.parametrize("text", PROBES[:2])
async def test_hostile_names_and_texts_are_drawn_as_text(tmp_path: Path, text: str) -> None:
    from mistral_chat.config.named_entries import change_entry
    from mistral_chat.config.reader import read_settings
    from mistral_chat.errors import ConfigError

    try:
        file = change_entry(read_settings("", "f"), "personas", text[:2000], {("system",): text[:20_000]}, "f").text
    except ConfigError:
        file = FILE
    write(tmp_path / "config.yaml", file)
    harness = staged(tmp_path / "config.yaml")
    async with run(harness, (60, 20)) as pilot:
        await opened(pilot, harness, "personas")
        assert not dangerous(screen_text(harness)), repr(text)
        await asked(pilot, harness, "enter")
        assert not dangerous(screen_text(harness)), repr(text)
