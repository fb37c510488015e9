"""The settings screen: every setting with its value, meaning and effect, saved in the user's own file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from textual import getters, on
from textual.binding import BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static
from textual.widgets.option_list import Option

from mistral_chat.config.docs import setting_docs
from mistral_chat.config.parsing import choices, format_value, is_scalar, parse_value
from mistral_chat.errors import MistralChatError
from mistral_chat.formatting import format_size
from mistral_chat.text import one_line
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.widgets.notification_bar import NotificationBar
from mistral_chat.ui.widgets.plain_list import PlainList
from mistral_chat.ui.widgets.status_bar import StatusBar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from textual.app import ComposeResult

    from mistral_chat.config.configuration import Configuration
    from mistral_chat.config.docs import SettingDoc
    from mistral_chat.config.settings_file import SettingsFile

_QUIET: Final = "$text-quiet"
_LABEL: Final = 24
"""Columns of a label."""
_KEY: Final = 20
"""Columns of most keys."""
_LONGEST_KEY: Final = 25
"""Columns of every key."""
_VALUE: Final = 24
"""The fewest columns of a value in the list; the details have all of it."""


_GROUPS: Final = {
    "": "General",
    "sampling": "Sampling",
    "context": "Context",
    "snapshots": "Context snapshots",
    "engine": "Engine (llama.cpp)",
    "models": "Models",
}

_LABELS: Final = {
    "model": "Model",
    "embedding_model": "Embedding model",
    "recall": "Recall exchanges",
    "system": "System prompt",
    "theme": "Theme",
    "titles": "Conversation titles",
    "statistics": "Reply statistics",
    "trash_days": "Keep deleted chats for",
    "personas": "Personas",
    "keymap": "Keybindings",
    "sampling.temperature": "Temperature",
    "sampling.top_p": "Top P",
    "sampling.top_k": "Top K",
    "sampling.min_p": "Min P",
    "sampling.repeat_penalty": "Repeat penalty",
    "sampling.seed": "Seed",
    "sampling.max_tokens": "Maximum reply length",
    "context.size": "Context size",
    "context.reserve": "Reserved for the reply",
    "context.low_water": "Shrink context to",
    "context.read_ahead": "Preload conversations",
    "snapshots.enabled": "Save snapshots",
    "snapshots.budget": "Disk space",
    "engine.n_gpu_layers": "GPU layers",
    "engine.threads": "CPU threads",
    "engine.kv_type": "KV cache type",
    "engine.flash_attention": "Flash attention",
    "engine.repack": "Repack weights",
    "engine.check_memory": "Check free memory",
    "engine.lora": "LoRA adapters",
    "models.folder": "Download folder",
    "models.folders": "More model folders",
    "models.formats": "Prompt formats",
    "models.catalog": "Your models",
}
"""The label of each setting; one that is not listed shows its key."""

_EMPTY: Final = {
    "embedding_model": "words only",
    "system": "none",
    "sampling.seed": "random",
    "sampling.max_tokens": "no limit",
    "engine.n_gpu_layers": "as many as fit",
    "engine.threads": "one per core",
    "engine.lora": "none",
    "engine.repack": "as measured",
    "models.folder": "data folder",
    "models.folders": "none",
}
"""The meaning of an empty value."""

_AT_ONCE: Final = "immediately"
_NEXT_MESSAGE: Final = "with the next message, unless the conversation overrides it"
_NEXT_LISTING: Final = "when you open the models screen"
_EFFECTS: Final = {
    "theme": _AT_ONCE,
    "keymap": _AT_ONCE,
    "statistics": _AT_ONCE,
    "personas": "immediately; existing conversations keep their own",
    "embedding_model": "with the next message",
    "system": "in the next new conversation",
    "sampling": _NEXT_MESSAGE,
    "context.read_ahead": _NEXT_MESSAGE,
    "models.formats": "when the model is loaded",
    "models.catalog": _NEXT_LISTING,
    "models.folders": _NEXT_LISTING,
}
"""When a setting, or all of a section, takes effect; others do after a restart."""


@dataclass(frozen=True, slots=True)
class Row:
    """One setting."""

    entry: SettingDoc
    value: object
    source: str
    """A file with its line, a variable, an option, or ``"default"``; untrusted text."""

    @property
    def key(self) -> str:
        """The dotted key."""
        return self.entry.key

    @property
    def label(self) -> str:
        """Its name."""
        return _LABELS.get(self.key, self.key)

    @property
    def group(self) -> str:
        """The heading that it is listed under."""
        return _GROUPS[self.key.rpartition(".")[0]]

    @property
    def text(self) -> str:
        """The value in words; untrusted text."""
        return _in_words(self.key, format_value(self.value))

    @property
    def default(self) -> str:
        """The default in words."""
        return _in_words(self.key, self.entry.default.strip('"[]{}'))


class SettingDetails(VerticalScroll):
    """The details of one setting."""

    HELP = "## Details\n\nThe arrow keys scroll. **Tab** goes back to the list.\n"

    def compose(self) -> ComposeResult:
        """Make the text."""
        yield Static(id="facts", markup=False)

    def show(self, row: Row, file: str) -> None:
        """Show the details of `row`."""
        source = "default" if row.source == "default" else one_line(row.source.replace(file, "config.yaml"))
        facts = [("Value", one_line(row.text, 1000)), ("Default", one_line(row.default)), ("Set in", source)]
        lines = [
            Content.styled(row.label, "bold"),
            Content(row.entry.meaning),
            Content(""),
            *(Content.assemble((name.ljust(9), _QUIET), text) for name, text in facts),
            Content.assemble(("Allowed".ljust(9), _QUIET), row.entry.kind.replace("`", "")),
            Content(""),
            Content(_effect_note(row.key)),
            Content.styled(f"config.yaml: {row.key}", _QUIET),
        ]
        self.query_one("#facts", Static).update(Content("\n").join(lines))
        self.scroll_home(animate=False)


class SettingsScreen(Screen[None]):
    """Lists every setting, and writes the changed ones to the settings file."""

    CSS_PATH = ["page.tcss", "settings.tcss"]  # noqa: RUF012 (as Textual declares it)
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (90, "-wide")]  # noqa: RUF012 (as Textual declares it)
    HELP = (
        "## Settings\n\n**Enter** changes the selected setting. The value is saved in config.yaml; the rest of the\n"
        "file, including comments, is not changed. **r** reads the file again. **Esc** goes back to the chat.\n"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("settings.leave", "escape", "dismiss", "Back", "Go back to the chat"),
        key_binding("settings.look", "f5,r", "look", "Reload", "Reload the settings file"),
        key_binding("settings.help", "question_mark", "app.toggle_help", "Help", "Show help"),
    ]

    listed = getters.query_one(PlainList)
    facts = getters.query_one(SettingDetails)
    notice = getters.query_one(NotificationBar)
    status = getters.query_one(StatusBar)

    def __init__(self, settings_file: SettingsFile, *, themes: Sequence[str], changed: Callable[[str, object], None]) -> None:
        """List the settings.

        Args:
            settings_file: the file they are saved in.
            themes: the names of the themes.
            changed: takes the dotted key and the value of each changed setting.
        """
        super().__init__()
        self._file = settings_file
        self._themes = themes
        self._changed = changed
        self._rows: dict[str, Row] = {}
        self._configuration: Configuration | None = None

    def compose(self) -> ComposeResult:
        """Make the list, and the details of the selected setting."""
        with Vertical(id="page"):
            with Vertical(id="choice"):
                yield Static("Settings", id="title", markup=False)
                yield Static("", id="intro", markup=False)
                with Container(id="table"):
                    yield PlainList()
                    yield SettingDetails()
            yield NotificationBar()
        yield StatusBar()

    def on_mount(self) -> None:
        """Read the settings."""
        self.status.hints = (("Enter", "change"), ("Esc", "back"), ("r", "reload"), ("?", "help"))
        self.action_look()
        self.listed.focus()

    def on_resize(self) -> None:
        """Show the keys of the settings where there is room."""
        if self._configuration is not None:
            self.call_after_refresh(self._show, self._configuration)

    def action_look(self) -> None:
        """Read the settings file again."""
        try:
            self._show(self._file.read())
        except MistralChatError as error:
            self._introduce(f"Correct the settings file, then press r. {error}", trouble=True)

    @on(PlainList.OptionHighlighted)
    def _marked(self, event: PlainList.OptionHighlighted) -> None:
        if event.option_id is not None:
            self.facts.show(self._rows[event.option_id], str(self._file.path))

    @on(PlainList.OptionSelected)
    def _taken(self, event: PlainList.OptionSelected) -> None:
        row = self._rows.get(event.option_id or "")
        if row is not None and is_scalar(row.key):
            self._edit(row)
        elif row is not None:
            self._open_section(row.key)

    def _edit(self, row: Row) -> None:
        """Ask for the value of one setting."""
        from mistral_chat.ui.dialogs.setting_editor import FormField, SettingEditor

        allowed = self._themes if row.key == "theme" else choices(row.key)
        field = FormField(
            "Value",
            format_value(row.value),
            about=row.key,
            choices=allowed,
            shown=[_in_words(row.key, each) for each in allowed],
            multiline=row.key == "system",
        )
        default = format_value(parse_value(row.key, row.entry.default.strip('"[]')))
        about = f"{row.entry.meaning} {_effect_note(row.key)}"
        save = partial(self._save, row.key)
        self.app.push_screen(SettingEditor(row.label, [field], save, about=about, default=default))

    def _open_section(self, key: str) -> None:
        """List the entries of the section `key`."""
        from mistral_chat.ui.dialogs.keybindings import KeybindingsDialog, all_bindings
        from mistral_chat.ui.dialogs.setting_editor import NamedEntriesDialog, NamedSection

        if self._configuration is None:
            return

        def changed(configuration: Configuration) -> None:
            self._show(configuration)
            self._changed(key, self._rows[key].value)

        section = NamedSection(key, self._configuration, self._file, changed)
        self.app.push_screen(KeybindingsDialog(all_bindings(), section) if key == "keymap" else NamedEntriesDialog(section))

    def _save(self, key: str, texts: list[str]) -> str:
        """Save the value that was entered for `key`; returns why that failed, or an empty string."""
        from mistral_chat.ui.dialogs.setting_editor import refusal

        try:
            value = parse_value(key, texts[0])
            configuration = self._file.write(key, value)
        except MistralChatError as error:
            return refusal(error, key)
        self._show(configuration)
        row = self._rows[key]
        self._changed(key, row.value)
        if row.value == value:
            text = f"{row.label}: {row.text}."
            self.notice.show(f"{text} {_effect_note(key)}" if _EFFECTS.get(key) != _AT_ONCE else text)
        else:
            self.notice.show(f"Saved, but {row.source} overrides it in this session.", severity="warning")
        return ""

    def _show(self, configuration: Configuration) -> None:
        self._configuration = configuration
        marked = self.listed.highlighted
        self._rows = {row.key: row for row in _rows(configuration)}
        options: list[Option] = []
        group = ""
        for row in self._rows.values():
            if row.group != group:
                group = row.group
                options += [Option("", disabled=True)] * bool(options) + [Option(Content(group), disabled=True)]
            options.append(Option(_line(row, str(self._file.path), self.listed.content_size.width - 3), id=row.key))
        self.listed.set_options(options)
        self.listed.highlighted = 1 if marked is None else marked
        self._introduce(_short(str(self._file.path), self.size.width - 20))

    def _introduce(self, text: str, trouble: bool = False) -> None:  # noqa: FBT001, FBT002 (given as a pair with the text)
        intro = self.query_one("#intro", Static)
        intro.update(Content(one_line(text, 400)))
        intro.set_class(trouble, "-trouble")


def _short(path: str, room: int) -> str:
    """The settings file as the heading names it: from its home folder on, and without its beginning where there is no room."""
    home = str(Path.home())
    path = one_line(path.replace(home, "~", 1) if path.startswith(home) else path, 400)
    return f"Settings file: {path if len(path) <= room else '…' + path[-room:]}"


def _line(row: Row, file: str, room: int) -> Content:
    """A setting on one line: its label, its value, and its key where there is room. Values that are not the default stand out."""
    elsewhere = row.source != "default" and not row.source.startswith(f"{file}:")
    set_by = f"{one_line(row.source, 40)}  " if elsewhere else ""
    keys = room >= _LABEL + _VALUE + _KEY
    wide = max(_VALUE, room - _LABEL - (_LONGEST_KEY if keys else 0)) - len(set_by)
    text = Content(one_line(row.text, 200)).truncate(max(8, wide - 1), ellipsis=True)
    value = text.stylize(_QUIET if row.source == "default" or not row.value else "$text-accent")
    gap = " " * max(1, wide - text.cell_length)
    return Content.assemble(f"{row.label:{_LABEL}}", value, gap, (set_by, _QUIET), (row.key if keys else "", _QUIET))


def _rows(configuration: Configuration) -> Iterator[Row]:
    """Every setting, group by group. A section of named entries is one row."""
    found = {key: (value, source) for key, value, source in configuration.rows()}
    named = [Row(entry, *found[entry.key]) for entry in setting_docs() if entry.key in found]
    for group in _GROUPS.values():
        yield from (row for row in named if row.group == group)


def _in_words(key: str, text: str) -> str:
    """Format a value from the settings file in words."""
    if not text or not is_scalar(key):
        return text or _EMPTY.get(key, "empty" if is_scalar(key) else "none")
    if key == "snapshots.budget":
        return format_size(int(text))
    if key == "trash_days":
        return {"0": "until you empty the trash", "1": "1 day"}.get(text, f"{text} days")
    if key in {"context.size", "context.reserve", "sampling.max_tokens"}:
        return f"{int(text):,} tokens" if text.isdecimal() else text
    on_off = key.partition(".")[0] in {"context", "snapshots", "engine", "recall", "statistics"}
    words = {"true": "on", "false": "off"} if on_off else {}
    return {**words, "first_line": "first line", "0": "greedy" if key == "sampling.temperature" else "0"}.get(text, text)


def _effect_note(key: str) -> str:
    """When a change of `key` takes effect, as a sentence."""
    return f"Takes effect {_EFFECTS.get(key) or _EFFECTS.get(key.partition('.')[0], 'after a restart')}."
