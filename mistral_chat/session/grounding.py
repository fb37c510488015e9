"""Retrieves passages for the messages of a session, and saves them with their turns."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mistral_chat.documents.reader import DocumentReader
from mistral_chat.errors import DocumentNotFound, InvalidText, MistralChatError
from mistral_chat.message_form import format_attachment, split_message
from mistral_chat.session.attachments import LARGEST_FILE, WHOLE_SHARE, Attachment, read_document
from mistral_chat.session.events import PassagesGiven
from mistral_chat.session.retriever import RetrievalRequest, Retrieved, Retriever

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mistral_chat.conversation import TranscriptTurn, Usage
    from mistral_chat.session.conversation import OpenConversation
    from mistral_chat.session.environment import SessionEnvironment
    from mistral_chat.session.events import Emit
    from mistral_chat.store.documents import Collection
    from mistral_chat.store.store import ConversationStore

log = logging.getLogger("mistral_chat.session")

_CHARACTERS_PER_TOKEN = 3
"""Lower than in most texts, so that the budget for passages is rather too small than too large."""

_WHOLE_DOCUMENT = "Passages cannot answer a question about a whole document. Ask about a specific part."
_NOTHING_FOUND = "Nothing found in your documents. The reply does not use them."
_NOT_SEARCHED = "Your documents could not be searched. The reply does not use them."


class Grounding:
    """The passages for the messages of one session."""

    def __init__(self, environment: SessionEnvironment, conversation: OpenConversation, emit: Emit) -> None:
        """Start without passages."""
        self._environment = environment
        self._conversation = conversation
        self._emit = emit
        self.chosen: list[str] = []
        """Collections attached in this session, for a conversation that has no message yet or is not saved."""
        self.attaching = asyncio.Lock()
        """Held from reading `collections` until others are attached instead."""
        self._recall: bool | None = None
        """Whether a conversation that has no message yet recalls; None means as configured."""

    @property
    def collections(self) -> list[str]:
        """The collections searched for the next message."""
        environment, conversation_id = self._environment, self._conversation.id
        attached = environment.store.documents.attached(conversation_id) if conversation_id and environment.saved else []
        return sorted({*attached, *self.chosen})

    def available(self) -> list[Collection]:
        """The collections that can be attached, and the long files of a temporary chat. Reads the disk: call it on a thread."""
        retriever = self._environment.retriever
        stores = {} if retriever is None else dict.fromkeys((retriever.documents, self._searched(retriever)))
        return list({each.name: each for store in stores for each in store.documents.collections()}.values())

    @property
    def recalls(self) -> bool:
        """Whether exchanges of this conversation are recalled."""
        stored = self._conversation.stored
        chosen = stored.recall if stored is not None else self._recall
        return self._environment.settings().recall if chosen is None else chosen

    async def set_recall(self, *, recall: bool) -> None:
        """Let this conversation recall, or not, from the next message on, whatever the settings say."""
        conversation_id = self._conversation.id
        self._recall = recall
        if conversation_id is not None:
            await self._environment.saver.write(lambda store: store.set_recall(conversation_id, recall))

    async def read_file(self, path: Path) -> Attachment:
        """Read a document that is attached: whole if it takes at most half of the context, else into a collection of its own.

        Raises:
            InvalidText: it cannot be read, contains no text, or is too large and no retriever is available.
        """
        with DocumentReader() as reader:  # a thread is not cancelled: that of a cancelled reading ends with the process
            return await self._read_file(path, reader)

    async def _read_file(self, path: Path, reader: DocumentReader) -> Attachment:
        environment, retriever = self._environment, self._environment.retriever
        file = await asyncio.to_thread(read_document, path, reader)
        state = environment.host.context
        window = state.window if state is not None else environment.settings().context.size
        if file.bytes <= LARGEST_FILE:
            file.tokens = await environment.host.count(format_attachment(file.name, file.text))
        tokens = file.tokens if file.tokens is not None else file.bytes // 4
        if tokens * WHOLE_SHARE <= window or (retriever is None and tokens <= window):
            return file
        if retriever is None:
            raise InvalidText(f"{file.name} takes {tokens:,} tokens; the context window has {window:,}. Attach part of it.")
        store = self._searched(retriever)
        name = await asyncio.to_thread(retriever.index_file, path, store, reader)
        file.collection, file.text = name, ""
        environment.spawn(self._index(partial(retriever.index_documents, [name], store)))
        return file

    async def attach(self, *names: str) -> None:
        """Attach these collections instead of the current ones, from the next message on.

        Raises:
            DocumentNotFound: there is no such collection.
        """
        conversation_id = self._conversation.id
        if conversation_id is None or not self._environment.saved:
            self.chosen = list(names)
            return
        await self._environment.saver.write(lambda store: store.documents.attach(conversation_id, *names))
        self.chosen = []

    async def give(self, turn: TranscriptTurn, *, recall: bool = True) -> TranscriptTurn:
        """Find passages for a message whose turn was saved, save them with it, and return the updated turn.

        Without `recall`, only documents are searched.
        """
        retriever, conversation_id = self._environment.retriever, self._conversation.id
        if retriever is None or conversation_id is None:
            return turn
        if self.chosen and self._environment.saved:
            async with self.attaching:
                try:
                    await self.attach(*self.collections)
                except DocumentNotFound:
                    await self._drop_deleted()
                    raise
        if self._recall is not None:
            await self.set_recall(recall=self._recall)
            self._recall = None
        collections, recall = self.collections, recall and self.recalls
        if not collections and not recall:
            return turn
        try:
            request = self._request(retriever, turn, collections, recall=recall)
            found = await asyncio.to_thread(retriever.retrieve, request)
            if found.passages:
                await self._environment.saver.write(lambda store: store.set_passages(turn.turn_id, found.passages))
        except MistralChatError as error:
            log.warning("no passages: %s", type(error).__name__)
            if isinstance(error, DocumentNotFound):
                async with self.attaching:
                    await self._drop_deleted()
            if collections:
                await self._emit(PassagesGiven(turn, _NOT_SEARCHED))
            return turn
        return await self._given(turn, found)

    async def _drop_deleted(self) -> None:
        """Detach what was deleted: with it, no later message could be answered either."""
        there = {each.name for each in await asyncio.to_thread(self.available)}
        self.chosen = [name for name in self.chosen if name in there]

    async def _given(self, turn: TranscriptTurn, found: Retrieved) -> TranscriptTurn:
        turn = replace(turn, turn=replace(turn.turn, passages=found.passages))
        self._conversation.replace(turn)
        nothing = found.documents_searched and all(each.kind != "document" for each in found.passages)
        notice = _WHOLE_DOCUMENT if found.whole else _NOTHING_FOUND if nothing else ""
        if found.passages or notice:
            await self._emit(PassagesGiven(turn, notice))
        return turn

    def _searched(self, retriever: Retriever) -> ConversationStore:
        """The store as the retriever searches it and keeps vectors in it, on a connection that no screen waits for."""
        return retriever.documents if self._environment.saved else self._environment.store

    def _request(self, retriever: Retriever, turn: TranscriptTurn, collections: list[str], *, recall: bool) -> RetrievalRequest:
        environment, conversation, store = self._environment, self._conversation, self._searched(retriever)
        state = environment.host.context
        window = state.window if state is not None else environment.settings().context.size
        reserve = state.reserve if state is not None else environment.settings().context.reserve
        cached = {each.key for each in state.turns} if state is not None else set()
        known = {each.turn_id for each in conversation.turns}
        pinned = environment.store.pinned(conversation.id or "", before=turn.turn_id)
        texts = [conversation.resolve().system, turn.turn.user]
        texts += [text for each in pinned for text in (each.turn.user, each.turn.reply)]
        taken = sum(map(len, texts)) // _CHARACTERS_PER_TOKEN
        files = () if environment.saved else {each.name for each in store.documents.collections()}
        saved = [name for name in collections if name not in files]
        searched = (store, [name for name in collections if name in files]), (retriever.documents, saved)
        return RetrievalRequest(
            store=store,
            conversation_id=conversation.id or "",
            message=split_message(turn.turn.user).question,
            turn_id=turn.turn_id,
            in_context=cached if cached & known else None,
            window=window,
            available=max(0, window - reserve - taken - window // 16),
            recall=recall,
            collections=[(each, names) for each, names in searched if names],
        )

    def note(self, usage: Usage | None) -> None:
        """Record the prefill speed from a reply, and index the exchange while idle."""
        retriever, conversation_id = self._environment.retriever, self._conversation.id
        if retriever is None or conversation_id is None:
            return
        if usage is not None and usage.time_to_first_token > 0 and usage.prompt_tokens - usage.cached_tokens >= 32:  # noqa: PLR2004 (fewer tell nothing)
            retriever.prefill_speed = (usage.prompt_tokens - usage.cached_tokens) / usage.time_to_first_token
        if self.recalls:
            self._environment.spawn(self._index(partial(retriever.index, self._searched(retriever), conversation_id)))

    async def _index(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except MistralChatError as error:
            log.warning("no vectors: %s", type(error).__name__)
