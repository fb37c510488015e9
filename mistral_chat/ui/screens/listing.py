"""The list of conversations: the part of the chat screen that lists, filters and looks into the archive and the trash."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from textual import work

from mistral_chat.errors import MistralChatError
from mistral_chat.ui.screens.choosing import ChoosingScreen
from mistral_chat.ui.screens.page import Page
from mistral_chat.ui.shown import ShownConversation

if TYPE_CHECKING:
    from textual.widgets import Input

    from mistral_chat.store.records import Folder
    from mistral_chat.ui.rooms import Rooms
    from mistral_chat.ui.widgets.conversation_list import ConversationList
    from mistral_chat.ui.widgets.list_filter import ListFilter

_LISTED: Final = 300
"""Conversations listed at first, and more each time the reader nears the end."""


class ListingScreen(ChoosingScreen):
    """Keeps the list as the store has it."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self.conversations: ConversationList
        """Brought in after the first screen."""
        self.list_filter: ListFilter
        """Brought in with the list."""
        self._limit = _LISTED
        self._archive = False
        self._sought = ""
        self._version = -1

    async def open(self, conversation_id: str | None, draft: str | None = None) -> None:
        """Show a conversation; None is a new one. The chat screen says how."""

    def conversations_changed(self) -> None:
        """Show the list anew, with the open conversation marked."""
        self.list_conversations()
        self.conversations.mark_open(self.page.conversation_id)
        if self.store is not None:
            self.composer.remember(self.store.input_history(200))

    def list_conversations(self) -> None:
        """Show the list as the store has it."""
        if self.store is None:
            return
        self._version = self.store.data_version()
        words, tag = _asked(self._sought)
        where: Folder = "archived" if self._archive else "active"
        found = self.store.summaries(where=where, contains=words, tag=tag, limit=self._limit + 1)
        lines = [
            ShownConversation(
                conversation_id=one.conversation_id, title=one.title, updated=one.updated, pinned=one.pinned, tags=one.tags
            )
            for one in found[: self._limit]
        ]
        heading = "Archived" if self._archive else ""
        empty = "Nothing fits" if self._sought.strip() else "The archive is empty" if self._archive else "No conversations yet"
        more = len(found) > self._limit
        self.conversations.show(lines, self.rooms.now(), more=more, heading=heading, empty=empty)

    def look_around(self) -> None:
        """Notice what another window has written."""
        if self.store is not None and self.store.data_version() != self._version:
            self.list_conversations()

    async def on_conversation_list_chosen(self, event: ConversationList.Chosen) -> None:
        """Open the conversation."""
        await self.open(event.conversation_id)

    def on_conversation_list_more_wanted(self) -> None:
        """List older conversations too."""
        self._limit += _LISTED
        self.list_conversations()

    # Narrowing down.

    async def do_filter(self, words: str) -> None:
        """Narrow the list down to what `words` are in, and go on as one types."""
        self.action_filter()
        self.list_filter.value = words or self.list_filter.value

    def action_filter(self) -> None:
        """Narrow the list down as one types."""
        self.remove_class("-no-list")
        self.add_class("-list")
        self.list_filter.display = True
        # At once, and not with the next message as `focus` does it: what is typed next is for the filter.
        self.set_focus(self.list_filter)

    def action_archived(self) -> None:
        """List what is archived, or go back to what is not."""
        self._archive = not self._archive
        self._begin_list()
        self.action_focus_list()
        self.conversations.mark_first()

    def leave_list(self) -> None:
        """List everything that is not archived, as at first."""
        if self._archive or self._sought or self.list_filter.display:
            self._archive = False
            self.list_filter.display = False
            self.list_filter.value = self._sought = ""
            self._begin_list()

    def on_input_changed(self, event: Input.Changed) -> None:
        """List what fits what was typed."""
        if event.input is self.list_filter and event.value != self._sought:
            self._sought = event.value
            self._begin_list()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Open the first conversation that fits."""
        if event.input is self.list_filter and (first := self.conversations.first) is not None:
            await self.open(first)

    def on_list_filter_left(self) -> None:
        """List everything again."""
        self.leave_list()
        self.conversations.focus()

    def on_list_filter_list_wanted(self) -> None:
        """Go to what was found."""
        self.conversations.focus()
        self.conversations.mark_first()

    def action_focus_list(self) -> None:
        """Go to the list. The chat screen shows it, if need be."""

    def _begin_list(self) -> None:
        self._limit = _LISTED
        self.list_conversations()

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_trash(self) -> None:
        """Look into the trash, and open what is taken back."""
        from mistral_chat.ui.dialogs.trash import TrashDialog

        if self.store is not None:
            taken = await self.app.push_screen_wait(TrashDialog(self.store, self._forget))
            self.list_conversations()
            if taken is not None:
                await self.open(taken)

    async def _forget(self, gone: list[str]) -> None:
        """Keep nothing of conversations that were deleted for good: in the model's cache, on the disk, on the screen."""
        for conversation_id in gone:
            if self.runner is not None:
                # An engine that failed holds nothing.
                with suppress(MistralChatError):
                    await self.runner.discard_conversation(conversation_id)
        await asyncio.to_thread(self.rooms.forget, gone)
        if self.page.conversation_id in gone:
            # Another window put it into the trash. Its draft went with it.
            self.page = Page(None)
            self.composer.set_draft("")
            await self.open(None)
        self.show_memory()


def _asked(text: str) -> tuple[str, str]:
    """Take what was typed apart: the part of a title, and the first word that begins with a number sign as the tag."""
    words = text.split()
    tag = next((word for word in words if word.startswith("#") and word != "#"), "")
    return " ".join(word for word in words if word not in {tag, "#"}), tag.removeprefix("#")
