"""The models screen: installed models, memory fit, available downloads, and a download in progress."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final

from textual import getters, on, work
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Button, Static

from mistral_chat.errors import MistralChatError
from mistral_chat.formatting import format_progress, format_size
from mistral_chat.model_listing import ModelListing
from mistral_chat.text import clean, one_line
from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog
from mistral_chat.ui.dialogs.confirm import ConfirmDialog
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.widgets.button_row import ButtonRow
from mistral_chat.ui.widgets.download_panel import DownloadPanel
from mistral_chat.ui.widgets.model_details import ModelDetails, missing_disk
from mistral_chat.ui.widgets.model_list import ModelList
from mistral_chat.ui.widgets.notification_bar import NotificationBar
from mistral_chat.ui.widgets.status_bar import StatusBar
from mistral_chat.ui.work_failed import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult
    from textual.worker import Worker

    from mistral_chat.model_listing import ModelRow
    from mistral_chat.models.service import ModelService
    from mistral_chat.models.task import ModelTask
    from mistral_chat.session.downloads import Downloads


class Step(StrEnum):
    """The current view."""

    LOADING = "loading"
    CHOOSING = "choosing"
    DOWNLOADING = "downloading"
    PAUSED = "paused"
    FAILED = "failed"


_HIDDEN: Final = ("", "")

BUTTONS: Final = {
    Step.LOADING: (("Refresh", "look"), _HIDDEN, ("Back", "leave"), _HIDDEN),
    Step.DOWNLOADING: (("Pause", "pause"), ("Background", "background"), ("Cancel", "cancel_download"), _HIDDEN),
    Step.PAUSED: (("Resume", "pause"), _HIDDEN, ("Cancel", "leave"), _HIDDEN),
    Step.FAILED: (("Retry", "pause"), _HIDDEN, ("Back", "leave"), _HIDDEN),
}
"""The label and the action of each button."""

HINTS: Final = {
    Step.LOADING: (("Esc", "back"), ("r", "refresh")),
    Step.CHOOSING: (("Esc", "back"), ("→", "sizes"), ("m", "more"), ("r", "refresh"), ("?", "help")),
    Step.DOWNLOADING: (("p", "pause"), ("Esc", "leave"), ("b", "background"), ("?", "help")),
    Step.PAUSED: (("p", "resume"), ("Esc", "back"), ("?", "help")),
    Step.FAILED: (("p", "retry"), ("Esc", "back"), ("?", "help")),
}

FORMATS: Final = {
    "automatic": "auto-detected, right for nearly every model",
    "mistral-v1": "Mistral 7B Instruct v0.1 and v0.2",
    "mistral-v3": "Mistral 7B Instruct v0.3",
    "mistral-v3-tekken": "Mistral Nemo, Ministral",
    "mistral-v7": "Mistral models with a separate system prompt",
    "mistral-v7-tekken": "the same, with the Tekken vocabulary",
    "chatml": "Qwen, SmolLM and many others: <|im_start|>",
    "template": "the file's own chat template, unchanged",
}
"""The models that each prompt format is for."""


_HELP: Final = (
    "## Models\n\nChoose the model to chat with. Installed models are used in place; others are downloaded once.\n"
    "A download can be paused, or continued in the background while you chat; downloaded data is always kept.\n"
    "**Right** shows the other sizes of a model. For an installed model, **v** verifies the file, **f** sets the prompt "
    "format, **Delete** or **d** removes it, and **m** lists all three.\n"
)


class ModelsScreen(Screen["str | None"]):
    """Chooses a model; the result is the spec of an installed model, or None."""

    CSS_PATH = ["page.tcss", "models.tcss"]  # noqa: RUF012 (as Textual declares it)
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (90, "-wide")]  # noqa: RUF012 (as Textual declares it)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (16, "-tall")]  # noqa: RUF012 (as Textual declares it)
    HELP = _HELP
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("weights.leave", "escape", "leave", "Back", "Go back"),
        key_binding("weights.look", "f5,r,R", "look", "Refresh", "Refresh the list and the free memory"),
        key_binding("weights.pause", "p,P", "pause", "Pause or resume", "Pause or resume the download"),
        key_binding(
            "weights.background", "b,B", "background", "Download in background", "Continue the download in the background"
        ),
        key_binding("weights.more", "m,M", "more", "More", "Verify, remove, or set the prompt format"),
        key_binding("weights.check", "v,V", "check", "Verify", "Verify the SHA-256 of the file"),
        key_binding("weights.format", "f,F", "format", "Prompt format", "Set the prompt format"),
        key_binding("weights.help", "question_mark", "app.toggle_help", "Help", "Show help"),
        key_binding("weights.remove", "delete,d,D,backspace", "remove", "Remove", "Delete the downloaded file (asks first)"),
    ]

    model_list = getters.query_one(ModelList)
    details = getters.query_one(ModelDetails)
    panel = getters.query_one(DownloadPanel)
    notice = getters.query_one(NotificationBar)
    status = getters.query_one(StatusBar)

    def __init__(
        self,
        service: ModelService,
        downloads: Downloads,
        *,
        wanted: str,
        in_use: str | None = None,
        problem: str = "",
        selected: str = "",
        search: str = "",
    ) -> None:
        """Create the screen for the model `wanted`, as ``-m`` takes it, with the model `in_use`, loaded or being loaded, or None.

        `problem` says why `wanted` cannot be used; it is shown if no row has that name. The cursor starts at `selected`, or at
        the first row whose name contains the words of `search`. The `downloads` continue when the screen is left.
        """
        super().__init__()
        self.downloaded = ""
        """What was downloaded while the list was shown."""
        self.message = ""
        """What the chat says once the result is being loaded."""
        self._service, self._downloads = service, downloads
        self._wanted, self._in_use, self._problem = wanted, in_use, problem
        self._first, self._search = selected, search
        self._listing = ModelListing()
        self._step = Step.LOADING
        self._shown = ""
        """The spec of the download shown."""
        self._cancelled = False
        """Whether the list follows when that download is paused."""
        self._ended = False
        self._result: str | None = None

    def compose(self) -> ComposeResult:
        """The choice and the download, one of which is visible, above the buttons."""
        with Vertical(id="page"):
            with Vertical(id="choice"):
                yield Static("Choose a model", id="title", markup=False)
                yield Static("Looking for models…", id="intro", markup=False)
                with Container(id="table"):
                    yield ModelList()
                    yield ModelDetails()
            yield DownloadPanel()
            yield NotificationBar()
            with ButtonRow(id="buttons"):
                yield Button("Refresh", id="act", variant="primary", compact=True)
                yield Button("More", id="more", compact=True)
                yield Button("Back", id="back", compact=True)
                yield Button("Try the demo", id="demo", compact=True)
        yield StatusBar()

    def on_mount(self) -> None:
        """Load the list."""
        if not self.children:
            return  # the app is ending: it opens this screen by itself, perhaps just when the user quits
        self._listener, self._downloads.listener = self._downloads.listener, self._task_changed
        self._show(Step.LOADING)
        self.look()

    def on_screen_resume(self) -> None:
        """Close the screen if its result was decided while a dialog covered it."""
        # It may have been decided, and the screen closed, between the dialog's end and this message.
        if self._ended and self.is_active:
            self.dismiss(self._result)

    def end(self, spec: str | None) -> None:
        """Close the screen with a result, once: a key and a finished download may both decide it."""
        if not self._ended:
            self._ended, self._result = True, spec
            self._downloads.listener = self._listener
            self.on_screen_resume()

    # The list.

    @work(group="look", exclusive=True, exit_on_error=False)
    async def look(self) -> None:
        """Load the installed and available models, and the free memory and disk space."""
        try:
            listing = await asyncio.to_thread(self._service.listing, self._wanted, self._in_use)
        except MistralChatError as error:
            self._introduce(f"{error.title}. {error}", trouble=True)
            return
        rows = tuple(with_activity(row, self._downloads.activity(row.spec)) for row in listing.rows)
        self._listing = replace(listing, rows=rows)
        searched = find_by_words(self._listing, self._search) if self._search else ""
        if self._search and not searched:
            self.notice.show(f"No model matches {self._search!r}.", severity="warning")
        self._search = ""
        self.model_list.show(self._listing, searched or self.model_list.selected or self._first or self._downloads.newest)
        self._introduce(*introduction(self._listing, self._wanted, self._problem, first=self._in_use is None))
        self.status.state = free(self._listing)
        if self._step in (Step.LOADING, Step.CHOOSING):
            self._show(Step.CHOOSING)
            self.model_list.focus()

    def action_look(self) -> None:
        """Refresh the list."""
        if self._step in (Step.LOADING, Step.CHOOSING):
            self.look()

    @property
    def selected(self) -> ModelRow | None:
        """The row under the cursor."""
        return self._listing.find(self.model_list.selected)

    def _refresh(self, spec: str) -> None:
        """Show the progress in the row of `spec`."""
        row = self._listing.find(spec)
        if row is None:
            return
        changed = with_activity(row, self._downloads.activity(spec))
        if changed.activity != row.activity:
            self._listing = replace(self._listing, rows=tuple(changed if each is row else each for each in self._listing.rows))
            self.model_list.update(changed, self._listing)
            if self.model_list.selected == spec:
                self.details.show(changed, self._listing)

    @on(ModelList.OptionHighlighted)
    def _highlighted(self) -> None:
        row = self.selected
        if row is not None:
            self.details.show(row, self._listing)
            self._show_buttons()

    @on(ModelList.OptionSelected)
    def _selected(self, event: ModelList.OptionSelected) -> None:
        row = self._listing.find(event.option_id or "")
        if row is None or self._step is not Step.CHOOSING:
            return
        if row.installed:
            self.end(None if row.spec == self._listing.in_use else row.spec)
        elif row.obstacle:
            self.notice.show(row.obstacle, severity="warning")
        elif row.activity:
            self._start(row.spec)
        else:
            self._confirm_download(row)

    # The download.

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def _confirm_download(self, row: ModelRow) -> None:
        """Ask before downloading gigabytes: Enter may have been meant for a message."""
        question = download_dialog(row, self._listing)
        if await self.app.push_screen_wait(question):
            if self._listing.companion is not None and question.also:
                self._downloads.start(self._listing.companion.spec)
            self._start(row.spec)

    def _start(self, spec: str) -> None:
        """Start, resume or just show the download of `spec`."""
        try:
            download = self._downloads.start(spec)
        except MistralChatError as error:
            self.notice.show(str(error), severity="warning")
            return
        self._shown, self._cancelled = spec, False
        self.panel.open(download.name, download.progress, hub=self._listing.hub, folder=self._listing.folder)
        self._show(Step.DOWNLOADING)

    def _task_changed(self, task: ModelTask) -> None:
        """Show the progress or the end of a download or a verification."""
        if not self.is_running:
            return  # the app ends, and there is nothing any more to show it in
        if task.kind == "downloading" and task.spec == self._shown:
            self._shown_changed(task)
        elif task.state == "running":
            self._refresh(task.spec)
        else:
            self._ended_behind(task)
            if self._step in (Step.LOADING, Step.CHOOSING):
                self.look()

    def _shown_changed(self, task: ModelTask) -> None:
        self.panel.show(task.progress)
        if task.state == "failed":
            self.panel.fail(*failure(task))
            self._show(Step.FAILED)
        elif task.state == "done":
            self.end(task.spec)
        elif task.state == "paused" and self._cancelled:
            self._back_to_list(f"Paused: {format_size(task.progress.bytes)} downloaded and kept." if task.progress.bytes else "")
        elif task.state == "paused":
            self._show(Step.PAUSED)

    def _ended_behind(self, task: ModelTask) -> None:
        """Report the end of a task that is not shown."""
        text, trouble = outcome(task)
        if task.state == "done" and not task.chats:
            self._listener(task)  # recall and documents use it from now on
        elif task.kind == "downloading" and task.state == "done":
            self.downloaded = task.spec
            text = f"{text} Press Enter in the list to use it."
        if text:
            self.notice.show(text, severity="warning" if trouble else "information", stay=trouble or task.kind == "downloading")

    def _back_to_list(self, message: str = "") -> None:
        if message:
            self.notice.show(message)
        self._shown = ""
        self._show(Step.LOADING)
        self.look()

    def action_pause(self) -> None:
        """Pause, resume or retry the download."""
        download = self._downloads.downloads.get(self._shown)
        if self._step is Step.DOWNLOADING and download is not None:
            download.cancel()
            self.query_one("#act", Button).disabled = True
        elif self._step in (Step.PAUSED, Step.FAILED):
            self._start(self._shown)

    def action_background(self) -> None:
        """Continue the download behind the list if no model is loaded, otherwise behind the chat."""
        if self._step is Step.DOWNLOADING and self._in_use:
            self.end(None)
        elif self._step is Step.DOWNLOADING:
            self._back_to_list("The download continues in the background. Meanwhile you can use another model, such as the demo.")

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def _leave_download(self) -> None:
        """Ask what happens to the download when its screen is left."""
        choices = (
            Choice("", "Stay"),
            Choice("background", "Continue in the background", "The model list shows its progress"),
            Choice("pause", "Pause and leave", "Downloaded data is kept"),
        )
        answer = await self.app.push_screen_wait(ChoiceDialog("Leave the download?", choices))
        if answer == "background":
            self.action_background()
        elif answer == "pause":
            if download := self._downloads.downloads.get(self._shown):
                download.cancel()
            self.end(None)

    def action_leave(self) -> None:
        """Go one step back; ask first if a download is on the screen."""
        if self._step is Step.DOWNLOADING:
            self._leave_download()
        elif self._step in (Step.PAUSED, Step.FAILED):
            self._back_to_list()
        else:
            self.end(None)

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_more(self) -> None:
        """Choose what to do with the model under the cursor."""
        row = self._selected_on_disk()
        dialog = actions_dialog(row) if row is not None else None
        if dialog is not None and (action := await self.app.push_screen_wait(dialog)):
            await self.run_action(action)

    def action_check(self) -> None:
        """Verify the file of the model under the cursor in the background."""
        row = self._selected_on_disk(whole="The file is verified at the end of the download.")
        if row is None:
            return
        try:
            self._downloads.verify(row)
        except MistralChatError as error:
            self.notice.show(str(error), severity="warning")
            return
        self._refresh(row.spec)
        self.notice.show(f"Verifying {one_line(row.label, 60)} in the background.")

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_format(self) -> None:
        """Choose the prompt format of the model under the cursor."""
        row = self._selected_on_disk(whole="Download the model first, then set its prompt format.")
        if row is None:
            return
        used = row.spec == self._listing.in_use
        names = await asyncio.to_thread(self._service.prompt_formats)
        chosen = await self.app.push_screen_wait(format_dialog(row, names, in_use=used))
        if chosen is None or (used and chosen == (row.prompt_format or names[0])):  # no reload for nothing
            return
        try:
            message = await asyncio.to_thread(self._service.set_prompt_format, row.spec, chosen)
        except MistralChatError as error:
            self.notice.show(str(error), severity="warning")
            return
        if used:
            self.message = message
            self.end(row.spec)
        else:
            self.notice.show(message)
            self.look()

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_remove(self) -> None:
        """Remove the model under the cursor, after a question."""
        row = self._selected_on_disk()
        if row is None:
            return
        name = one_line(row.label, 60)
        if problem := not_removable_reason(row, in_use=row.spec == self._listing.in_use):
            self.notice.show(problem)
        elif await self.app.push_screen_wait(ConfirmDialog(f"Remove {name}?", removal_warning(row), yes="Remove", no="Keep")):
            try:
                freed = await asyncio.to_thread(self._service.remove, row.spec)
            except (MistralChatError, OSError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                self.notice.show(f"Could not remove {name}: {why}", severity="warning")
                return
            self.notice.show(f"Removed {name} ({format_size(freed)} freed).")
            self.look()

    def _selected_on_disk(self, *, whole: str = "") -> ModelRow | None:
        """The row under the cursor if it is on this computer, whole or at all; otherwise a notice, `whole` for a partial one."""
        row = self.selected if self._step is Step.CHOOSING else None
        if row is None or row.installed:
            return row
        begun = row.downloaded or row.activity
        if not begun or whole:
            self.notice.show(whole if begun else f"{one_line(row.label, 60)} is not downloaded. Enter downloads it.")
            return None
        return row

    def action_use(self) -> None:
        """Use or download the model under the cursor."""
        self.model_list.action_select()

    def action_demo(self) -> None:
        """Use the installed demo."""
        if demo := demo_row(self._listing):
            self.end(demo.spec)

    def action_cancel_download(self) -> None:
        """Pause the download, and return to the list."""
        if download := self._downloads.downloads.get(self._shown):
            self._cancelled = True
            download.cancel()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Pass an unexpected error to the app's last resort."""
        if event.worker.error is not None and event.state.name == "ERROR":
            if self._step is Step.LOADING:
                self._introduce("Could not list the models.", trouble=True)
            self.post_message(WorkFailed(event.worker.error))

    def _show(self, step: Step) -> None:
        self._step = step
        choosing = step in (Step.LOADING, Step.CHOOSING)
        self.query_one("#choice").display = choosing
        self.panel.display = not choosing
        self._show_buttons()
        if not choosing:
            self.query_one("#act").focus()

    def _show_buttons(self) -> None:
        act, *_ = buttons = [self.query_one(f"#{name}", Button) for name in ("act", "more", "back", "demo")]
        row, choosing = self.selected, self._step is Step.CHOOSING
        self.on_descendant_focus()
        wanted = choice_buttons(row, self._listing, first=self._in_use is None) if choosing else BUTTONS[self._step]
        act.variant = "warning" if choosing and risky(row, self._listing) else "primary"
        act.disabled = choosing and (row is None or bool(row.obstacle))
        for button, (label, action) in zip(buttons, wanted, strict=True):
            button.label, button.action = Content(label), f"screen.{action}"
            button.display = bool(label)
            button.refresh(layout=True)  # a new label alone does not change the width

    def on_descendant_focus(self) -> None:
        """Show the keys; on a button Enter does what is written there."""
        self.status.hints = hints(self._step, self.selected if self.model_list.has_focus else None)

    def _introduce(self, text: str, trouble: bool = False) -> None:  # noqa: FBT001, FBT002 (given as a pair with the text)
        intro = self.query_one("#intro", Static)
        intro.update(Content(clean(text)))
        intro.set_class(trouble, "-trouble")


