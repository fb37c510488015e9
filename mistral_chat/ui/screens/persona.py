"""The personas of the settings, as a list to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.text import one_line
from mistral_chat.ui.screens.choice import ChoiceScreen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.app import ComposeResult

    from mistral_chat.config import Persona

_WIDEST: Final = 48
"""Characters of a name and of a system prompt."""


class PersonaList(OptionList):
    """Who there is."""

    HELP = "## Personas\n\n**Enter** takes what is marked. **Escape** goes back.\n"


class PersonaScreen(ChoiceScreen):
    """Shows the personas; ends with the name that was chosen, with an empty one for none, or with None to leave it as it is."""

    HELP = "## Persona\n\n**Enter** takes what is marked, **Escape** leaves everything as it is.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Change nothing", id="persona.cancel"),
    ]

    def __init__(self, personas: Mapping[str, Persona], held: str) -> None:
        """Offer `personas`, by their names, with the mark on the one that is `held`; empty for none."""
        super().__init__()
        self._names = ("", *personas)
        self._personas = personas
        self._held = held

    def above(self) -> ComposeResult:
        """What is asked."""
        yield Static("Who is the model in this conversation?", classes="heading", markup=False)

    def choices(self) -> OptionList:
        """Nobody, and every persona."""
        return PersonaList(*(Option(self._lines(name)) for name in self._names), markup=False, compact=True)

    def on_mount(self) -> None:
        """Begin at the persona that is held now."""
        names = self.query_one(PersonaList)
        names.highlighted = self._names.index(self._held) if self._held in self._names else 0
        names.focus()

    @on(OptionList.OptionSelected)
    def _chosen_name(self, event: OptionList.OptionSelected) -> None:
        event.prevent_default()  # a persona may be called anything, and no name at all is one of the choices
        self.dismiss(self._names[event.option_index])

    def _lines(self, name: str) -> Content:
        """A name, and under it how its system prompt begins."""
        if not name:
            heading, system = "none", "The settings' system prompt and sampling"
        else:
            heading, system = one_line(name, _WIDEST), first_line(self._personas[name].system) or "No system prompt"
        now = "  · now" if name == self._held else ""
        return Content.assemble((heading, "bold"), now, "\n", ("  " + system, "$foreground 65%"))


def first_line(text: str) -> str:
    """How `text` begins, safe to draw."""
    return one_line(text.strip().partition("\n")[0], _WIDEST)
