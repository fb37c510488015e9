"""Editing settings: a form for one setting or one named entry, and the list of such entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from textual import on, work
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from mistral_chat.config.docs import setting_docs
from mistral_chat.config.named_entries import entries_of, entry_fields, entry_to_text
from mistral_chat.errors import ConfigError, MistralChatError
from mistral_chat.text import clean, one_line
from mistral_chat.ui.dialogs.base import Dialog, button_row, frame, paragraph, status_line
from mistral_chat.ui.dialogs.confirm import ConfirmDialog
from mistral_chat.ui.dialogs.input import LONGEST
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.widgets.ordered_keys import Field, OrderedKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult

    from mistral_chat.config.configuration import Configuration
    from mistral_chat.config.named_entries import EntryField, FieldTexts
    from mistral_chat.config.settings_file import SettingsFile

_QUIET: Final = "$text-quiet"
_TITLES: Final = {
    "personas": ("Personas", "persona"),
    "models.formats": ("Prompt formats", "prompt format"),
    "models.catalog": ("Your models", "model"),
    "keymap": ("Keybindings", "key"),
}
"""The name of each section of named entries, and of one entry."""


class FormField(NamedTuple):
    """One field of a form; its texts are untrusted."""

    label: str
    value: str = ""
    about: str = ""
    placeholder: str = ""
    choices: Sequence[str] = ()
    """The only allowed values; empty if any value is allowed."""
    shown: Sequence[str] = ()
    """The choices in words, where they differ."""
    multiline: bool = False


class TextBox(OrderedKeys, TextArea):
    """A field of several lines. Its help is that of the form around it."""


class SettingEditor(Dialog[bool]):
    """A form that stays open until its values can be saved; the result is True, or None if nothing was changed."""

    HELP = """\
    ## Edit settings

    **Tab** goes to the next field. **Enter** saves, and in a field of several lines **Ctrl+S** does. The value is saved in
    config.yaml; the rest of the file, including comments, is not changed. **Esc** changes nothing.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("setting.save", "ctrl+s", "save", "Save", "Save the values", priority=True),
    ]

    def __init__(
        self,
        title: str,
        fields: Sequence[FormField],
        save: Callable[[list[str]], str],
        *,
        about: str = "",
        default: str | None = None,
    ) -> None:
        """Show a form.

        Args:
            title: the dialog's title; may quote anything.
            fields: the fields, at least one; only a single field may have choices.
            save: saves the values of the fields; returns why that failed, or an empty string.
            about: an explanation above the fields.
            default: the value that Reset saves in a form of one field; None leaves the button out.
        """
        super().__init__()
        self._title, self._form, self._save, self._about, self._default = title, tuple(fields), save, about, default

    def compose(self) -> ComposeResult:
        """Show the explanation, the fields, what is wrong, and the buttons."""
        key = "Ctrl+S" if self._form[0].multiline else "Enter"
        with frame(
            self._title, hints=((key, "save"), ("Esc", "cancel")), classes="form" if len(self._form) == 1 else "form long"
        ):
            if self._about:
                yield paragraph(self._about)
            with VerticalScroll(classes="fields", can_focus=False):
                for number, field in enumerate(self._form):
                    yield from _field(field, number)
            yield status_line()
            reset = [] if self._default is None else [("reset", "Reset")]
            yield button_row([("save", "Save"), *reset, ("cancel", "Cancel")])

    def on_mount(self) -> None:
        """Start at the first field."""
        for listed, field in zip(self.query(OptionList), self._form, strict=False):
            listed.highlighted = field.choices.index(field.value) if field.value in field.choices else 0
        self.query("Field, TextBox, OptionList").first().focus()
        self.call_after_refresh(self.query_one(".fields").scroll_home, animate=False)

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def action_save(self) -> None:
        """Save the values."""
        self._try([self._value(number, field) for number, field in enumerate(self._form)])

    def action_reset(self) -> None:
        """Save the default."""
        if self._default is not None:
            self._try([self._default])

    def _value(self, number: int, field: FormField) -> str:
        """Return the value of a field. A value that was only cleaned to be drawn is returned as it was."""
        if field.choices:
            return field.choices[self.query_one(f"#field{number}", OptionList).highlighted or 0]
        if field.multiline:
            text = self.query_one(f"#field{number}", TextBox).text
            return field.value if text == clean(field.value) else text
        text = self.query_one(f"#field{number}", Field).value
        return field.value if text == one_line(field.value, LONGEST) else text.strip()

    def _try(self, values: list[str]) -> None:
        if problem := self._save(values):
            self.show_status(problem, warning=True)
        else:
            self.dismiss(True)  # noqa: FBT003 (the result itself)


def _field(field: FormField, number: int) -> ComposeResult:
    about = f"  {one_line(field.about, 300)}" if field.about else ""
    yield Static(Content.assemble((one_line(field.label, 60), "bold"), (about, _QUIET)), classes="label")
    name = f"field{number}"
    if field.choices:
        options = (Option(Content(one_line(each))) for each in field.shown or field.choices)
        yield OptionList(*options, id=name, markup=False, compact=True)
    elif field.multiline:
        yield TextBox(clean(field.value), id=name, compact=True, highlight_cursor_line=False)
    else:
        yield Field(one_line(field.value, LONGEST), placeholder=field.placeholder, id=name, compact=True, select_on_focus=True)


