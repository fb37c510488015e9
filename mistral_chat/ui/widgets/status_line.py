"""One line that says what the model is doing, how full its window is, and which keys help now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from textual.content import Content
from textual.widget import Widget

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from textual.app import RenderResult

_SEPARATOR: Final = "  ·  "

_STOP: Final = "Esc"
"""The key that ends what runs: where it comes first, it goes before everything but the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the line says."""

    model: str = ""
    state: str = ""
    """What the model is doing: "ready", "writing 11.2 tok/s"."""
    trouble: bool = False
    """Whether the state is one to look at."""
    used: int = 0
    """Tokens in the model's window."""
    window: int = 0
    """How many tokens it holds; 0 while nobody knows."""
    draft: int = 0
    """Tokens of what is being typed."""
    unsaved: bool = False
    """Whether nothing of what is said is kept."""
    working: str = ""
    """What goes on in the background."""
    queued: int = 0
    """Messages that wait for their turn."""
    hints: tuple[tuple[str, str], ...] = ()
    """Keys and what they do, the most useful first."""


class StatusLine(Widget):
    """Shows a `Status` on one row. What does not fit is left out, hints first."""

    def __init__(self) -> None:
        """Make an empty line."""
        super().__init__(id="status")
        self._status = Status()

    @property
    def status(self) -> Status:
        """What is shown."""
        return self._status

    def tell(self, **changes: Any) -> None:
        """Change parts of the status, by the names of `Status`'s fields."""
        status = replace(self._status, **changes)
        if status != self._status:
            self._status = status
            self.refresh()

    def render(self) -> RenderResult:
        """Put the parts on one row."""
        width = self.content_size.width
        left = self._left(width - sum(len(key) + len(meaning) + 3 for key, meaning in self._status.hints[:1] if key == _STOP))
        room = width - left.cell_length - 2
        hints = Content("")
        for key, meaning in self._status.hints:
            more = Content.assemble((key, "$text-accent"), " ", (meaning, "$foreground 65%"))
            wider = hints + "   " + more if hints else more
            if wider.cell_length > room:
                break
            hints = wider
        return left.pad_right(max(0, width - left.cell_length - hints.cell_length)) + hints

    def _left(self, width: int) -> Content:
        status = self._status
        state = Content.styled(status.state, "$text-warning" if status.trouble else "$text")
        unsaved = Content.styled("not saved", "bold $text-warning") if status.unsaved else None
        queued = Content.styled(f"{status.queued} queued", "$text-accent") if status.queued else None
        model = Content.styled(one_line(status.model, 40), "$foreground 65%") if status.model else None
        meter = _meter(status.used, status.draft, status.window) if status.window else None
        working = Content.styled(one_line(status.working, 40), "$foreground 65%") if status.working else None
        share = one_line(status.working.rpartition(" ")[2], 8)
        briefly = Content.styled(f"⟳ {share}", "$foreground 65%") if share.endswith("%") else None
        most = (model, state, meter, working, queued)
        for parts in (most, most[1:], (state, working, queued), (state, briefly, queued), (state, queued), (state,)):
            line = Content(_SEPARATOR).join([part for part in (unsaved, *parts) if part])
            if line.cell_length <= width:
                return line
        return state.truncate(width, ellipsis=True)


def _meter(used: int, draft: int, window: int) -> Content:
    share = (used + draft) / window
    style = "$foreground 65%" if share < 0.75 else "$text-warning"  # noqa: PLR2004 (where the window makes room, by default)
    typed = f" + {draft:,}" if draft else ""
    return Content.styled(f"ctx {used:,}{typed}/{window:,} ({share:.0%})", style)