def find_by_words(listing: ModelListing, words: str) -> str:
    """The spec of the first row whose name contains every one of `words`; empty if there is none."""
    names = {row.spec: f"{row.spec} {row.label}".lower() for row in listing.rows}
    matches = [spec for spec, name in names.items() if all(word in name for word in words.lower().split())]
    return words if words in names else next(iter(matches), "")


def with_activity(row: ModelRow, task: ModelTask | None) -> ModelRow:
    """`row` with the progress of the `task` that runs for it."""
    if task is None:
        return replace(row, activity="")
    progress = task.progress
    activity = task.kind if progress.share is None else f"{task.kind} {int(progress.share * 100)}%"
    if task.kind == "verifying" or progress.total is None:
        return replace(row, activity=activity)
    return replace(row, activity=activity, downloaded=progress.bytes, bytes=progress.total, exact=True)


def actions_dialog(row: ModelRow) -> ChoiceDialog | None:
    """Asks what to do with a model: for the action of the screen that does it; None if nothing can be done."""
    choices = []
    if row.installed:
        choices.append(Choice("check", "Verify the file", "Verify the SHA-256 checksum"))
        choices.append(Choice("format", "Prompt format", row.prompt_format or "auto-detected"))
    if row.reclaimable is not None:
        frees = f"Frees {format_size(row.reclaimable)}" if row.reclaimable else "Frees no disk space"
        choices.append(Choice("remove", "Remove", frees))
    return ChoiceDialog(one_line(row.label, 60), choices) if choices else None


