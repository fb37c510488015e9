"""The list of models: the part of the screen for weights that looks at what is here and what can be had."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import getters, on, work
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Button, Static

from mistral_chat.errors import MistralChatError
from mistral_chat.text import clean
from mistral_chat.ui.screens.weights_words import BUTTONS, KEYS, Step, free, introduction, label, risky
from mistral_chat.ui.screens.working import WorkingScreen
from mistral_chat.ui.shelf import Stock
from mistral_chat.ui.widgets.fetch_view import FetchView
from mistral_chat.ui.widgets.notification_bar import NotificationBar
from mistral_chat.ui.widgets.status_bar import StatusBar
from mistral_chat.ui.widgets.weights_facts import WeightsFacts
from mistral_chat.ui.widgets.weights_list import WeightsList

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.worker import Worker

    from mistral_chat.ui.errands import Errands
    from mistral_chat.ui.shelf import Shelf, ShownWeights


class WeightsChoice(Screen["str | None"]):
    """Lists weights, with what is known of those under the cursor."""

    listed = getters.query_one(WeightsList)
    facts = getters.query_one(WeightsFacts)
    fetching = getters.query_one(FetchView)
    notice = getters.query_one(NotificationBar)
    status = getters.query_one(StatusBar)

    def __init__(
        self,
        shelf: Shelf,
        errands: Errands,
        *,
        wanted: str,
        in_use: str | None = None,
        problem: str = "",
        marked: str = "",
        sought: str = "",
    ) -> None:
        """Take the doors to the weights.

        Args:
            shelf: where to look.
            errands: what is fetched and checked meanwhile.
            wanted: the model that was asked for, as ``-m`` takes it.
            in_use: the model that is loaded; None where there is none yet.
            problem: why `wanted` cannot be used; shown where the catalog does not know it.
            marked: what the cursor begins at; empty for what is best.
            sought: words of the name of what the cursor begins at instead; empty where none was named.
        """
        super().__init__()
        self._shelf, self._errands = shelf, errands
        self._wanted, self._in_use, self._problem = wanted, in_use, problem
        self._marked, self._sought = marked, sought
        self._stock = Stock(weights=())
        self._step = Step.LOOKING

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
            yield NotificationBar()
            with Horizontal(id="buttons"):
                yield Button("Look again", id="act", variant="primary", compact=True)
                yield Button("More", id="more", compact=True)
                yield Button("Back", id="back", compact=True)
        yield StatusBar()

    @property
    def chosen(self) -> ShownWeights | None:
        """The weights under the cursor."""
        return self._stock.find(self.listed.marked or "")

    @work(group="look", exclusive=True, exit_on_error=False)
    async def look(self) -> None:
        """See what is here, what can be had and what is free."""
        try:
            stock = await asyncio.to_thread(self._shelf.look, self._wanted, self._in_use)
        except MistralChatError as error:
            self._introduce(f"{error.title}. {error}", trouble=True)
            return
        self._stock = replace(stock, weights=tuple(self._with_what_goes_on(one) for one in stock.weights))
        self.listed.show(self._stock, self.listed.marked or self._first_marked())
        self._introduce(*introduction(self._stock, self._wanted, self._problem, first=self._in_use is None))
        self.status.state = free(self._stock)
        if self._step in (Step.LOOKING, Step.CHOOSING):
            self._show(Step.CHOOSING)
            self.listed.focus()

    def _first_marked(self) -> str:
        """The spec that the cursor begins at; empty where nothing speaks for one."""
        if not self._sought:
            return self._marked or self._errands.last
        words = self._sought.lower().split()
        names = {one.spec: f"{one.spec} {one.title} {one.quantization}".lower() for one in self._stock.weights}
        fitting = [spec for spec, name in names.items() if all(word in name for word in words)]
        found = self._sought if self._sought in names else next(iter(fitting), "")
        if not found:
            self.notice.show(f"There is no {self._sought!r} in this list.", severity="warning")
        return found

    def _with_what_goes_on(self, weights: ShownWeights) -> ShownWeights:
        """`weights`, with how far their download or their check is."""
        if check := self._errands.checks.get(weights.spec):
            return replace(weights, under_way=f"checking {int(check.share * 100)} %")
        download = self._errands.running(weights.spec)
        if download is None:
            return replace(weights, under_way="")
        here, total = download.arrival.here, download.arrival.total
        if download.share is None or total is None:
            return replace(weights, under_way="fetching")
        words = f"fetching {int(download.share * 100)} %"
        return replace(weights, under_way=words, arrived=here, size=total, exact=True)

    def _refresh(self, spec: str) -> None:
        """Show how far what is being done to the weights `spec` is."""
        weights = self._stock.find(spec)
        if weights is None:
            return
        changed = self._with_what_goes_on(weights)
        if changed.under_way != weights.under_way:
            self._stock = replace(
                self._stock, weights=tuple(changed if each is weights else each for each in self._stock.weights)
            )
            self.listed.update(changed, self._stock)
            if self.listed.marked == spec:
                self.facts.show(changed, self._stock)

    @on(WeightsList.Marked)
    def _mark(self, event: WeightsList.Marked) -> None:
        weights = self._stock.find(event.spec)
        if weights is not None:
            self.facts.show(weights, self._stock)
            if self._step is Step.CHOOSING:
                self._show_buttons()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Tell the app's last resort of work that failed in a way nobody foresaw."""
        if event.worker.error is not None and event.state.name == "ERROR":
            if self._step is Step.LOOKING:
                self._introduce("What is here could not be looked at.", trouble=True)
            self.post_message(WorkingScreen.WorkFailed(event.worker.error))

    # Showing.

    def _show(self, step: Step) -> None:
        self._step = step
        choosing = step in (Step.LOOKING, Step.CHOOSING)
        self.query_one("#choice").display = choosing
        self.fetching.display = not choosing
        self.status.hints = KEYS[step]
        self._show_buttons()
        if not choosing:
            self.query_one("#act").focus()

    def _show_buttons(self) -> None:
        act, more, back = (self.query_one(f"#{name}", Button) for name in ("act", "more", "back"))
        weights = self.chosen
        if self._step is Step.CHOOSING:
            here = weights is not None and (weights.place or weights.arrived)
            words = (label(weights, self._stock), "More" if here else "", "Back" if self._in_use else "Not now")
            act.variant = "warning" if risky(weights, self._stock) else "primary"
            act.disabled = weights is None or bool(weights.obstacle)
        else:
            words = BUTTONS[self._step]
            act.variant, act.disabled = "primary", False
        for button, word in zip((act, more, back), words, strict=True):
            button.label = Content(word)
            button.display = bool(word)
            # A label alone does not change a button's width.
            button.refresh(layout=True)

    def _introduce(self, text: str, trouble: bool = False) -> None:  # noqa: FBT001, FBT002 (given as a pair with the text)
        intro = self.query_one("#intro", Static)
        intro.update(Content(clean(text)))
        intro.set_class(trouble, "-trouble")
