"""Titles by the model: asked for in passing when a conversation has its first reply, where the settings want it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual import work

from mistral_chat.errors import MistralChatError
from mistral_chat.ui.screens.reading import ReadingScreen

if TYPE_CHECKING:
    from mistral_chat.ui.rooms import Rooms
    from mistral_chat.ui.screens.page import Page
    from mistral_chat.ui.screens.replying import Sending

_TRIES: Final = 3
"""How often a conversation is named before it keeps its first line."""


class TitlingScreen(ReadingScreen):
    """Names conversations while nothing else is to be done. Whatever a person does goes first."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self._tried: dict[str, int] = {}

    def _settle(self, sending: Sending) -> None:
        """Show the turn as it was kept, and name the conversation if it has no name of its own."""
        super()._settle(sending)
        if self.is_attached and self._to_be_named(sending):
            self._name_page(sending.page)

    def _to_be_named(self, sending: Sending) -> bool:
        conversation_id, store = sending.page.conversation_id, self.store
        if self.rooms.settings.titles != "model" or not self.rooms.saved or store is None or conversation_id is None:
            return False
        if self._queue or sending.page is not self.page or self._tried.get(conversation_id, 0) >= _TRIES:
            return False
        answered = sending.turn_id is not None and store.turn(sending.turn_id).turn.finish_reason in {"stop", "length"}
        return answered and store.conversation(conversation_id).title_by == "first_line"

    @work(group="title", exclusive=True, exit_on_error=False)
    async def _name_page(self, page: Page) -> None:
        """Ask for a title. A message stops it; then the next reply asks again."""
        store, conversation_id = self.store, page.conversation_id
        if store is None or conversation_id is None:
            return
        self._tried[conversation_id] = self._tried.get(conversation_id, 0) + 1
        try:
            with self.background.doing("titling", "this conversation", cancel=self._stop_titling):
                title = await self.chat_of(page).suggest_title()
            if title and store is self.store:
                store.rename(conversation_id, title, by="model")
                self.list_conversations()
        except MistralChatError:
            # The first line is title enough: what is wrong with the engine is told by the next message.
            return

    def _stop_titling(self) -> None:
        self.workers.cancel_group(self, "title")
