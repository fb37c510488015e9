"""An app over a user's own settings file, and the way to the screens that change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.app_harness import AppHarness, screen_text, until, until_ready

from mistral_chat.cli.wiring import Program
from mistral_chat.config.configuration import CommandLineOverride
from mistral_chat.ui.screens.settings import SettingsScreen

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot


def staged(path: Path, **options: CommandLineOverride) -> AppHarness:
    """An app whose settings are those in the file at `path`, and the options of the start."""
    program = Program(environ={"MISTRAL_CHAT_CONFIG": str(path)}).with_options(options)
    return AppHarness(program=program, settings=program.settings)


def write(path: Path, text: str) -> None:
    """Write the settings' file, as an editor does."""
    path.write_text(text)


async def settings(pilot: Pilot[Any], harness: AppHarness) -> SettingsScreen:
    """Go to the settings, from the chat."""
    await until_ready(pilot, harness)
    await pilot.press("f12")
    await until(
        pilot,
        lambda: isinstance(harness.app.screen, SettingsScreen) and "General" in screen_text(harness),
        "the settings are shown",
    )
    screen = harness.app.screen
    assert isinstance(screen, SettingsScreen)
    return screen


async def section(pilot: Pilot[Any], harness: AppHarness, key: str) -> None:
    """Go to the settings, and enter the row `key`."""
    screen = await settings(pilot, harness)
    screen.listed.highlighted = screen.listed.get_option_index(key)
    await pilot.press("enter")
