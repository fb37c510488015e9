"""What every part of the chat screen has: the doors to the rest of the program, and what goes on in the background."""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final

from textual import getters, message
from textual.screen import Screen

from mistral_chat.formatting import format_progress
from mistral_chat.ui.background import Background, stopped
from mistral_chat.ui.keymap import in_words
from mistral_chat.ui.widgets.composer import Composer
from mistral_chat.ui.widgets.empty_state import EmptyState
from mistral_chat.ui.widgets.notification_bar import NotificationBar
from mistral_chat.ui.widgets.status_bar import StatusBar

if TYPE_CHECKING:
    from mistral_chat.engine.snapshots import SnapshotFolder, SnapshotProgress
    from mistral_chat.ui.background import Job
    from mistral_chat.ui.rooms import Rooms

_UPKEEP: Final = {
    "saving": ("saving state", "lets this conversation reopen at once", "The conversation itself is kept in any case."),
    "restoring": ("restoring state", "of this conversation", "The model reads the conversation again instead."),
}
"""What a KV state's way to the disk and back is called, what it is for, and what stopping it means."""


_SPOKEN_OF: Final = {
    "app.help": "F1",
    "app.palette": "Ctrl+P",
    "app.quit": "Ctrl+Q",
    "chat.cancel_background": "Alt+Z",
    "chat.edit": "F3",
    "chat.focus_list": "Ctrl+O",
    "chat.models": "F7",
    "chat.regenerate": "Ctrl+R",
    "chat.retry": "F5",
    "chat.settings": "F12",
    "chat.stop": "Escape",
    "chat.undo": "F8",
    "composer.newline": "Ctrl+J",
    "composer.send": "Enter",
}
"""What the default keys of bindings are called, where a notice or a hint names one."""


class WorkingScreen(Screen[None]):
    """Shows in the status line what goes on without anybody waiting for it, and stops it on request."""

    class WorkFailed(message.Message):
        """Work in the background failed in a way nobody foresaw."""

        def __init__(self, error: BaseException) -> None:
            """Carry the `error`; what it says is not for the log."""
            super().__init__()
            self.error = error

    composer = getters.query_one(Composer)
    notice = getters.query_one(NotificationBar)
    empty_state = getters.query_one(EmptyState)
    status = getters.query_one(StatusBar)

    AUTO_FOCUS: ClassVar[str] = "Composer"

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program; nothing is opened yet."""
        super().__init__()
        self.rooms = rooms
        self.background = Background(self._show_work)
        """What goes on without anybody waiting for it."""

    def key_of(self, name: str) -> str:
        """The key of the binding `name`, one of those that are spoken of, as the person has it."""
        return in_words(self.rooms.settings.keymap.get(name, "")) or _SPOKEN_OF[name]

    def keys_of(self, *wanted: tuple[str, str]) -> list[tuple[str, str]]:
        """Bindings by their names, with what they do, as keys with what they do."""
        return [(self.key_of(name), meaning) for name, meaning in wanted]

    def action_cancel_background(self) -> None:
        """Stop what goes on in the background: one thing at once; of several a person chooses."""
        if len(self.background.jobs) > 1:
            from mistral_chat.ui.screens.background import BackgroundScreen

            self.app.push_screen(BackgroundScreen(self.background))
        else:
            self.notice.show(stopped(self.background.cancel()))

    def watch_snapshots(self, snapshots: SnapshotFolder) -> None:
        """Show when KV states are written and read, which happens on the engine's threads."""
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        shown: list[Job] = []

        def show(upkeep: SnapshotProgress | None) -> None:
            if upkeep is None:
                while shown:
                    self.background.end(shown.pop())
                return
            if not shown:
                name, about, kept = _UPKEEP[upkeep.what]
                shown.append(self.background.begin(name, about, cancel=snapshots.stop, kept=kept))
            shown[0].tell(upkeep.done / max(1, upkeep.total), format_progress(upkeep.done, upkeep.total))

        def hear(upkeep: SnapshotProgress | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody looks any more
                loop.call_soon_threadsafe(show, upkeep, context=context)

        snapshots.subscribe(hear)

    def _show_work(self, text: str) -> None:
        if self.is_attached:
            self.status.activity = text
