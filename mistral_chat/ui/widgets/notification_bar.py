"""The line above the message box that says what just happened, with an action such as undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal

from textual.content import Content
from textual.widgets import Static

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events
    from textual.timer import Timer

_SECONDS: Final = 12.0
"""Seconds that a notification is shown."""


class NotificationBar(Static):
    """Shows one notification at a time and hides itself. It never covers the transcript."""

    LONGEST: ClassVar = 400
    """Characters of a notification."""

    def __init__(self) -> None:
        """Make an empty bar, which takes no room."""
        super().__init__(id="notice", markup=False)
        self._timer: Timer | None = None
        self._on_action: Callable[[], object] | None = None
        self.lasting = ""
        """A warning that comes back; emptied when it no longer holds."""
        self.text = ""
        """The text shown, without the action."""

    def show_lasting(self, text: str) -> None:
        """Show a warning that comes back whenever another notification ends, while it is `lasting`.

        It waits for the end of the one that is shown now, which may say what to do about it.
        """
        self.lasting = text
        if self._timer is None:
            self.show(text, severity="warning", stay=True)

    def show(
        self,
        text: str,
        *,
        severity: Literal["information", "warning"] = "information",
        action: str = "",
        on_action: Callable[[], object] | None = None,
        stay: bool = False,
    ) -> None:
        """Show a notification.

        Args:
            text: what happened; may quote anything.
            severity: whether it needs attention.
            action: what a click does, such as ``"F8 undo"``.
            on_action: does it; may be a coroutine function.
            stay: keep it until the next notification.
        """
        self.text = one_line(text, self.LONGEST)
        self._on_action = on_action
        self.set_class(severity == "warning", "-warning")
        parts = [self.text, "   ", (action, "bold $text-accent")] if action else [self.text]
        self.update(Content.assemble(*parts))
        self.add_class("-shown")
        if self._timer is not None:
            self._timer.stop()
        self._timer = None if stay else self.set_timer(_SECONDS, self.clear)

    def clear(self) -> None:
        """Hide the notification; a warning that lasts is shown again."""
        if self.lasting:
            self.show(self.lasting, severity="warning", stay=True)
            return
        if self._timer is not None:
            self._timer.stop()
        self.text, self._timer, self._on_action = "", None, None
        self.remove_class("-shown")

    def on_click(self, event: events.Click) -> None:
        """Run the action, and hide the notification."""
        event.stop()
        if self._on_action is not None:
            self.screen.call_later(self._on_action)
        self.clear()
