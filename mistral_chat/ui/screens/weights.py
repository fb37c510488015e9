"""The screen for choosing a model: what is here, what fits, what can be fetched; and the download."""

from __future__ import annotations

import asyncio
import threading
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from textual import getters, on, work
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Button, Static

from mistral_chat.errors import MistralChatError
from mistral_chat.ui.amounts import size
from mistral_chat.ui.screens.replying import ReplyingScreen
from mistral_chat.ui.screens.weights_words import free, introduction, label, risky
from mistral_chat.ui.shelf import Arrival, Stock
from mistral_chat.ui.text import clean
from mistral_chat.ui.widgets.fetch_view import FetchView
from mistral_chat.ui.widgets.notice_bar import NoticeBar
from mistral_chat.ui.widgets.status_line import StatusLine
from mistral_chat.ui.widgets.weights_facts import WeightsFacts
from mistral_chat.ui.widgets.weights_list import WeightsList

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.worker import Worker

    from mistral_chat.ui.shelf import Shelf, ShownWeights


class _Step(StrEnum):
    """What the screen shows."""

    LOOKING = "looking"
    CHOOSING = "choosing"
    FETCHING = "fetching"
    PAUSED = "paused"
    FAILED = "failed"


_BUTTONS = {
    _Step.LOOKING: ("Look again", "Back"),
    _Step.FETCHING: ("Pause", "Cancel"),
    _Step.PAUSED: ("Go on", "Cancel"),
    _Step.FAILED: ("Try again", "Back to the list"),
}
_KEYS = {
    _Step.LOOKING: (("F5", "look again"), ("Esc", "back")),
    _Step.CHOOSING: (("Enter", "take it"), ("Esc", "back"), ("F5", "look again"), ("F1", "help")),
    _Step.FETCHING: (("P", "pause"), ("Esc", "leave"), ("F1", "help")),
    _Step.PAUSED: (("P", "go on"), ("Esc", "back to the list"), ("F1", "help")),
    _Step.FAILED: (("P", "try again"), ("Esc", "back to the list"), ("F1", "help")),
}


