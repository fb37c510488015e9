"""Every screen and dialog filled with what is hostile, in each place that shows text which may be anything."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from support.app_harness import until
from support.first_run import FrozenModelService, installed, offered, usual_listing
from textual.binding import Binding
from textual.widgets import Input, OptionList

from mistral_chat.config import Persona, Settings
from mistral_chat.config.configuration import Configuration
from mistral_chat.config.docs import setting_docs
from mistral_chat.config.settings_file import SettingsFile
from mistral_chat.conversation import TranscriptTurn, Turn
from mistral_chat.errors import InvalidText
from mistral_chat.generation import Prompt, PromptPart, PromptPiece
from mistral_chat.model_listing import DownloadProgress
from mistral_chat.session.context import ContextUsage
from mistral_chat.text import clean
from mistral_chat.ui.commands.turns import turn_menu
from mistral_chat.ui.dialogs.attach import AttachDialog
from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog
from mistral_chat.ui.dialogs.confirm import ConfirmDialog
from mistral_chat.ui.dialogs.context import ContextDialog
from mistral_chat.ui.dialogs.help import HelpDialog, HelpPart, HelpRow
from mistral_chat.ui.dialogs.input import InputDialog
from mistral_chat.ui.dialogs.keybindings import KeybindingsDialog, KeyCaptureDialog
from mistral_chat.ui.dialogs.passage import PassageDialog
from mistral_chat.ui.dialogs.save_code import choose_code, name_file
from mistral_chat.ui.dialogs.search import SearchDialog
from mistral_chat.ui.dialogs.setting_editor import FormField, NamedEntriesDialog, NamedSection, SettingEditor
from mistral_chat.ui.dialogs.tasks import TasksDialog
from mistral_chat.ui.dialogs.trash import TrashDialog
from mistral_chat.ui.keymap import format_keys
from mistral_chat.ui.markdown import Code
from mistral_chat.ui.screens.models import ModelsScreen
from mistral_chat.ui.screens.prompt import PromptScreen
from mistral_chat.ui.screens.settings import SettingsScreen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from support.app_harness import AppHarness
    from textual.pilot import Pilot
    from textual.screen import Screen

    Make = Callable[[AppHarness, Sequence[str]], Screen[Any]]
    Act = Callable[[Pilot[Any], Any, Sequence[str]], Awaitable[None]]


def storable(text: str) -> str:
    """What the store takes: it refuses half characters, and so does the chat before it."""
    return text.encode("utf-8", "replace").decode("utf-8")


async def _nothing(_pilot: Pilot[Any], _screen: Any, _texts: Sequence[str]) -> None:
    """Only look."""


async def _enter(pilot: Pilot[Any], _screen: Any, _texts: Sequence[str]) -> None:
    """Take what is there, which is refused."""
    await pilot.press("enter")


class Filled(NamedTuple):
    """How a screen is filled."""

    make: Make
    at_once: int
    """How many texts it takes."""
    act: Act = _nothing
    """What is done in it, so that more is shown."""


class _SettingsFile(SettingsFile):
    """Settings whose values, sources and file's name are hostile."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__(Path(texts[0]))
        self.texts = texts

    def read(self, *, skip_unknown: bool = False) -> Configuration:
        personas = {text: Persona(system=text) for text in self.texts}
        settings = replace(
            Settings(), model=self.texts[1], system=self.texts[2], personas=personas, keymap=dict.fromkeys(self.texts, "f")
        )
        keys = [entry.key for entry in setting_docs()]
        return Configuration(settings, {key: self.texts[place % len(self.texts)] for place, key in enumerate(keys)})

    def write(self, key: str, value: object) -> Configuration:
        raise InvalidText(self.texts[3])

    def write_entry(self, section: str, name: str, texts: object) -> Configuration:
        raise InvalidText(self.texts[3])


