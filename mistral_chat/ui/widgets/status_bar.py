"""The status bar: the model, its activity, context usage, and the most useful keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from textual.app import RenderResult

Hints = tuple[tuple[str, str], ...]
"""Keys and what each does, the most useful first."""

_SEPARATOR: Final = "  ·  "
_QUIET: Final = "$text-quiet"
_WIDE: Final = 120
"""Columns from which the meter is written out."""
_STOP: Final = "Esc"
"""The key that stops; as the first hint, it precedes everything but the state."""
_NEARLY_FULL: Final = 0.75
"""Share of the context from which the meter warns: where turns drop out, by default."""


class StatusBar(Widget):
    """Shows its attributes on one row. Parts that do not fit are left out; the first hints stay the longest."""

    model: reactive[str] = reactive("")
    state: reactive[str] = reactive("")
    """What the model is doing: "loading 40%", "writing 11.2 tok/s"; empty while it waits for a message."""
    warning: reactive[bool] = reactive(False)  # noqa: FBT003 (a reactive's default)
    """Whether the state needs attention."""
    used: reactive[int] = reactive(0)
    """Tokens in the context."""
    window: reactive[int] = reactive(0)
    """Size of the context in tokens; 0 while it is not known."""
    draft: reactive[int] = reactive(0)
    """Tokens of the message being typed."""
    temporary: reactive[bool] = reactive(False)  # noqa: FBT003 (a reactive's default)
    """Whether nothing is saved."""
    activity: reactive[str] = reactive("")
    """What is going on in the background."""
    queued: reactive[int] = reactive(0)
    """Messages waiting to be sent."""
    elsewhere: reactive[int] = reactive(0)
    """Replies running in conversations that are not on the screen."""
    hints: reactive[Hints] = reactive[Hints](())

    def __init__(self) -> None:
        """Make an empty bar."""
        super().__init__(id="status")

    def render(self) -> RenderResult:
        """Put the parts on one row."""
        width = self.content_size.width
        left = self._left(width - sum(len(key) + len(does) + 3 for key, does in self.hints[:1] if key == _STOP))
        room = width - left.cell_length - 2
        hints = Content("")
        for key, does in self.hints:
            more = Content.assemble((key, "$text-accent"), " " if does else "", (does, _QUIET))
            wider = hints + "   " + more if hints else more
            if wider.cell_length > room:
                break
            hints = wider
        return left.pad_right(max(0, width - left.cell_length - hints.cell_length)) + hints

    def _left(self, width: int) -> Content:
        state = Content.styled(one_line(self.state, 60), "$text-warning" if self.warning else "$text")
        temporary = Content.styled("not saved", "bold $text-warning") if self.temporary else None
        queued = Content.styled(f"{self.queued} queued", "$text-accent") if self.queued else None
        running = f"{self.elsewhere} {'reply' if self.elsewhere == 1 else 'replies'} running elsewhere"
        elsewhere = Content.styled(running, "$text-accent") if self.elsewhere else None
        away = Content.styled(f"{self.elsewhere} elsewhere", "$text-accent") if self.elsewhere else None
        model = Content.styled(one_line(self.model, 40), _QUIET) if self.model else None
        meter = self._meter() if self.window else None
        activity = Content.styled(one_line(self.activity, 40), _QUIET) if self.activity else None
        share = one_line(self.activity.rpartition(" ")[2], 8)
        briefly = Content.styled(f"⟳ {share}", _QUIET) if share.endswith("%") else None
        most = (model, state, meter, activity, queued)
        for parts in (
            (*most, elsewhere),
            (*most, away),
            (*most[1:], away),
            (state, activity, queued, away),
            (state, briefly, queued, away),
            (state, queued, away),
            (state, away),
            (state,),
        ):
            line = Content(_SEPARATOR).join([part for part in (temporary, *parts) if part])
            if line.cell_length <= width:
                return line
        return state.truncate(width, ellipsis=True)

    def _meter(self) -> Content:
        share = (self.used + self.draft) / self.window
        style = _QUIET if share < _NEARLY_FULL else "$text-warning"
        if self.content_size.width < _WIDE:
            typed = f"+{self.draft:,}" if self.draft else ""
            window = f"{self.window // 1024}k" if self.window % 1024 == 0 else f"{self.window:,}"
            return Content.styled(f"{self.used:,}{typed}/{window} {share:.0%}", style)
        typed = f" + {self.draft:,}" if self.draft else ""
        return Content.styled(f"ctx {self.used:,}{typed}/{self.window:,} ({share:.0%})", style)
