"""The frame shared by all dialogs: a title, a body, buttons, and key hints on the lower edge."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from textual import getters
from textual.await_complete import AwaitComplete
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, OptionList, Static

from mistral_chat.text import clean, one_line
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.widgets.status_bar import Hints
from mistral_chat.ui.work_failed import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.worker import Worker

Result = TypeVar("Result")


class Dialog(ModalScreen[Result | None], Generic[Result]):
    """A modal dialog. Escape closes it with None; the arrow keys move between its buttons.

    A subclass composes its body inside `frame` and ends with `button_row` where it has buttons.
    """

    VERTICAL_BREAKPOINTS = [(0, "-short"), (16, "-tall")]  # noqa: RUF012 (as Textual declares it)
    CSS_PATH = Path(__file__).parent / "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("dialog.cancel", "escape", "cancel", "Cancel", "Close the dialog and change nothing"),
        key_binding("dialog.previous", "left,up", "move(-1)", "Previous", "Go to the field or button before"),
        key_binding("dialog.next", "right,down", "move(1)", "Next", "Go to the field or button after"),
    ]

    listed = getters.query_one(OptionList)
    """The list of a dialog that has one."""

    _finish: Callable[[], object] | None = None
    """Closes the dialog, which ended under another screen."""

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Close the dialog, once no other screen is above it; it may be closed already, as by Escape while it was busy."""
        if self.is_active:
            return super().dismiss(result)
        self._finish = partial(super().dismiss, result)
        return AwaitComplete()

    def on_screen_resume(self) -> None:
        """Close the dialog if it ended meanwhile."""
        if self._finish is not None:
            self._finish()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Pass an unexpected error to the app's last resort."""
        if event.worker.error is not None and event.state.name == "ERROR":
            self.post_message(WorkFailed(event.worker.error))

    def action_cancel(self) -> None:
        """Close the dialog without a result."""
        self.dismiss(None)

    @property
    def marked(self) -> str | None:
        """The id of the option under the cursor of the dialog's list; None without one."""
        option = self.listed.highlighted_option
        return option.id if option is not None else None

    def action_mark(self, step: int) -> None:
        """Move the cursor of the dialog's list while a field has the focus."""
        self.listed.action_cursor_down() if step > 0 else self.listed.action_cursor_up()

    def show_status(self, text: str, *, warning: bool = False) -> None:
        """Show `text`, which may quote anything, in the line that `status_line` made."""
        line = self.query_one(".status", Static)
        line.update(Content(one_line(text, 300)))
        line.set_class(warning, "-warning")
        line.display = bool(text)

    def action_move(self, step: int) -> None:
        """Move the focus by one; between buttons it goes round."""
        buttons = [button for button in self.query(Button) if button.focusable]
        if self.focused in buttons and len(buttons) > 1:
            # Widget.focus would take effect only after a key that was typed ahead.
            self.set_focus(buttons[(buttons.index(self.focused) + step) % len(buttons)])
        elif step > 0:
            self.focus_next()
        else:
            self.focus_previous()


def frame(title: str, *, hints: Hints = (("Esc", "cancel"),), classes: str = "") -> Vertical:
    """Return the framed container of a dialog; `title` may quote anything."""
    container = Vertical(classes=f"dialog {classes}".strip())
    container.border_title = Content.styled(one_line(title, 100), "bold")
    parts = [Content.assemble((key, "$text-accent"), " ", (one_line(does, 40), "$text-muted")) for key, does in hints]
    container.border_subtitle = Content("  ").join(parts)
    return container


def paragraph(text: str) -> Static:
    """Return `text`, which may quote anything, as wrapped lines."""
    return Static(Content(clean(text)), classes="explained")


def status_line(text: str = "") -> Static:
    """Return the line that a dialog reports in; see `Dialog.show_status`."""
    line = Static(Content(one_line(text, 300)), classes="status")
    line.display = bool(text)
    return line


def button_row(buttons: Sequence[tuple[str, str]]) -> Horizontal:
    """Return a row of buttons, each given as the action of the dialog that it runs, and its label; the first is the default."""
    return Horizontal(
        *(Button(Content(one_line(label, 40)), id=name, action=f"screen.{name}", compact=True) for name, label in buttons),
        classes="buttons",
    )
