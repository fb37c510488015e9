"""An app over a person's own settings' file, and the way to the screens that change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.screens import Stage, drawn, ready, until

from mistral_chat.cli.wiring import Program
from mistral_chat.config.configuration import CommandLineOverride
from mistral_chat.ui.screens.settings import SettingsScreen

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot


def staged(path: Path, **options: CommandLineOverride) -> Stage:
    """An app whose settings are those in the file at `path`, and the options of the start."""
    program = Program(environ={"MISTRAL_CHAT_CONFIG": str(path)}).with_options(options)
    return Stage(program=program, settings=program.settings)


def write(path: Path, text: str) -> None:
    """Write the settings' file, as an editor does."""
    path.write_text(text)


async def settings(pilot: Pilot[Any], stage: Stage) -> SettingsScreen:
    """Go to the settings, from the chat."""
    await ready(pilot, stage)
    await pilot.press("f12")
    await until(
        pilot, lambda: isinstance(stage.app.screen, SettingsScreen) and "General" in drawn(stage), "the settings are shown"
    )
    screen = stage.app.screen
    assert isinstance(screen, SettingsScreen)
    return screen


async def section(pilot: Pilot[Any], stage: Stage, key: str) -> None:
    """Go to the settings, and enter the row `key`."""
    screen = await settings(pilot, stage)
    screen.listed.highlighted = screen.listed.get_option_index(key)
    await pilot.press("enter")
