"""What a person has named in the settings, as a list to add to, to change and to take from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mistral_chat.config.named_entries import EntryField, FieldTexts

_HEADINGS: Final = {"personas": "Personas", "models.formats": "Prompt formats", "models.catalog": "Models of your own"}
_ONE: Final = {"personas": "persona", "models.formats": "prompt format", "models.catalog": "model"}


class Named(Protocol):
    """One section of the settings whose keys a person names."""

    key: str
    """The dotted key of the section."""
    meaning: str
    """What it is for, and when a change takes effect."""

    def fields(self) -> tuple[EntryField, ...]:
        """What an entry can say."""

    def names(self) -> dict[str, str]:
        """Every entry by its name, in a few words; untrusted text."""

    def typed(self, name: str) -> FieldTexts:
        """What an entry says."""

    def keep(self, name: str, typed: FieldTexts | None) -> str:
        """Keep an entry, or with None take it away; says why that cannot be, or nothing."""


class NameList(OptionList):
    """What there is."""

    HELP = "## Your own names\n\n**Enter** changes what is marked, **Insert** or **+** adds one, **Delete** takes it away.\n"


class NameButton(Button):
    """One thing to do with the list."""

    HELP = "## Your own names\n\n**Tab** goes from one to the other, **Enter** does it, **Escape** goes back.\n"


class NamesScreen(ModalScreen[None]):
    """Lists the entries of one section, and lets a person change them."""

    CSS_PATH = "dialog.tcss"
    HELP = "## Your own names\n\n**Enter** changes, **Insert** adds, **Delete** takes away, **Escape** goes back.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Go back to the settings", id="names.leave"),
        Binding("insert,plus", "add", "Add", tooltip="Add one", id="names.add"),
        Binding(
            "delete,backspace", "remove", "Take away", tooltip="Take the marked one away, after a question", id="names.remove"
        ),
    ]

    def __init__(self, section: Named) -> None:
        """List the entries of `section`."""
        super().__init__()
        self._section = section
        self._listed: list[str] = []

    def compose(self) -> ComposeResult:
        """The list, and what can be done."""
        with Vertical(classes="dialog tall"):
            yield Static(_HEADINGS.get(self._section.key, self._section.key), classes="heading", markup=False)
            yield Static("", id="told", markup=False)
            yield NameList(markup=False, compact=True)
            with Horizontal(classes="buttons"):
                yield NameButton("Add", id="add", variant="primary", compact=True)
                yield NameButton("Change", id="change", compact=True)
                yield NameButton("Take away", id="remove", compact=True)

    def on_mount(self) -> None:
        """Show what there is."""
        self._show()
        (self.query_one(NameList) if self._listed else self.query_one("#add")).focus()

    def action_leave(self) -> None:
        """Go back."""
        self.dismiss(None)

    @on(Button.Pressed, "#add")
    def _add(self) -> None:
        self.action_add()

    def action_add(self) -> None:
        """Add an entry."""
        self._ask(None)

    @on(OptionList.OptionSelected)
    @on(Button.Pressed, "#change")
    def _change(self) -> None:
        if (name := self._marked()) is not None:
            self._ask(name)

    @on(Button.Pressed, "#remove")
    def _remove(self) -> None:
        self.action_remove()

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_remove(self) -> None:
        """Take the marked entry away, after a question."""
        from mistral_chat.ui.dialogs.confirm import ConfirmDialog

        if (name := self._marked()) is None:
            return
        question = ConfirmDialog(
            f"Remove “{one_line(name, 40)}”?",
            "It is removed from config.yaml. Conversations are not changed.",
            yes="Remove",
            no="Keep",
        )
        if await self.app.push_screen_wait(question):
            problem = self._section.keep(name, None)
            self._show(problem, None)

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def _ask(self, name: str | None) -> None:
        from mistral_chat.ui.screens.entry import EntryScreen

        heading = f"A new {_ONE.get(self._section.key, 'entry')}" if name is None else name
        typed = self._section.typed(name) if name is not None else {}
        screen = EntryScreen(
            heading, self._section.fields(), typed=typed, name=name, keep=self._keep_new if name is None else self._section.keep
        )
        kept = await self.app.push_screen_wait(screen)
        if kept is not None:
            self._show("", kept)
            self.query_one(NameList).focus()

    def _keep_new(self, name: str, typed: FieldTexts) -> str:
        if name in self._section.names():
            return f"There is a {name!r} already. Choose another name, or change that one."
        return self._section.keep(name, typed)

    def _marked(self) -> str | None:
        place = self.query_one(NameList).highlighted
        return self._listed[place] if place is not None and place < len(self._listed) else None

    def _show(self, problem: str = "", marked: str | None = None) -> None:
        found = self._section.names()
        self._listed = list(found)
        listed = self.query_one(NameList)
        listed.set_options(
            [
                Option(Content.assemble((one_line(name, 40) or "?", "bold"), "  ", (one_line(text, 60), "$foreground 65%")))
                for name, text in found.items()
            ]
        )
        listed.highlighted = (self._listed.index(marked) if marked in self._listed else 0) if self._listed else None
        told = self.query_one("#told", Static)
        told.update(
            Content(
                one_line(
                    problem or (self._section.meaning if self._listed else f"There are none yet. {self._section.meaning}"), 300
                )
            )
        )
        told.set_class(bool(problem), "-trouble")
