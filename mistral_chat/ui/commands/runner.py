"""Runs commands, immediately or as tasks; errors become notifications."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from mistral_chat.errors import MistralChatError, UsageError
from mistral_chat.text import one_line
from mistral_chat.ui.commands import Command
from mistral_chat.ui.work_failed import WorkFailed

if TYPE_CHECKING:
    from mistral_chat.ui.screens.chat import ChatScreen

_TWICE_SECONDS = 2.0
"""Maximum seconds between two presses that count as a double press."""

_RECENT = 5
"""Number of recent commands that the palette lists first."""


class CommandRunner:
    """Runs the commands of the chat screen."""

    def __init__(self, screen: ChatScreen) -> None:
        """Run commands on `screen`."""
        self._screen = screen
        self.recent: list[str] = []
        """The ids of the commands used last, the latest first."""
        self._pressed = -_TWICE_SECONDS
        self._ended = False

    def pressed_twice(self) -> bool:
        """Note that the key that quits was pressed; True if it was pressed just before too."""
        before, self._pressed = self._pressed, time.monotonic()
        return self._pressed - before < _TWICE_SECONDS

    async def run(self, wanted: Command, argument: str = "", draft: str = "") -> None:
        """Run a command; a refused `draft` goes back to the box if it came too early, or has an argument to correct."""
        self.recent = [wanted.id, *(name for name in self.recent if name != wanted.id)][:_RECENT]
        if wanted.runs == "immediately":
            await self._run(wanted, argument, draft)
        else:
            # One dialog opens at a time; what waits for the disk continues in the background.
            self.in_background(partial(self._run, wanted, argument, draft), wanted.runs)

    @contextmanager
    def errors_shown(self) -> Iterator[None]:
        """Notify of an error: one that leaves the handler of a message would end the app."""
        try:
            yield
        except MistralChatError as error:
            self._screen.show_error(str(error))

    def ask_for(self, wanted: Command) -> None:
        """Ask for the argument of a command, and run it."""
        self.in_background(partial(self._ask_for, wanted), "dialog")

    async def values_of(self, wanted: Command) -> Sequence[tuple[str, str]]:
        """What the argument of a command may be; nothing after an error, which the command reports when it runs."""
        try:
            return await wanted.values(self._screen) if wanted.values is not None else ()
        except Exception as error:  # noqa: BLE001 (the handler of a message asks, and an error there would end the app)
            if not isinstance(error, MistralChatError):
                self._screen.post_message(WorkFailed(error))
            return ()

    def in_background(self, work: Callable[[], Coroutine[Any, Any, None]], group: str = "background") -> None:
        """Run work that waits for the disk or a dialog, and show its error; another `group` than the usual has one at a time."""

        async def run() -> None:
            with self.errors_shown():
                await work()

        if not self._ended:
            self._screen.run_worker(run, group=group, exclusive=group != "background", exit_on_error=False)  # type: ignore[arg-type]  # Textual's type of work without a result

    async def end(self) -> None:
        """Cancel what runs in the background and wait for it; nothing more begins."""
        self._ended = True
        for worker in self._screen.workers.cancel_node(self._screen):
            with suppress(Exception):  # the outcome of a command does not matter now
                await worker.wait()

    async def _run(self, wanted: Command, argument: str, draft: str) -> None:
        screen = self._screen
        session = screen.session if screen.workspace is not None else None
        try:
            if wanted.id.startswith("chat.") and not screen.check_action("command", ()):
                raise UsageError("The conversations are not open yet.")
            work = wanted.run(screen, argument)
            if work is not None:
                await work
        except MistralChatError as error:
            # Not into another conversation that was opened meanwhile, or an edit.
            if draft and (session is None or (argument and session is screen.session and session.editing is None)):
                screen.message_box.put(draft, str(error), warning=True)
            else:
                screen.show_error(str(error))

    async def _ask_for(self, wanted: Command) -> None:
        from mistral_chat.ui.dialogs.input import LONGEST, InputDialog

        value = wanted.proposed(self._screen) if wanted.proposed is not None else ""
        dialog = InputDialog(wanted.title, label=wanted.argument.capitalize(), value=value, about=f"{wanted.help}.")
        text = await self._screen.app.push_screen_wait(dialog)
        # A value of several lines is shown on one line; Enter alone does not change it.
        if text is not None and (not value or text != one_line(value, LONGEST).strip() or wanted.id == "chat.export"):
            await self._run(wanted, text, "")
