"""The command palette: every command of the table, and conversations by their titles."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textual.command import Hit, Provider

from mistral_chat.text import one_line
from mistral_chat.ui.screens.chat import ChatScreen

if TYPE_CHECKING:
    from textual.command import Hits

_MOST = 40
"""Conversations offered for one search."""


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
                yield Hit(
                    score, matcher.highlight(title), partial(screen.open, summary.conversation_id), help="Open the conversation"
                )
