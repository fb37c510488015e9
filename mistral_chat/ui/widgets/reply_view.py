"""What the model replied, while it is being written and afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.containers import Vertical
from textual.widgets import Static

from mistral_chat.ui.markdown import Reader, blocks
from mistral_chat.ui.text import literal
from mistral_chat.ui.widgets.block_view import BlockView
from mistral_chat.ui.widgets.message_view import LARGEST_SHOWN

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.timer import Timer

    from mistral_chat.conversation import Turn
    from mistral_chat.ui.markdown import Block

_REFRESH: Final = 0.125
"""Seconds between two drawings of a growing reply. More often costs the model speed and the eye nothing."""


class ReplyView(Vertical):
    """Shows a reply.

    Its state is a class: `-waiting` before the first text, `-streaming`, `-stopped` (by the person, or cut for want of room),
    `-failed`. A growing reply is read only from its last unfinished block on, so a long one costs no more than a short one.
    """

    DEFAULT_CSS = """
    ReplyView {
        height: auto;
        padding: 0 1 0 2;

        .note { color: $text-muted; display: none; margin-bottom: 1; }
        &.-stopped .note { color: $text-warning; }
        &.-failed .note { color: $text-error; }
    }
    """

    def __init__(self, turn: Turn, *, growing: bool = False) -> None:
        """Show the reply of `turn`; a `growing` one will be written to."""
        super().__init__()
        self._turn = turn
        self._growing = growing
        self._reader = Reader()
        self._arrived: list[str] = []
        self._views: list[BlockView] = []
        self._timer: Timer | None = None
        self._note = Static(markup=False, classes="note")
        self._text = turn.reply

    @property
    def text(self) -> str:
        """All that was written so far."""
        return self._text

    def compose(self) -> ComposeResult:
        """The blocks there are, then the note under them."""
        self._reader.write(self._turn.reply[:LARGEST_SHOWN] if self._growing else "")
        found = self._reader.finished + self._reader.open if self._growing else blocks(self._turn.reply[:LARGEST_SHOWN])
        self._views = [BlockView(block) for block in found]
        yield from self._views
        yield self._note

    def on_mount(self) -> None:
        """Show the state."""
        if self._growing:
            self.add_class("-streaming" if self._turn.reply else "-waiting")
            self._timer = self.set_interval(_REFRESH, self.draw)
        else:
            self._show_state(self._turn)

    def write(self, text: str) -> None:
        """Add a streamed piece; it is drawn with the next refresh."""
        self._text += text
        self._arrived.append(text)

    def say(self, note: str) -> None:
        """Say under the reply what it is waiting for; empty says nothing."""
        self._note.update(literal(note))
        self._note.display = bool(note)

    def draw(self) -> None:
        """Draw what has arrived since the last time."""
        if not self._arrived:
            return
        arrived, self._arrived = "".join(self._arrived), []
        if self.has_class("-waiting"):
            self.set_classes("-streaming")
            self.say("")
        known = len(self._reader.finished)
        self._reader.write(arrived)
        for number, block in enumerate(self._reader.finished[known:], known):
            self._put(number, finished=True, block=block)
        for number, block in enumerate(self._reader.open, len(self._reader.finished)):
            self._put(number, finished=False, block=block)
        self._drop(len(self._reader.finished) + len(self._reader.open))

    def finish(self, turn: Turn) -> None:
        """Show the reply as it was kept, with how it ended. It looks exactly as it will when it is opened again."""
        self.draw()
        if self._timer is not None:
            self._timer.stop()
        self._turn = turn
        self._text = turn.reply
        found = blocks(turn.reply[:LARGEST_SHOWN])
        for number, block in enumerate(found):
            self._put(number, finished=True, block=block)
        self._drop(len(found))
        self._show_state(turn)

    def _put(self, number: int, *, finished: bool, block: Block) -> None:
        if number < len(self._views):
            self._views[number].show(block, finished=finished)
        else:
            view = BlockView(block, finished=finished)
            self._views.append(view)
            self.mount(view, before=self._note)

    def _drop(self, kept: int) -> None:
        for view in self._views[kept:]:
            view.remove()
        del self._views[kept:]

    def _show_state(self, turn: Turn) -> None:
        state, note = _ending(turn)
        self.set_classes(state)
        self.say(note)


def _ending(turn: Turn) -> tuple[str, str]:
    """Say how a reply ended: the state's class, and the note for the person."""
    if turn.error:
        return "-failed", f"✕ {turn.error}"
    match turn.finish_reason:
        case "cancelled":
            return "-stopped", "■ Stopped" if turn.reply else "■ Stopped before the first word"
        case "length":
            return "-stopped", "■ Cut at the longest length allowed"
        case "stop" if not turn.reply.strip():
            return "-stopped", "The model ended without a word"
        case _:
            return "", ""
