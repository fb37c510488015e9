"""The terminal app: colours, keys, signals, and what becomes of errors nobody foresaw."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual import events, on, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType

from mistral_chat.system import CLOSE_SECONDS, end_signals, watch_console_close
from mistral_chat.text import clean
from mistral_chat.ui import themes
from mistral_chat.ui.keymap import bound_nodes, current_ids, keys_of, known_bindings
from mistral_chat.ui.rooms import Rooms
from mistral_chat.ui.screens.chat import ChatScreen
from mistral_chat.ui.slash import COMMANDS as SLASH_COMMANDS
from mistral_chat.ui.widgets.composer import Composer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from textual.actions import ActionParseResult
    from textual.command import Provider
    from textual.dom import DOMNode
    from textual.screen import Screen

    from mistral_chat.config import Settings
    from mistral_chat.config.settings_file import SettingsFile
    from mistral_chat.engine.thread import EngineThread
    from mistral_chat.models.service import ModelService
    from mistral_chat.store.store import ConversationStore

_WATCHDOG_SECONDS: Final = 2.0
"""How long saving and closing may take after SIGTERM or SIGHUP."""


def _conversation_commands() -> type[Provider]:
    from mistral_chat.ui.commands import ConversationCommands

    return ConversationCommands


class MistralChatApp(App[None]):
    """The chat in the terminal. Nothing is opened before the first screen is painted."""

    TITLE = "mistral-chat"
    CSS_PATH = Path(__file__).parent / "screens" / "chat.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS = App.COMMANDS | {_conversation_commands}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", tooltip="Save everything and quit", id="app.quit", show=False, priority=True),
        Binding("f1", "toggle_help", "Help", tooltip="Show help and every key", id="app.help", show=False, priority=True),
        Binding(
            "ctrl+p",
            "command_palette",
            "All commands",
            tooltip="Find any command by its name",
            id="app.palette",
            show=False,
            priority=True,
        ),
    ]

    def __init__(
        self,
        *,
        open_store: Callable[[], ConversationStore],
        runner_for: Callable[[str], EngineThread],
        settings: Settings,
        now: Callable[[], datetime],
        conversation_id: str | None = None,
        system: str | None = None,
        persona: str = "",
        models: Callable[[], ModelService] | None = None,
        settings_file: SettingsFile | None = None,
        forget: Callable[[Iterable[str]], object] = tuple,
        saved: bool = True,
    ) -> None:
        """Take the doors to the rest of the program.

        Args:
            open_store: opens the conversations; called once, after the first screen is painted.
            runner_for: makes the engine's thread for a model as ``-m`` names it; called again for a retry.
            settings: everything that can be set.
            now: the clock, with a zone.
            conversation_id: the conversation to begin with; None is a new one.
            system: the system prompt of new conversations, in place of the settings'.
            persona: the name of the persona for new conversations.
            models: opens the model service; without it no model can be chosen in the app.
            settings_file: where settings are kept; without it no setting can be changed in the app.
            forget: drops what else was kept of conversations that were deleted for good, by their ids.
            saved: whether what is said is kept; said on the screen when it is not.
        """
        super().__init__()
        self._rooms = Rooms(
            open_store=open_store,
            runner_for=runner_for,
            settings=settings,
            now=now,
            saved=saved,
            system=system,
            persona=persona,
            models=models,
            settings_file=settings_file,
            forget=forget,
            keys=self,
        )
        self._first = conversation_id
        self._leaving = False
        self.animation_level = "none"
        for theme in themes.THEMES:
            self.register_theme(theme)
        self.theme = settings.theme if settings.theme in self.available_themes else themes.DARK.name

    @property
    def known_bindings(self) -> dict[str, Binding]:
        """Every binding that a person can remap, by its id: those of the app and of the chat first."""
        return known_bindings((type(self), ChatScreen, Composer, *bound_nodes()))

    def use_keymap(self, keymap: Mapping[str, str]) -> None:
        """Let the person's keys hold from now on; what `keymap` does not name has its default again."""
        self.set_keymap({name: ",".join(keys_of(keys)) for name, keys in current_ids(keymap).items()})

    def get_default_screen(self) -> Screen[None]:
        """Begin with the chat."""
        return ChatScreen(self._rooms, open_first=self._first)

    def get_css_variables(self) -> dict[str, str]:
        """Return the theme's variables, with enough contrast."""
        variables = super().get_css_variables()
        self.theme_variables = {**variables, **themes.readable(variables)}
        return self.theme_variables

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Give the colours of code to themes that have none."""
        return dict(themes.FALLBACKS)

    def on_mount(self) -> None:
        """Take the person's keys, and listen for signals."""
        self.use_keymap(self._rooms.settings.keymap)
        loop = asyncio.get_running_loop()
        for number in end_signals():
            # Windows, and other threads than the main one, have no such handlers.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self._signalled, number)
        self._saved = threading.Event()
        self._console_watch = watch_console_close(lambda: self._console_closed(loop))
        # After Ctrl+Z and `fg` the terminal is blank, and Textual would draw only what has changed.
        self.app_resume_signal.subscribe(self, lambda _: self.screen.refresh(layout=True))

    async def on_event(self, event: events.Event) -> None:
        """Let no paste bring into a field what would act on the terminal. The composer looks for files first, and cleans then."""
        if isinstance(event, events.Paste) and not isinstance(self.focused, Composer):
            event.text = clean(event.text)
        await super().on_event(event)

    # Leaving.

    async def action_quit(self) -> None:
        """Save everything and quit."""
        self.leave(0)

    @work(group="leave", exit_on_error=False)
    async def leave(self, return_code: int) -> None:
        """Stop what runs, keep what was written, and exit."""
        if self._leaving:
            return
        self._leaving = True
        try:
            await self._chat_screen.leave()
        finally:
            self._saved.set()
            self.exit(return_code=return_code)

    def _signalled(self, number: int) -> None:
        """Leave; a daemon thread ends the process if that takes too long, because the terminal may be gone."""
        watchdog = threading.Timer(_WATCHDOG_SECONDS, os._exit, (128 + number,))
        watchdog.daemon = True
        watchdog.start()
        self.leave(128 + number)

    def _console_closed(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Save while Windows closes the console; called on a thread of its own."""
        loop.call_soon_threadsafe(self._signalled, signal.SIGTERM)
        return self._saved.wait(CLOSE_SECONDS)

    # Errors nobody foresaw.

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Run an action, and stay alive when it fails."""
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except Exception as error:  # noqa: BLE001 (the app's last resort)
            self._last_resort(error)
            return True

    @on(ChatScreen.WorkFailed)
    def _work_failed(self, event: ChatScreen.WorkFailed) -> None:
        self._last_resort(event.error)

    def _last_resort(self, error: BaseException) -> None:
        """Log where it happened, without what was said, and go on."""
        logging.getLogger("mistral_chat.ui").error("unforeseen %s", type(error).__name__, exc_info=error)
        self._tell(f"Something went wrong inside the program ({type(error).__name__}). What was said is kept.")

    def _fatal_error(self) -> None:
        """End after an error that broke a part of the screen. Textual's own report would print what was said."""
        error = self._exception
        name = type(error).__name__
        logging.getLogger("mistral_chat.ui").critical("the screen broke: %s", name, exc_info=error)
        self._exit_renderables.append(
            f"mistral-chat: the screen broke ({name}). What was said is kept; start again to go on. The log file has the place."
        )
        self._close_messages_no_wait()

    def _tell(self, text: str) -> None:
        self._chat_screen.notice.show(text, severity="warning")

    @property
    def _chat_screen(self) -> ChatScreen:
        return next(screen for screen in self.screen_stack if isinstance(screen, ChatScreen))

    # Commands.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave every key to a dialog that asks for one."""
        return not getattr(self.screen, "takes_every_key", False) and super().check_action(action, parameters)

    def action_toggle_help(self) -> None:
        """Show help for what has the focus, with every key that is in force; or go back from it."""
        from mistral_chat.ui.screens.help import HelpScreen, help_parts, help_texts

        if isinstance(self.screen, HelpScreen):
            self.screen.action_leave()
        else:
            texts = help_texts(self.screen.focused, self.screen)
            self.push_screen(HelpScreen(texts, help_parts(self.screen.active_bindings)))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Everything that has a key, and the choice of colours."""
        for node in (screen, self):
            for binding in known_bindings((type(node),)).values():
                if binding.action == "command_palette":
                    continue
                yield SystemCommand(binding.description, binding.tooltip, self._command(binding.action, node))
        if isinstance(screen, ChatScreen):
            for slash in SLASH_COMMANDS:
                if slash.title:
                    about = f"{slash.help[0].upper()}{slash.help[1:]}"
                    yield SystemCommand(slash.title, about, self._command(f"ask({slash.name!r})", screen))
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)

    def _command(self, action: str, node: DOMNode) -> Callable[[], None]:
        def run() -> None:
            self.call_later(self.run_action, action, node)

        return run
