"""The settings: what each is, where it comes from, what it means; and changing it in the person's own file."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import getters, on
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.config.parsing import choices, format_value, is_scalar, parse_value
from mistral_chat.errors import ConfigError, MistralChatError
from mistral_chat.text import one_line
from mistral_chat.ui.screens.settings_words import Row, effect, place, rows
from mistral_chat.ui.widgets.notification_bar import NotificationBar
from mistral_chat.ui.widgets.status_bar import StatusBar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from textual.app import ComposeResult

    from mistral_chat.config.configuration import Configuration
    from mistral_chat.config.settings_file import SettingsFile
    from mistral_chat.ui.keymap import KeyChoice

_QUIET: Final = "$foreground 65%"
_NAME: Final = 16
"""Columns of a setting's name."""
_VALUE: Final = 26
"""Columns of a value in the list; the text beside or below has all of it."""


class SettingList(OptionList):
    """Lists the settings in their groups."""

    HELP = "## Settings\n\nThe arrow keys go through the settings. **Enter** changes the one under the cursor.\n"


class SettingFacts(VerticalScroll):
    """What is known of one setting."""

    HELP = "## About a setting\n\nThe arrow keys scroll. **Tab** goes back to the list.\n"

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(id="facts", markup=False)

    def show(self, row: Row, file: str) -> None:
        """Show what is known of `row`."""
        source = "the default" if row.source == "default" else one_line(row.source.replace(file, "config.yaml"))
        facts = [("Now", one_line(row.text, 1000)), ("From", source), ("Default", one_line(row.default))]
        lines = [
            Content.styled(row.key, "bold"),
            Content(row.entry.meaning),
            Content(""),
            *(Content.assemble((name.ljust(9), _QUIET), text) for name, text in facts),
            Content.assemble(("Takes".ljust(9), _QUIET), row.entry.kind.replace("`", "")),
            Content(""),
            Content.styled(effect(row.key), _QUIET),
        ]
        self.query_one("#facts", Static).update(Content("\n").join(lines))
        self.scroll_home(animate=False)


