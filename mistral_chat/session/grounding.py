"""Retrieves passages for the messages of a session, and saves them with their turns."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_chat.errors import MistralChatError
from mistral_chat.session.events import PassagesGiven
from mistral_chat.session.retriever import RetrievalRequest, Retrieved

if TYPE_CHECKING:
    from mistral_chat.conversation import Usage
    from mistral_chat.session.conversation import OpenConversation
    from mistral_chat.session.environment import SessionEnvironment
    from mistral_chat.session.events import Emit, TranscriptTurn
    from mistral_chat.store.store import ConversationStore

log = logging.getLogger("mistral_chat.session")

_CHARACTERS_PER_TOKEN = 3
"""Lower than in most texts, so that the budget for passages is rather too small than too large."""


class Grounding:
    """The passages for the messages of one session."""

    def __init__(self, environment: SessionEnvironment, conversation: OpenConversation, emit: Emit) -> None:
        """Start without passages."""
        self._environment = environment
        self._conversation = conversation
        self._emit = emit
        self.chosen: list[str] = []
        """Collections attached in this session, for a conversation that has no message yet or is not saved."""

    @property
    def collections(self) -> list[str]:
        """The collections searched for the next message."""
        environment, conversation_id = self._environment, self._conversation.id
        attached = environment.store.documents.attached(conversation_id) if conversation_id and environment.saved else []
        return sorted({*attached, *self.chosen})

    async def attach(self, *names: str) -> None:
        """Attach these collections instead of the current ones, from the next message on.

        Raises:
            DocumentNotFound: there is no such collection.
        """
        conversation_id = self._conversation.id
        if conversation_id is None or not self._environment.saved:
            self.chosen = list(names)
            return
        before = self.collections
        self.chosen = []

        def change(store: ConversationStore) -> None:
            store.documents.attach(conversation_id, *names)
            store.documents.detach(conversation_id, *(name for name in before if name not in names))

        await self._environment.saver.write(change)

    async def give(self, turn: TranscriptTurn) -> TranscriptTurn:
        """Find passages for a message whose turn was saved, save them with it, and return the updated turn."""
        retriever, conversation_id = self._environment.retriever, self._conversation.id
        settings = self._environment.settings()
        if retriever is None or conversation_id is None:
            return turn
        if self.chosen and self._environment.saved:
            await self.attach(*self.collections)
        collections = self.collections
        if not collections and not settings.recall:
            return turn
        try:
            found = await asyncio.to_thread(retriever.retrieve, self._request(turn, collections, recall=settings.recall))
            if found.passages:
                await self._environment.saver.write(lambda store: store.set_passages(turn.turn_id, found.passages))
        except MistralChatError as error:
            log.warning("no passages: %s", type(error).__name__)
            return turn
        return await self._given(turn, found)

    async def _given(self, turn: TranscriptTurn, found: Retrieved) -> TranscriptTurn:
        turn = replace(turn, turn=replace(turn.turn, passages=found.passages))
        self._conversation.replace(turn)
        documents = any(each.kind == "document" for each in found.passages)
        if found.passages or found.documents_searched:
            await self._emit(PassagesGiven(turn, nothing_found=found.documents_searched and not documents))
        return turn

    def _request(self, turn: TranscriptTurn, collections: list[str], *, recall: bool) -> RetrievalRequest:
        environment, conversation = self._environment, self._conversation
        state = environment.host.context
        window = state.window if state is not None else environment.settings().context.size
        reserve = state.reserve if state is not None else environment.settings().context.reserve
        cached = {each.key for each in state.turns} if state is not None else set()
        known = {each.turn_id for each in conversation.turns}
        pinned = environment.store.pinned(conversation.id or "")
        texts = [conversation.resolve().system, turn.turn.user]
        texts += [text for each in pinned for text in (each.turn.user, each.turn.reply)]
        taken = sum(map(len, texts)) // _CHARACTERS_PER_TOKEN
        return RetrievalRequest(
            store=environment.store,
            conversation_id=conversation.id or "",
            message=turn.turn.user,
            turn_id=turn.turn_id,
            in_context=cached if cached & known else None,
            window=window,
            room=max(0, window - reserve - taken - window // 16),
            recall=recall,
            collections=collections,
        )

    def note(self, usage: Usage | None) -> None:
        """Record the prefill speed from a reply, and index the exchange while idle."""
        retriever, conversation_id = self._environment.retriever, self._conversation.id
        if retriever is None or conversation_id is None:
            return
        if usage is not None and usage.time_to_first_token > 0 and usage.prompt_tokens - usage.cached_tokens >= 32:  # noqa: PLR2004 (fewer tell nothing)
            retriever.prefill_speed = (usage.prompt_tokens - usage.cached_tokens) / usage.time_to_first_token
        if self._environment.settings().recall:
            self._environment.spawn(self._index(conversation_id))

    async def _index(self, conversation_id: str) -> None:
        retriever = self._environment.retriever
        if retriever is None:
            return
        try:
            await asyncio.to_thread(retriever.index, self._environment.store, conversation_id)
        except MistralChatError as error:
            log.warning("no vectors: %s", type(error).__name__)