def format_dialog(row: ModelRow, names: Sequence[str], *, in_use: bool) -> ChoiceDialog:
    """Asks for the prompt format of a model."""
    text = "Change only if replies are garbled; a wrong format makes a model worse."
    if in_use:
        text += " The model is in use and will be reloaded."
    choices = [Choice(name, name, FORMATS.get(name, "")) for name in names]
    title = f"Prompt format for {one_line(row.label, 60)}"
    return ChoiceDialog(title, choices, text=text, selected=row.prompt_format or names[0])


def hints(step: Step, row: ModelRow | None) -> tuple[tuple[str, str], ...]:
    """The keys in the footer, with the model under the cursor."""
    if step is not Step.CHOOSING or row is None:
        return HINTS[step]
    return (("Enter", "use" if row.installed else "show" if row.activity else "download"), *HINTS[step])


def choice_buttons(row: ModelRow | None, listing: ModelListing, *, first: bool) -> tuple[tuple[str, str], ...]:
    """The buttons below the list; `first` if no model is loaded, so that an installed demo is offered."""
    on_disk = row is not None and (row.installed or row.downloaded)
    demo = demo_row(listing) if first else None
    return (
        (action_label(row, listing), "use"),
        ("More" if on_disk else "", "more"),
        ("Not now" if first else "Back", "leave"),
        ("Try the demo" if demo is not None and row != demo else "", "demo"),
    )


