"""A download as a person follows it: a bar, how much is here, how fast it comes, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mistral_chat.formatting import format_duration, format_progress, format_size
from mistral_chat.text import clean, one_line

if TYPE_CHECKING:
    from textual.app import ComposeResult, RenderResult

    from mistral_chat.ui.shelf import Arrival

_QUIET: Final = "$foreground 65%"
_WORDS: Final = {
    "asking": "asking the hub",
    "waiting": "waiting",
    "downloading": "",
    "retrying": "trying again",
    "verifying": "checking what is here",
    "paused": "paused",
    "done": "done",
}


class FetchBar(Widget):
    """A bar that is thick where it is filled, so that it can be read without colours."""

    def __init__(self) -> None:
        """Make an empty bar."""
        super().__init__(id="bar")
        self._share: float | None = None

    def show(self, share: float | None) -> None:
        """Fill the bar to `share`, 0.0 to 1.0; None while nobody knows."""
        if share != self._share:
            self._share = share
            self.refresh()

    def render(self) -> RenderResult:
        """Draw the bar and its percentage."""
        room = max(0, self.content_size.width - 6)
        filled = int(room * (self._share or 0.0))
        # Rounded down: it says 100 % only when everything is here.
        percent = "" if self._share is None else f"{int(self._share * 100)} %"
        return Content.assemble(("━" * filled, "$primary"), ("─" * (room - filled), "$foreground 35%"), percent.rjust(6))


class FetchView(VerticalScroll):
    """Shows a download, paused or not, or why it failed."""

    HELP = (
        "## A download\n\n**P** pauses it and goes on. **B** lets it go on while you do something else. **Escape** leaves. "
        "What has arrived is kept in every case.\n"
    )

    def __init__(self) -> None:
        """Make an empty view."""
        super().__init__(id="fetch", can_focus=False)
        self.arrival: Arrival | None = None
        """What was shown last; None before the first."""

    def compose(self) -> ComposeResult:
        """A heading, the bar, and three texts below it."""
        yield Static(id="what", markup=False)
        yield FetchBar()
        yield Static(id="amounts", markup=False)
        yield Static(id="state", markup=False)
        yield Static(id="promise", markup=False)

    def begin(self, name: str, before: Arrival, *, hub: str, folder: str) -> None:
        """Show that the model `name` is fetched from `hub` into `folder`; `before` is what is known until the hub answers."""
        self.arrival = before
        self._tell("what", Content.styled(f"Fetching {one_line(name, 120)}", "bold $text-primary"))
        where = f"From {one_line(hub)} into {one_line(folder)}.\nPause, cancel or quit: what has arrived is kept."
        self._tell("promise", Content.styled(where, _QUIET))
        self.show(before)

    def show(self, arrival: Arrival) -> None:
        """Show where the download stands."""
        self.arrival = arrival
        self._show_amounts(arrival)
        words = arrival.note or _WORDS[arrival.stage]
        style = "$text-warning" if arrival.stage in {"retrying", "waiting", "paused"} else _QUIET
        self._tell("state", Content.styled(clean(words), style))

    def fail(self, title: str, text: str) -> None:
        """Show that it ended, and why."""
        self._tell("state", Content.assemble((one_line(title), "bold $text-error"), "\n", clean(text)))
        if self.arrival is not None:
            self._tell("amounts", Content(_here(self.arrival)))
        self._tell("promise", Content(""))
        self.scroll_home(animate=False)

    def _show_amounts(self, arrival: Arrival) -> None:
        self.query_one(FetchBar).show(min(1.0, arrival.here / arrival.total) if arrival.total else None)
        parts = [_here(arrival)]
        if arrival.stage == "downloading" and arrival.speed > 0:
            parts.append(f"{format_size(arrival.speed)}/s")
        if arrival.stage == "downloading" and arrival.seconds_left is not None:
            parts.append(f"{format_duration(arrival.seconds_left)} left")
        self._tell("amounts", Content("   ".join(parts)))

    def _tell(self, part: str, text: Content) -> None:
        static = self.query_one(f"#{part}", Static)
        static.update(text)
        static.display = bool(text)


def _here(arrival: Arrival) -> str:
    return (
        format_progress(arrival.here, arrival.total)
        if arrival.total
        else f"{format_size(arrival.here)} are here"
        if arrival.here
        else ""
    )
