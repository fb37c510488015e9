"""What goes on in the background, as a list: how far each piece of work is, and a way to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.session.tasks import cancelled_message
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mistral_chat.session.tasks import BackgroundTask, TaskRegistry

_TICK: Final = 0.25
"""Seconds between two looks at how far everything is."""

_WIDEST: Final = 58
"""Characters of a line."""


class JobList(OptionList):
    """What goes on."""

    HELP = "## Background work\n\n**Enter** stops what is marked. **Escape** goes back and lets everything go on.\n"


class JobButton(Button):
    """One thing to do with what goes on."""

    HELP = "## Background work\n\n**Tab** goes from one to the other, **Enter** does it, **Escape** goes back.\n"


class BackgroundScreen(ModalScreen[None]):
    """Lists what goes on, as it goes on."""

    CSS_PATH = "dialog.tcss"
    DEFAULT_CSS = """
    BackgroundScreen {
        align: center middle;

        .dialog { max-height: 90%; padding: 1 2; }
        #told { color: $text-muted; height: auto; max-height: 3; margin-bottom: 1; }
        Button { margin-right: 1; min-width: 10; }
    }
    """
    HELP = (
        "## Background work\n\nWhat goes on while you do something else. **Enter** stops what is marked; what it has done so far "
        "is kept where that is of use. **Escape** goes back.\n"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Let everything go on", id="background.leave", show=False),
        Binding("delete", "stop", "Stop it", tooltip="Stop what is marked", id="background.stop", show=False),
    ]

    def __init__(self, background: TaskRegistry) -> None:
        """List what `background` knows of."""
        super().__init__()
        self._background = background
        self._listed: list[BackgroundTask] = []

    def compose(self) -> ComposeResult:
        """The list, and what can be done."""
        with Vertical(classes="dialog"):
            yield Static("In the background", classes="heading", markup=False)
            yield Static("", id="told", markup=False)
            yield JobList(markup=False, compact=True)
            with Horizontal(classes="buttons"):
                yield JobButton("Stop it", id="stop", variant="primary", compact=True)
                yield JobButton("Stop everything", id="all", compact=True)
                yield JobButton("Back", id="back", compact=True)

    def on_mount(self) -> None:
        """Show what goes on, and keep showing it."""
        self._tell("")
        self._show()
        self.query_one(JobList).focus()
        self.set_interval(_TICK, self._show)

    @on(Button.Pressed, "#back")
    def action_leave(self) -> None:
        """Let everything go on."""
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    @on(Button.Pressed, "#stop")
    def action_stop(self) -> None:
        """Stop what is marked."""
        place = self.query_one(JobList).highlighted
        if place is not None and place < len(self._listed):
            job = self._listed[place]
            if job.cancel is None:
                self._tell(f"This cannot be stopped: {job.name}. It ends by itself.")
            else:
                self._tell(cancelled_message(self._background.cancel(job)))

    @on(Button.Pressed, "#all")
    def _stop_all(self) -> None:
        self._tell(cancelled_message(self._background.cancel()))

    def _show(self) -> None:
        """Show how far everything is, with the cursor on the same piece of work as before."""
        listed = self.query_one(JobList)
        place = listed.highlighted
        marked = self._listed[place] if place is not None and place < len(self._listed) else None
        jobs = self._background.tasks
        if jobs == self._listed:
            for each, job in enumerate(jobs):
                listed.replace_option_prompt_at_index(each, _lines(job))
            return
        self._listed = jobs
        listed.set_options([Option(_lines(job)) for job in jobs])
        listed.display = bool(jobs)
        listed.highlighted = jobs.index(marked) if marked in jobs else min(place or 0, len(jobs) - 1) if jobs else None
        for button in self.query("#stop, #all").results(Button):
            button.display = bool(jobs)
        if not jobs:
            self.query_one("#back").focus()
            if not self.query_one("#told", Static).display:
                self._tell("Nothing goes on any more.")

    def _tell(self, text: str) -> None:
        told = self.query_one("#told", Static)
        told.update(Content(text))
        told.display = bool(text)


def _lines(job: BackgroundTask) -> Content:
    """What it is and what it is done to, and under it how far it is."""
    heading = Content.assemble((one_line(job.name, 20), "bold"), "  ", (one_line(job.about, _WIDEST - 22), "$foreground 65%"))
    far = [f"{int(job.share * 100)} %" if job.share is not None else "", one_line(job.detail, _WIDEST - 10)]
    line = ", ".join(part for part in far if part) or "under way"
    return Content("\n ").join([heading, Content.styled(line, "$text-accent")])
