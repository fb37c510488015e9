"""Weighing the draft and the window: what each part takes, while one types."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from textual import on, work
from textual.binding import Binding
from textual.widgets import TextArea

from mistral_chat.errors import MistralChatError
from mistral_chat.text import one_line
from mistral_chat.ui.meter import parts_of
from mistral_chat.ui.screens.turning import TurningScreen
from mistral_chat.ui.slash import read
from mistral_chat.ui.widgets.notification_bar import NotificationBar

if TYPE_CHECKING:
    from textual.timer import Timer

    from mistral_chat.ui.meter import WindowParts
    from mistral_chat.ui.rooms import Rooms

WINDOW_BINDINGS: Final = (
    Binding(
        "alt+w",
        "context",
        "What fills the window",
        tooltip="See what fills the model's window, and what has left it",
        id="chat.context",
        show=False,
        priority=True,
    ),
)
"""The keys for the window."""

_TICK: Final = 0.35
"""Seconds between two looks at a draft that is being typed."""

_PAUSE_TICKS: Final = 3
"""Looks without a change that count as a pause in typing: about a second."""


class WeighingScreen(TurningScreen):
    """Counts a draft as it grows, and warns before it is sent."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self._tick: Timer | None = None
        self._weighed = ""
        self._still = 0
        self._draft_tokens = 0
        self._system_tokens = 0
        self._warned = ""

    def typing(self) -> None:
        """The draft has changed. The reading screen stops reading it."""

    def paused(self, draft: str) -> None:
        """Nothing was typed for about a second. The reading screen reads ahead."""

    def whole(self, message: str) -> str:
        """All that is sent when `message` is. The attaching screen adds the files."""
        return message

    def along(self) -> str:
        """What a message is said to come with, as the end of its name. The attaching screen speaks of files."""
        return ""

    @property
    def parts(self) -> WindowParts | None:
        """What fills the window; None until the model is loaded."""
        ledger = self.runner.ledger if self.runner is not None else None
        if ledger is None or not hasattr(self, "transcript"):
            return None
        return parts_of(ledger, self.transcript.turns, system=self._system_tokens, draft=self._draft_tokens)

    def show_memory(self) -> None:
        """Draw the line, and show how full the window is with what is on the screen."""
        super().show_memory()
        self.show_window()

    def show_window(self) -> None:
        """Show how full the window is, and what the draft takes of it."""
        if (parts := self.parts) is None:
            return
        self.status.window = parts.window
        self.status.draft = parts.draft
        if not self.replying:
            self.status.used = parts.used
        self.composer.set_class(not parts.fits, "-over")
        self.composer.border_subtitle = _draft_words(parts)

    def model_ready(self) -> None:
        """Count what was typed while the model loaded."""
        super().model_ready()
        self._weigh_draft()

    @on(TextArea.Changed, "#composer")
    def _typed(self) -> None:
        self._still = 0
        self.typing()
        if not self.composer.text:
            self._weigh_draft()
        elif self._tick is None:
            self._tick = self.set_interval(_TICK, self._look)

    def _look(self) -> None:
        """Weigh the draft if it has changed; after a pause stop looking."""
        text = self.composer.text
        if text != self._weighed:
            self._weigh_draft()
        self._still += 1
        if self._still > _PAUSE_TICKS or not text:
            self._stop_looking()
            message = read(text).message
            if message:
                self.paused(self.whole(message))

    def _stop_looking(self) -> None:
        if self._tick is not None:
            self._tick.stop()
            self._tick = None

    @work(group="draft", exclusive=True, exit_on_error=False)
    async def _weigh_draft(self) -> None:
        """Count the draft, and say so where it cannot be sent or will be misread."""
        self._weighed = text = self.composer.text
        message = self.whole((read(text).message or "") if text.strip() else "")
        runner = self.runner
        tokens = await self.count(message) if message else 0
        if runner is None or tokens is None:
            return
        self._system_tokens = await self._count_system()
        self._draft_tokens = tokens
        self.show_window()
        limits = await asyncio.to_thread(runner.ambiguous_markup, message) if message else None
        self._warn(limits or "")

    async def _count_system(self) -> int:
        """How many tokens the system prompt takes, for a conversation that the model has not read yet."""
        if self.store is None or self.runner is None:
            return 0
        try:
            return await self.count(self.chat_of(self.page).system) or 0
        except MistralChatError:
            # Whatever it is, sending meets it too, and says so where it matters.
            return 0

    def _warn(self, limits: str) -> None:
        """Say what is wrong with the draft, once, and take that away when it is put right."""
        parts = self.parts
        warning = limits
        if parts is not None and not parts.fits:
            warning = (
                f"This message{self.along()} takes {parts.draft:,} tokens, and at most {parts.room:,} of {parts.window:,} are "
                f"free for it. Shorten it by {parts.draft - parts.room:,} tokens, or it will not be sent."
            )
        if warning == self._warned:
            return
        if warning:
            self.notice.show(warning, severity="warning", stay=True)
        elif self.notice.text == one_line(self._warned, NotificationBar.LONGEST):
            self.notice.clear()
        self._warned = warning

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_context(self) -> None:
        """Show what fills the window, part by part."""
        from mistral_chat.ui.screens.context import ContextScreen

        parts = self.parts
        if parts is None:
            self.notice.show("The model is not loaded yet, and nothing can be counted before it is.")
            return
        turns = self.transcript.turns
        path = (
            self.store.turns_page(self.page.conversation_id, before=None, limit=1)
            if self.store and turns and self.page.conversation_id
            else []
        )
        left = set(self.transcript.evicted)
        await self.app.push_screen_wait(
            ContextScreen(
                parts,
                turns=path[-1].depth if path else 0,
                excluded=sum(turn.turn.excluded for turn in turns),
                left=[turn.turn.user for turn in turns if turn.turn_id in left],
            )
        )


def _draft_words(parts: WindowParts) -> str:
    """What is said of a draft at the composer's edge: numbers and our own words only."""
    if not parts.draft:
        return ""
    tokens = f"{parts.draft:,} token{'s' if parts.draft != 1 else ''}"
    if not parts.fits:
        return f"{tokens}, {parts.room:,} fit"
    return f"{tokens}, the oldest turns will leave" if parts.pushes else tokens
