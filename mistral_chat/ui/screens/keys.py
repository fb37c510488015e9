"""The keys: which does what, and changing them by pressing others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.text import one_line
from mistral_chat.ui.keymap import in_words, keys_of, problems, taken_by, unfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from textual.app import ComposeResult

_QUIET: Final = "$foreground 65%"
_KEYS: Final = 30
"""Columns of the keys."""
_PLACES: Final = {
    "app": "Everywhere",
    "chat": "In the chat",
    "composer": "While writing a message",
    "list": "In the list of conversations",
    "filter": "In the list's filter",
    "files": "In the files of a message",
    "transcript": "In what was said",
}
"""Where keys are in force, by the first part of their ids."""


class KeyList(OptionList):
    """Lists what has a key."""

    HELP = (
        "## Keys\n\n**Enter** asks for another key for what is marked. **Delete** gives it its default back.\n"
        "What you changed stands out. A change takes effect at once.\n"
    )


class KeyButton(Button):
    """One thing to do with a key."""

    HELP = "## Keys\n\n**Tab** goes from one to the other, **Enter** does it, **Escape** goes back.\n"


class KeysScreen(ModalScreen[None]):
    """Shows every key, and lets a person press another."""

    CSS_PATH = "dialog.tcss"
    HELP = "## Keys\n\n**Enter** changes a key, **Delete** gives the default back, **Escape** goes back.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Go back to the settings", id="keys.leave"),
        Binding("delete,backspace", "reset", "Default", tooltip="Give the action its default key back", id="keys.reset"),
    ]

    def __init__(
        self,
        known: Mapping[str, Binding],
        keymap: Mapping[str, str],
        keep: Callable[[str, str | None], tuple[Mapping[str, str], str]],
    ) -> None:
        """Show the keys.

        Args:
            known: what has a key, by its id.
            keymap: the person's own keys.
            keep: keeps an id's keys, or with None its default; gives the keymap that holds then, and what went wrong.
        """
        super().__init__()
        self._known, self._mine, self._keep = known, keymap, keep

    def compose(self) -> ComposeResult:
        """The list, and what can be done."""
        with Vertical(classes="dialog tall"):
            yield Static("Keys", classes="heading", markup=False)
            yield Static("", id="told", markup=False)
            yield KeyList(markup=False, compact=True)
            with Horizontal(classes="buttons"):
                yield KeyButton("Press another", id="press", variant="primary", compact=True)
                yield KeyButton("Default", id="default", compact=True)
                yield KeyButton("Back", id="back", compact=True)

    def on_mount(self) -> None:
        """Show what there is."""
        self._show()
        self.query_one(KeyList).focus()

    def action_leave(self) -> None:
        """Go back."""
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    @on(Button.Pressed, "#press")
    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def _press(self) -> None:
        """Ask for another key."""
        from mistral_chat.ui.screens.press import PressScreen

        name = self._marked()
        if name is None:
            return
        binding = self._known.get(name)
        if binding is None:
            self._tell(f"There is no {name!r}. Delete takes it out of the settings.", trouble=True)
            return
        keys = self._mine.get(name) or binding.key
        key = await self.app.push_screen_wait(PressScreen(binding, keys, lambda key: self._refuse(name, key)))
        if key is not None:
            self._change(name, None if key == binding.key else key)

    @on(Button.Pressed, "#default")
    def action_reset(self) -> None:
        """Give the marked action its default key back; take out what names nothing."""
        name = self._marked()
        if name is not None and name in self._mine:
            self._change(name, None)

    @on(Button.Pressed, "#back")
    def _back(self) -> None:
        self.action_leave()

    def _refuse(self, name: str, key: str) -> str:
        if why := unfit(name, key):
            return why
        other = taken_by(name, key, self._mine, self._known)
        return f"{in_words(key)} is “{self._known[other].description}” already." if other is not None else ""

    def _change(self, name: str, keys: str | None) -> None:
        before = self._mine
        self._mine, problem = self._keep(name, keys)
        self._show()
        if problem:
            self._tell(problem, trouble=True)
        elif self._mine != before and name in self._known:
            now = in_words(self._mine.get(name) or self._known[name].key)
            self._tell(f"{self._known[name].description}: {now} from now on.")

    def _marked(self) -> str | None:
        option = self.query_one(KeyList).highlighted_option
        return option.id if option is not None else None

    def _show(self) -> None:
        listed = self.query_one(KeyList)
        marked = self._marked()
        listed.set_options(self._options())
        places = {option.id: number for number, option in enumerate(listed.options)}
        listed.highlighted = places.get(marked, 1) if marked is not None else 1
        wrong = problems(self._mine, self._known)
        many = sum(name in self._known for name in self._mine)
        told = " ".join(wrong) or ("Every key is the default." if not many else f"{many} changed by you.")
        self._tell(told, trouble=bool(wrong))

    def _options(self) -> Iterator[Option]:
        place = ""
        for name in [*self._known, *(name for name in self._mine if name not in self._known)]:
            known = name in self._known
            heading = (
                _PLACES.get(name.partition(".")[0], "In other screens and dialogs") if known else "In your settings, but unknown"
            )
            if heading != place:
                if place:
                    yield Option("", disabled=True)
                place = heading
                yield Option(Content(heading), disabled=True)
            yield Option(self._line(name), id=name)

    def _line(self, name: str) -> Content:
        binding = self._known.get(name)
        own = ",".join(keys_of(self._mine.get(name, "")))
        keys = Content(one_line(in_words(own or (binding.key if binding is not None else "")), _KEYS - 2))
        gap = " " * max(1, _KEYS - keys.cell_length)
        text = binding.description if binding is not None else one_line(name, 60)
        return Content.assemble(keys.stylize("$text-accent bold" if own else _QUIET), gap, text)

    def _tell(self, text: str, *, trouble: bool = False) -> None:
        told = self.query_one("#told", Static)
        told.update(Content(one_line(text, 300)))
        told.set_class(trouble, "-trouble")
