"""The keys: each says what it does, and each can be changed while the program runs, by pressing another."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import PAUSE, AppHarness, run, run_loaded, screen_text, send_message, until, until_answered
from support.settings_screens import section, staged, write
from textual.binding import Binding
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import OptionList

from mistral_chat.config import Settings
from mistral_chat.config.settings_file import SettingsFile
from mistral_chat.ui import dialogs, screens, widgets
from mistral_chat.ui.app import MistralChatApp
from mistral_chat.ui.dialogs.keybindings import KeybindingsDialog, KeyCaptureDialog, all_bindings, nodes_with_bindings
from mistral_chat.ui.keymap import current_ids, format_keys, key_problem, keys_of, problems, taken_by
from mistral_chat.ui.widgets.ordered_keys import OrderedKeys

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot


def ours() -> list[type[Widget]]:
    """Every widget and screen of the app."""
    found = []
    for package in (screens, dialogs, widgets):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = import_module(info.name)
            found += [
                each
                for each in vars(module).values()
                if isinstance(each, type) and issubclass(each, Widget) and each.__module__ == info.name
            ]
    return found


@pytest.mark.parametrize("node", [MistralChatApp, *nodes_with_bindings()], ids=lambda node: node.__name__)
def test_every_key_says_what_it_does_and_can_be_changed(node: type[Any]) -> None:
    known = all_bindings()
    for binding in node.__dict__["BINDINGS"]:
        assert isinstance(binding, Binding)
        assert binding.id, f"{binding.key} of {node.__name__} cannot be changed"
        assert binding.description, binding
        assert binding.tooltip, f"help does not say what {binding.key} of {node.__name__} does"
        assert known[binding.id].action == binding.action, f"two keys are called {binding.id}"


@pytest.mark.parametrize(
    "widget",
    [each for each in ours() if each.can_focus and not each.__subclasses__() and not issubclass(each, Screen | OrderedKeys)],
    ids=lambda each: each.__name__,
)
def test_every_focusable_widget_has_its_own_help(widget: type[Widget]) -> None:
    assert widget.HELP, f"F1 says nothing about {widget.__name__}"


@pytest.mark.parametrize(
    "screen", [each for each in ours() if issubclass(each, Screen) and not each.__subclasses__()], ids=lambda each: each.__name__
)
def test_every_screen_has_help_for_library_widgets(screen: type[Widget]) -> None:
    # Buttons are Textual's: the help of the screen around them covers them.
    assert screen.HELP, f"F1 says nothing about {screen.__name__}"


def test_no_two_default_keys_clash() -> None:
    known = all_bindings()
    assert len(known) > 60
    assert problems({}, known) == []
    assert problems({name: binding.key for name, binding in known.items()}, known) == []


@pytest.mark.parametrize(
    ("keymap", "problem"),
    [
        ({"chat.nwe": "f5"}, "unknown id 'chat.nwe'. Did you mean 'chat.new'?"),
        ({"chat.new": "f4"}, "f4 is given to both 'chat.new' and 'chat.delete'"),
        ({"chat.new": "up"}, "up is given to both 'chat.new' and 'composer.up'"),
        ({"list.delete": "ctrl+q"}, "ctrl+q is given to both 'app.quit' and 'list.delete'"),
        ({"chat.new": "ctrl-n"}, "'ctrl-n' is not a key. Did you mean 'ctrl+n'?"),
        ({"chat.new": "strg+n"}, "'strg+n' is not a key."),
        ({"chat.new": "x"}, "x is needed for typing"),
        ({"chat.new": " "}, "has no key; the default is used"),
    ],
)
def test_errors_in_a_keymap_are_reported(keymap: dict[str, str], problem: str) -> None:
    assert any(problem in each for each in problems(keymap, all_bindings()))


def test_keys_never_active_together_may_be_equal() -> None:
    known = all_bindings()
    assert problems({"list.delete": "x", "weights.pause": "x"}, known) == []
    assert taken_by("chat.new", "f4", {}, known) == "chat.delete"
    assert taken_by("chat.new", "f4", {"chat.delete": "ctrl+k"}, known) is None
    assert keys_of("Shift+Ctrl+a, f5") == ["ctrl+shift+a", "f5"]
    assert format_keys("ctrl+j,alt+enter") == "Ctrl+J or Alt+Enter"
    assert not key_problem("chat.new", "alt+ctrl+f12")


async def test_a_bad_key_is_reported_at_startup_and_the_rest_apply() -> None:
    harness = AppHarness(settings=replace(Settings(), keymap={"chat.settings": "alt+n", "chat.nwe": "f11", "chat.rename": "f4"}))
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: "Did you mean 'chat.new'?" in harness.chat.notice)
        assert "f4 is given to both" in harness.chat.notice
        await pilot.press("alt+n")
        await until(pilot, lambda: "config show" in harness.chat.notice)


async def opened(pilot: Pilot[Any], harness: AppHarness) -> KeybindingsDialog:
    await section(pilot, harness, "keymap")
    await until(pilot, lambda: isinstance(harness.app.screen, KeybindingsDialog) and "Everywhere" in screen_text(harness))
    screen = harness.app.screen
    assert isinstance(screen, KeybindingsDialog)
    return screen


async def pressed(pilot: Pilot[Any], harness: AppHarness, name: str, *keys: str) -> None:
    """Ask for another key for `name`, and press `keys`."""
    listed = harness.app.screen.query_one(OptionList)
    listed.highlighted = listed.get_option_index(name)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(harness.app.screen, KeyCaptureDialog))
    await pilot.press(*keys)


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_key_is_changed_by_pressing_another(tmp_path: Path, size: tuple[int, int]) -> None:
    config = tmp_path / "config.yaml"
    write(config, "# mine\nkeymap: {}  # none yet\n")
    harness = staged(config)
    async with run(harness, size) as pilot:
        await opened(pilot, harness)
        await pressed(pilot, harness, "chat.new", "f4")
        await until(
            pilot, lambda: "is already “Delete”" in screen_text(harness).replace("\n", " "), "a key that is taken is refused"
        )
        await pilot.press("x")
        await until(pilot, lambda: "is needed for typing" in screen_text(harness))
        await pilot.press("alt+n")
        await until(pilot, lambda: isinstance(harness.app.screen, KeybindingsDialog))
        await until(pilot, lambda: "New conversation: Alt+N" in screen_text(harness))
        assert config.read_text() == '# mine\nkeymap:  # none yet\n  chat.new: "alt+n"\n'
        await pressed(pilot, harness, "app.quit", "ctrl+q")
        await until(pilot, lambda: isinstance(harness.app.screen, KeybindingsDialog))
        assert harness.app.is_running, "the key that is asked for quit the program"
        await pilot.press("escape", "escape")
        await until(pilot, lambda: harness.app.screen is harness.screen)
        await harness.chat.open(harness.add_conversation(("Question", "Answer")))
        await pilot.press("ctrl+n")
        await pilot.pause()
        assert harness.chat.conversation_id is not None, "the old key still works"
        await pilot.press("alt+n")
        await until(pilot, lambda: harness.chat.conversation_id is None)


async def test_defaults_are_restored_and_unknown_names_removed(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    write(config, "keymap:\n  chat.new: alt+n   # mine\n  chat.nwe: f5\n")
    harness = staged(config)
    async with run(harness) as pilot:
        screen = await opened(pilot, harness)
        assert "unknown id 'chat.nwe'" in screen_text(harness)
        listed = screen.query_one(OptionList)
        for name in ("chat.nwe", "chat.new"):
            listed.highlighted = listed.get_option_index(name)
            await pilot.press("delete")
            await until(pilot, lambda name=name: name not in config.read_text())  # type: ignore[misc]  # mypy has no type for a lambda's default
        assert SettingsFile(config).read().settings.keymap == {}
        assert "New conversation: Ctrl+N" in screen_text(harness)
        await pressed(pilot, harness, "chat.new", "escape")
        await until(pilot, lambda: isinstance(harness.app.screen, KeybindingsDialog))
        assert SettingsFile(config).read().settings.keymap == {}


async def test_keys_edited_in_the_file_apply_without_a_restart(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    write(config, "")
    harness = staged(config)
    async with run_loaded(harness) as pilot:
        await harness.chat.poll_changes()
        write(config, "keymap: {chat.filter: f5, chat.rename: alt+n}\ntheme: mistral-light\n")
        await harness.chat.poll_changes()
        await until(pilot, lambda: "f5 is given to both" in harness.chat.notice)
        assert harness.app.theme == "mistral-light"
        await pilot.press("alt+n")
        await until(pilot, lambda: "Nothing to rename" in harness.chat.notice)
        write(config, "keymap: [broken\n")
        await harness.chat.poll_changes()
        await until(pilot, lambda: "The previous settings apply" in harness.chat.notice)
        assert harness.chat.settings.keymap["chat.rename"] == "alt+n"


async def test_notices_name_the_keys_in_force() -> None:
    harness = AppHarness(settings=replace(Settings(), keymap={"chat.undo": "alt+u", "composer.send": "ctrl+k"}))
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: "Ctrl+K" in screen_text(harness))
        await harness.chat.open(harness.add_conversation(("Question", "Answer"), title="Bread"))
        await pilot.press("f4")
        await until(pilot, lambda: "Alt+U undo" in screen_text(harness))
        await pilot.press("alt+u")
        await until(pilot, lambda: "Undone: delete" in screen_text(harness))


def test_ids_of_older_versions_still_name_their_keys() -> None:
    known = all_bindings()
    old = {"ask.cancel": "alt+q", "saving.before": "alt+b"}
    assert problems(old, known) == []
    assert current_ids(old) == {"dialog.cancel": "alt+q", "dialog.previous": "alt+b"}
    assert set(current_ids({"trash.cancel": "f5"})) <= set(known)


async def test_the_status_bar_names_the_keys_of_what_has_the_focus() -> None:
    harness = AppHarness(answer=lambda _: f"One {PAUSE} two")
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: harness.chat.hints[:3] == ["/ commands", "? help", "Shift+Tab messages"])
        await pilot.press("slash")
        await until(pilot, lambda: "Esc close" in harness.chat.hints, "the menu has keys of its own")
        await pilot.press("escape")
        await until(pilot, lambda: "Enter send" in harness.chat.hints, "what was typed can be sent")
        await pilot.press("backspace", "shift+tab")
        await until(pilot, lambda: harness.chat.hints[:2] == ["Enter actions", "Esc back"])
        await pilot.press("ctrl+o")
        await until(pilot, lambda: harness.chat.hints[:3] == ["Enter open", "Esc back", "/ filter"])
        await pilot.press("slash")
        await until(pilot, lambda: "Esc show all" in harness.chat.hints)
        await pilot.press("escape", "escape", "f3")
        await until(pilot, lambda: harness.chat.hints == ["Enter resend", "Esc cancel"])
        await pilot.press("escape")
        await send_message(pilot, harness, "Again")
        await until(pilot, lambda: harness.chat.hints[0] == "Esc stop")
        harness.gate.set()
        await until_answered(pilot, harness)


async def test_the_slash_menu_hides_and_returns_with_the_message_box() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press("slash", "r", "e")
        await until(pilot, lambda: harness.chat.composer.menu_is_open)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: not harness.chat.composer.menu_is_open, "the list has the focus")
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.composer.menu_is_open, "the box has it again")
