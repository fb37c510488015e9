"""Reading ahead: the model takes in an opened conversation, and a long draft, before anything is sent."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from textual import work

from mistral_chat.errors import MistralChatError
from mistral_chat.ui.screens.weighing import WeighingScreen

if TYPE_CHECKING:
    from mistral_chat.ui.rooms import Rooms
    from mistral_chat.ui.screens.page import Page

LONG_DRAFT: Final = 200
"""Characters from which on a draft is read ahead; a shorter one is read in no time."""


class ReadingScreen(WeighingScreen):
    """Uses the time in which a person reads or thinks. Any message goes first, and so does typing."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self._draft_read = ""
        """The draft that is being read ahead, or was last."""

    def model_ready(self) -> None:
        """Read the conversation on the screen."""
        super().model_ready()
        self.read_ahead()

    def read_ahead(self) -> None:
        """Let the model read the conversation on the screen, where the settings want it and nothing else is to be done."""
        self.show_window()
        if self.page.conversation_id is not None and self._may_read:
            self._draft_read = ""
            self._read(self.page, "")

    def typing(self) -> None:
        """Stop reading a draft that is not what stands there any more."""
        if self._draft_read:
            self._draft_read = ""
            self._stop_reading()

    def paused(self, draft: str) -> None:
        """Read a long draft ahead."""
        fits = (parts := self.parts) is not None and parts.fits
        if len(draft) > LONG_DRAFT and draft != self._draft_read and fits and self.editing is None and self._may_read:
            self._draft_read = draft
            self._read(self.page, draft)

    @property
    def _may_read(self) -> bool:
        """Whether the settings want it, and the model has nothing else to do."""
        ready = self.store is not None and self.runner is not None and self.runner.facts is not None
        return self.rooms.settings.context.read_ahead and ready and not self.replying

    @work(group="ahead", exclusive=True, exit_on_error=False)
    async def _read(self, page: Page, draft: str) -> None:
        about = "the draft" if draft else "this conversation"
        try:
            with self.background.doing("reading ahead", about, cancel=self._stop_reading) as job:
                async with aclosing(self.chat_of(page).read_ahead(draft)) as progress:
                    async for event in progress:
                        if event.total:
                            job.tell(event.done / event.total, f"{event.done:,} of {event.total:,} tokens")
        except MistralChatError:
            # Whatever it is, the next message meets it too, and says so where it matters.
            return
        if page is self.page and not self.replying:
            self.show_memory()

    def _stop_reading(self) -> None:
        self.workers.cancel_group(self, "ahead")