class NamedSection:
    """A section of the settings with named entries."""

    def __init__(
        self, key: str, configuration: Configuration, settings_file: SettingsFile, changed: Callable[[Configuration], None]
    ) -> None:
        """Read and write the dotted section `key` of `settings_file`; `changed` takes the configuration after each change."""
        self.key = key
        self.title, self.one = _TITLES.get(key, (key, "entry"))
        self.meaning = next(doc.meaning for doc in setting_docs() if doc.key == key)
        self.fields: tuple[EntryField, ...] = entry_fields(key)
        self._configuration, self._file, self._changed = configuration, settings_file, changed

    @property
    def entries(self) -> dict[str, str]:
        """Every entry by its name, in a few words; untrusted text."""
        return {name: _summary(self.texts(name)) for name in entries_of(self._configuration.settings, self.key)}

    @property
    def values(self) -> dict[str, str]:
        """Every entry of a section whose entries are texts."""
        return entries_of(self._configuration.settings, self.key)

    def texts(self, name: str) -> FieldTexts:
        """The fields of an entry as texts."""
        return entry_to_text(self.key, name, self._configuration)

    def save(self, name: str, texts: FieldTexts | None) -> str:
        """Save an entry, or with None remove it; returns why that failed, or an empty string."""
        try:
            self._configuration = self._file.write_entry(self.key, name, texts)
        except MistralChatError as error:
            return refusal(error, self.key)
        self._changed(self._configuration)
        return ""


def refusal(error: MistralChatError, key: str) -> str:
    """Why a value of the setting `key` was not saved; the location is omitted if it is that value itself."""
    if isinstance(error, ConfigError) and (error.line is None or error.source == key):
        return error.problem
    return str(error)


def _summary(texts: FieldTexts) -> str:
    return " · ".join(text.partition("\n")[0] for text in texts.values() if text)


class NamedEntriesDialog(Dialog[None]):
    """Lists the entries of one section, and lets the user add, change and remove them."""

    HELP = """\
    ## Named settings

    **Enter** changes the selected entry, **+** or **Insert** adds one, **Delete** or **Backspace** removes it after a question.
    **Esc** closes the list.
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("names.add", "insert,plus", "add", "Add", "Add an entry"),
        key_binding("names.remove", "delete,backspace", "remove", "Remove", "Remove the selected entry"),
    ]

    def __init__(self, section: NamedSection) -> None:
        """List the entries of `section`."""
        super().__init__()
        self._section = section

    def compose(self) -> ComposeResult:
        """Show the entries and what can be done with them."""
        hints = (("Enter", "change"), ("+", "add"), ("Del", "remove"), ("Esc", "close"))
        with frame(self._section.title, hints=hints, classes="tall"):
            yield status_line()
            yield OptionList(markup=False, compact=True)
            yield button_row([("add", "Add"), ("change", "Change"), ("remove", "Remove")])

    def on_mount(self) -> None:
        """List the entries."""
        self._show()
        (self.listed if self._section.entries else self.query_one("#add")).focus()

    def action_add(self) -> None:
        """Add an entry."""
        self._edit(None)

    @on(OptionList.OptionSelected)
    def action_change(self) -> None:
        """Edit the selected entry."""
        if (name := self.marked) is not None:
            self._edit(name)

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_remove(self) -> None:
        """Remove the selected entry, after a question."""
        if (name := self.marked) is None:
            return
        text = "It is removed from config.yaml. Conversations are not affected."
        if await self.app.push_screen_wait(ConfirmDialog(f"Remove “{one_line(name, 40)}”?", text, yes="Remove", no="Keep")):
            self._show(self._section.save(name, None))

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def _edit(self, name: str | None) -> None:
        """Edit an entry, or with None a new one."""
        section = self._section
        texts = section.texts(name) if name is not None else {}
        saved_as = name or ""

        def save(values: list[str]) -> str:
            nonlocal saved_as
            if name is None:
                saved_as, *values = values
                if saved_as in section.entries:
                    return f"{saved_as!r} already exists. Choose another name, or change that entry."
            return section.save(saved_as, {field.path: value for field, value in zip(section.fields, values, strict=True)})

        fields = [_form_field(field, texts.get(field.path, "")) for field in section.fields]
        title = f"New {section.one}" if name is None else one_line(name, 60)
        form = SettingEditor(title, [FormField("Name"), *fields] if name is None else fields, save)
        if await self.app.push_screen_wait(form):
            self._show(selected=saved_as)
            self.listed.focus()

    def _show(self, problem: str = "", selected: str | None = None) -> None:
        entries = self._section.entries
        self.listed.set_options(
            Option(Content.assemble((one_line(name, 40) or "?", "bold"), "  ", (one_line(text, 60), _QUIET)), id=name)
            for name, text in entries.items()
        )
        self.listed.highlighted = self.listed.get_option_index(selected) if selected in entries else 0
        none = "" if entries else "None yet. "
        self.show_status(problem or f"{none}{self._section.meaning}", warning=bool(problem))


def _form_field(field: EntryField, text: str) -> FormField:
    label = " ".join(field.path).replace("_", " ").capitalize() if field.path else "Value"
    default = field.doc.default.strip('"') or ("" if not field.path or "empty" in field.doc.kind else "required")
    multiline = field.path == ("system",)
    return FormField(label, text, field.doc.meaning, "" if multiline else default, multiline=multiline)
