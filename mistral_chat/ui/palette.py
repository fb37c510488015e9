"""The command palette: every command of the table, and conversations by their titles."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from textual.command import DiscoveryHit, Hit, Provider
from textual.content import Content

from mistral_chat.text import one_line
from mistral_chat.ui.commands import all_commands
from mistral_chat.ui.keymap import format_keys, keys_of, known_bindings
from mistral_chat.ui.screens.chat import ChatScreen
from mistral_chat.ui.terminal_keys import arrives, best_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from textual.command import Hits

_MOST: Final = 40
"""Maximum conversations offered for one search."""

_TITLE: Final = 30
_KEY: Final = 12
"""Columns of a command's title and its key."""


class _Entry(NamedTuple):
    """A command as the palette shows it."""

    title: str
    help: str
    key: str
    slash: str
    run: Callable[[], object]

    def line(self, title: Content) -> Content:
        """The title with the key and the slash name at the right."""
        gap = " " * max(2, _TITLE - title.cell_length)
        return Content.assemble(title, gap, (self.key.ljust(_KEY), "$text-accent"), (self.slash, "$text-success"))


class CommandProvider(Provider):
    """Runs a command by its title or slash name; those used last are listed first."""

    async def discover(self) -> Hits:
        """Offer every command."""
        for entry in self._entries():
            yield DiscoveryHit(entry.line(Content(entry.title)), entry.run, text=entry.title, help=entry.help)

    async def search(self, query: str) -> Hits:
        """Offer the commands whose title or slash name matches `query`."""
        matcher = self.matcher(query)
        for entry in self._entries():
            score = max(matcher.match(entry.title), matcher.match(entry.slash.removeprefix("/")))
            if score > 0:
                yield Hit(score, entry.line(matcher.highlight(entry.title)), entry.run, text=entry.title, help=entry.help)

    def _entries(self) -> Iterator[_Entry]:
        """The commands of the table on the chat screen; elsewhere the app's own and the screen's bindings."""
        screen, chat = self.screen, next(each for each in self.app.screen_stack if isinstance(each, ChatScreen))
        if screen is not chat:
            for binding in known_bindings((type(screen),)).values():
                run = partial(self.app.call_later, self.app.run_action, binding.action, screen)
                yield _Entry(binding.description, binding.tooltip, format_keys(binding.key), "", run)
        recent = {name: number for number, name in enumerate(chat.commands.recent)}
        for command in sorted(all_commands(), key=lambda each: recent.get(each.id, len(recent))):
            if command.id == "app.palette" or (screen is not chat and not command.id.startswith("app.")):
                continue
            own = chat.context.settings.keymap.get(command.id, "")
            keys = best_first(keys_of(own or command.key), os.environ)
            arriving = format_keys(keys[0]) if keys and (own or arrives(keys[0], os.environ)) else ""
            key = arriving if own else command.typed or arriving
            slash = f"/{command.slash}" if command.slash else ""
            run = partial(self.app.call_later, chat.commands.ask_for if command.asks else chat.commands.run, command)
            yield _Entry(command.title, command.help, key, slash, run)


class ConversationProvider(Provider):
    """Opens a conversation by its title."""

    async def search(self, query: str) -> Hits:
        """Offer the conversations whose titles contain `query`."""
        screen = self.screen
        if not isinstance(screen, ChatScreen) or screen.workspace is None:
            return
        matcher = self.matcher(query)
        for summary in screen.workspace.store.summaries(contains=query, limit=_MOST):
            title = one_line(summary.title, 80)
            score = matcher.match(title)
            if score > 0:
                run = partial(screen.commands.in_background, partial(screen.open, summary.conversation_id))
                yield Hit(score, matcher.highlight(title), run, help="Open the conversation")
