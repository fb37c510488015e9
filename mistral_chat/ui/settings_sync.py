"""Keeps the running app in sync with the settings, changed on the settings screen, in the file, or from the palette."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from mistral_chat.errors import MistralChatError
from mistral_chat.ui.commands.app import themes
from mistral_chat.ui.keymap import problems, to_textual_keymap

if TYPE_CHECKING:
    from textual.theme import Theme

    from mistral_chat.config.settings_file import SettingsFile
    from mistral_chat.ui.screens.chat import ChatScreen

_LIVE: Final = frozenset(
    {"theme", "keymap", "personas", "statistics", "system", "sampling", "context.read_ahead", "embedding_model"}
)
"""Settings, or sections of them, that take effect while the app runs: immediately, or with the next message."""


class SettingsSync:
    """Applies changed settings to the app's context, its theme and its keys."""

    def __init__(self, screen: ChatScreen) -> None:
        """Follow the settings file of `screen`, and notify on it."""
        self._screen = screen
        self._app = screen.app
        self._context = context = screen.context
        self._stamp = context.settings_file.stamp() if context.settings_file is not None else None

    def open(self) -> None:
        """Show the settings screen."""
        from mistral_chat.ui.screens.settings import SettingsScreen

        settings_file = self._context.settings_file
        if settings_file is None:
            self._screen.notice.show("Settings cannot be changed in this session. Run: mistral-chat config show")
            return
        self._app.push_screen(SettingsScreen(settings_file, themes=themes(self._screen), changed=self.changed))

    def changed(self, key: str, value: object) -> None:
        """Apply a changed setting, if it takes effect while the app runs."""
        from mistral_chat.config.configuration import Configuration

        if not {key, key.partition(".")[0]} & _LIVE:
            return
        self._context.settings = Configuration(self._context.settings).with_value(key, value, key).settings
        if key == "theme" and str(value) in self._app.available_themes:
            self._app.theme = str(value)
        if key == "statistics":
            self._screen.transcript.show_statistics(shown=self._context.settings.statistics)
        retriever = self._context.retriever
        if key == "embedding_model" and retriever is not None:
            self._screen.commands.in_background(partial(asyncio.to_thread, retriever.reload))
        if key == "keymap":
            self._app.set_keymap(to_textual_keymap(self._context.settings.keymap))

    async def save_theme(self, theme: Theme) -> None:
        """Save a theme that was chosen from the palette."""
        if not self._context.saved or theme.name == self._context.settings.theme:
            return
        if await self.save("theme", theme.name):
            self._screen.notice.show(f"Theme set to {theme.name}.")

    async def save(self, key: str, value: object) -> bool:
        """Apply a setting, and save it where settings can be; False if it could not be."""
        context = self._context
        self.changed(key, value)
        if context.settings_file is None or not context.saved:
            return False
        try:
            await asyncio.to_thread(context.settings_file.write, key, value)
        except MistralChatError as error:
            self._screen.show_error(f"Changed for this session only: {error}")
            return False
        return True

    async def show_key_problems(self) -> None:
        """Notify of what is wrong with the user's keys."""
        keymap = self._context.settings.keymap
        if keymap:
            from mistral_chat.ui.dialogs.keybindings import all_bindings

            # Collecting all keys imports every screen, which nobody has to wait for.
            wrong = await asyncio.to_thread(lambda: problems(keymap, all_bindings()))
            if wrong:
                self._screen.show_error(" ".join(wrong))

    def poll(self) -> None:
        """Apply what was changed in the settings file since the last look."""
        if (file := self._context.settings_file) is not None and (stamp := file.stamp()) != self._stamp:
            self._stamp = stamp
            self._screen.commands.in_background(partial(self._follow, file))

    async def _follow(self, file: SettingsFile) -> None:
        from mistral_chat.config.configuration import flatten

        try:
            configuration = await asyncio.to_thread(file.read)
        except MistralChatError as error:
            self._screen.show_error(f"{error} The previous settings apply until this is corrected.")
            return
        now, keymap = dict(flatten(self._context.settings)), self._context.settings.keymap
        for key, value in flatten(configuration.settings):
            if value != now[key]:
                self.changed(key, value)
        if self._context.settings.keymap != keymap:
            await self.show_key_problems()