def demo_row(listing: ModelListing) -> ModelRow | None:
    """The row of the installed demo."""
    return next((row for row in listing.rows if row.source == "demo"), None)


def risky(row: ModelRow | None, listing: ModelListing) -> bool:
    """Whether there is too little memory or disk space for the model."""
    return row is not None and (row.fit == "too large" or missing_disk(row, listing) > 0)


def introduction(listing: ModelListing, wanted: str, problem: str, *, first: bool) -> tuple[str, bool]:
    """The text above the list, and whether it is about trouble."""
    if listing.rows and not any(row.fit in {"fits", "tight"} for row in listing.rows):
        return f"No model fits in the {listing.ram / 1e9:.1f} GB of available memory. Close other programs, then press r.", True
    if not first:
        return "Switch model. The conversation is kept.", False
    source = f"Models are downloaded once from {one_line(listing.hub)}. Your chats never leave this computer."
    known = listing.find(wanted) or listing.find(wanted.lower())
    if problem and (known is None or known.installed):
        return f"{one_line(problem, 300)} {source}", True
    if not any(row.installed for row in listing.rows):
        return f"No model installed. {source}", False
    return f"{one_line(known.title if known else wanted, 60)} is not downloaded. {source}", False


def action_label(row: ModelRow | None, listing: ModelListing) -> str:
    """The label of the first button."""
    if row is None or row.obstacle:
        return "Unavailable"
    anyway = " anyway" if risky(row, listing) else ""
    if row.installed:
        return "Keep" if row.spec == listing.in_use else f"Use{anyway}"
    if row.activity:
        return "Show download"
    if row.downloaded:
        return f"Resume download{anyway}"
    return f"Download{'' if row.bytes is None else ' ' + _about_size(row)}{anyway}"