def _entries(_harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    """A section of the settings whose names and values are hostile."""
    file = _SettingsFile(texts)
    return NamedEntriesDialog(NamedSection("personas", file.read(), file, lambda _: None))


def _form(_harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    title, label, value, about, placeholder, lines, problem = texts
    fields = [FormField(label, value, about, placeholder), FormField(label, lines, multiline=True)]
    return SettingEditor(title, fields, lambda _: problem, about=about, default=value)


def _choices_of_setting(_harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    return SettingEditor(texts[0], [FormField(texts[0], texts[1], choices=texts)], lambda _: texts[0])


def _keys(_harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    known = {f"chat.{place}": Binding("f1", "stop", "Stop", tooltip="Stop", id=f"chat.{place}") for place in range(len(texts))}
    file = _SettingsFile(texts)
    keymap = {f"chat.{place}": text for place, text in enumerate(texts)}
    configuration = Configuration(replace(file.read().settings, keymap=keymap), {})
    return KeybindingsDialog(known, NamedSection("keymap", configuration, file, lambda _: None))


async def _found(pilot: Pilot[Any], screen: Any, texts: Sequence[str]) -> None:
    """Search for a word that only these conversations contain."""
    field = screen.query_one(Input)
    field.value = f"word{abs(hash(tuple(texts)))}"
    await until(pilot, lambda: len(screen._hits) >= min(25, len(texts)), "they are found")


def _search(harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    for text in texts:
        harness.add_conversation((f"word{abs(hash(tuple(texts)))} {storable(text)[:2000]}", "Yes."), title=storable(text)[:300])
    return SearchDialog(harness.store)


def _trash(harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    for text in texts:
        harness.store.trash(harness.add_conversation(("Question", "Answer"), title=storable(text)[:300]))

    async def restore(conversation_id: str) -> None:
        harness.store.restore(conversation_id)

    async def delete(_conversation_id: str | None) -> bool:
        return True

    return TrashDialog(harness.store, restore=restore, delete=delete)


def _background(harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    for text in texts:
        job = harness.chat.tasks.begin(text, text, cancel=lambda: None, kept=text)
        job.tell(0.5, text)
    return TasksDialog(harness.chat.tasks)


def _input(_harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    title, label, value, about, confirm, problem = texts

    async def refuse(_text: str) -> str:
        return problem

    return InputDialog(title, label=label, value=value, about=about, confirm=confirm, submit=refuse)


def _choice(_harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    choices = [Choice(str(place), text, text, text) for place, text in enumerate(texts)]
    return ChoiceDialog(texts[0], choices, text=texts[1], filterable=True)


def _save(_harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    return name_file(Code(language=texts[0], text=texts[0]))


async def _name(pilot: Pilot[Any], screen: Any, texts: Sequence[str]) -> None:
    """Give every text as a name in a folder that is not there; of the longest, as much as fills any line."""
    for text in texts:
        screen.query_one(Input).value = f"/dev/null/{clean(text)[:10_000]}"
        await pilot.press("enter")


async def _attach(pilot: Pilot[Any], screen: Any, texts: Sequence[str]) -> None:
    """Look into a folder whose files have such names, and take one."""
    with tempfile.TemporaryDirectory() as folder:
        for text in texts:
            with suppress(OSError, ValueError):  # a name that the disk does not take
                (Path(folder) / text[:200].replace("/", "_")).write_text("x", encoding="utf-8")
        screen.query_one(Input).value = f"{folder}/"
        listed = screen.query_one(OptionList)
        await until(pilot, lambda: listed.option_count, "the names are listed")
        for option in list(listed.options)[::5]:
            screen.query_one(Input).value = f"{folder}/{option.id}"
            await pilot.pause()
        await pilot.press("enter")


def _prompt(_harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    parts = [PromptPart(str(place), (PromptPiece(text, 1, is_control=place % 2 == 0),)) for place, text in enumerate(texts)]
    labels = {str(place): "Turn 1" for place in range(len(texts))}
    return PromptScreen(Prompt(window=4096, reserve=64, parts=tuple(parts)), labels=labels, behind=2, what=texts[0])


def _context(_harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    return ContextDialog(ContextUsage(window=4096), turns=9, excluded=1, left=texts)


def _turn(_harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    shown = TranscriptTurn(turn_id="1", turn=Turn(user=texts[0], reply=texts[0]), siblings=2)
    return turn_menu(shown, [("chat.copy_reply", "Copy reply", texts[0])], tokens=3)


def _models(harness: AppHarness, texts: Sequence[str]) -> Screen[Any]:
    rows = tuple(
        offered(
            text,
            10**9,
            spec=f"{index}",
            family=text,
            title=text,
            about=text,
            licence=text,
            reason=text,
            address=text,
            obstacle=text,
        )
        if index % 2
        else installed(text, "ours", spec=f"{index}", quantization=text, path=text, prompt_format=text)
        for index, text in enumerate(texts)
    )
    unusable = tuple((text, text) for text in texts)
    listing = usual_listing(rows=rows, selected="0", folder=texts[0], hub=texts[1], unusable=unusable)
    return ModelsScreen(FrozenModelService(listing), harness.chat.downloads, wanted=texts[0], problem=texts[1])


async def _go_through(pilot: Pilot[Any], screen: Any, texts: Sequence[str]) -> None:
    """Look at each model, and at a download that fails."""
    await until(pilot, lambda: screen.model_list.option_count > len(texts), "they are listed")
    for _ in texts:
        await pilot.press("down")
    screen.query_one("#choice").display, screen.panel.display = False, True
    for text in texts[::4]:
        screen.panel.open(text, DownloadProgress(stage="asking"), hub=text, folder=text)
        screen.panel.show(DownloadProgress(stage="retrying", bytes=1, note=text))
        await pilot.pause()
        screen.panel.fail(text, text)
        await pilot.pause()


SCREENS: Final[dict[type[Screen[Any]], Filled]] = {
    AttachDialog: Filled(lambda _, __: AttachDialog(_refuse), 60, _attach),
    TasksDialog: Filled(_background, 60),
    ChoiceDialog: Filled(_choice, 60),
    ConfirmDialog: Filled(lambda _, texts: ConfirmDialog(texts[0], texts[1], yes=texts[2], no=texts[3]), 4),
    ContextDialog: Filled(_context, 3),
    HelpDialog: Filled(
        lambda _, texts: HelpDialog("", [HelpPart("Keys", tuple(HelpRow(format_keys(text), "Do", text) for text in texts))]), 60
    ),
    InputDialog: Filled(_input, 6, _enter),
    ModelsScreen: Filled(_models, 8, _go_through),
    KeybindingsDialog: Filled(_keys, 60),
    NamedEntriesDialog: Filled(_entries, 60),
    KeyCaptureDialog: Filled(
        lambda _, texts: KeyCaptureDialog(Binding("f1", "stop", "Stop"), texts[0], lambda _: texts[1]), 2, _enter
    ),
    PassageDialog: Filled(lambda _, texts: PassageDialog(*texts), 2),
    PromptScreen: Filled(_prompt, 60),
    SearchDialog: Filled(_search, 50, _found),
    SettingEditor: Filled(_form, 7, _enter),
    SettingsScreen: Filled(
        lambda _, texts: SettingsScreen(_SettingsFile(texts), themes=texts, changed=lambda *_: None), 30, _enter
    ),
    TrashDialog: Filled(_trash, 60),
}
"""Every screen but the chat itself."""

VARIANTS: Final[dict[str, Filled]] = {
    "choose_code": Filled(lambda _, texts: choose_code(texts[0], [Code(language=text, text=text) for text in texts]), 30),
    "a setting with choices": Filled(_choices_of_setting, 30),
    "name_file": Filled(_save, 1, _name),
    "turn_menu": Filled(_turn, 1),
}
"""Generic dialogs as they are filled for one purpose."""


async def _refuse(path: Path) -> None:
    raise InvalidText(f"{path} cannot be sent.")
