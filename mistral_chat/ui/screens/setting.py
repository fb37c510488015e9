"""The dialog for one setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from mistral_chat.text import clean, one_line
from mistral_chat.ui.widgets.ordered_keys import OrderedKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult

_LONGEST = 4000


class SettingInput(OrderedKeys, Input):
    """The field for a value."""

    HELP = "## A setting\n\nType the value. **Enter** keeps it, **Escape** leaves the old one.\n"


class SettingText(OrderedKeys, TextArea):
    """The field for a text of several lines."""

    HELP = "## A setting\n\nType the text. **Tab** goes on to the buttons, **Escape** leaves the old one.\n"


class SettingChoice(OptionList):
    """The values that there are."""

    HELP = "## A setting\n\nThe arrow keys go through the values, **Enter** takes one, **Escape** leaves the old one.\n"


class SettingButton(Button):
    """What to do with the value."""

    HELP = "## A setting\n\n**Tab** goes from one to the other, **Enter** does it, **Escape** leaves the old value.\n"


class SettingScreen(ModalScreen[bool]):
    """Asks for a value until it can be kept; ends with whether one was."""

    CSS_PATH = "settings.tcss"
    HELP = "## A setting\n\n**Enter** keeps the value, **Escape** leaves the old one.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", tooltip="Leave the old value", id="setting.cancel"),
    ]

    def __init__(
        self,
        key: str,
        value: str,
        about: str,
        *,
        default: str,
        keep: Callable[[str], str],
        choices: Sequence[str] = (),
        lines: bool = False,
    ) -> None:
        """Ask for the value of `key`.

        Args:
            key: the setting.
            value: what it is now.
            about: what it means.
            default: what it is where nobody sets it.
            keep: keeps what was typed; says why it cannot be kept, or nothing.
            choices: the values that there are; none means that anything may be typed.
            lines: whether a value may have several lines.
        """
        super().__init__()
        self._key, self._value, self._about, self._default = key, value, about, default
        self._keep, self._choices, self._lines = keep, tuple(choices), lines

    def compose(self) -> ComposeResult:
        """What it means, the field, what is wrong with it, and the buttons."""
        with Vertical(classes="dialog"):
            yield Static(Content(one_line(self._key)), classes="heading")
            with VerticalScroll(classes="about", can_focus=False):
                yield Static(Content(clean(self._about)), classes="explained")
            if self._choices:
                yield SettingChoice(*(Option(Content(one_line(each))) for each in self._choices), markup=False, compact=True)
            elif self._lines:
                yield SettingText(clean(self._value[:_LONGEST]), compact=True, highlight_cursor_line=False)
            else:
                yield SettingInput(one_line(self._value, _LONGEST), compact=True, select_on_focus=True)
            yield Static("", id="problem", markup=False)
            with Horizontal(classes="buttons"):
                yield SettingButton("Keep", variant="primary", id="keep", compact=True)
                yield SettingButton("Default", id="default", compact=True)
                yield SettingButton("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        """Mark the value that is in force."""
        if self._choices:
            listed = self.query_one(SettingChoice)
            listed.highlighted = self._choices.index(self._value) if self._value in self._choices else 0
        self.query_one("SettingChoice, SettingText, SettingInput").focus()

    def action_leave(self) -> None:
        """Leave the old value."""
        self.dismiss(False)  # noqa: FBT003 (the answer itself)

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    @on(Button.Pressed, "#keep")
    def _kept(self) -> None:
        if self._choices:
            self._try(self._choices[self.query_one(SettingChoice).highlighted or 0])
        else:
            self._try(self.query_one(SettingText).text if self._lines else self.query_one(SettingInput).value)

    @on(Button.Pressed, "#default")
    def _defaulted(self) -> None:
        self._try(self._default)

    @on(Button.Pressed, "#cancel")
    def _cancelled(self) -> None:
        self.action_leave()

    def _try(self, typed: str) -> None:
        if problem := self._keep(typed):
            shown = self.query_one("#problem", Static)
            shown.update(Content(one_line(problem, 300)))
            shown.display = True
        else:
            self.dismiss(True)  # noqa: FBT003 (the answer itself)
