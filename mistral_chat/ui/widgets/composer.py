"""Where a message is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import message
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.widgets import TextArea

from mistral_chat.text import SOFT_BREAK, break_words, clean, join_words
from mistral_chat.ui.dropped import pasted_file
from mistral_chat.ui.widgets.ordered_keys import OrderedKeys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from textual import events

LARGEST_PASTE: Final = 64 * 1024
"""Characters that one paste may bring. No window holds more, and the editor would stand still."""


class Composer(OrderedKeys, TextArea, inherit_bindings=True):
    """The draft. Enter sends it; Ctrl+J, Alt+Enter and Shift+Enter break the line; a paste never sends."""

    HELP = """\
    ## Message

    **Enter** sends. **Ctrl+J** breaks the line, and so do Alt+Enter and Shift+Enter in terminals that tell them from Enter.
    At the first line **Up** goes back through what was sent before, at the last line **Down** comes forward again.
    You can write while the model loads or replies: the message waits for its turn. A **/** begins a command, and **Tab**
    completes it; two slashes begin a message that begins with one. A text file that is dropped here, or whose path is pasted,
    goes along with the message, and so does one that is chosen with **Alt+O**.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", tooltip="Complete a command", id="composer.complete", show=False),
        Binding("enter", "submit", "Send", tooltip="Send the message", id="composer.send", show=False, priority=True),
        Binding(
            "ctrl+j,alt+enter,shift+enter",
            "break_line",
            "New line",
            tooltip="Break the line without sending",
            id="composer.newline",
            show=False,
            priority=True,
        ),
        Binding(
            "up",
            "up",
            "Up, or an older message",
            tooltip="Up a line; at the top, what was sent before",
            id="composer.up",
            show=False,
        ),
        Binding(
            "down",
            "down",
            "Down, or a newer message",
            tooltip="Down a line; at the end, what was sent after",
            id="composer.down",
            show=False,
        ),
    ]

    class Submitted(message.Message):
        """The draft is to be sent. The composer is empty again."""

        def __init__(self, text: str) -> None:
            """Carry the message's `text`."""
            super().__init__()
            self.text = text

    class CompletionAsked(message.Message):
        """The draft begins with a slash, and Tab was pressed."""

    class FilePasted(message.Message):
        """The path of a file was pasted, or the file dropped on the terminal. The draft was left as it was."""

        def __init__(self, path: Path, text: str) -> None:
            """Carry the `path` and the `text` that was pasted."""
            super().__init__()
            self.path = path
            self.text = text

    class Refused(message.Message):
        """Something cannot be taken into the draft; it was left as it was."""

        def __init__(self, reason: str) -> None:
            """Carry the `reason`, a sentence for the person."""
            super().__init__()
            self.reason = reason

    def __init__(self) -> None:
        """Make an empty composer."""
        super().__init__(
            id="composer",
            compact=True,
            highlight_cursor_line=False,
            placeholder="Write a message",
            tab_behavior="focus",
        )
        self._history: Sequence[str] = ()
        self._place = -1
        self._kept = ""
        self.still = False
        """Whether the cursor is seen and does not blink; each blink draws a part of the screen."""

    @property
    def text(self) -> str:
        """The draft as it was written: long words are broken only in the view."""
        return join_words(self.document.text)

    @text.setter
    def text(self, value: str) -> None:
        self._put(value)

    def _toggle_cursor_blink_visible(self) -> None:
        if not (self.still and self._cursor_visible):
            super()._toggle_cursor_blink_visible()

    def remember(self, sent: Sequence[str]) -> None:
        """Take what was sent before, newest first, for Up and Down."""
        self._history = sent
        self._place = -1

    def set_draft(self, text: str) -> None:
        """Put `text` into the editor, with the cursor at its end."""
        self._place = -1
        self._put(text)

    def action_complete(self) -> None:
        """Complete a command; elsewhere go on to the next part of the screen."""
        if not self.text.startswith("/"):
            raise SkipAction
        self.post_message(self.CompletionAsked())

    def action_submit(self) -> None:
        """Send the draft, once the keys before this one are in it.

        The app sees a priority binding before the editor has taken the letters typed just before; it queues up behind them.
        """
        self.call_later(self._submit)

    def _submit(self) -> None:
        text = self.text.strip("\n").rstrip()
        if text.strip():
            self.set_draft("")
            self.post_message(self.Submitted(text))

    def action_break_line(self) -> None:
        """Break the line at the cursor, once the keys before this one are in the draft."""
        self.call_later(lambda: self._replace_via_keyboard("\n", *self.selection))

    def action_up(self) -> None:
        """Go up a line; from the first one, to the message sent before."""
        if not self.cursor_at_first_line or self._place + 1 >= len(self._history):
            self.action_cursor_up()
            return
        if self._place == -1:
            self._kept = self.text
        self._place += 1
        self._put(self._history[self._place])

    def action_down(self) -> None:
        """Go down a line; from the last one, to the message sent after."""
        if not self.cursor_at_last_line or self._place == -1:
            self.action_cursor_down()
            return
        self._place -= 1
        self._put(self._kept if self._place == -1 else self._history[self._place])

    async def _on_paste(self, event: events.Paste) -> None:
        """Take what is pasted as text, cleaned, with giant words broken; refuse what no window could hold."""
        event.prevent_default()
        event.stop()
        if len(event.text) > LARGEST_PASTE:
            self.post_message(
                self.Refused(
                    f"The paste has {len(event.text):,} characters, more than fits in one message ({LARGEST_PASTE:,}). "
                    "Nothing was pasted. Paste a part of it."
                )
            )
            return
        if (path := pasted_file(event.text)) is not None:
            self.post_message(self.FilePasted(path, event.text))
            return
        self.paste_text(event.text)

    def paste_text(self, pasted: str) -> None:
        """Take `pasted` in at the cursor, cleaned."""
        text = break_words(clean(pasted.replace("\r\n", "\n").replace("\r", "\n")), at=SOFT_BREAK)
        if text and (result := self._replace_via_keyboard(text, *self.selection)):
            self.move_cursor(result.end_location)

    def _put(self, text: str) -> None:
        self.load_text(break_words(clean(text), at=SOFT_BREAK))
        self.move_cursor(self.document.end)