def download_dialog(row: ModelRow, listing: ModelListing) -> ConfirmDialog:
    """Asks whether a model is downloaded, and the embedding model with it; says what that costs and what is missing."""
    title = f"{'Resume the download of' if row.downloaded else 'Download'} {one_line(row.label, 60)}?"
    size = f"{_about_size(row)} download" if row.bytes is not None else "Download"
    lines = [f"{size} from {one_line(listing.hub)}.", row.reason]
    if row.downloaded and row.bytes:
        lines.append(f"{format_progress(row.downloaded, row.bytes)} already downloaded.")
    if lacking := missing_disk(row, listing):
        lines.append(f"Not enough disk space: {format_size(lacking)} more needed.")
    also = ""
    if (companion := listing.companion) is not None:
        lines.append("An embedding model finds earlier messages and documents by meaning.")
        also = f"Also {one_line(companion.title, 24)} ({_about_size(companion)}, {one_line(companion.licence, 20)})"
    return ConfirmDialog(title, "\n".join(lines), yes="Download", no="Cancel", also=also)


def _about_size(row: ModelRow) -> str:
    return f"{'' if row.exact else 'about '}{format_size(row.bytes or 0)}"


def free(listing: ModelListing) -> str:
    """The memory and disk space that are free, in a few words."""
    parts = [
        f"{listing.ram / 1e9:.1f} GB RAM",
        f"{listing.vram / 1e9:.1f} GB VRAM" if listing.vram else "",
        f"{listing.disk / 1e9:,.0f} GB disk" if listing.disk is not None else "",
    ]
    return ", ".join(filter(None, parts)) + " free"


