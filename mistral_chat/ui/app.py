"""The terminal app: themes, keys, signals, the palette, and unexpected errors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from textual import events, on, work
from textual.app import App
from textual.binding import BindingType

from mistral_chat.system import CLOSE_SECONDS, end_signals, watch_console_close
from mistral_chat.text import clean, one_line
from mistral_chat.ui import themes
from mistral_chat.ui.commands import all_commands, bindings, command
from mistral_chat.ui.keymap import to_textual_keymap
from mistral_chat.ui.palette import CommandProvider, ConversationProvider
from mistral_chat.ui.screens.chat import ChatScreen
from mistral_chat.ui.widgets.composer import Composer
from mistral_chat.ui.work_failed import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from textual.actions import ActionParseResult
    from textual.command import Provider
    from textual.dom import DOMNode
    from textual.screen import Screen

    from mistral_chat.ui.context import AppContext

_WATCHDOG_SECONDS: Final = 2.0
"""How long saving and closing may take after SIGTERM or SIGHUP."""

_SAVE_TITLE: Final = "\x1b[22;2t"
_RESTORE_TITLE: Final = "\x1b[23;2t"
"""xterm's stack of titles. Terminals without one ignore both; their shell sets the title with its next prompt."""


class MistralChatApp(App[None]):
    """The chat in the terminal. Nothing is opened before the first paint."""

    TITLE = "mistral-chat"
    CSS_PATH = Path(__file__).parent / "screens" / "chat.tcss"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {CommandProvider, ConversationProvider}
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]

    def __init__(self, context: AppContext, *, conversation_id: str | None = None) -> None:
        """Open nothing yet.

        Args:
            context: the app's dependencies.
            conversation_id: the conversation to show first; None is a new one.
        """
        super().__init__()
        self._dependencies = context
        self._first = conversation_id
        self._leaving = False
        self._titled = False
        self.animation_level = "none"
        for theme in themes.THEMES:
            self.register_theme(theme)
        self.theme = context.settings.theme if context.settings.theme in self.available_themes else themes.DARK.name

    def get_default_screen(self) -> Screen[None]:
        """Begin with the chat."""
        return ChatScreen(self._dependencies, open_first=self._first)

    def get_css_variables(self) -> dict[str, str]:
        """Return the theme's variables, with enough contrast."""
        variables = super().get_css_variables()
        self.theme_variables = {**variables, **themes.readable(variables)}
        return self.theme_variables

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Give the colours of code to themes that have none."""
        return dict(themes.FALLBACKS)

    def on_mount(self) -> None:
        """Take the user's keys, and listen for signals."""
        self.set_keymap(to_textual_keymap(self._dependencies.settings.keymap))
        self.watch_title(self.title)
        loop = asyncio.get_running_loop()
        for number in end_signals():
            # Windows, and other threads than the main one, have no such handlers.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self._signalled, number)
        self._saved = threading.Event()
        self._console_watch = watch_console_close(lambda: self._console_closed(loop))
        self.app_resume_signal.subscribe(self, self._resumed)

    def watch_title(self, title: str) -> None:
        """Make `title` the terminal's title. The first one saves the terminal's own, where it can."""
        if self.is_headless or self.is_web or self._driver is None:
            return
        save = "" if self._titled else _SAVE_TITLE
        self._titled = True
        self._driver.write(f"{save}\x1b]2;{one_line(title)}\x07")

    def _resumed(self, _: App[None]) -> None:
        """Draw everything: after Ctrl+Z and `fg` the terminal is blank. An editor may have set another title."""
        self.screen.refresh(layout=True)
        self.watch_title(self.title)

    def _restore_title(self) -> None:
        if self._titled and self._driver is not None:
            self._titled = False
            self._driver.write(_RESTORE_TITLE)

    async def on_event(self, event: events.Event) -> None:
        """Clean what is pasted into fields. The message box cleans after checking for files."""
        if isinstance(event, events.Paste) and not isinstance(self.focused, Composer):
            event.text = clean(event.text)
        await super().on_event(event)

    # Leaving.

    async def action_quit(self) -> None:
        """Save everything and quit, after a warning if something cannot be saved."""
        self._quit()

    @work(group="quit", exclusive=True, exit_on_error=False)
    async def _quit(self) -> None:
        if await self._chat_screen.may_leave():
            self.leave(0)

    @work(group="leave", exit_on_error=False)
    async def leave(self, return_code: int) -> None:
        """Stop all work, save, and exit."""
        if self._leaving:
            return
        self._leaving = True
        try:
            await self._chat_screen.leave()
        finally:
            self._saved.set()
            self._restore_title()
            self.exit(return_code=return_code)

    def _signalled(self, number: int) -> None:
        """Exit; a daemon thread ends the process if that takes too long, because the terminal may be closed."""
        watchdog = threading.Timer(_WATCHDOG_SECONDS, os._exit, (128 + number,))
        watchdog.daemon = True
        watchdog.start()
        self.leave(128 + number)

    def _console_closed(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Save while Windows closes the console; called on a thread of its own."""
        loop.call_soon_threadsafe(self._signalled, signal.SIGTERM)
        return self._saved.wait(CLOSE_SECONDS)

    # Unexpected errors.

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Run an action, and keep running if it fails."""
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except Exception as error:  # noqa: BLE001 (the app's last resort)
            self._last_resort(error)
            return True

    @on(WorkFailed)
    def _work_failed(self, event: WorkFailed) -> None:
        self._last_resort(event.error)

    def _last_resort(self, error: BaseException) -> None:
        """Log where the error happened, without any content, and continue."""
        logging.getLogger("mistral_chat.ui").error("unexpected %s", type(error).__name__, exc_info=error)
        self._chat_screen.show_error(f"Internal error ({type(error).__name__}). Your conversations are safe.")

    def _fatal_error(self) -> None:
        """Exit after an error that broke the interface. Textual's own report would print conversations."""
        error = self._exception
        name = type(error).__name__
        logging.getLogger("mistral_chat.ui").critical("the interface crashed: %s", name, exc_info=error)
        self._exit_renderables.append(
            f"mistral-chat: the interface crashed ({name}). Your conversations are safe; see the log file."
        )
        self._close_messages_no_wait()

    @property
    def _chat_screen(self) -> ChatScreen:
        return next(screen for screen in self.screen_stack if isinstance(screen, ChatScreen))

    # Commands.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave every key to a dialog that captures keys."""
        return not getattr(self.screen, "takes_every_key", False) and super().check_action(action, parameters)

    def action_toggle_help(self) -> None:
        """Show or close the help: what has the focus, every command by task, and every key in force."""
        from mistral_chat.ui.dialogs.help import HelpDialog, help_parts, help_text

        if isinstance(self.screen, HelpDialog):
            self.screen.action_cancel()
        else:
            text = help_text(self.screen.focused, self.screen)
            commands = all_commands() if isinstance(self.screen, ChatScreen) else ()
            self.push_screen(HelpDialog(text, help_parts(self.screen.active_bindings, commands)))

    def action_command_palette(self) -> None:
        """Show the palette, unless it is open already, perhaps below the help."""
        if all(screen.id != "--command-palette" for screen in self.screen_stack):
            super().action_command_palette()

    async def action_command(self, name: str) -> None:
        """Run the command with the id `name`."""
        await self._chat_screen.commands.run(command(name))
