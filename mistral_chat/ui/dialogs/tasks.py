"""The background tasks, with their progress and a way to cancel each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import on
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Button, OptionList
from textual.widgets.option_list import Option

from mistral_chat.session.tasks import cancelled_message
from mistral_chat.text import one_line
from mistral_chat.ui.dialogs.base import Dialog, button_row, frame, status_line
from mistral_chat.ui.keymap import key_binding

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mistral_chat.session.tasks import BackgroundTask, TaskRegistry

_TICK: Final = 0.25
"""Seconds between two updates."""

_WIDEST: Final = 58
"""Characters of a line."""


class TasksDialog(Dialog[None]):
    """Lists the running tasks with their progress."""

    HELP = """\
    ## Background tasks

    **Enter**, **d** or **Delete** cancels the selected task; finished work is kept where useful. **Esc** closes
    the list, and all tasks continue.
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("background.stop", "delete,backspace,d", "stop", "Cancel task", "Cancel the selected task"),
    ]

    def __init__(self, registry: TaskRegistry) -> None:
        """List the tasks of `registry`."""
        super().__init__()
        self._registry = registry
        self._listed: list[BackgroundTask] = []

    def compose(self) -> ComposeResult:
        """Show the tasks and what can be done with them."""
        with frame("Background tasks", hints=(("Enter", "cancel task"), ("Esc", "close"))):
            yield status_line()
            yield OptionList(markup=False, compact=True)
            yield button_row([("stop", "Cancel task"), ("stop_all", "Cancel all"), ("cancel", "Close")])

    def on_mount(self) -> None:
        """Show the tasks, and keep them up to date."""
        self._show()
        self.listed.focus()
        self.set_interval(_TICK, self._show)

    @on(OptionList.OptionSelected)
    def action_stop(self) -> None:
        """Cancel the selected task."""
        index = self.listed.highlighted
        if index is not None and index < len(self._listed):
            self.show_status(cancelled_message(self._registry.cancel(self._listed[index])))

    def action_stop_all(self) -> None:
        """Cancel every task."""
        self.show_status(cancelled_message(self._registry.cancel()))

    def _show(self) -> None:
        """Show the progress of all tasks, with the cursor on the same task as before."""
        listed = self.listed
        index = listed.highlighted
        selected = self._listed[index] if index is not None and index < len(self._listed) else None
        tasks = self._registry.tasks
        if tasks == self._listed:
            for number, task in enumerate(tasks):
                listed.replace_option_prompt_at_index(number, _lines(task))
            return
        self._listed = tasks
        listed.set_options([Option(_lines(task)) for task in tasks])
        listed.display = bool(tasks)
        listed.highlighted = tasks.index(selected) if selected in tasks else min(index or 0, len(tasks) - 1) if tasks else None
        for button in self.query("#stop, #stop_all").results(Button):
            button.display = bool(tasks)
        if not tasks:
            self.query_one("#cancel").focus()
            if not self.query_one(".status").display:
                self.show_status("All tasks have ended.")


def _lines(task: BackgroundTask) -> Content:
    """Show a task's name and purpose, and its progress on a second line."""
    heading = Content.assemble((one_line(task.name, 20), "bold"), "  ", (one_line(task.about, _WIDEST - 22), "$text-quiet"))
    progress = [f"{int(task.share * 100)} %" if task.share is not None else "", one_line(task.detail, _WIDEST - 10)]
    line = ", ".join(part for part in progress if part) or "running"
    return Content("\n ").join([heading, Content.styled(line, "$text-accent")])