def failure(task: ModelTask) -> tuple[str, str]:
    """Why a task failed: a title and a sentence."""
    if isinstance(task.error, MistralChatError):
        return task.error.title, str(task.error)
    return f"Internal error ({type(task.error).__name__})", "Downloaded data is kept; see the log file."


def outcome(task: ModelTask) -> tuple[str, bool]:
    """A notice about a finished task, and whether it is a warning; empty for a stopped one."""
    from mistral_chat.models.operations import Verification

    name = one_line(task.name, 80)
    if task.state == "failed":
        title, text = failure(task)
        return f"{title}: {name}. {text}" if task.kind == "downloading" else f"Could not verify {name}: {text}", True
    if task.state != "done":
        return "", False
    if not isinstance(task, Verification):
        return f"Downloaded {name}.", False
    if task.right is None:
        return f"{name}: SHA-256 computed; no published checksum to compare with.", False
    if task.right:
        return f"Verified {name}: the SHA-256 matches.", False
    return f"{name} is damaged: wrong SHA-256. Remove it and download it again.", True


def removal_warning(row: ModelRow) -> str:
    """The effect of removing a model."""
    if not row.installed:
        return f"Deletes the partial download and frees {format_size(row.reclaimable or 0)}."
    if not row.reclaimable:
        return f"Deletes {one_line(row.path)}. It is a link, so this frees no disk space."
    return f"Deletes {one_line(row.path)} and frees {format_size(row.reclaimable)}."


def not_removable_reason(row: ModelRow, *, in_use: bool) -> str:
    """Why a model cannot be removed; empty if it can."""
    if row.reclaimable is None:
        return f"{one_line(row.label, 60)} was not removed: {one_line(row.path)} belongs to you or to another program."
    if in_use:
        return "It is in use. Switch to another model first."
    return f"Busy: {one_line(row.activity)}. Stop it first." if row.activity else ""
