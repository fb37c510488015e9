"""The view of a reply, while and after it is streamed."""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING, ClassVar, Final

from mistral_chat.ui.highlight import highlight_lines
from mistral_chat.ui.markdown import Code, Line, MarkdownParser, Prose, blocks, is_chunk_independent, plain
from mistral_chat.ui.widgets.blocks import LARGEST_SHOWN, BlocksView, FastWidget, cut_note

if TYPE_CHECKING:
    from textual.timer import Timer

    from mistral_chat.conversation import Turn
    from mistral_chat.ui.markdown import Block

_REFRESH: Final = 0.1
"""Minimum seconds between two redraws of a growing reply. More often costs the model speed and gains nothing."""

_SHARE: Final = 0.012
"""Maximum CPU share of redraws. If the model uses every CPU, each waits for all others many times per token, so the model loses
what the screen takes of one.
"""

_LONGEST: Final = 0.5
"""Maximum seconds between two redraws."""

_AT_ONCE: Final = 0.001
"""Seconds until a redraw that is due."""

_ECHO: Final = 0.06
"""Seconds after a keystroke in which its echo is drawn first."""

_MOST_DEFERRED: Final = 2
"""Maximum consecutive redraws deferred for keystrokes."""


class ReplyView(BlocksView, FastWidget):
    """Shows a reply.

    How it ended is a class: `-stopped` (by the user, or at the maximum length), `-failed`. A growing reply is parsed only from
    its last unfinished block on, so a long one costs no more than a short one.
    """

    DEFAULT_CSS = """
    ReplyView {
        padding: 0 1 0 2;

        & > .reply--note { color: $text-quiet; }
        &.-stopped > .reply--note { color: $text-warning; }
        &.-failed > .reply--note { color: $text-error; }
    }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"reply--note"}

    def __init__(self, turn: Turn, *, growing: bool = False) -> None:
        """Show the reply of `turn`; text will be appended to a `growing` one."""
        super().__init__()
        self._parser = MarkdownParser()
        self._arrived: list[str] = []
        self._timer: Timer | None = None
        self._typed = 0.0
        self._paid = (0.0, 0.0)
        self._deferred = 0
        self._prepared = {""}
        self.text = turn.reply
        """The text so far."""
        if growing:
            self._parser.write(turn.reply[:LARGEST_SHOWN])
            self._show_read(0)
        else:
            self._show_ended(blocks(turn.reply[:LARGEST_SHOWN]), turn)

    def on_mount(self) -> None:
        """Draw what arrived before."""
        if self._arrived and self._timer is None:
            self._tick()

    def append_text(self, text: str) -> None:
        """Append streamed text. It is drawn with later text, as soon as the cost of the last redraw allows."""
        self.text += text
        self._arrived.append(text)
        if self._timer is None and self.is_attached:
            since, before = self._paid
            cost = time.thread_time() - before
            self._draw_at(since + max(_REFRESH, min(cost / _SHARE, _LONGEST)))

    def defer_redraw(self) -> None:
        """Let a keystroke be drawn first."""
        self._typed = time.monotonic()

    def _draw_at(self, due: float) -> None:
        """Redraw when the monotonic clock reaches `due`, or at once if it has."""
        self._timer = self.set_timer(max(_AT_ONCE, due - time.monotonic()), self._tick)

    def _tick(self) -> None:
        """Redraw, unless a key has just been pressed."""
        self._timer = None
        now = time.monotonic()
        if self._deferred < _MOST_DEFERRED and now < self._typed + _ECHO:
            self._deferred += 1
            self._draw_at(self._typed + _ECHO)
            return
        self._deferred = 0
        self._paid = (now, time.thread_time())
        self.draw()

    def draw(self) -> None:
        """Draw the text that has arrived since the last redraw."""
        if not self._arrived:
            return
        arrived, self._arrived = "".join(self._arrived), []
        known = len(self._parser.finished)
        self._parser.write(arrived)
        self._show_read(known)

    def finish(self, turn: Turn) -> None:
        """Show the finished reply and how it ended, exactly as when it is opened again."""
        self.draw()
        if self._timer is not None:
            self._timer.stop()
        self._parser.close()
        as_read = turn.reply == self.text and is_chunk_independent(turn.reply)
        self.text = turn.reply
        self._show_ended(self._parser.finished + self._parser.open if as_read else blocks(turn.reply[:LARGEST_SHOWN]), turn)

    def _show_read(self, known: int) -> None:
        """Show the parsed blocks after the first `known`, which are shown already.

        Code that may still grow has no colours. The lexer of its language is loaded meanwhile: it takes a tenth of a second that
        keys would wait for.
        """
        for block in self._parser.open:
            if isinstance(block, Code) and block.language not in self._prepared:
                self._prepared.add(block.language)
                Thread(target=highlight_lines, args=("", block.language), name="lexer", daemon=True).start()
        finished = [(block, True) for block in self._parser.finished[known:]]
        self.put(known, finished + [(block, False) for block in self._parser.open])

    def _show_ended(self, found: list[Block], turn: Turn) -> None:
        state, note = _ending(turn)
        self.set_classes(state)
        notes = [*cut_note(turn.reply), *(plain(note).lines if note else ())]
        noted = [Prose(tuple(Line(line.text.stylize(".reply--note")) for line in notes))] if notes else []
        self.put(0, [(block, True) for block in (*found, *noted)])


def _ending(turn: Turn) -> tuple[str, str]:
    """Return the class of a reply's state and the note below it."""
    if turn.error:
        return "-failed", f"✕ {turn.error}"
    match turn.finish_reason:
        case "cancelled":
            return "-stopped", "■ Stopped"
        case "length":
            return "-stopped", "■ Stopped: maximum length reached"
        case "stop" if not turn.reply.strip():
            return "-stopped", "Empty reply"
        case _:
            return "", ""
