"""Looking behind the chat: the settings, and the prompt that the model is given."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from textual import work

from mistral_chat.errors import MistralChatError
from mistral_chat.ui.screens.attaching import AttachingScreen
from mistral_chat.ui.slash import read
from mistral_chat.ui.themes import THEMES

if TYPE_CHECKING:
    from textual.theme import Theme

    from mistral_chat.config.settings_file import SettingsFile
    from mistral_chat.generation import Prompt
    from mistral_chat.ui.rooms import Rooms

_NEVER: Final = object()
"""Stands for a file that was not looked at yet."""


class VisitingScreen(AttachingScreen):
    """Opens the screens that show how the chat works, and takes over what is changed there."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self._stamp: object = _NEVER
        """The settings' file as it was when it was looked at last."""

    def on_mount(self) -> None:
        """Keep the colours that are chosen."""
        self.app.theme_changed_signal.subscribe(self, self._theme_chosen)

    @work(group="settings", exit_on_error=False)
    async def _theme_chosen(self, theme: Theme) -> None:
        """Write the colours that were chosen from the list of all commands into the settings, as the settings screen does."""
        settings_file, rooms = self.rooms.settings_file, self.rooms
        if settings_file is None or not rooms.saved or theme.name == rooms.settings.theme:
            return
        self.rooms = replace(rooms, settings=replace(rooms.settings, theme=theme.name))
        try:
            await asyncio.to_thread(settings_file.write, "theme", theme.name)
        except MistralChatError as error:
            self.notice.show(f"The colours hold until you quit: {error}", severity="warning")
        else:
            self.notice.show(f"The colours are {theme.name}, the next time too.")

    def action_settings(self) -> None:
        """See every setting, and change it."""
        from mistral_chat.ui.screens.settings import SettingsScreen

        settings_file = self.rooms.settings_file
        if settings_file is None:
            self.notice.show("Settings cannot be changed here. mistral-chat config show lists them.")
            return
        ours = [theme.name for theme in THEMES]
        others = sorted(name for name in self.app.available_themes if name not in ours)
        themes = [*ours, *others]
        self.app.push_screen(SettingsScreen(settings_file, themes=themes, changed=self.setting_changed, keys=self.rooms.keys))

    def setting_changed(self, key: str, value: object) -> None:
        """Let what can change while the program runs follow the settings."""
        from mistral_chat.config.configuration import Configuration
        from mistral_chat.ui.screens.settings_words import AT_ONCE, SOON

        if not {key, key.partition(".")[0]} & (AT_ONCE | SOON):
            return
        settings = Configuration(self.rooms.settings).with_value(key, value, key).settings
        self.rooms = replace(self.rooms, settings=settings)
        if key == "theme" and str(value) in self.app.available_themes:
            self.app.theme = str(value)
        if key == "keymap" and self.rooms.keys is not None:
            self.rooms.keys.use_keymap(settings.keymap)

    async def tell_keys(self) -> None:
        """Say what is wrong with the person's keys."""
        from mistral_chat.ui.keymap import problems

        keys, keymap = self.rooms.keys, self.rooms.settings.keymap
        if keys is not None and keymap:
            # Looking for every key there is takes in every screen, which nobody has to wait for.
            wrong = await asyncio.to_thread(lambda: problems(keymap, keys.known_bindings))
            if wrong:
                self.notice.show(" ".join(wrong), severity="warning")

    def look_around(self) -> None:
        """Notice what another window has written, and what was changed in the settings' file."""
        super().look_around()
        settings_file = self.rooms.settings_file
        if settings_file is not None and (stamp := settings_file.stamp()) != self._stamp:
            first, self._stamp = self._stamp is _NEVER, stamp
            if not first:
                self._follow_file(settings_file)

    @work(group="settings", exclusive=True, exit_on_error=False)
    async def _follow_file(self, settings_file: SettingsFile) -> None:
        """Let what can change while the program runs follow the settings' file."""
        from mistral_chat.config.configuration import flatten

        try:
            configuration = await asyncio.to_thread(settings_file.read)
        except MistralChatError as error:
            self.notice.show(f"{error} Until that is put right, the settings are as they were.", severity="warning")
            return
        now, keymap = dict(flatten(self.rooms.settings)), self.rooms.settings.keymap
        for key, value in flatten(configuration.settings):
            if value != now[key]:
                self.setting_changed(key, value)
        if self.rooms.settings.keymap != keymap:
            await self.tell_keys()

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_prompt(self) -> None:
        """Look at exactly what the model is given for the conversation on the screen and the draft."""
        if self.store is None or self.runner is None or self.runner.facts is None:
            self.notice.show("The model is not loaded yet, and only it knows how it is spoken to.")
            return
        message = read(self.composer.text).message if self.editing is None else None
        draft = self.whole(message) if message and message.strip() else ""
        try:
            prompt = await self.chat_of(self.page).prompt(draft)
        except MistralChatError as error:
            self.notice.show(str(error), severity="warning")
            return
        if prompt is None or not prompt.parts:
            self.notice.show("Nothing would be given to the model yet. Write a message first.")
        else:
            await self._show_prompt(prompt)

    async def _show_prompt(self, prompt: Prompt) -> None:
        from mistral_chat.ui.screens.prompt import PromptScreen

        assert self.store is not None  # noqa: S101 (it was asked for the conversation just now)
        facts = self.runner.facts if self.runner is not None else None
        labels, behind = {}, 0
        if self.page.conversation_id is not None:
            stored = [self.store.turn(part.key) for part in prompt.parts if part.key]
            labels = {one.turn_id: f"Turn {one.depth}" + (", pinned" if one.turn.pinned else "") for one in stored}
            behind = self.store.conversation(self.page.conversation_id).summary.turns - len(stored)
        what = f"format {facts.prompt_format}, {facts.model}" if facts is not None else ""
        await self.app.push_screen_wait(PromptScreen(prompt, labels=labels, behind=behind, what=what))
