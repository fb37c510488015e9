"""Putting conversations in order: rename, pin, tag, archive, delete; and taking the last deed back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from textual import work

from mistral_chat.errors import StoreError, UsageError
from mistral_chat.text import one_line
from mistral_chat.ui.deeds import Deeds
from mistral_chat.ui.screens.listing import ListingScreen

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_chat.store.records import StoredConversation
    from mistral_chat.store.store import ConversationStore
    from mistral_chat.ui.rooms import Rooms
    from mistral_chat.ui.widgets.conversation_list import ConversationList

_LONGEST_TITLE: Final = 200
"""Characters of a title."""


class OrganisingScreen(ListingScreen):
    """Does things with whole conversations. Whatever it does can be undone."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self.deeds = Deeds()
        """What can be undone."""

    def on_conversation_list_deletion_asked(self, event: ConversationList.DeletionAsked) -> None:
        """Move the conversation to the trash."""
        self._delete(event.conversation_id)

    async def do_rename(self, title: str) -> None:
        """Give the conversation the title `title`; without one, ask for it."""
        self.action_rename(title)

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_rename(self, wanted: str = "") -> None:
        """Give the title `wanted`, or ask for one: to the conversation under the list's cursor, or to the open one."""
        from mistral_chat.ui.dialogs.input import InputDialog

        if (chosen := self._chosen("rename")) is None or self.store is None:
            return
        before = self.store.conversation(chosen)
        old = before.summary.title
        ask = InputDialog("Rename the conversation", label="Title", value=old, confirm="Rename", longest=_LONGEST_TITLE)
        answer: str | None = wanted or await self.app.push_screen_wait(ask)
        title = one_line(answer or "", _LONGEST_TITLE)
        if title not in ("", old) and self.store is not None:
            store = self.store
            store.rename(chosen, title, by="person")
            self._did("rename", lambda: _give_title(store, before))
            self.list_conversations()
            self.notice.show(f"The title is “{title}” now.", action=f"{self.key_of('chat.undo')} undoes it")

    def action_pin(self) -> None:
        """Keep a conversation at the top of the list, or no longer: the one under the list's cursor, or the open one."""
        if (chosen := self._chosen("pin")) is None or self.store is None:
            return
        store, summary = self.store, self.store.conversation(chosen).summary
        pinned = summary.pinned
        store.pin(chosen, not pinned)
        self._did("unpin" if pinned else "pin", lambda: store.pin(chosen, pinned))
        self.list_conversations()
        where = "stands by its day again" if pinned else "stays at the top of the list"
        self.notice.show(f"“{summary.title or 'New conversation'}” {where}.", action=f"{self.key_of('chat.undo')} undoes it")

    def action_archive(self) -> None:
        """Put a conversation into the archive, or back into the list."""
        if (chosen := self._chosen("archive")) is None or self.store is None:
            return
        store, summary = self.store, self.store.conversation(chosen).summary
        store.archive(chosen, not summary.archived)
        self._did("unarchive" if summary.archived else "archive", lambda: store.archive(chosen, summary.archived))
        where = "back in the list" if summary.archived else "in the archive"
        self.list_conversations()
        self.notice.show(f"“{summary.title or 'New conversation'}” is {where}.", action=f"{self.key_of('chat.undo')} undoes it")

    async def do_tag(self, words: str) -> None:
        """Add tags to a conversation, or take away those with a minus before them; without words, say what there is.

        Raises:
            UsageError: there is no conversation yet.
        """
        chosen = self._chosen("tag")
        if chosen is None or self.store is None:
            raise UsageError("There is nothing to tag yet. Send a message first.")
        store, before = self.store, self.store.conversation(chosen).summary.tags
        if not words:
            used = "  ".join(f"#{name} ({many})" for name, many in store.tags().items())
            mine = " ".join(f"#{name}" for name in before) or "none"
            self.notice.show(f"Tags of this conversation: {mine}. In use: {used or 'none yet; /tag WORD adds one'}.")
            return
        names = [word.lstrip("#") for word in words.split()]
        store.tag(chosen, *(name for name in names if not name.startswith("-")))
        store.untag(chosen, *(name.lstrip("-#") for name in names if name.startswith("-")))
        after = store.conversation(chosen).summary.tags
        if after != before:
            self._did("tag", lambda: _give_tags(store, chosen, before))
        self.list_conversations()
        self.notice.show(
            f"Tags of this conversation: {' '.join(f'#{name}' for name in after) or 'none'}.",
            action=f"{self.key_of('chat.undo')} undoes it",
        )

    def action_delete(self) -> None:
        """Move the open conversation to the trash."""
        if self.page.conversation_id is None:
            self.notice.show("There is nothing to delete yet.")
        else:
            self._delete(self.page.conversation_id)

    @work(group="undo", exit_on_error=False)
    async def action_undo(self) -> None:
        """Take back what was done last."""
        deed = self.deeds.pop()
        if deed is None:
            self.notice.show("There is nothing to undo.")
            return
        try:
            await deed.take_back()
        except StoreError as error:
            self.notice.show(f"{deed.name} cannot be undone: {error}".capitalize(), severity="warning")
        else:
            self.notice.show(f"Undone: {deed.name}")
        self.list_conversations()

    @work(group="delete", exit_on_error=False)
    async def _delete(self, conversation_id: str) -> None:
        if self.store is None:
            return
        store, title = self.store, self.store.conversation(conversation_id).summary.title
        shown = conversation_id == self.page.conversation_id
        if shown:
            await self.end_reply()
        store.trash(conversation_id)

        async def take_back() -> None:
            store.restore(conversation_id)
            await self.open(conversation_id)

        self.deeds.did("delete", take_back)
        if shown:
            await self.open(None)
        self.list_conversations()
        self.notice.show(f"“{title or 'New conversation'}” is in the trash.", action=f"{self.key_of('chat.undo')} takes it back")

    async def end_reply(self) -> None:
        """Stop what is being written, and wait until it has stopped."""
        if self.replying:
            self.stop()
            writing = [worker.wait() for worker in self.workers if worker.group == "reply"]
            await asyncio.gather(*writing, return_exceptions=True)

    def _chosen(self, what: str) -> str | None:
        """The conversation under the list's cursor, or the open one; says so where there is none."""
        chosen = self.conversations.marked if self.conversations.has_focus else self.page.conversation_id
        if chosen is None:
            self.notice.show(f"There is nothing to {what} yet. Send a message first.")
        return chosen

    def _did(self, name: str, take_back: Callable[[], object]) -> None:
        async def later() -> None:
            take_back()

        self.deeds.did(name, later)


def _give_title(store: ConversationStore, before: StoredConversation) -> None:
    """Give a title back, with who gave it."""
    summary = before.summary
    if before.title_by == "person":
        store.rename(summary.conversation_id, summary.title, by="person")
        return
    store.rename(summary.conversation_id, "", by="person")
    if before.title_by == "model":
        store.rename(summary.conversation_id, summary.title, by="model")


def _give_tags(store: ConversationStore, conversation_id: str, tags: tuple[str, ...]) -> None:
    """Make a conversation bear `tags` and no others."""
    store.untag(conversation_id, *store.conversation(conversation_id).summary.tags)
    store.tag(conversation_id, *tags)
