"""The text field of the message box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from textual import message
from textual.actions import SkipAction
from textual.binding import BindingType
from textual.widgets import TextArea

from mistral_chat.message_form import join_messages, split_message
from mistral_chat.text import SOFT_BREAK, break_words, clean, join_words
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.path_completion import path_from_paste
from mistral_chat.ui.widgets.ordered_keys import OrderedKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from textual import events
    from textual.timer import Timer

    from mistral_chat.message_form import FileText
    from mistral_chat.ui.widgets.slash_menu import SlashMenu, SlashRow

LARGEST_PASTE: Final = 64 * 1024
"""Maximum characters of one paste. No context can hold more, and the editor would freeze."""

_LONG_LINES: Final = 30
_LONG_CHARACTERS: Final = 3_000
"""A paste with more lines or characters becomes an attachment."""

_EDITED_SECONDS: Final = 0.35
"""Seconds between two reports of a draft that is being typed."""

_PAUSE_TICKS: Final = 3
"""Reports without a change that count as a pause: about a second."""

_SAVE_SECONDS: Final = 1.0
"""Maximum seconds that a draft stays unsaved."""


class Composer(OrderedKeys, TextArea, inherit_bindings=True):
    """The text field of the message box. Enter sends; Ctrl+J, Alt+Enter and Shift+Enter insert a line break; a paste never sends.

    It reports how the draft grows: `Edited` a few times a second, `Paused` when nothing was typed for about a second, and
    `SaveDue` when the draft should be saved.
    """

    HELP = """\
    ## Message

    **Enter** sends. **Ctrl+J** inserts a line break; Alt+Enter and Shift+Enter do too where the terminal supports them.
    **Up** and **Down** at the first and last line recall earlier messages. Messages sent while the model loads or replies are
    queued. **/** starts a command, and **Tab** completes it; type two slashes to start a message with one. Dropped text files,
    pasted file paths and long pastes are attached, as is a file chosen with **@**.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("composer.complete", "tab", "complete", "Complete", "Complete a command; else go to the attachments"),
        key_binding("composer.send", "enter", "submit", "Send", "Send the message"),
        key_binding("composer.newline", "ctrl+j,alt+enter,shift+enter", "break_line", "New line", "Insert a line break"),
        key_binding(
            "composer.select",
            "shift+tab",
            "screen.command('chat.turn_before')",
            "Select a message",
            "Select the last message; Up and Down select others",
        ),
        key_binding("composer.quit", "ctrl+d", "quit", "Quit", "Quit, if the message box is empty"),
        key_binding("composer.page_up", "pageup", "screen.command('chat.page_up')", "Scroll up", "Scroll the transcript up"),
        key_binding(
            "composer.page_down", "pagedown", "screen.command('chat.page_down')", "Scroll down", "Scroll the transcript down"
        ),
        key_binding("composer.top", "ctrl+home", "screen.command('chat.top')", "Top", "Scroll to the first message"),
        key_binding("composer.bottom", "ctrl+end", "screen.command('chat.bottom')", "End", "Scroll to the end and follow it"),
        key_binding(
            "composer.up", "up", "up", "Up, or previous message", "Up a line; at the first line, recall the previous message"
        ),
        key_binding(
            "composer.down", "down", "down", "Down, or next message", "Down a line; at the last line, recall the next message"
        ),
    ]

    @dataclass
    class Submitted(message.Message):
        """The draft is to be sent. The message box is empty now; it may have been empty before, with attachments."""

        text: str
        files: Sequence[FileText] | None = None
        """Its files if it is a recalled message."""

    class CompletionRequested(message.Message):
        """The draft starts with a slash, and Tab was pressed."""

    class AttachRequested(message.Message):
        """An at sign was typed where a word starts."""

    @dataclass
    class AttachmentPasted(message.Message):
        """A long text or the path of a file was pasted, or the file dropped on the terminal. The draft is unchanged."""

        path: Path | None
        """None for a long text."""
        text: str
        """What was pasted."""

    class Recalled(message.Message):
        """A message of the history is in the box, or the draft again. Read `recalled_files`."""

    @dataclass
    class Refused(message.Message):
        """A paste was rejected; the draft is unchanged."""

        reason: str
        """A sentence for the user."""

    class Edited(message.Message):
        """The draft has changed; sent at once when it is empty, else at most three times a second."""

    class Paused(message.Message):
        """Nothing was typed for about a second."""

    class SaveDue(message.Message):
        """The draft has been unsaved for a second."""

    def __init__(self, history: Callable[[], Sequence[str]]) -> None:
        """Make an empty message box. `history` returns the messages that Up and Down recall, newest first."""
        super().__init__(
            id="composer",
            compact=True,
            highlight_cursor_line=False,
            placeholder="Send a message (/ for commands)",
            tab_behavior="focus",
        )
        self.menu: SlashMenu | None = None
        """The slash menu, whose keys are handled here."""
        self._read_history = history
        self._history: Sequence[str] = ()
        self._place = -1
        self.kept = ""
        """The draft that a message which is recalled or edited took the place of."""
        self._other = ""
        """That message, as it came into the box."""
        self._behind = ""
        """The draft that a command took the place of last."""
        self.attached: bool | None = False
        """Whether the last edit was a paste that became an attachment; None until it has."""
        self.still = False
        """Whether the cursor is shown without blinking; each blink draws a part of the screen."""
        self._ticks: Timer | None = None
        self._unchanged = 0
        self._reported = ""
        self._save_timer: Timer | None = None

    @property
    def text(self) -> str:
        """The draft as it was written: long words are broken only in the view."""
        return join_words(self.document.text)

    @text.setter
    def text(self, value: str) -> None:
        self.load_text(break_words(clean(value), at=SOFT_BREAK))
        self.move_cursor(self.document.end)

    @property
    def selected_text(self) -> str:
        """The selection as it was written."""
        return join_words(super().selected_text)

    @property
    def draft(self) -> str:
        """What was typed: also what a message that is recalled or edited took the place of, but that only if it was changed."""
        return join_messages(self.kept, self.text if self.text != self._other else "")

    @property
    def recalled_files(self) -> Sequence[FileText] | None:
        """The files of the recalled message; None while the draft is in the box."""
        return split_message(self._history[self._place]).files if self._place >= 0 else None

    def _toggle_cursor_blink_visible(self) -> None:
        if not (self.still and self._cursor_visible):
            super()._toggle_cursor_blink_visible()

    def cancel_save(self) -> None:
        """Drop a pending save report: the draft is saved."""
        if self._save_timer is not None:
            self._save_timer.stop()
            self._save_timer = None

    def on_text_area_changed(self) -> None:
        """Report the change, now or soon."""
        self._unchanged = 0
        self.attached = False
        if not self.text:
            self._report()
        elif self._ticks is None:
            self._ticks = self.set_interval(_EDITED_SECONDS, self._tick)
        if self._save_timer is None:
            self._save_timer = self.set_timer(_SAVE_SECONDS, self._save)

    def _save(self) -> None:
        self._save_timer = None
        self.post_message(self.SaveDue())

    def _tick(self) -> None:
        if self.text != self._reported:
            self._report()
        self._unchanged += 1
        if self._unchanged > _PAUSE_TICKS or not self.text:
            if self._ticks is not None:
                self._ticks.stop()
                self._ticks = None
            if self.text:
                self.post_message(self.Paused())

    def _report(self) -> None:
        self._reported = self.text
        self.post_message(self.Edited())

    def set_draft(self, text: str) -> None:
        """Replace the draft by `text`, with the cursor at its end; a command that took its place does so again."""
        self.kept, shown = self._split(text)
        self._place, self._other, self.text = -1, "", shown

    def _split(self, draft: str) -> tuple[str, str]:
        """The draft that a command took the place of and the command; without one, nothing and the draft."""
        before, _, last = draft.rpartition("\n\n")
        return (before, last) if before == self._behind and _is_command(last) else ("", draft)

    def show_other(self, message: str, place: int = -1, *, typed: bool = False) -> None:
        """Show a message, from a `place` of the history or `typed`, in the place of the draft, which is kept."""
        if place < 0 <= self._place:
            self.post_message(self.Recalled())
        self._place, self.kept, self.text = place, self.draft, message
        self._other = "" if typed else self.text
        if typed:
            self._behind = self.kept

    def return_draft(self) -> None:
        """Show the draft again in the place of another message; the undo history is kept."""
        (self.kept, shown), recalled = self._split(self.draft), self._place >= 0
        self._place, self._other = -1, ""
        self._rewrite(shown)
        if recalled:
            self.post_message(self.Recalled())

    def give_back(self, text: str, *, editing: bool = False) -> None:
        """Put a rejected draft before what has come meanwhile, or before the draft behind an edit or a command; undo is kept."""
        if self._place >= 0:
            self.return_draft()
        if editing:
            self._behind = join_messages(text, self._split(self.kept)[0])
            self.kept = join_messages(text, self.kept)
        elif _is_command(self.text) and not self._other:
            self._behind = self.kept = join_messages(text, self.kept)
        else:
            self._rewrite(join_messages(text, self.text))

    def _rewrite(self, text: str) -> None:
        self.clear()
        self.insert(break_words(clean(text), at=SOFT_BREAK))

    def action_complete(self) -> None:
        """Complete a command; otherwise go to the attachments, or where Tab always goes."""
        if not self.text.startswith("/"):
            for bar in self.screen.query("#files"):
                if bar.display:
                    self.screen.set_focus(bar)
                    return
            raise SkipAction
        if (row := self._menu_row) is not None:
            self.text = f"/{row.name}" + (" " if row.argument else "")
        else:
            self.post_message(self.CompletionRequested())

    @property
    def menu_is_open(self) -> bool:
        """Whether the menu of commands is shown."""
        return self.menu is not None and self.menu.display

    def close_menu(self) -> bool:
        """Close the menu of commands; False if it is closed."""
        if self.menu is None or not self.menu_is_open:
            return False
        self.menu.display = False
        return True

    def action_quit(self) -> None:
        """Quit from an empty message box; else delete to the right, as text fields do."""
        if self.text:
            self.action_delete_right()
        else:
            self.call_later(self.screen.run_action, "command('app.quit')")

    @property
    def _menu_row(self) -> SlashRow | None:
        return self.menu.selected if self.menu is not None else None

    def action_submit(self) -> None:
        """Send the text, or run the selected command of the menu; the draft that a recalled message replaced returns."""
        self.attached = False
        text = self.text.strip("\n").rstrip()
        if (row := self._menu_row) is not None and _continues(row.name, text):
            text = f"/{row.name}"
        if text.strip():
            self.clear()
        self.post_message(self.Submitted(text if text.strip() else "", self.recalled_files))
        if self._place >= 0:
            self.return_draft()

    def action_break_line(self) -> None:
        """Insert a line break at the cursor."""
        self._replace_via_keyboard("\n", *self.selection)

    def action_up(self) -> None:
        """Go up a line; from the first line, to the previous message. In the menu of commands, go up a row."""
        if self.menu is not None and self.menu_is_open:
            self.menu.move(-1)
            return
        if self._place == -1 and self.cursor_at_first_line:
            self._history = self._read_history()
        if self.cursor_at_first_line and self._place + 1 < len(self._history):
            self._recall(self._place + 1)
        else:
            self.action_cursor_up()

    def action_down(self) -> None:
        """Go down a line; from the last line, to the next message. In the menu of commands, go down a row."""
        if self.menu is not None and self.menu_is_open:
            self.menu.move(1)
            return
        if not self.cursor_at_last_line or self._place == -1:
            self.action_cursor_down()
            return
        self._recall(self._place - 1)

    def _recall(self, place: int) -> None:
        """Put a message of the history into the box, its files as attachments; at -1, the draft."""
        if place >= 0:
            self.show_other(split_message(self._history[place]).rest, place)
        else:
            self.set_draft(self.draft)
        self.post_message(self.Recalled())

    async def _on_key(self, event: events.Key) -> None:
        """Open the help for ``?`` in an empty box, and the files for ``@`` where a word starts."""
        row, column = self.cursor_location
        if event.character == "?" and not self.text:
            event.stop()
            event.prevent_default()
            self.call_later(self.screen.run_action, "command('app.help')")
        elif event.character == "@" and self.get_text_range((row, max(0, column - 1)), (row, column)).strip() == "":
            event.stop()
            event.prevent_default()
            self.post_message(self.AttachRequested())

    async def _on_paste(self, event: events.Paste) -> None:
        """Insert a paste as cleaned text; refuse one that no context could hold."""
        event.prevent_default()
        event.stop()
        if len(event.text) > LARGEST_PASTE:
            self.post_message(
                self.Refused(
                    f"Nothing was pasted: the text has {len(event.text):,} characters, but a message can have at most "
                    f"{LARGEST_PASTE:,}. Paste part of it."
                )
            )
            return
        if (path := path_from_paste(event.text)) is not None:
            self.post_message(self.AttachmentPasted(path, event.text))
            return
        text = _pasted(event.text)
        is_long = text.rstrip().count("\n") >= _LONG_LINES or len(text) > _LONG_CHARACTERS
        if is_long and text.strip() and not self.text.startswith("/"):
            self.attached = None
            self.post_message(self.AttachmentPasted(None, text))
            return
        self.paste_text(text)

    def action_undo(self) -> None:
        """Undo the last edit, which may be a long paste that became an attachment; before it has, undo nothing."""
        if self.attached:
            self.attached = False
            self.call_later(self.screen.run_action, "command('chat.undo')")
        elif self.attached is False:
            super().action_undo()

    def action_cut(self) -> None:
        """Cut the selection, or the line, as it was written."""
        super().action_cut()
        self.app.copy_to_clipboard(join_words(self.app.clipboard))

    def action_paste(self) -> None:
        """Paste what was cut or copied here, with its long words broken again."""
        self.paste_text(self.app.clipboard)

    def paste_text(self, pasted: str) -> None:
        """Insert `pasted` at the cursor, cleaned."""
        text = break_words(_pasted(pasted), at=SOFT_BREAK)
        if text and (result := self._replace_via_keyboard(text, *self.selection)):
            self.move_cursor(result.end_location)


def _is_command(text: str) -> bool:
    return text.startswith("/") and not text.startswith("//") and "\n" not in text


def _pasted(text: str) -> str:
    """What is pasted, cleaned and with one kind of line end."""
    return clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def _continues(row: str, text: str) -> bool:
    """Whether a row of the menu is for this text: what was typed fast may be ahead of the menu."""
    name, space, begun = text.removeprefix("/").partition(" ")
    wanted, _, value = row.partition(" ")
    return wanted.startswith(name) and (not space or (wanted == name and begun.casefold() in value.casefold()))
