"""The screen for choosing a model: what is here, what fits, what can be fetched; and the download."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widgets import Button

from mistral_chat.formatting import format_size
from mistral_chat.ui.errands import Check
from mistral_chat.ui.screens.weights_tools import WeightsTools
from mistral_chat.ui.screens.weights_words import Step
from mistral_chat.ui.widgets.weights_list import WeightsList

if TYPE_CHECKING:
    from mistral_chat.ui.errands import Download


def _binding(key: str, action: str, description: str, tooltip: str) -> Binding:
    return Binding(key, action, description, tooltip=tooltip, id=f"weights.{action}", show=False)


class WeightsScreen(WeightsTools):
    """Lets a person choose a model; ends with what names it once it is on this disk, or with None."""

    CSS_PATH = "weights.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (90, "-wide")]  # noqa: RUF012 (as Textual declares it)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (16, "-tall")]  # noqa: RUF012 (as Textual declares it)
    HELP = (
        "## Models\n\nChoose what to chat with. What is on this disk is used where it lies; anything else is fetched once.\n"
        "A download can be paused, or go on in the background while you chat; what has arrived is kept whatever happens.\n"
        "Of what is here, **V** checks the file, **F** chooses the prompt format, **Delete** removes it, **M** lists all three.\n"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        _binding("escape", "leave", "Back", "Leave things as they are"),
        _binding("f5", "look", "Look again", "See again what is here and what is free"),
        _binding("p", "pause", "Pause or go on", "Pause the download, or go on with it"),
        _binding("b", "background", "Fetch in the background", "Let the download go on while you do something else"),
        _binding("m", "more", "More about this model", "Check the file, choose its prompt format, or remove it"),
        _binding("v", "check", "Check the file", "Hash the file in the background, and hold that against what it should be"),
        _binding("f", "format", "Prompt format", "Choose how the model is spoken to"),
        _binding("delete", "remove", "Remove the model", "Delete weights of ours from the disk, after a question"),
    ]

    came = ""
    """What was fetched while the list was looked at."""
    _download: Download | None = None
    """The one that is looked at."""
    _to_list = False
    """Whether the list is to follow when it has paused."""
    _arrived = ""
    """What was looked at until it was here."""
    _answer = ""
    """What the question above was answered with."""
    _left = False

    def on_mount(self) -> None:
        """Look at what is here."""
        self._errands.watch = self._changed
        self._show(Step.LOOKING)
        self.look()

    def on_unmount(self) -> None:
        """Watch no more. What is being fetched goes on."""
        if self._errands.watch == self._changed:
            self._errands.watch = None

    def on_screen_resume(self) -> None:
        """Do what the question above was answered with, or leave when the download was done behind it."""
        answer, self._answer = self._answer, ""
        if self._arrived:
            self.end(self._arrived)
        elif answer == "background":
            self.action_background()
        elif answer == "pause" and self._download is not None:
            self._download.stop.set()
            self.end(None)

    # Choosing.

    @on(WeightsList.Taken)
    def _take(self, event: WeightsList.Taken) -> None:
        weights = self._stock.find(event.spec)
        if weights is None or self._step is not Step.CHOOSING:
            return
        if weights.place:
            self.end(None if weights.spec == self._stock.in_use else weights.spec)
        elif weights.obstacle:
            self.notice.show(weights.obstacle, severity="warning")
        else:
            self._download = self._errands.fetch(weights)
            self._follow(self._download)

    # Fetching.

    def _follow(self, download: Download) -> None:
        """Show how the download goes on."""
        self._to_list = False
        self.fetching.begin(download.name, download.arrival, hub=self._stock.hub, folder=self._stock.folder)
        self._show(Step.FETCHING)

    def _changed(self, errand: Download | Check) -> None:
        """Show how far a download or a check is, or how it ended."""
        if isinstance(errand, Check):
            if errand.ended.is_set():
                self.tell_checked(errand)
            else:
                self._refresh(errand.spec)
        elif errand is not self._download:
            self._changed_behind(errand)
        elif errand.state == "failed":
            self.fetching.fail(*errand.problem)
            self._show(Step.FAILED)
        else:
            self.fetching.show(errand.arrival)
            if errand.state != "running":
                self._ended(errand)

    def _changed_behind(self, download: Download) -> None:
        """Show in the list how a download goes on that is not looked at."""
        if download.state == "running":
            self._refresh(download.spec)
            return
        if download.state == "done":
            self.came = download.spec
            self.notice.show(f"{download.name} is here. Enter in the list takes it.", stay=True)
        elif download.state == "failed":
            title, text = download.problem
            self.notice.show(f"{download.name} was not fetched. {title}. {text}", severity="warning", stay=True)
        if self._step in (Step.LOOKING, Step.CHOOSING):
            self.look()

    def _ended(self, download: Download) -> None:
        if download.state == "done":
            self._arrived = download.spec
            # A dialog may lie above; this screen is left when it has the screen again.
            if self.is_current:
                self.end(download.spec)
        elif self._to_list:
            self._back_to_list()
        else:
            self._show(Step.PAUSED)

    def _back_to_list(self, told: str = "") -> None:
        arrival = self.fetching.arrival
        if not told and arrival is not None and arrival.here:
            told = f"{format_size(arrival.here)} of it are kept. Take it again to go on from there."
        if told:
            self.notice.show(told)
        self._download = None
        self._show(Step.LOOKING)
        self.look()

    def action_pause(self) -> None:
        """Pause the download, or go on with it."""
        if self._download is None:
            return
        if self._step is Step.FETCHING:
            self._download.stop.set()
            self.query_one("#act", Button).disabled = True
        elif self._step in (Step.PAUSED, Step.FAILED):
            self._errands.resume(self._download)
            self._follow(self._download)

    def action_background(self) -> None:
        """Let the download go on behind the list where there is no model yet, else behind the chat."""
        if self._step is not Step.FETCHING:
            return
        if self._in_use:
            self.end(None)
        else:
            self._back_to_list("It goes on in the background. Another model can be taken meanwhile, such as the demo.")

    # Leaving.

    def action_look(self) -> None:
        """See again what is here and what is free."""
        if self._step in (Step.LOOKING, Step.CHOOSING):
            self.look()

    def action_leave(self) -> None:
        """Go one step back; a download that runs is asked about first."""
        if self._step is Step.FETCHING:
            from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

            answers = (
                Choice("", "Stay"),
                Choice("background", "Continue in the background", "The model list shows its progress"),
                Choice("pause", "Pause and leave", "Downloaded data is kept"),
            )
            self.app.push_screen(ChoiceDialog("Leave while the model is downloading?", answers), self._answered)
        elif self._step in (Step.PAUSED, Step.FAILED):
            self._back_to_list()
        else:
            self.end(None)

    def end(self, spec: str | None) -> None:
        """Leave with what was chosen; once only, because keys and the download may both ask for it."""
        if not self._left:
            self._left = True
            self._errands.watch = None
            self.dismiss(spec)

    def _answered(self, answer: str | None) -> None:
        # The dialog still lies above; what follows happens when this screen has the terminal again.
        self._answer = answer or ""

    @on(Button.Pressed, "#act")
    def _act(self) -> None:
        if self._step is Step.LOOKING:
            self.look()
        elif self._step is Step.CHOOSING:
            self.listed.action_select()
        else:
            self.action_pause()

    @on(Button.Pressed, "#more")
    def _more(self) -> None:
        if self._step is Step.FETCHING:
            self.action_background()
        else:
            self.action_more()

    @on(Button.Pressed, "#back")
    def _back(self) -> None:
        if self._step is Step.FETCHING and self._download is not None:
            self._to_list = True
            self._download.stop.set()
        else:
            self.action_leave()
