"""Scenes behind the chat: help, all commands, attaching, the settings and the prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from support.app_harness import AppHarness, until
from support.scenes import Scene, press, see, write

from mistral_chat.config import Settings
from mistral_chat.config.configuration import Configuration
from mistral_chat.config.reader import read_settings
from mistral_chat.config.settings_file import SettingsFile
from mistral_chat.ui.screens.settings import SettingsScreen

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scenes import Step
    from textual.pilot import Pilot


_FILE: Final = """\
# My settings.
system: Answer briefly, and say when you do not know.
sampling:
  temperature: 0.4   # calm
  seed: 7
keymap: {chat.new: alt+n}
"""


class FrozenSettingsFile(SettingsFile):
    """Settings with the same path in every picture, which no change reaches."""

    def __init__(self, text: str = _FILE) -> None:
        super().__init__(Path("/home/ada/.config/mistral-chat/config.yaml"))
        self._text = text

    def read(self, *, skip_unknown: bool = False) -> Configuration:
        return Configuration.from_file(read_settings(self._text, str(self.path), skip_unknown=skip_unknown), str(self.path))

    def write(self, key: str, value: object) -> Configuration:
        return self.read()

    def write_entry(self, section: str, name: str, texts: object) -> Configuration:
        return self.read()

    def stamp(self) -> object:
        return None


def _settled(text: str = _FILE) -> Callable[[], AppHarness]:
    return lambda: AppHarness(app_options={"settings_file": FrozenSettingsFile(text)})


def _mark(key: str) -> Step:
    """Put the cursor on a setting."""

    async def step(pilot: Pilot[Any], harness: AppHarness) -> None:
        screen = harness.app.screen
        assert isinstance(screen, SettingsScreen)
        await until(pilot, lambda: screen.listed.option_count, "the settings are listed")
        screen.listed.highlighted = screen.listed.get_option_index(key)

    return step


def _change(key: str) -> tuple[Step, ...]:
    """Open the dialog of a setting."""
    return press("f12"), see("Settings", "Settings file"), _mark(key), press("enter"), see("Cancel")


SETTINGS: Final = (
    Scene(name="settings", harness=_settled(), steps=_change("sampling.temperature")[:3], shows=("temperature", "0.4")),
    Scene(name="settings-at-the-end", harness=_settled(), steps=(*_change("keymap")[:2], press("end")), shows=("Settings file",)),
    Scene(
        name="settings-with-a-mistake",
        harness=_settled("sampling: {temperature: warm}\n"),
        steps=(press("f12"),),
        shows=("Correct the settings file",),
    ),
    Scene(
        name="a-setting-refused",
        harness=_settled(),
        steps=(*_change("sampling.temperature"), press("9", "enter")),
        shows=("sampling.temperature", "Keep"),
    ),
    Scene(name="a-setting-of-words", harness=_settled(), steps=_change("theme"), shows=("mistral-high-contrast",)),
    Scene(name="a-setting-of-yes-and-no", harness=_settled(), steps=_change("context.read_ahead"), shows=("read_ahead",)),
    Scene(name="a-setting-of-lines", harness=_settled(), steps=_change("system"), shows=("Answer briefly",)),
    Scene(
        name="pressing-another-key",
        harness=_settled(),
        steps=(*_change("keymap")[:3], press("enter"), see("Everywhere"), press("enter")),
        shows=("Press the new key.", "Quit"),
    ),
    Scene(
        name="personas-of-ones-own",
        harness=_settled(_FILE + "personas:\n  cook: {system: You are a cook.}\n  clerk: {system: You are a clerk.}\n"),
        steps=(*_change("personas")[:3], press("enter")),
        shows=("cook", "You are a clerk."),
    ),
    Scene(
        name="one-persona-of-ones-own",
        harness=_settled(_FILE + "personas:\n  cook: {system: You are a cook.}\n"),
        steps=(*_change("personas")[:3], press("enter"), see("You are a cook."), press("enter")),
        shows=("temperature", "Cancel"),
    ),
    Scene(
        name="no-names-of-ones-own",
        harness=_settled(),
        steps=(*_change("models.formats")[:3], press("enter")),
        shows=("formats", "Add"),
    ),
    Scene(
        name="a-setting-of-keys",
        harness=_settled(),
        steps=(*_change("keymap")[:3], press("enter")),
        shows=("Everywhere", "Ctrl+Q"),
    ),
)


def _asked() -> AppHarness:
    """A conversation of which only the end is in the context."""
    harness = AppHarness(window=256, settings=replace(Settings(), system="Answer briefly."))
    conversation = harness.start_with(
        ("Tell me everything about oranges. " * 30, "They grow on trees. " * 20),
        ("What is marmalade?", "It is jam made of oranges."),
        title="Oranges",
    )
    harness.store.set_overrides(conversation, system="Answer briefly.")
    return harness


async def _drafted(_pilot: Pilot[Any], harness: AppHarness) -> None:
    harness.chat.type("And what is </s> <end> in a recipe?")


async def _listed(pilot: Pilot[Any], harness: AppHarness) -> None:
    from textual.command import CommandList

    await until(pilot, lambda: harness.app.screen.query_one(CommandList).option_count > 1, "the commands are listed")


BEHIND: Final = (
    Scene(name="help", steps=(press("f1"),), shows=("Enter sends",)),
    Scene(name="all-commands", steps=(press("ctrl+p"), _listed), shows=("New conversation", "Ctrl+N")),
    Scene(name="a-command-by-its-name", steps=(press("ctrl+p"), write("pin"), _listed), shows=("Pin",)),
    Scene(name="the-prompt", harness=_asked, steps=(_drafted, press("ctrl+l")), shows=("Your draft", "format words")),
    Scene(
        name="the-prompt-has-been-given", harness=_asked, steps=(press("ctrl+l"), see("Turn 2"), press("home")), shows=("Turn 2",)
    ),
    Scene(name="attaching", steps=(press("alt+o"),), shows=("letters/", "notes.txt", "poem.md")),
)

SCENES: Final = (*BEHIND, *SETTINGS)
