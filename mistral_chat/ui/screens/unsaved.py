"""Conversations that are not saved: the chat screen turns to a store in memory, and back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from textual import work
from textual.widgets import Static

from mistral_chat.errors import ConversationNotFound, MistralChatError
from mistral_chat.ui.screens.page import Page
from mistral_chat.ui.screens.personas import PersonasScreen

if TYPE_CHECKING:
    from mistral_chat.store.store import ConversationStore
    from mistral_chat.ui.rooms import Rooms


class _Kept(NamedTuple):
    """What waits while nothing is saved."""

    store: ConversationStore
    conversation_id: str | None
    """What was on the screen."""


class UnsavedScreen(PersonasScreen):
    """Holds conversations of which nothing reaches the disk: no text, no draft, no history, no KV state."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self._waiting: _Kept | None = None

    def on_mount(self) -> None:
        """Say from the first moment where nothing is saved."""
        self._show_saved()

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_unsaved(self) -> None:
        """Begin a conversation that is not saved, or go back to those that are."""
        if self.replying:
            self.notice.show(f"A reply is being written. Stop it with {self.key_of('chat.stop')} first.")
        elif self._waiting is not None:
            if not self._has_said() or await self._sure():
                await self._go_back()
        elif not self.rooms.saved:
            self.notice.show("Nothing is saved in this run already.")
        elif self.store is not None:
            await self._begin_unsaved(self.store)

    async def leave(self) -> None:
        """Keep the draft, stop what runs and let the rooms go."""
        waiting, self._waiting = self._waiting, None
        await super().leave()
        if waiting is not None:
            waiting.store.close()

    async def _begin_unsaved(self, saved: ConversationStore) -> None:
        from mistral_chat.store.database import open_database
        from mistral_chat.store.store import ConversationStore

        self.leave_editing()
        self.save_draft()
        typed = ""
        if self.page.conversation_id is None:
            # What was typed for a new conversation comes along, and the disk forgets it.
            typed = self.composer.text
            saved.save_draft("", "")
        self._waiting = _Kept(saved, self.page.conversation_id)
        self.rooms = replace(self.rooms, saved=False)
        await self._turn_to(ConversationStore(open_database(None, now=self.rooms.now), now=self.rooms.now), None, typed)

    async def _go_back(self) -> None:
        waiting, unsaved = self._waiting, self.store
        if waiting is None or unsaved is None:
            return
        self._waiting = None
        self.rooms = replace(self.rooms, saved=True)
        back = waiting.conversation_id
        if back is not None:
            try:
                waiting.store.conversation(back)
            except ConversationNotFound:  # another window has deleted it
                back = None
        await self._turn_to(waiting.store, back, waiting.store.draft(back or ""))
        unsaved.close()
        if self.runner is not None:
            with suppress(MistralChatError):  # then the next reply drops it
                await self.runner.discard_conversation("")
        self.show_memory()
        self.notice.show("What was not saved is gone. From here on everything is kept again.")

    async def _turn_to(self, store: ConversationStore, conversation_id: str | None, draft: str) -> None:
        """Go on with another store: the page and the draft change before anything can be written into it."""
        self.page = Page(conversation_id)
        self.composer.set_draft(draft)
        self.store = store
        self.deeds.clear()
        self._show_saved()
        await self.open(conversation_id, draft)
        self.conversations_changed()

    def _has_said(self) -> bool:
        return self.store is not None and bool(self.composer.text.strip() or self.store.latest())

    async def _sure(self) -> bool:
        from mistral_chat.ui.dialogs.confirm import ConfirmDialog

        text = "This temporary chat and its draft will be lost. Use /export to keep it."
        question = ConfirmDialog("Leave temporary chat?", text, yes="Leave", no="Stay")
        sure: bool | None = await self.app.push_screen_wait(question)
        return bool(sure)

    def _show_saved(self) -> None:
        saved = self.rooms.saved
        self.set_class(not saved, "-unsaved")
        self.status.temporary = not saved
        self.query_one("#side .name", Static).update("mistral-chat" if saved else "mistral-chat, not saved")
