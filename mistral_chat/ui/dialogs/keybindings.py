"""The keybindings dialog: what each key does, and changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mistral_chat.text import one_line
from mistral_chat.ui.dialogs.base import Dialog, button_row, frame, paragraph, status_line
from mistral_chat.ui.keymap import format_keys, key_binding, key_problem, keys_of, known_bindings, problems, taken_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from textual import events
    from textual.app import ComposeResult
    from textual.dom import DOMNode

    from mistral_chat.ui.dialogs.setting_editor import NamedSection

_QUIET: Final = "$text-quiet"
_KEYS: Final = 30
"""Columns of the keys."""
_PLACES: Final = {
    "app": "Everywhere",
    "chat": "In the chat",
    "composer": "In the message box",
    "list": "In the conversation list",
    "filter": "In the list's filter",
    "files": "In the attachments",
    "transcript": "In the transcript",
}
"""Where keys work, by the first part of their ids."""


class KeybindingsDialog(Dialog[None]):
    """Lists every key, and lets the user change it."""

    HELP = """\
    ## Keybindings

    **Enter** changes the selected key; the change takes effect at once. **Delete** or **Backspace** resets it. Changed keys stand
    out. **Esc** closes the list.
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("keys.reset", "delete,backspace", "reset", "Reset", "Reset the key to its default"),
    ]

    def __init__(self, known: Mapping[str, Binding], section: NamedSection) -> None:
        """List the bindings `known` by their ids, with the user's own keys, which are the entries of `section`."""
        super().__init__()
        self._known, self._section = known, section

    def compose(self) -> ComposeResult:
        """Show the keys and what can be done with them."""
        with frame("Keybindings", hints=(("Enter", "change"), ("Del", "reset"), ("Esc", "close")), classes="tall"):
            yield status_line()
            yield OptionList(markup=False, compact=True)
            yield button_row([("change", "Change key"), ("reset", "Reset"), ("cancel", "Close")])

    def on_mount(self) -> None:
        """List the keys."""
        self._show()
        self.listed.focus()

    @property
    def _keymap(self) -> Mapping[str, str]:
        """The user's own keys, by binding id."""
        return self._section.values

    @on(OptionList.OptionSelected)
    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_change(self) -> None:
        """Ask for the new key of the selected binding."""
        name = self.marked
        if name is None:
            return
        binding = self._known.get(name)
        if binding is None:
            self.show_status(f"Unknown id {name!r}. Delete removes it from the settings.", warning=True)
            return
        keys = self._keymap.get(name) or binding.key
        key = await self.app.push_screen_wait(KeyCaptureDialog(binding, keys, lambda key: self._refusal(name, key)))
        if key is not None:
            self._set(name, None if key == binding.key else key)

    def action_reset(self) -> None:
        """Reset the selected key to its default, or remove an unknown id from the settings."""
        name = self.marked
        if name is not None and name in self._keymap:
            self._set(name, None)

    def _refusal(self, name: str, key: str) -> str:
        if problem := key_problem(name, key):
            return problem
        other = taken_by(name, key, self._keymap, self._known)
        return f"{format_keys(key)} is already “{self._known[other].description}”." if other is not None else ""

    def _set(self, name: str, keys: str | None) -> None:
        before = self._keymap
        problem = self._section.save(name, {(): keys} if keys is not None else None)
        self._show()
        if problem:
            self.show_status(problem, warning=True)
        elif self._keymap != before and name in self._known:
            now = format_keys(self._keymap.get(name) or self._known[name].key)
            self.show_status(f"{self._known[name].description}: {now}")

    def _show(self) -> None:
        listed, selected = self.listed, self.marked
        listed.set_options(self._options())
        indices = {option.id: index for index, option in enumerate(listed.options)}
        listed.highlighted = indices.get(selected, 1) if selected is not None else 1
        wrong = problems(self._keymap, self._known)
        changed = sum(name in self._known for name in self._keymap)
        text = " ".join(wrong) or (f"{changed:,} changed" if changed else "All keys have their defaults.")
        self.show_status(text, warning=bool(wrong))

    def _options(self) -> Iterator[Option]:
        place = ""
        for name in [*self._known, *(name for name in self._keymap if name not in self._known)]:
            known = name in self._known
            heading = _PLACES.get(name.partition(".")[0], "In other screens and dialogs") if known else "Unknown ids"
            if heading != place:
                if place:
                    yield Option("", disabled=True)
                place = heading
                yield Option(Content(heading), disabled=True)
            yield Option(self._line(name), id=name)

    def _line(self, name: str) -> Content:
        binding = self._known.get(name)
        own = ",".join(keys_of(self._keymap.get(name, "")))
        keys = Content(one_line(format_keys(own or (binding.key if binding is not None else "")), _KEYS - 2))
        gap = " " * max(1, _KEYS - keys.cell_length)
        text = binding.description if binding is not None else one_line(name, 60)
        return Content.assemble(keys.stylize("$text-accent bold" if own else _QUIET), gap, text)


class KeyCaptureDialog(Dialog[str]):
    """Waits for a key; the result is that key, or None."""

    HELP = "## New key\n\nPress the key, with Ctrl or Alt if you like. **Esc** keeps the current one.\n"

    takes_every_key: ClassVar = True
    """Tells the app to leave its own keys to this dialog."""

    def __init__(self, binding: Binding, keys: str, refusal: Callable[[str], str]) -> None:
        """Ask for a key.

        Args:
            binding: what the key is for.
            keys: its current keys.
            refusal: returns why a key cannot be used; empty where it can.
        """
        super().__init__()
        self._binding, self._keys, self._refusal = binding, keys, refusal

    def compose(self) -> ComposeResult:
        """Show what the key is for, its current keys, and why a key is refused."""
        with frame(f"New key: {self._binding.description}"):
            yield paragraph(f"{self._binding.tooltip}. Current key: {one_line(format_keys(self._keys), 80)}.")
            yield status_line("Press the new key.")

    def on_key(self, event: events.Key) -> None:
        """Accept any key but Escape."""
        event.stop()
        event.prevent_default()
        if event.key == "escape":
            self.dismiss(None)
            return
        (key,) = keys_of(event.key) or [event.key]
        if problem := self._refusal(key):
            self.show_status(f"{problem} Press another key.", warning=True)
        else:
            self.dismiss(key)


def all_bindings() -> dict[str, Binding]:
    """Return every binding that the user can remap, by its id: those of the app and the chat first. Imports every screen."""
    from mistral_chat.ui.app import MistralChatApp
    from mistral_chat.ui.screens.chat import ChatScreen
    from mistral_chat.ui.widgets.composer import Composer

    return known_bindings((MistralChatApp, ChatScreen, Composer, *nodes_with_bindings()))


def nodes_with_bindings() -> list[type[DOMNode]]:
    """Import every screen, dialog and widget, and return those with keys."""
    import pkgutil
    from importlib import import_module

    from textual.dom import DOMNode

    from mistral_chat.ui import dialogs, screens, widgets

    found: list[type[DOMNode]] = []
    for package in (screens, dialogs, widgets):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for each in vars(import_module(info.name)).values():
                ours = isinstance(each, type) and issubclass(each, DOMNode) and each.__module__ == info.name
                if ours and each.__dict__.get("BINDINGS"):
                    found.append(each)
    return found
