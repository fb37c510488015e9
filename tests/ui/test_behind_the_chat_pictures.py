"""What the settings, the prompt and an unsaved conversation look like, as pictures that a person has looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.screens import Stage, ready, spoken, until

from mistral_chat.config import Settings
from mistral_chat.config.layers import Configuration
from mistral_chat.config.reader import read_settings
from mistral_chat.ui.screens.prompt import PromptScreen
from mistral_chat.ui.screens.setting import SettingScreen
from mistral_chat.ui.screens.settings import SettingsScreen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.pilot import Pilot

    Compare = Callable[..., bool]

NARROW, MEDIUM = (60, 20), (100, 30)
SIZES = pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
THEMES = pytest.mark.parametrize("theme", ["mistral-dark", "mistral-light"])

FILE = """\
# My settings.
system: Answer briefly, and say when you do not know.
sampling:
  temperature: 0.4   # calm
  seed: 7
keymap: {chat.new: alt+n}
"""


def picture(compare: Compare, stage: Stage, size: tuple[int, int], act: Callable[[Pilot[Any]], Awaitable[None]]) -> None:
    async def before(pilot: Pilot[Any]) -> None:
        await ready(pilot, stage)
        await act(pilot)
        await pilot.pause()

    assert compare(stage.app, terminal_size=size, run_before=before)


class StillPreferences:
    """Settings that lie in the same place in every picture."""

    file = "/home/ada/.config/mistral-chat/config.yaml"

    def read(self) -> Configuration:
        found = read_settings(FILE, self.file)
        return Configuration(found.settings, {key: f"{self.file}:{line}" for key, line in found.lines.items()})

    def write(self, _key: str, _value: object) -> Configuration:
        return self.read()

    def write_entry(self, _section: str, _name: str, _typed: object) -> Configuration:
        return self.read()

    def stamp(self) -> object:
        return None


def furnish(stage: Stage) -> Stage:
    stage.app._rooms = replace(stage.app._rooms, preferences=StillPreferences())
    return stage


@pytest.fixture
def settled() -> Stage:
    return furnish(Stage())


async def settings(pilot: Pilot[Any], stage: Stage, key: str) -> None:
    await pilot.press("f12")
    await until(pilot, lambda: isinstance(stage.app.screen, SettingsScreen))
    await pilot.pause()
    screen = stage.app.screen
    assert isinstance(screen, SettingsScreen)
    screen.listed.highlighted = screen.listed.get_option_index(key)
    await pilot.pause()


@SIZES
@THEMES
def test_the_settings(snap_compare: Compare, settled: Stage, size: tuple[int, int], theme: str) -> None:
    settled.app.theme = theme
    picture(snap_compare, settled, size, lambda pilot: settings(pilot, settled, "sampling.temperature"))


@SIZES
@pytest.mark.parametrize("key", ["sampling.temperature", "theme", "system"])
def test_changing_a_setting(snap_compare: Compare, settled: Stage, size: tuple[int, int], key: str) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        await settings(pilot, settled, key)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(settled.app.screen, SettingScreen))
        if key == "sampling.temperature":
            await pilot.press("9", "enter")
        for field in settled.app.screen.query("Input, TextArea"):
            field.cursor_blink = False  # type: ignore[attr-defined]  # both kinds of field have it

    picture(snap_compare, settled, size, act)


@SIZES
@THEMES
def test_the_prompt(snap_compare: Compare, size: tuple[int, int], theme: str) -> None:
    stage = Stage(
        settings=replace(Settings(), theme=theme, system="Answer briefly."),
        answer=lambda _: "It is jam made of oranges.",
        window=256,
    )

    async def act(pilot: Pilot[Any]) -> None:
        await spoken(pilot, stage, "Tell me everything about oranges. " * 30)
        await spoken(pilot, stage, "What is marmalade?")
        stage.screen.composer.insert("And what is </s> <end> in a recipe?")
        stage.screen.composer.cursor_blink = False
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(stage.app.screen, PromptScreen))

    picture(snap_compare, stage, size, act)


@SIZES
@THEMES
def test_a_conversation_that_is_not_saved(snap_compare: Compare, size: tuple[int, int], theme: str) -> None:
    stage = Stage(settings=replace(Settings(), theme=theme))
    stage.say(("Question", "Answer"), title="Bread")

    async def act(pilot: Pilot[Any]) -> None:
        await pilot.press("ctrl+t")
        await until(pilot, lambda: stage.screen.has_class("-unsaved"))

    picture(snap_compare, stage, size, act)


@SIZES
def test_leaving_what_is_not_saved(snap_compare: Compare, size: tuple[int, int]) -> None:
    stage = Stage()

    async def act(pilot: Pilot[Any]) -> None:
        await pilot.press("ctrl+t")
        await until(pilot, lambda: stage.screen.has_class("-unsaved"))
        await spoken(pilot, stage, "Between you and me")
        await pilot.press("ctrl+t")
        await until(pilot, lambda: len(stage.app.screen_stack) > 1)

    picture(snap_compare, stage, size, act)


def test_the_settings_without_colours(snap_compare: Compare, settled: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    settled.app = settled.make_app()
    furnish(settled)
    picture(snap_compare, settled, NARROW, lambda pilot: settings(pilot, settled, "theme"))
