"""Sending, streaming and stopping: the part of the chat screen that waits for the engine."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textual import work

from mistral_chat.conversation import Turn
from mistral_chat.errors import MistralChatError
from mistral_chat.generation import Completion, ContextShift, Delta, Prefill
from mistral_chat.ui.screens.loading import LoadingScreen
from mistral_chat.ui.screens.page import Page
from mistral_chat.ui.shown import ShownTurn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from mistral_chat.chat import Chat, ChatEvent
    from mistral_chat.store.records import StoredTurn
    from mistral_chat.store.store import ConversationStore
    from mistral_chat.ui.rooms import Rooms
    from mistral_chat.ui.widgets.transcript import Transcript

PAGE = 60
"""Turns that are read from the store in one go."""

_PACE = 1.0
"""Seconds between two changes of the speed that is shown."""


@dataclass(slots=True)
class Sending:
    """A message on its way: queued, then answered."""

    page: Page
    text: str
    """What goes back to the composer when it cannot be sent."""
    begin: Callable[[Chat], AsyncGenerator[ChatEvent, None]]
    turn_id: str | None = None
    """The turn it became."""
    reply: str = ""
    """What has been written so far."""
    began: float = 0.0
    tokens: int = 0
    told: float = 0.0
    used: int = 0
    """Tokens in the window when the reply began, as far as the events tell."""
    read: bool = False


class ReplyingScreen(LoadingScreen):
    """Lets the engine write one reply at a time. Further messages wait in a queue."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program; nothing is opened yet."""
        super().__init__(rooms)
        self.store: ConversationStore | None = None
        self.page = Page(None)
        self.transcript: Transcript
        """What was said; brought in with the list after the first screen."""
        self._queue: list[Sending] = []
        self._current: Sending | None = None
        self._held: dict[str, bool] = {}
        """The turns the model sees, each with whether it is pinned."""

    @property
    def replying(self) -> bool:
        """Whether a reply is awaited or being written."""
        return self._current is not None

    def conversations_changed(self) -> None:
        """Show the list of conversations anew."""

    def send(self, text: str, begin: Callable[[Chat], AsyncGenerator[ChatEvent, None]] | None = None) -> None:
        """Say `text` in the conversation on the screen, or do what `begin` does with its chat; at once, or in turn."""
        if self.store is None or self.trouble is not None:
            self.composer.set_draft(text)
            self.notice.show(str(self.trouble) if self.trouble else "The conversations are not open yet.", severity="warning")
            return
        self.notice.clear()
        self._queue.append(Sending(self.page, text, begin or (lambda chat: chat.send(text))))
        self._send_next()

    def _send_next(self) -> None:
        if self._current is None and self.runner is not None and self._queue:
            self._current = self._queue.pop(0)
            self._reply(self._current)
        self.status.queued = len(self._queue)
        self.composer.still = self.replying  # what is drawn beside a model that writes takes the processor from it
        self.show_hints()

    def stop(self) -> None:
        """End the reply that is being written; what waits behind it goes back to the composer."""
        self._give_back()
        if self.runner is not None and self.runner.busy:
            self.runner.stop()
        else:
            self.workers.cancel_group(self, "reply")

    def _give_back(self) -> None:
        texts = [sending.text for sending in self._queue if sending.text]
        self._queue.clear()
        self.status.queued = 0
        if texts:
            self.composer.set_draft("\n\n".join([*texts, self.composer.text] if self.composer.text else texts))

    @work(group="reply", exclusive=True, exit_on_error=False)
    async def _reply(self, sending: Sending) -> None:
        """Stream one reply onto the screen. Cancelling it stops the engine and keeps what was written."""
        try:
            chat = self.chat_of(sending.page)
            self.status.state = "waiting for the model"
            self.status.warning = False
            async with aclosing(sending.begin(chat)) as events:
                async for event in events:
                    match event:
                        case Delta(text=text):
                            self._write(sending, text)
                        case Prefill(done=done, total=total):
                            self._tell_reading(sending, done, total)
                        case Completion(finish_reason=reason):
                            self.status.state = "stopped" if reason == "cancelled" else "ready"
                            if reason == "stop" and sending.reply and not sending.tokens:
                                self.notice.show("The model has nothing to add to this reply.")
                        case ContextShift(tokens=tokens):
                            sending.used = max(0, sending.used - tokens)
                            self.context_shifted(sending, event)
                        case _:
                            await self._begin(sending, chat, event.turn_id)
        except MistralChatError as error:
            self._failed(sending, error)
        except asyncio.CancelledError:
            self.status.state = "stopped"
            raise
        finally:
            self._settle(sending)

    def chat_of(self, page: Page) -> Chat:
        """Make the live chat of a page."""
        from mistral_chat.chat import Chat

        assert self.store is not None  # noqa: S101 (a message is taken only when the store is open)
        assert self.runner is not None  # noqa: S101 (and sent only when there is an engine)
        new = page.conversation_id is None
        return Chat(
            store=self.store,
            runner=self.runner,
            settings=self.rooms.settings,
            conversation_id=page.conversation_id,
            system=(self.rooms.system if page.system is None else page.system) if new else None,
            sampling=page.sampling if new else None,
            persona=(self.rooms.persona if page.persona is None else page.persona) if new else "",
            snapshots=self.rooms.saved,
        )

    async def _begin(self, sending: Sending, chat: Chat, turn_id: str) -> None:
        """The question is kept: show it with an empty reply."""
        assert self.store is not None  # noqa: S101 (it has just kept the question)
        sending.turn_id = turn_id
        sending.page.conversation_id = chat.conversation_id
        stored = self.store.turn(turn_id)
        sending.reply = stored.turn.reply
        sending.used = ledger.used if (ledger := chat.ledger) is not None else 0
        if sending.page is self.page:
            if stored.parent_id == self.transcript.last_id and stored.turn_id != self.transcript.last_id:
                await self.transcript.begin(shown(stored))
            else:
                await self.show_turns()
            self.show_welcome()
        self.conversations_changed()

    def _write(self, sending: Sending, text: str) -> None:
        now = time.monotonic()
        sending.reply += text
        if not sending.tokens:
            sending.began = now
        sending.tokens += 1
        if sending.page is self.page and sending.turn_id is not None:
            self.transcript.append_text(sending.turn_id, text)
        if now - sending.told >= _PACE:
            sending.told = now
            seconds = now - sending.began
            speed = f" {(sending.tokens - 1) / seconds:.1f} tok/s" if seconds >= _PACE else ""
            self.status.state = f"writing{speed}"
            self.status.used = sending.used + sending.tokens

    def _tell_reading(self, sending: Sending, done: int, total: int) -> None:
        if not sending.read:
            sending.read = True
            sending.used += total
        if total and not sending.tokens:
            self.status.state = f"reading prompt {done / total:.0%}"

    def context_shifted(self, sending: Sending, shift: ContextShift) -> None:
        """Some turns left the model's window: show it, and say what that means the first time."""
        if sending.page is self.page:
            self._held = {key: pinned for key, pinned in self._held.items() if key not in shift.turns}
            self.transcript.show_context(self._held)
            if not sending.page.told:
                sending.page.told = True
                many = "The oldest turn" if len(shift.turns) == 1 else f"The {len(shift.turns)} oldest turns"
                self.notice.show(f"The window is full. {many} left it: still here above the line, and in search.")

    def show_memory(self) -> None:
        """Draw the line where the model's memory begins, as its ledger has it."""
        ledger = self.runner.ledger if self.runner is not None else None
        if ledger is not None:
            self._held = {turn.key: turn.pinned for turn in ledger.turns}
            self.status.used = ledger.used
            self.status.window = ledger.window
            self.transcript.show_context(self._held, {turn.key: turn.tokens for turn in ledger.turns})

    def _failed(self, sending: Sending, error: MistralChatError) -> None:
        """Say why there is no reply. A message that was not kept goes back to the composer."""
        self.status.state = "failed"
        self.status.warning = True
        if sending.turn_id is None:
            if not self.composer.text:
                self.composer.set_draft(sending.text)
            self.notice.show(str(error), severity="warning")

    def _settle(self, sending: Sending) -> None:
        """Show the turn as it was kept, and let the next message go."""
        self._current = None
        if not self.is_attached or self.store is None:
            return
        if sending.turn_id is not None and sending.page is self.page:
            self.transcript.finish(shown(self.store.turn(sending.turn_id)))
        self.show_memory()
        self.conversations_changed()
        self.call_later(self._send_next)

    async def show_turns(self) -> None:
        """Show the conversation on the screen from its end, with the reply that is being written in it."""
        stored: list[StoredTurn] = []
        if self.store is not None and self.page.conversation_id is not None:
            stored = self.store.turns_page(self.page.conversation_id, before=None, limit=PAGE)
        live = self._current
        complete = not stored or stored[0].parent_id is None
        if live is not None and stored and stored[-1].turn_id == live.turn_id:
            live.page = self.page
            await self.transcript.show([shown(turn) for turn in stored[:-1]], complete=complete)
            last = shown(stored[-1])
            await self.transcript.begin(replace(last, turn=replace(last.turn, reply=live.reply)))
        else:
            await self.transcript.show([shown(turn) for turn in stored], complete=complete)

    async def leave(self) -> None:
        """Stop what runs and let the rooms go; what was written is kept."""
        self._queue.clear()
        workers = self.workers.cancel_node(self)
        await asyncio.gather(*(worker.wait() for worker in workers), return_exceptions=True)
        if self.runner is not None:
            await asyncio.to_thread(self.runner.close)
            self.runner = None
        if self.store is not None:
            self.store.close()
            self.store = None


def shown(stored: StoredTurn) -> ShownTurn:
    """Give a stored turn as the transcript takes it."""
    turn: Turn = stored.turn
    return ShownTurn(turn_id=stored.turn_id, turn=turn, sibling=stored.sibling, siblings=stored.siblings)
