"""Context usage: what fills the context window, what is reserved, and whether a draft fits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from mistral_chat.conversation import TranscriptTurn
from mistral_chat.errors import MessageTooLong, MistralChatError, SystemPromptTooLong
from mistral_chat.generation import ContextState, Prompt
from mistral_chat.session.conversation import OpenConversation
from mistral_chat.session.environment import SessionEnvironment
from mistral_chat.session.events import Emit, UsageChanged
from mistral_chat.session.reply import ContinueReply, NewMessage, Regenerate, ReplyRequest

_PINNED_SHARE: Final = 8
"""Pinned turns may leave no less than this fraction of the context (one in so many tokens) for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextUsage:
    """How many tokens each part of the context window takes."""

    window: int
    system: int = 0
    """The system prompt and the opening control tokens."""
    pinned: int = 0
    """Turns that never leave the context."""
    conversation: int = 0
    """The other turns in the context."""
    passages: int = 0
    """Recalled exchanges and passages of documents."""
    seen: int = 0
    """The number of turns in the context, pinned ones included."""
    draft: int = 0
    """The message being typed, with its attachments."""
    reserve: int = 0
    """Reserved for the reply."""

    @property
    def used(self) -> int:
        """Tokens in the context now."""
        return self.system + self.pinned + self.conversation + self.passages

    @property
    def free(self) -> int:
        """Tokens left when the draft and the reserve are counted."""
        return max(0, self.window - self.used - self.draft - self.reserve)

    @property
    def max_message_tokens(self) -> int:
        """The longest possible message, if every turn that is not pinned is evicted."""
        return max(0, self.window - self.reserve - self.system - self.pinned)

    @property
    def fits(self) -> bool:
        """Whether the draft can be sent."""
        return self.draft <= self.max_message_tokens

    @property
    def evicts(self) -> bool:
        """Whether sending the draft evicts turns from the context."""
        return self.fits and self.draft > 0 and self.used + self.draft + self.reserve > self.window


def usage_of(state: ContextState, turns: Sequence[TranscriptTurn], *, system: int = 0, draft: int = 0) -> ContextUsage:
    """Return the context usage of one conversation.

    Args:
        state: what the KV cache holds. Turns of other conversations are ignored: prefilling this one removes them.
        turns: the conversation's known turns.
        system: tokens of the system prompt, for a conversation that has not been prefilled yet.
        draft: tokens of the message being typed.
    """
    known = {turn.turn_id: turn.turn for turn in turns}
    ours = any(cached.key in known for cached in state.turns)
    pinned = conversation = passages = seen = 0
    for cached in state.turns if ours else ():
        turn = known.get(cached.key)
        # A key that starts with a null byte is the engine's own: a prefilled draft.
        if cached.key.startswith("\0") or (turn is not None and turn.excluded):
            continue
        seen += 1
        if turn.pinned if turn is not None else cached.pinned:
            pinned += cached.tokens - cached.passages
        else:
            conversation += cached.tokens - cached.passages
        passages += cached.passages
    return ContextUsage(
        window=state.window,
        system=state.system_tokens if ours else system,
        pinned=pinned,
        conversation=conversation,
        passages=passages,
        seen=seen,
        draft=draft,
        reserve=state.reserve,
    )


