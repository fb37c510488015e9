"""A conversation being continued: saves the question, asks the engine, saves the reply.

The order is the promise. A question is on the disk before the engine hears of it, a reply is saved about once a second while
it grows, and whatever ends it (the model, a person, an error, a closed window) leaves what was written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from mistral_chat.config import Persona, Settings
from mistral_chat.conversation import FinishReason, Usage
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import ConversationNotFound, InvalidText, MessageTooLong, MistralChatError, StoreBusy, UsageError
from mistral_chat.generation import Completion, ContextState, Delta, Event, History, Prefill, Prompt, PromptTurn, Sampling
from mistral_chat.store.records import StoredTurn
from mistral_chat.store.store import ConversationStore

SAVE_EVERY = 1.0
"""Seconds between two writes of a growing reply."""

SMALLEST_TURN = 8
"""Tokens that any turn takes, at the least: no more turns than this allows are handed to the engine."""


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The question is on the disk, as this turn, and the reply is awaited."""

    turn_id: str


_TITLE = "\0title"
_ASK_FOR_TITLE = "Give this conversation a title of at most six words. Answer with the title alone."

ChatEvent = TurnStarted | Event
"""What a chat yields: the turn first, then what the engine yields."""


class Chat:
    """One conversation, and the engine that goes on with it."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        runner: EngineThread,
        settings: Settings,
        conversation_id: str | None = None,
        system: str | None = None,
        sampling: Sampling | None = None,
        sampling_now: Sampling | None = None,
        persona: str = "",
        snapshots: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Continue a conversation, or begin one with the first message.

        Args:
            store: where it is kept; a store in memory leaves nothing behind.
            runner: the engine's thread.
            settings: what holds where the conversation says nothing.
            conversation_id: which conversation; None begins a new one.
            system: a new conversation's system prompt, or another one for this conversation from now on.
            sampling: how tokens are drawn from now on.
            sampling_now: how this object draws tokens, whatever the conversation says; not kept with it.
            persona: the name of a persona in the settings.
            snapshots: whether the engine may keep this conversation's KV state on the disk.
            clock: seconds, for the pace of saving.

        Raises:
            UsageError: no such persona.
            ConversationNotFound: no such conversation.
        """
        self._store = store
        self._runner = runner
        self._settings = settings
        self._clock = clock
        self._snapshots = snapshots
        self._persona = persona
        self._sampling_now = sampling_now
        chosen = self._find_persona(persona)
        self._system = system if system is not None else (chosen.system if chosen else None)
        self._sampling = sampling or (chosen.sampling if chosen else None)
        self.conversation_id = conversation_id
        """Which conversation this is; None until the first message of a new one."""
        if conversation_id is not None:
            self._adopt(conversation_id)

    @property
    def ledger(self) -> ContextState | None:
        """What the model still sees; None until it is loaded. Turns are named by their id."""
        return self._runner.ledger

    @property
    def system(self) -> str:
        """The system prompt in force."""
        if self._system is not None:
            return self._system
        if self.conversation_id is not None:
            return self._store.conversation(self.conversation_id).system
        return self._settings.system

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn."""
        if self._sampling_now is not None:
            return self._sampling_now
        if self._sampling is not None:
            return self._sampling
        if self.conversation_id is not None:
            stored = self._store.conversation(self.conversation_id).sampling
            if stored is not None:
                return stored
        return self._settings.sampling

    def turns(self) -> list[StoredTurn]:
        """The conversation's current path, oldest turn first."""
        return [] if self.conversation_id is None else self._store.turns(self.conversation_id)

    async def send(self, text: str) -> AsyncGenerator[ChatEvent, None]:
        """Say `text` and stream the reply.

        Raises:
            InvalidText: the text is empty or cannot be encoded.
            MessageTooLong: it is larger than what the window has for it; once the engine is loaded, nothing was stored.
            MistralChatError: the engine could not answer; the question is kept, with the reason.
        """
        check_text(text)
        self._check_length(text, self._store.pinned(self.conversation_id) if self.conversation_id else ())
        if self.conversation_id is None:
            self.conversation_id = self._store.create(
                system=self.system, model=self._model, sampling=self._sampling, persona=self._persona
            )
        path = self._store.turns_page(self.conversation_id, before=None, limit=1)
        parent = path[-1].turn_id if path else None
        turn_id = self._store.add_turn(self.conversation_id, text, parent_id=parent, model=self._model)
        async with aclosing(self._answer(turn_id)) as events:
            async for event in events:
                yield event

    async def edit(self, turn_id: str, text: str) -> AsyncGenerator[ChatEvent, None]:
        """Say `text` in the place of a turn's message; the old one stays as a sibling. Raises as `send` does."""
        check_text(text)
        stored = self._find(turn_id)
        self._check_length(text, [turn for turn in self._store.pinned(self._conversation) if turn.depth < stored.depth])
        new_id = self._store.add_turn(self._conversation, text, parent_id=stored.parent_id, model=self._model)
        async with aclosing(self._answer(new_id)) as events:
            async for event in events:
                yield event

    async def regenerate(self, turn_id: str) -> AsyncGenerator[ChatEvent, None]:
        """Answer a turn's message once more; the old reply stays as a sibling. Raises as `send` does."""
        self._find(turn_id)
        new_id = self._store.add_sibling(turn_id, model=self._model)
        async with aclosing(self._answer(new_id)) as events:
            async for event in events:
                yield event

    async def continue_reply(self, turn_id: str) -> AsyncGenerator[ChatEvent, None]:
        """Go on with the last turn's reply where it ended. Raises as `send` does.

        Raises:
            UsageError: the turn is not the last one of the current path.
        """
        path = self._store.turns_page(self._conversation, before=None, limit=1)
        if not path or path[-1].turn_id != turn_id:
            raise UsageError("Only the last reply can be continued. Regenerate this one, or go to its last turn.")
        async with aclosing(self._answer(turn_id, kept=path[-1].turn.reply)) as events:
            async for event in events:
                yield event

    def stop(self) -> None:
        """End the reply that is being written where it is; its completion says ``"cancelled"``."""
        self._runner.stop()

    async def read_ahead(self, draft: str = "") -> AsyncGenerator[Prefill, None]:
        """Let the engine read the conversation, and the stable part of `draft`, before anything is sent."""
        history = self._history(None)
        if draft:
            history = replace(history, draft=draft)
        async with aclosing(self._runner.prefill(history)) as progress:
            async for event in progress:
                yield event

    async def prompt(self, draft: str = "") -> Prompt | None:
        """What the model would be given if `draft` were sent now; without one, what it has been given so far.

        None until the engine is loaded.

        Raises:
            MessageTooLong: the draft cannot fit.
            PromptFormatError: the model's format cannot express this conversation.
        """
        return await asyncio.to_thread(self._runner.preview_prompt, replace(self._history(None), draft=draft))

    async def suggest_title(self) -> str:
        """Let the model name the conversation, in passing; empty when it has nothing to say or no room for it.

        Raises:
            MistralChatError: the engine failed.
        """
        history = self._history(None)
        if not history.turns:
            return ""
        asked = replace(history, turns=(*history.turns, PromptTurn(key=_TITLE, user=_ASK_FOR_TITLE)))
        answer = await self._runner.generate_detached(asked, Sampling(temperature=0, max_tokens=24))
        lines = answer.strip().splitlines()
        return lines[0].strip(" \"'*#.").removeprefix("Title:").strip(" \"'*") if lines else ""

    async def _answer(self, turn_id: str, kept: str = "") -> AsyncGenerator[ChatEvent, None]:
        """Stream the reply to the turn `turn_id` that is the end of the current path, and keep it."""
        reply = _Reply(self._store, turn_id, kept, self._clock)
        try:
            yield TurnStarted(turn_id)
            async with aclosing(self._runner.reply(self._history(turn_id), self.sampling)) as events:
                async for event in events:
                    if isinstance(event, Delta):
                        reply.grow(event.text)
                    elif isinstance(event, Completion):
                        reply.finish(event.finish_reason, usage=event.usage, model=self._model)
                    yield event
        except MistralChatError as error:
            reply.finish(None, model=self._model, error=str(error))
            raise
        finally:
            reply.finish("cancelled", model=self._model)

    def _history(self, answered: str | None) -> History:
        """What the engine is given: the end of the current path, as far as any window reaches, and pinned turns."""
        if self.conversation_id is None:
            return History(system=self.system)
        facts = self._runner.facts
        limit = max(16, (facts.window if facts else self._settings.context.size) // SMALLEST_TURN)
        stored = self._store.turns_page(self.conversation_id, before=None, limit=limit)
        ids = {turn.turn_id for turn in stored}
        pinned = [turn for turn in self._store.pinned(self.conversation_id) if turn.turn_id not in ids]
        return History(
            conversation=self.conversation_id if self._snapshots else "",
            system=self.system,
            turns=tuple(
                PromptTurn(key=s.turn_id, user=s.turn.user, reply=s.turn.reply, pinned=s.turn.pinned)
                for s in [*pinned, *stored]
                if s.turn_id == answered or (s.turn.reply and not s.turn.excluded)
            ),
        )

    def _check_length(self, text: str, pinned: Sequence[StoredTurn]) -> None:
        """Refuse what cannot fit, before anything is stored; the engine checks again, with the format's own tokens counted.

        Before the engine is loaded nothing can be counted, and the question is kept with the engine's refusal.
        """
        facts, ledger, tokens = self._runner.facts, self._runner.ledger, self._runner.count(text)
        if facts is None or ledger is None or tokens is None:
            return
        stay = [part for stored in pinned if not stored.turn.excluded for part in (stored.turn.user, stored.turn.reply)]
        available = facts.window - ledger.reserve - sum(self._runner.count(part) or 0 for part in (self.system, *stay))
        if tokens > available:
            raise MessageTooLong(tokens, max(0, available), facts.window)

    @property
    def _model(self) -> str:
        facts = self._runner.facts
        return facts.model if facts else ""

    @property
    def _conversation(self) -> str:
        if self.conversation_id is None:
            raise ConversationNotFound("Nothing has been said yet. Send a message first.")
        return self.conversation_id

    def _find(self, turn_id: str) -> StoredTurn:
        return self._store.turn(turn_id)

    def _find_persona(self, name: str) -> Persona | None:
        return self._settings.persona(name) if name else None

    def _adopt(self, conversation_id: str) -> None:
        """Write what was asked for from now on into the conversation."""
        self._store.conversation(conversation_id)
        if self._system is not None:
            self._store.set_system(conversation_id, self._system)
        if self._sampling is not None:
            self._store.set_sampling(conversation_id, self._sampling)
        if self._persona:
            self._store.set_persona(conversation_id, self._persona)


class _Reply:
    """A reply that grows, and its row in the store."""

    def __init__(self, store: ConversationStore, turn_id: str, kept: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._turn_id = turn_id
        self._pieces = [kept]
        self._clock = clock
        self._saved = clock()
        self._finished = False

    def grow(self, piece: str) -> None:
        """Take one more piece, and save when it is time."""
        self._pieces.append(piece)
        if self._clock() - self._saved >= SAVE_EVERY:
            self._pieces = ["".join(self._pieces)]
            with suppress(StoreBusy):  # another window is writing: the next second will do
                self._store.write_reply(self._turn_id, self._pieces[0])
            self._saved = self._clock()

    def finish(self, reason: FinishReason | None, *, model: str, usage: Usage | None = None, error: str = "") -> None:
        """Save the reply for good; only the first call that succeeds counts."""
        text = "".join(self._pieces)
        for last in (False, False, True):
            if self._finished:
                return
            try:
                self._store.finish_reply(self._turn_id, text, finish_reason=reason, usage=usage, model=model, error=error)
                self._finished = True
            except StoreBusy:  # a long import of another window, say; each try has waited for it
                if last:
                    raise


def check_text(text: str) -> None:
    """Refuse a message that holds nothing, or that cannot be encoded.

    Raises:
        InvalidText: it says which, and where.
    """
    if not text.strip():
        raise InvalidText("The message is empty. Type something first.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidText(
            f"The message holds half a character (a lone surrogate) at position {error.start + 1}. Remove it."
        ) from error
