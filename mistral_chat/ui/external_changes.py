"""Detects changes made by other windows and programs: to the open conversation, the list, and the settings file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.errors import MistralChatError
from mistral_chat.message_form import join_messages

if TYPE_CHECKING:
    from mistral_chat.store.records import ConversationState
    from mistral_chat.ui.screens.chat import ChatScreen


class ExternalChanges:
    """Compares the open state with the saved state."""

    def __init__(self, screen: ChatScreen) -> None:
        """Compare for `screen`."""
        self._screen = screen
        self._data_version = -1
        self._compared = True
        """Whether the open conversation was compared since the last change."""
        self._told: str | None = None
        """The conversation whose deletion was reported."""

    async def poll(self) -> None:
        """Check once, and show what has changed."""
        screen = self._screen
        screen.settings_sync.poll()
        try:
            await self._poll_store()
        except MistralChatError as error:  # also that the conversations are closed: the app is ending
            screen.show_error(str(error))

    async def _poll_store(self) -> None:
        screen, store = self._screen, self._screen.opened.store
        version = store.data_version()
        if version != self._data_version:
            self._data_version = version
            self._compared = False
            screen.sidebar.reload()
            screen.view.show_title()
        session = screen.session
        if self._compared or session.replying or session.queue or screen.opened.saver.pending:
            return  # what changed during a reply is shown after it
        self._compared = True
        if session.conversation_id is None:
            return
        await self._compare(session.conversation_id, store.state(session.conversation_id))

    async def _compare(self, conversation_id: str, now: ConversationState | None) -> None:
        screen, session = self._screen, self._screen.session
        if now is None:
            await self._leave_deleted()
            return
        if now.trashed:
            if self._told != conversation_id:
                self._told = conversation_id
                screen.show_error("This conversation was moved to the trash in another window.")
            return
        if self._told == conversation_id:
            screen.notice.show("This conversation is no longer in the trash.")
        self._told = None
        last = session.turns[-1] if session.turns else None
        current = last.turn_id if last is not None else None
        shown = {turn.turn_id: (turn.turn.pinned, turn.turn.excluded) for turn in session.turns}
        flags = {turn_id: now.flags.get(turn_id, (False, False)) for turn_id in shown}
        if (current, len(last.turn.reply) if last is not None else 0, shown) != (now.current, now.reply_length, flags):
            await session.reload()
            if not now.writing:
                screen.notice.show("Updated: another window changed this conversation.")

    async def _leave_deleted(self) -> None:
        """Show a new conversation in place of a permanently deleted one; the draft is kept."""
        screen = self._screen
        typed, workspace = screen.message_box.draft, screen.opened
        files = [file for file in screen.session.files.own if not (file.saved or file.collection)]  # these are not in the text
        draft = join_messages(*dict.fromkeys((workspace.saver.draft(""), typed)))
        workspace.open(None).files.give(files)
        await screen.open(None, draft)
        kept = " Your draft is kept here." if typed or files else ""
        screen.show_error(f"The conversation was deleted in another window.{kept}")