class ContextMeter:
    """Counts a conversation and its draft, and prefills both while the engine is idle."""

    def __init__(self, environment: SessionEnvironment, conversation: OpenConversation, emit: Emit) -> None:
        """Start without counts."""
        self._environment = environment
        self._host = environment.host
        self._conversation = conversation
        self._emit = emit
        self._system_tokens = 0
        self._prefilled_draft = ""
        self._prefilling: asyncio.Task[None] | None = None
        self.seen: dict[str, bool] = {}
        """The turns in the context, each with whether it is pinned."""
        self.enter()

    @property
    def usage(self) -> ContextUsage | None:
        """The context usage with the draft; None until a model is loaded."""
        state = self._host.context
        if state is None:
            return None
        return usage_of(state, self._conversation.turns, system=self._system_tokens, draft=self._draft_tokens)

    @property
    def costs(self) -> dict[str, int]:
        """The tokens of each turn in the KV cache."""
        state = self._host.context
        return {turn.key: turn.tokens for turn in state.turns} if state is not None else {}

    def enter(self) -> None:
        """Begin with the KV cache as it is, and a draft that was not counted: the conversation comes to the screen."""
        self._draft_tokens = 0
        self._shown = True
        self._look()

    def leave(self) -> None:
        """Prefill nothing more: another conversation comes to the screen."""
        self._shown = False
        self.cancel_prefill()

    async def refresh(self) -> None:
        """Read the KV cache, and report the usage."""
        self._look()
        await self._emit(UsageChanged())

    def shifted(self, gone: Sequence[str]) -> None:
        """Record that turns were evicted from the context."""
        self.seen = {key: pinned for key, pinned in self.seen.items() if key not in gone}

    async def tokens_of(self, turn: TranscriptTurn) -> int | None:
        """The number of tokens of a turn: as in the KV cache, else counted without control tokens; None while loading."""
        half_read = self._prefilling is not None and not self._prefilling.done()
        known = None if half_read else self.costs.get(turn.turn_id)
        return known if known is not None else await self._host.count(turn.turn.user, turn.turn.reply)

    async def shortage_if_pinned(self, tokens: int) -> int | None:
        """The tokens left for messages if `tokens` more were pinned, if that is too little; else None."""
        state, conversation_id = self._host.context, self._conversation.id
        if state is None or conversation_id is None:
            return None
        taken = sum([await self.tokens_of(turn) or 0 for turn in self._environment.store.pinned(conversation_id)])
        room = state.window - state.reserve - state.system_tokens - taken - tokens
        return room if room < state.window // _PINNED_SHARE else None

    async def measure(self, message: str) -> str | None:
        """Count the draft `message`; returns a warning if the model would take a part of it for control tokens."""
        tokens = await self._host.count(message) if message else 0
        engine = self._host.loaded_engine
        if tokens is None or engine is None:
            return None
        self._system_tokens = await self._host.count(self._conversation.resolve().system) or 0
        self._draft_tokens = tokens
        await self._emit(UsageChanged())
        return await asyncio.to_thread(engine.ambiguous_markup, message) if message else None

    async def check_length(self, request: ReplyRequest) -> None:
        """Refuse what cannot fit before anything is saved; the engine checks again, including control tokens.

        Before a model is loaded nothing can be counted, and the question is saved with the engine's error.
        """
        host, state = self._host, self._host.context
        if isinstance(request, Regenerate) or state is None:
            return
        before = None if isinstance(request, NewMessage) else request.turn_id
        pinned = self._environment.store.pinned(self._conversation.id, before=before) if self._conversation.id else []
        if isinstance(request, ContinueReply):
            continued = self._environment.store.turn(request.turn_id).turn
            asked = [continued.user, continued.reply]
        else:
            asked = [request.text]
        tokens = await host.count(*asked)
        if tokens is None:
            return
        texts = [part for stored in pinned if not stored.turn.excluded for part in (stored.turn.user, stored.turn.reply)]
        system = await host.count(self._conversation.resolve().system) or 0
        if system and system >= state.window - state.reserve:
            raise SystemPromptTooLong(system, state.window)
        room = state.window - state.reserve - system - (await host.count(*texts) or 0)
        if tokens > room:
            raise MessageTooLong(tokens, max(0, room), state.window, replied=isinstance(request, ContinueReply))

    async def preview(self, draft: str = "") -> Prompt | None:
        """The exact prompt if `draft` were sent now; without a draft, the last prompt.

        None until a model is loaded.

        Raises:
            MessageTooLong: the draft cannot fit.
            PromptFormatError: the model's format cannot express this conversation.
        """
        engine = self._host.loaded_engine
        if engine is None:
            return None
        return await asyncio.to_thread(engine.preview_prompt, replace(self._conversation.history(), draft=draft))

    async def prefill(self) -> None:
        """Prefill the conversation before anything is sent, if the settings allow it and the engine is idle."""
        await self._emit(UsageChanged())
        if self._conversation.id is not None and self._may_prefill:
            self._begin("")

    def prefill_draft(self, draft: str) -> None:
        """Prefill the stable part of a draft too, if it fits."""
        fits = (usage := self.usage) is not None and usage.fits
        if draft != self._prefilled_draft and fits and self._may_prefill:
            self._begin(draft)

    def draft_changed(self) -> None:
        """Stop prefilling a draft that has changed."""
        if self._prefilled_draft:
            self.cancel_prefill()

    def cancel_prefill(self) -> None:
        """Stop prefilling."""
        self._prefilled_draft = ""
        if self._prefilling is not None:
            self._prefilling.cancel()

    @property
    def _may_prefill(self) -> bool:
        wanted = self._shown and self._environment.settings().context.read_ahead
        return wanted and self._host.loaded is not None and not self._host.busy

    def _look(self) -> None:
        state = self._host.context
        if state is not None:
            self.seen = {turn.key: turn.pinned for turn in state.turns}

    def _begin(self, draft: str) -> None:
        self.cancel_prefill()
        self._prefilled_draft = draft
        self._prefilling = self._environment.spawn(self._prefill(draft))

    async def _prefill(self, draft: str) -> None:
        engine = self._host.engine
        if engine is None:
            return
        try:
            history = self._conversation.history()
            about = "the draft" if draft else "this conversation"
            with self._environment.tasks.begin("preloading context", about, cancel=self.cancel_prefill) as task:
                async with aclosing(engine.prefill(replace(history, draft=draft))) as progress:
                    async for event in progress:
                        if event.total:
                            task.tell(event.done / event.total, f"{event.done:,} of {event.total:,} tokens")
        except MistralChatError:
            return  # the next message meets the error too, and reports it where it matters
        if not self._host.busy:
            await self.refresh()
