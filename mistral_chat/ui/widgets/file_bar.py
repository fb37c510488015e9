"""The files that go along with the draft, above the composer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import message, on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mistral_chat.formatting import format_size
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.ui.shown import ShownFile

_MEGA: Final = 1_000_000
_FACTS: Final = 36
"""Cells that are kept for a file's size and cost."""
_SHORTEST: Final = 12
"""Characters of a name that are always shown."""


class FileBar(OptionList):
    """One line for each file, with its size and what it takes of the window. Out of sight while there is none."""

    DEFAULT_CSS = """
    FileBar {
        height: auto;
        max-height: 4;
        max-width: 102;
        padding: 0 2;
        border: none;
        background: transparent;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        scrollbar-size-vertical: 1;

        &.-textual-compact { padding: 0 2; }
        &:focus { border: none; background-tint: transparent; }
        & > .option-list--option { padding: 0; }
        & > .option-list--option-highlighted { background: transparent; color: $foreground; text-style: none; }
        &:focus > .option-list--option-highlighted {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
            text-style: bold;
        }
    }
    """

    HELP = "## Files\n\nThese go along with the next message. **Delete** or a click takes one away; **F8** brings it back.\n"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,backspace", "remove", "Take away", tooltip="Do not send this file", id="files.remove", show=False),
    ]

    class Removed(message.Message):
        """A file is not to be sent."""

        def __init__(self, place: int) -> None:
            """Carry its place, from 0."""
            super().__init__()
            self.place = place

    def __init__(self) -> None:
        """Make an empty bar, which takes no room."""
        super().__init__(id="files", markup=False, compact=True)
        self.display = False

    def show(self, files: Sequence[ShownFile]) -> None:
        """Show `files`, in their order."""
        room = max(_SHORTEST, self.app.size.width - _FACTS)
        self.set_options([Option(_line(file, room)) for file in files])
        self.display = bool(files)

    def action_remove(self) -> None:
        """Take away the file under the cursor."""
        if self.highlighted is not None:
            self.post_message(self.Removed(self.highlighted))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Removed(event.option_index))


def _line(file: ShownFile, room: int) -> Content:
    tokens = "… tokens" if file.tokens is None else f"{file.tokens:,} tokens"
    small = f"{file.bytes / 1000:.1f} kB" if file.bytes >= 1000 else f"{file.bytes} bytes"  # noqa: PLR2004 (bytes of a kB)
    large = format_size(file.bytes) if file.bytes >= _MEGA else small
    facts = (f"  {large}  {tokens}  ", "$text-quiet")
    return Content.assemble(("▪ ", "$text-accent"), one_line(file.name, min(room, 60)), facts, ("✕", "$text-accent"))
