"""Going back in a conversation: regenerate, edit, continue, and walk between branches."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from mistral_chat.ui.screens.organising import OrganisingScreen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mistral_chat.chat import Chat, ChatEvent
    from mistral_chat.store.store import ConversationStore
    from mistral_chat.ui.rooms import Rooms
    from mistral_chat.ui.shown import ShownTurn


class BranchingScreen(OrganisingScreen):
    """Changes the end of a conversation. Nothing is overwritten: what was said before stays as a branch beside it."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self.editing: str | None = None
        """The turn whose message is being written anew."""

    def action_regenerate(self) -> None:
        """Answer the last message once more; the old reply stays beside the new one."""
        if (last := self._last_turn("regenerate")) is not None:
            self.send("", lambda chat: self._noting("regenerate", chat, last.turn_id, chat.regenerate(last.turn_id)))

    def action_continue(self) -> None:
        """Let the model go on with its last reply."""
        if (last := self._last_turn("continue")) is not None:
            if not last.turn.reply:
                self.notice.show(f"There is no reply to continue. {self.key_of('chat.regenerate')} asks once more.")
                return
            self.send("", lambda chat: chat.continue_reply(last.turn_id))

    def action_edit(self) -> None:
        """Take the last message into the composer, to say it anew."""
        if (last := self._last_turn("edit")) is not None:
            # Keys typed before this one are still on their way to the composer, and those after it follow this call there.
            self.set_focus(self.composer)
            self.composer.call_later(self._begin_editing, last)

    def _begin_editing(self, last: ShownTurn) -> None:
        self.save_draft()
        self.editing = last.turn_id
        self.composer.set_draft(last.turn.user)
        self.notice.show(
            f"Enter says it anew, and the old one stays as a branch. {self.key_of('chat.stop')} leaves it.", stay=True
        )

    def leave_editing(self) -> bool:
        """Put the draft back that editing took the place of; says whether there was anything to leave."""
        if self.editing is None:
            return False
        self.editing = None
        self.notice.clear()
        self.composer.set_draft(self.store.draft(self.page.conversation_id or "") if self.store is not None else "")
        return True

    def send_edited(self, text: str) -> None:
        """Say `text` in the place of the message that is being edited."""
        turn_id, self.editing = self.editing, None
        if turn_id is not None:
            self.send(text, lambda chat: self._noting("edit", chat, turn_id, chat.edit(turn_id, text)))
            if not self.composer.text and self.store is not None:
                self.composer.set_draft(self.store.draft(self.page.conversation_id or ""))

    async def action_branch(self, step: int) -> None:
        """Go `step` branches on, at the last turn that has any."""
        if self.store is None or self.replying:
            return
        for shown in reversed(self.transcript.turns):
            if shown.siblings > 1:
                ids = self.store.siblings(shown.turn_id)
                self.store.switch_branch(ids[(ids.index(shown.turn_id) + step) % len(ids)])
                await self.show_turns()
                return
        self.notice.show(
            f"There are no branches here. {self.key_of('chat.regenerate')} or {self.key_of('chat.edit')} begins one."
        )

    async def _noting(
        self, name: str, chat: Chat, before: str, events: AsyncGenerator[ChatEvent, None]
    ) -> AsyncGenerator[ChatEvent, None]:
        """Pass `events` on; once there is a new branch, note how to go back to the turn `before`."""
        from mistral_chat.chat import TurnStarted

        async with aclosing(events):
            async for event in events:
                if isinstance(event, TurnStarted) and self.store is not None:
                    self.deeds.did(name, partial(self._go_back_to, self.store, chat.conversation_id, before))
                yield event

    async def _go_back_to(self, store: ConversationStore, conversation_id: str | None, turn_id: str) -> None:
        if conversation_id == self.page.conversation_id:
            await self.end_reply()
        store.switch_branch(turn_id)
        await (self.show_turns() if conversation_id == self.page.conversation_id else self.open(conversation_id))

    def save_draft(self) -> None:
        """Keep what is typed. The chat screen says where."""

    def _last_turn(self, what: str) -> ShownTurn | None:
        if self.replying:
            self.notice.show(f"A reply is being written. Stop it with {self.key_of('chat.stop')} to {what}.")
        elif not self.transcript.turns:
            self.notice.show(f"There is nothing to {what} yet. Send a message first.")
        else:
            return self.transcript.turns[-1]
        return None