class SettingsScreen(Screen[None]):
    """Shows every setting, and writes those that are changed into the settings' file."""

    CSS_PATH = "settings.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (90, "-wide")]  # noqa: RUF012 (as Textual declares it)
    HELP = (
        "## Settings\n\n**Enter** changes the setting under the cursor. It is written into your config.yaml, where everything\n"
        "else, your comments too, stays as it is. **Escape** goes back.\n"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Go back to the chat", id="settings.leave", show=False),
        Binding("f5", "look", "Read again", tooltip="Read the settings' file again", id="settings.look", show=False),
    ]

    listed = getters.query_one(SettingList)
    facts = getters.query_one(SettingFacts)
    notice = getters.query_one(NotificationBar)
    status = getters.query_one(StatusBar)

    def __init__(
        self,
        settings_file: SettingsFile,
        *,
        themes: Sequence[str],
        changed: Callable[[str, object], None],
        keys: KeyChoice | None = None,
    ) -> None:
        """Show the settings.

        Args:
            settings_file: where they are kept.
            themes: the colours that can be chosen.
            changed: told of the dotted key and the value that holds from now on.
            keys: the app's keys; None where they are changed as texts.
        """
        super().__init__()
        self._file = settings_file
        self._themes = themes
        self._changed = changed
        self._keys = keys
        self._rows: dict[str, Row] = {}
        self._configuration: Configuration | None = None

    def compose(self) -> ComposeResult:
        """The list, and what is known of the setting under the cursor."""
        with Vertical(id="page"):
            with Vertical(id="choice"):
                yield Static("Settings", id="title", markup=False)
                yield Static("", id="intro", markup=False)
                with Container(id="table"):
                    yield SettingList(markup=False, compact=True)
                    yield SettingFacts()
            yield NotificationBar()
        yield StatusBar()

    def on_mount(self) -> None:
        """Read the settings."""
        self.status.hints = (("Enter", "change"), ("Esc", "back"), ("F5", "read again"), ("F1", "help"))
        self.action_look()
        self.listed.focus()

    def action_look(self) -> None:
        """Read the settings' file again."""
        try:
            self._show(self._file.read())
        except MistralChatError as error:
            self._introduce(f"{str(error).rstrip('.')}. Correct it there, then press F5.", trouble=True)

    def action_leave(self) -> None:
        """Go back to the chat."""
        self.dismiss(None)

    @on(OptionList.OptionHighlighted)
    def _marked(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_id is not None:
            self.facts.show(self._rows[event.option_id], str(self._file.path))

    @on(OptionList.OptionSelected)
    def _taken(self, event: OptionList.OptionSelected) -> None:
        row = self._rows.get(event.option_id or "")
        if row is None:
            return
        if not is_scalar(row.key):
            self._open_names(row.key)
            return
        from mistral_chat.ui.screens.setting import SettingScreen

        screen = SettingScreen(
            row.key,
            format_value(row.value),
            f"{row.entry.meaning} {effect(row.key)}",
            default=format_value(parse_value(row.key, row.entry.default.strip('"[]'))),
            keep=lambda typed: self._keep(row.key, typed),
            choices=self._themes if row.key == "theme" else choices(row.key),
            lines=row.key == "system",
        )
        self.app.push_screen(screen)

    def _open_names(self, key: str) -> None:
        """Show what a person named under the section `key`, to be changed."""
        from mistral_chat.ui.screens.keys import KeysScreen
        from mistral_chat.ui.screens.names import NamesScreen
        from mistral_chat.ui.screens.settings_names import NamedSection

        if self._configuration is None:
            return

        def changed(configuration: Configuration) -> None:
            self._show(configuration)
            self._changed(key, self._rows[key].value)

        section = NamedSection(key, self._configuration, self._file, changed)
        if key != "keymap" or self._keys is None:
            self.app.push_screen(NamesScreen(section))
            return

        def keep(name: str, keys: str | None) -> tuple[Mapping[str, str], str]:
            problem = section.keep(name, {(): keys} if keys is not None else None)
            return section.texts(), problem

        self.app.push_screen(KeysScreen(self._keys.known_bindings, section.texts(), keep))

    def _keep(self, key: str, typed: str) -> str:
        """Write what was typed for `key`; say why it cannot be, or nothing."""
        try:
            value = parse_value(key, typed)
            configuration = self._file.write(key, value)
        except ConfigError as error:
            return error.problem if error.line is None or error.source == key else str(error)
        except MistralChatError as error:
            return str(error)
        self._show(configuration)
        row = self._rows[key]
        self._changed(key, row.value)
        if row.value == value:
            text = f"{key} is {row.text} now."
            self.notice.show(f"{text} {effect(key)}" if effect(key) != effect("theme") else text)
        else:
            self.notice.show(f"Saved, but {row.source} overrides it in this session.", severity="warning")
        return ""

    def _show(self, configuration: Configuration) -> None:
        self._configuration = configuration
        marked = self.listed.highlighted
        self._rows = {row.key: row for row in rows(configuration)}
        options: list[Option] = []
        group = ""
        for row in self._rows.values():
            if row.group != group:
                group = row.group
                options += [Option("", disabled=True)] * bool(options) + [Option(Content(group), disabled=True)]
            options.append(Option(_line(row, str(self._file.path)), id=row.key))
        self.listed.set_options(options)
        self.listed.highlighted = 1 if marked is None else marked
        self._introduce(f"Kept in {self._file.path}")

    def _introduce(self, text: str, trouble: bool = False) -> None:  # noqa: FBT001, FBT002 (given as a pair with the text)
        intro = self.query_one("#intro", Static)
        intro.update(Content(one_line(text, 400)))
        intro.set_class(trouble, "-trouble")


def _line(row: Row, file: str) -> Content:
    """A setting on one line: its name, its value and its source; what is not the default stands out."""
    text = Content(one_line(row.text, 200)).truncate(_VALUE - 1, ellipsis=True).pad_right(0)
    value = text.stylize(_QUIET if row.source == "default" or row.text == "empty" else "$text-accent")
    gap = " " * max(1, _VALUE - text.cell_length)
    return Content.assemble(f"{row.name:{_NAME}}", value, gap, (one_line(place(row.source, file), 40), _QUIET))
