"""What the model replied, while it is being written and afterwards."""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING, ClassVar, Final

from mistral_chat.ui.code import highlighted
from mistral_chat.ui.markdown import Code, Line, Prose, Reader, blocks, plain, reads_alike
from mistral_chat.ui.widgets.blocks_view import BlocksView
from mistral_chat.ui.widgets.message_view import LARGEST_SHOWN

if TYPE_CHECKING:
    from textual.timer import Timer

    from mistral_chat.conversation import Turn
    from mistral_chat.ui.markdown import Block

_REFRESH: Final = 0.1
"""Seconds between two drawings of a growing reply, at the least. More often costs the model speed and the eye nothing."""

_SHARE: Final = 0.012
"""The share of a processor that the screen may take for a growing reply. Where every processor works for the model, each waits
for all others many times a token, so what the screen takes of one is what the model loses."""

_LONGEST: Final = 0.5
"""Seconds between two drawings, at the most."""

_AT_ONCE: Final = 0.001
"""Seconds until a drawing that is due."""

_ECHO: Final = 0.06
"""Seconds after a key in which its letter is drawn first."""

_PATIENCE: Final = 2
"""How often in a row a reply gives way to keys."""


class ReplyView(BlocksView):
    """Shows a reply.

    Its state is a class: `-waiting` before the first text, `-streaming`, `-stopped` (by the person, or cut for want of room),
    `-failed`. A growing reply is read only from its last unfinished block on, so a long one costs no more than a short one.
    """

    DEFAULT_CSS = """
    ReplyView {
        padding: 0 1 0 2;

        & > .reply--note { color: $foreground 65%; }
        &.-stopped > .reply--note { color: $text-warning; }
        &.-failed > .reply--note { color: $text-error; }
    }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"reply--note"}

    def __init__(self, turn: Turn, *, growing: bool = False) -> None:
        """Show the reply of `turn`; a `growing` one will be written to."""
        super().__init__()
        self._turn = turn
        self._growing = growing
        self._reader = Reader()
        self._arrived: list[str] = []
        self._timer: Timer | None = None
        self._typed = 0.0
        self._paid = (0.0, 0.0)
        self._gave_way = 0
        self._prepared = {""}
        self._text = turn.reply
        if growing:
            self._reader.write(turn.reply[:LARGEST_SHOWN])
            self._show_read(0)
        else:
            self._show_ended(blocks(turn.reply[:LARGEST_SHOWN]), turn)

    @property
    def text(self) -> str:
        """All that was written so far."""
        return self._text

    def on_mount(self) -> None:
        """Begin to grow."""
        if self._growing:
            self.add_class("-streaming" if self._turn.reply else "-waiting")
            if self._arrived and self._timer is None:
                self._tick()

    def write(self, text: str) -> None:
        """Add a streamed piece. It is drawn with those that come with it, as soon as what the drawing before has cost allows."""
        self._text += text
        self._arrived.append(text)
        if self._timer is None and self.is_attached:
            since, before = self._paid
            cost = time.thread_time() - before
            self._draw_at(since + max(_REFRESH, min(cost / _SHARE, _LONGEST)))

    def give_way(self) -> None:
        """A key was pressed: let its letter be drawn first."""
        self._typed = time.monotonic()

    def _draw_at(self, due: float) -> None:
        """Draw when the monotonic clock shows `due`, or at once where it is past."""
        self._timer = self.set_timer(max(_AT_ONCE, due - time.monotonic()), self._tick)

    def _tick(self) -> None:
        """Draw, unless a key has just been pressed."""
        self._timer = None
        now = time.monotonic()
        if self._gave_way < _PATIENCE and now < self._typed + _ECHO:
            self._gave_way += 1
            self._draw_at(self._typed + _ECHO)
            return
        self._gave_way = 0
        self._paid = (now, time.thread_time())
        self.draw()

    def draw(self) -> None:
        """Draw what has arrived since the last time."""
        if not self._arrived:
            return
        arrived, self._arrived = "".join(self._arrived), []
        if self.has_class("-waiting"):
            self.set_classes("-streaming")
        known = len(self._reader.finished)
        self._reader.write(arrived)
        self._show_read(known)

    def finish(self, turn: Turn) -> None:
        """Show the reply as it was kept, with how it ended. It looks exactly as it will when it is opened again."""
        self.draw()
        if self._timer is not None:
            self._timer.stop()
        as_read = turn.reply == self._text and reads_alike(turn.reply)
        self._turn = turn
        self._text = turn.reply
        self._show_ended(self._reader.finished + self._reader.open if as_read else blocks(turn.reply[:LARGEST_SHOWN]), turn)

    def _show_read(self, known: int) -> None:
        """Show what the reader has, when the first `known` blocks are shown already.

        Code that may still grow has no colours; what knows its language is brought in meanwhile, which takes a tenth of a second
        that keys would wait for.
        """
        for block in self._reader.open:
            if isinstance(block, Code) and block.language not in self._prepared:
                self._prepared.add(block.language)
                Thread(target=highlighted, args=("", block.language), name="colours", daemon=True).start()
        finished = [(block, True) for block in self._reader.finished[known:]]
        self.put(known, finished + [(block, False) for block in self._reader.open])

    def _show_ended(self, found: list[Block], turn: Turn) -> None:
        state, note = _ending(turn)
        self.set_classes(state)
        noted = [Prose(tuple(Line(line.text.stylize(".reply--note")) for line in plain(note).lines))] if note else []
        self.put(0, [(block, True) for block in (*found, *noted)])


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
