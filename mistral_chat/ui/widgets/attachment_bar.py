"""The attachments of the draft, above the message box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from rich.filesize import decimal
from textual import message, on
from textual.binding import BindingType
from textual.content import Content
from textual.style import Style
from textual.widgets.option_list import Option

from mistral_chat.message_form import count_lines
from mistral_chat.text import one_line
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.widgets.plain_list import PlainList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events

    from mistral_chat.session.attachments import Attachment

_FACTS: Final = 36
"""Cells reserved for the size and the token count."""
_SHORTEST: Final = 12
"""Minimum visible characters of a name."""


class AttachmentBar(PlainList):
    """One row for each attachment, with its size and token count. Hidden without attachments."""

    DEFAULT_CSS = """
    AttachmentBar {
        height: auto;
        max-height: 4;
        max-width: 102;
        padding: 0 2;

        &:blur > .option-list--option-highlighted { background: transparent; text-style: none; }
    }
    """

    HELP = (
        "## Attachments\n\nThese are sent with the next message. **Enter** or a click shows one; **d**, **Backspace** or a\n"
        "click on its cross removes it, and **/undo** restores it.\n"
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("files.remove", "delete,backspace,d", "remove", "Remove", "Remove this attachment"),
    ]

    @dataclass
    class Removed(message.Message):
        """An attachment is to be removed."""

        file: Attachment

    @dataclass
    class Opened(message.Message):
        """The text of an attachment is to be shown."""

        file: Attachment

    def __init__(self) -> None:
        """Make an empty, hidden bar."""
        super().__init__(id="files")
        self.display = False
        self._files: dict[Option, Attachment] = {}
        """The attachments by their rows."""
        self._crossed = False
        """Whether the last click was on a cross."""

    def on_focus(self) -> None:
        """Highlight a row, so that keys always have one."""
        if self.highlighted is None and self.option_count:
            self.highlighted = 0

    def on_click(self, event: events.Click) -> None:
        """Note whether a cross was clicked, before the row is selected."""
        self._crossed = bool(event.style.meta.get("cross"))

    def show(self, files: Sequence[Attachment]) -> None:
        """Show `files`, in their order."""
        room = max(_SHORTEST, self.app.size.width - _FACTS)
        cursor, self._files = self.highlighted, {Option(_line(file, room)): file for file in files}
        self.set_options(self._files)
        self.highlighted = cursor
        self.display = bool(files)

    def action_remove(self) -> None:
        """Remove the attachment under the cursor."""
        if self.highlighted_option is not None:
            self.post_message(self.Removed(self._files[self.highlighted_option]))

    @on(PlainList.OptionSelected)
    def _selected(self, event: PlainList.OptionSelected) -> None:
        event.stop()
        crossed, self._crossed = self._crossed, False
        if (file := self._files.get(event.option)) is not None:  # else it was removed in the meantime
            self.post_message((self.Removed if crossed else self.Opened)(file))


def _line(file: Attachment, room: int) -> Content:
    tokens = "… tokens" if file.tokens is None else f"{file.tokens:,} tokens"
    size = f" · {count_lines(file.text)}" if file.pasted else f"  {decimal(file.bytes)}"
    facts = (f"{size}  {tokens}  " if not file.collection else "  by passages  ", "$text-quiet")
    cross = Content.styled("✕", "$text-accent").stylize(Style.from_meta({"cross": True}))
    return Content.assemble(("▪ ", "$text-accent"), one_line(file.name, min(room, 60)), facts, cross)
