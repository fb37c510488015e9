"""The list of conversations: the part of the chat screen that lists, renames, deletes and takes back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from textual import work
from textual.actions import SkipAction

from mistral_chat.errors import MistralChatError
from mistral_chat.ui.screens.choosing import ChoosingScreen
from mistral_chat.ui.screens.replying import Page
from mistral_chat.ui.shown import ShownConversation

if TYPE_CHECKING:
    from mistral_chat.ui.rooms import Rooms
    from mistral_chat.ui.widgets.conversation_list import ConversationList

_LISTED: Final = 300
"""Conversations listed at first, and more with each time more are asked for."""


class ListingScreen(ChoosingScreen):
    """Keeps the list as the store has it."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self.conversations: ConversationList
        """Brought in after the first screen."""
        self._limit = _LISTED
        self._trashed: str | None = None
        self._version = -1

    async def open(self, conversation_id: str | None) -> None:
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
        found = self.store.summaries(limit=self._limit + 1)
        lines = [
            ShownConversation(conversation_id=one.conversation_id, title=one.title, updated=one.updated, pinned=one.pinned)
            for one in found[: self._limit]
        ]
        self.conversations.show(lines, self.rooms.now(), more=len(found) > self._limit)

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

    async def on_conversation_list_deletion_asked(self, event: ConversationList.DeletionAsked) -> None:
        """Move the conversation to the trash."""
        await self._delete(event.conversation_id)

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_rename(self) -> None:
        """Ask for another title: of the conversation under the list's cursor, or of the open one."""
        from mistral_chat.ui.screens.rename import RenameScreen

        chosen = self.conversations.marked if self.conversations.has_focus else self.page.conversation_id
        if self.store is None or chosen is None:
            self.notice.tell("There is nothing to rename yet. Send a message first.")
            return
        title = await self.app.push_screen_wait(RenameScreen(self.store.conversation(chosen).summary.title))
        if title is not None and self.store is not None:
            self.store.rename(chosen, title, by="person")
            self.list_conversations()

    async def action_delete(self) -> None:
        """Move the open conversation to the trash."""
        if self.page.conversation_id is None:
            self.notice.tell("There is nothing to delete yet.")
        else:
            await self._delete(self.page.conversation_id)

    def action_pin(self) -> None:
        """Keep a conversation at the top of the list, or no longer: the one under the list's cursor, or the open one."""
        chosen = self.conversations.marked if self.conversations.has_focus else self.page.conversation_id
        if self.store is None or chosen is None:
            self.notice.tell("There is nothing to pin yet. Send a message first.")
            return
        self.store.pin(chosen, not self.store.conversation(chosen).summary.pinned)
        self.list_conversations()

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_trash(self) -> None:
        """Look into the trash, and open what is taken back."""
        from mistral_chat.ui.screens.trash import TrashScreen

        if self.store is not None:
            taken = await self.app.push_screen_wait(TrashScreen(self.store, self._forget))
            self.list_conversations()
            if taken is not None:
                await self.open(taken)

    async def _forget(self, gone: list[str]) -> None:
        """Keep nothing of conversations that were deleted for good: in the model's cache, on the disk, on the screen."""
        for conversation_id in gone:
            if self.runner is not None:
                # An engine that failed holds nothing.
                with suppress(MistralChatError):
                    await self.runner.forget(conversation_id)
        await asyncio.to_thread(self.rooms.forget, gone)
        if self._trashed in gone:
            self._trashed = None
        if self.page.conversation_id in gone:
            # Another window put it into the trash. Its draft went with it.
            self.page = Page(None)
            self.composer.set_draft("")
            await self.open(None)
        self.show_memory()

    async def action_undo(self) -> None:
        """Take the conversation that was deleted last out of the trash, and open it."""
        if self.store is None or self._trashed is None:
            raise SkipAction
        taken, self._trashed = self._trashed, None
        self.store.restore(taken)
        self.list_conversations()
        await self.open(taken)

    async def _delete(self, conversation_id: str) -> None:
        if self.store is None:
            return
        title = self.store.conversation(conversation_id).summary.title
        if self.replying and conversation_id == self.page.conversation_id:
            self.stop()
        self.store.trash(conversation_id)
        self._trashed = conversation_id
        if conversation_id == self.page.conversation_id:
            await self.open(None)
        self.list_conversations()
        self.notice.tell(f"“{title or 'New conversation'}” is in the trash.", offer="F8 takes it back")