class WeightsScreen(Screen["str | None"]):
    """Lets a person choose a model; ends with what names it once it is on this disk, or with None."""

    CSS_PATH = "weights.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (90, "-wide")]  # noqa: RUF012 (as Textual declares it)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (16, "-tall")]  # noqa: RUF012 (as Textual declares it)
    HELP = (
        "## Models\n\nChoose what to chat with. What is on this disk is used where it lies; anything else is fetched once.\n"
        "A download can be paused, and what has arrived is kept whatever happens.\n"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Leave things as they are", id="weights.leave", show=False),
        Binding("f5", "look", "Look again", tooltip="See again what is here and what is free", id="weights.look", show=False),
        Binding("p", "pause", "Pause or go on", tooltip="Pause the download, or go on with it", id="weights.pause", show=False),
    ]

    listed = getters.query_one(WeightsList)
    facts = getters.query_one(WeightsFacts)
    fetching = getters.query_one(FetchView)
    notice = getters.query_one(NoticeBar)
    status = getters.query_one(StatusLine)

    def __init__(self, shelf: Shelf, *, wanted: str, in_use: str | None = None, problem: str = "") -> None:
        """Take the doors to the weights.

        Args:
            shelf: where to look and to fetch.
            wanted: the model that was asked for, as ``-m`` takes it.
            in_use: the model that is loaded; None where there is none yet.
            problem: why `wanted` cannot be used; shown where the catalog does not know it.
        """
        super().__init__()
        self._shelf = shelf
        self._wanted, self._in_use, self._problem = wanted, in_use, problem
        self._stock = Stock(weights=())
        self._step = _Step.LOOKING
        self._taken: ShownWeights | None = None
        self._stop = threading.Event()
        self._to_list = False
        self._arrived = ""
        self._leaving = False
        self._left = False

    def compose(self) -> ComposeResult:
        """The choice and the download, of which one is seen, above the buttons."""
        with Vertical(id="page"):
            with Vertical(id="choice"):
                yield Static("Choose a model", id="title", markup=False)
                yield Static("Looking at what is on this computer …", id="intro", markup=False)
                with Container(id="table"):
                    yield WeightsList()
                    yield WeightsFacts()
            yield FetchView()
            yield NoticeBar()
            with Horizontal(id="buttons"):
                yield Button("Look again", id="act", variant="primary", compact=True)
                yield Button("Back", id="back", compact=True)
        yield StatusLine()

    def on_mount(self) -> None:
        """Look at what is here."""
        self._show(_Step.LOOKING)
        self.look()

    def on_unmount(self) -> None:
        """Pause what is being fetched; what has arrived is kept."""
        self._stop.set()

    def on_screen_resume(self) -> None:
        """Leave when the question above was answered so, or the download was done behind it."""
        if self._arrived or self._leaving:
            self._end(self._arrived or None)

    # Choosing.

    @work(group="look", exclusive=True, exit_on_error=False)
    async def look(self) -> None:
        """See what is here, what can be had and what is free."""
        marked = self.listed.marked
        try:
            self._stock = await asyncio.to_thread(self._shelf.look, self._wanted, self._in_use)
        except MistralChatError as error:
            self._introduce(f"{error.title}. {error}", trouble=True)
            return
        self.listed.show(self._stock, self._taken.spec if self._taken else marked)
        self._introduce(*introduction(self._stock, self._wanted, self._problem, first=self._in_use is None))
        self.status.tell(state=free(self._stock))
        self._show(_Step.CHOOSING)
        self.listed.focus()

    @on(WeightsList.Marked)
    def _marked(self, event: WeightsList.Marked) -> None:
        weights = self._stock.find(event.spec)
        if weights is not None:
            self.facts.show(weights, self._stock)
            if self._step is _Step.CHOOSING:
                self._show_buttons()

    @on(WeightsList.Taken)
    def _take(self, event: WeightsList.Taken) -> None:
        weights = self._stock.find(event.spec)
        if weights is None or self._step is not _Step.CHOOSING:
            return
        if weights.place:
            self._end(None if weights.spec == self._stock.in_use else weights.spec)
        elif weights.obstacle:
            self.notice.tell(weights.obstacle, trouble=True)
        else:
            self._taken = weights
            name = f"{weights.title} {weights.quantization}".strip()
            before = Arrival(stage="asking", here=weights.arrived, total=weights.size if weights.exact else None)
            self.fetching.begin(name, before, hub=self._stock.hub, folder=self._stock.folder)
            self.fetch()

    # Fetching.

    @work(group="fetch", exclusive=True, exit_on_error=False)
    async def fetch(self) -> None:
        """Fetch what was taken, or go on with it, until it is here, paused or has failed."""
        weights = self._taken
        if weights is None:
            return
        stop = self._stop = threading.Event()
        self._to_list = False
        self._show(_Step.FETCHING)
        arrivals = self._shelf.fetch(weights.spec, stop)
        stage = ""
        try:
            while (arrival := await asyncio.to_thread(next, arrivals, None)) is not None:
                stage = arrival.stage
                self.fetching.show(arrival)
        except MistralChatError as error:
            self.fetching.fail(error.title, str(error))
            self._show(_Step.FAILED)
        else:
            self._ended(weights, stage)
        finally:
            stop.set()

    def _ended(self, weights: ShownWeights, stage: str) -> None:
        if stage == "done":
            self._arrived = weights.spec
            # A dialog may lie above; this screen is left when it has the screen again.
            if self.is_current:
                self._end(weights.spec)
        elif self._to_list:
            self._back_to_list()
        else:
            self._show(_Step.PAUSED)

    def _back_to_list(self) -> None:
        arrival = self.fetching.arrival
        if arrival is not None and arrival.here:
            self.notice.tell(f"{size(arrival.here)} of it are kept. Take it again to go on from there.")
        self._show(_Step.LOOKING)
        self.look()

    def action_pause(self) -> None:
        """Pause the download, or go on with it."""
        if self._step is _Step.FETCHING:
            self._stop.set()
            self.query_one("#act", Button).disabled = True
        elif self._step in (_Step.PAUSED, _Step.FAILED):
            self.fetch()

    # Leaving.

    def action_look(self) -> None:
        """See again what is here and what is free."""
        if self._step in (_Step.LOOKING, _Step.CHOOSING):
            self.look()

    def action_leave(self) -> None:
        """Go one step back; a download that runs is asked about first."""
        if self._step is _Step.FETCHING:
            from mistral_chat.ui.screens.confirm import ConfirmScreen

            text = "It pauses. What has arrived is kept, and it goes on from there another time."
            question = ConfirmScreen("Leave while the model is being fetched?", text, yes="Pause and leave", no="Stay")
            self.app.push_screen(question, self._answered)
        elif self._step in (_Step.PAUSED, _Step.FAILED):
            self._back_to_list()
        else:
            self._end(None)

    def _end(self, spec: str | None) -> None:
        """Leave with what was chosen; once only, because keys and the download may both ask for it."""
        if not self._left:
            self._left = True
            self.dismiss(spec)

    def _answered(self, yes: bool | None) -> None:  # noqa: FBT001 (what a dialog answers)
        # The dialog still lies above; what follows happens when this screen has the terminal again.
        self._leaving = bool(yes)

    @on(Button.Pressed, "#act")
    def _act(self) -> None:
        if self._step is _Step.LOOKING:
            self.look()
        elif self._step is _Step.CHOOSING:
            self.listed.action_select()
        else:
            self.action_pause()

    @on(Button.Pressed, "#back")
    def _back(self) -> None:
        if self._step is _Step.FETCHING:
            self._to_list = True
            self._stop.set()
        else:
            self.action_leave()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Tell the app's last resort of work that failed in a way nobody foresaw."""
        if event.worker.error is not None and event.state.name == "ERROR":
            if self._step is _Step.FETCHING:
                self.fetching.fail("Something went wrong inside the program", "What has arrived is kept.")
                self._show(_Step.FAILED)
            elif self._step is _Step.LOOKING:
                self._introduce("What is here could not be looked at.", trouble=True)
            self.post_message(ReplyingScreen.WorkFailed(event.worker.error))

    # Showing.

    def _show(self, step: _Step) -> None:
        self._step = step
        choosing = step in (_Step.LOOKING, _Step.CHOOSING)
        self.query_one("#choice").display = choosing
        self.fetching.display = not choosing
        self.status.tell(hints=_KEYS[step])
        self._show_buttons()
        if not choosing:
            self.query_one("#act").focus()

    def _show_buttons(self) -> None:
        act, back = self.query_one("#act", Button), self.query_one("#back", Button)
        weights = self._stock.find(self.listed.marked or "")
        if self._step is _Step.CHOOSING:
            act.label, back.label = Content(label(weights, self._stock)), Content("Back" if self._in_use else "Not now")
            act.variant = "warning" if risky(weights, self._stock) else "primary"
            act.disabled = weights is None or bool(weights.obstacle)
        else:
            act.label, back.label = (Content(word) for word in _BUTTONS[self._step])
            act.variant, act.disabled = "primary", False
        # A label alone does not change a button's width.
        act.refresh(layout=True)
        back.refresh(layout=True)

    def _introduce(self, text: str, trouble: bool = False) -> None:  # noqa: FBT001, FBT002 (given as a pair with the text)
        intro = self.query_one("#intro", Static)
        intro.update(Content(clean(text)))
        intro.set_class(trouble, "-trouble")
