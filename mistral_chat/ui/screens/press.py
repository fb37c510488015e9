"""The dialog that waits for a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mistral_chat.text import one_line
from mistral_chat.ui.keymap import in_words, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events
    from textual.app import ComposeResult
    from textual.binding import Binding


class PressScreen(ModalScreen["str | None"]):
    """Waits for the key that is to do something; ends with it, or with None when the old one is to stay."""

    CSS_PATH = "dialog.tcss"
    HELP = "## A new key\n\nPress the key, with Ctrl or Alt held where you want them. **Escape** leaves the old one.\n"

    takes_every_key: ClassVar = True
    """Says to the app that its own keys are to be left to this dialog."""

    def __init__(self, binding: Binding, keys: str, refuse: Callable[[str], str]) -> None:
        """Ask for a key.

        Args:
            binding: what the key is to do.
            keys: the keys that it has now.
            refuse: says why a key cannot be taken; empty where it can.
        """
        super().__init__()
        self._asked, self._now, self._refuse = binding, keys, refuse

    def compose(self) -> ComposeResult:
        """What it is for, what it is now, and why a key is refused."""
        with Vertical(classes="dialog"):
            yield Static(Content(f"Press the new key for “{self._asked.description}”"), classes="heading")
            text = f"{self._asked.tooltip}. Now it is {one_line(in_words(self._now), 80)}. Escape leaves it so."
            yield Static(Content(text), classes="explained")
            yield Static("", id="told", markup=False)

    def on_key(self, event: events.Key) -> None:
        """Take any key but Escape."""
        event.stop()
        event.prevent_default()
        if event.key == "escape":
            self.dismiss(None)
            return
        (key,) = keys_of(event.key) or [event.key]
        if why := self._refuse(key):
            self.query_one("#told", Static).update(Content(one_line(f"{why} Press another key.", 200)))
        else:
            self.dismiss(key)
