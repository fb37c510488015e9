"""Reading ahead: the model takes in an opened conversation before anything is sent."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from textual import work

from mistral_chat.errors import MistralChatError
from mistral_chat.ui.screens.commanding import CommandingScreen

if TYPE_CHECKING:
    from mistral_chat.ui.screens.replying import Page


class ReadingScreen(CommandingScreen):
    """Uses the time in which a person reads. Any message goes first."""

    def model_ready(self) -> None:
        """Read the conversation on the screen."""
        super().model_ready()
        self.read_ahead()

    def read_ahead(self) -> None:
        """Let the model read the conversation on the screen, where the settings want it and nothing else is to be done."""
        wanted = self.rooms.settings.context.read_ahead and self.page.conversation_id is not None
        if wanted and not self.replying and self.runner is not None and self.runner.facts is not None:
            self._read(self.page)

    @work(group="ahead", exclusive=True, exit_on_error=False)
    async def _read(self, page: Page) -> None:
        try:
            async with aclosing(self.chat_of(page).read_ahead()) as progress:
                async for event in progress:
                    if event.total and not self.replying:
                        self.status.tell(state=f"reading ahead {event.done / event.total:.0%}")
        except MistralChatError:
            # Whatever it is, the next message meets it too, and says so where it matters.
            return
        finally:
            if not self.replying and self.trouble is None and self.is_attached:
                self.status.tell(state="ready")
        if page is self.page and not self.replying:
            self.show_memory()
