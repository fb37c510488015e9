"""Retrieves passages for a message: recalled exchanges, and passages of attached collections."""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mistral_chat.documents.passages import estimate_tokens
from mistral_chat.documents.reader import DocumentReader
from mistral_chat.errors import InvalidText, MistralChatError
from mistral_chat.message_form import split_message
from mistral_chat.session.documents import BUDGET as DOCUMENTS_BUDGET
from mistral_chat.session.documents import DocumentIndexer, DocumentSearch, asks_for_the_whole
from mistral_chat.session.recall import BUDGET as RECALL_BUDGET
from mistral_chat.session.recall import ConversationRecall
from mistral_chat.session.relevance import Relevance

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from mistral_chat.conversation import Passage
    from mistral_chat.session.relevance import Embedder
    from mistral_chat.store.records import StoredTurn
    from mistral_chat.store.store import ConversationStore

log = logging.getLogger("mistral_chat.session")

WINDOW_SHARE: Final = 4
"""Passages take at most this fraction of the context window (one in so many tokens)."""
RECALL_SECONDS: Final = 2.0
"""Maximum seconds for prefilling recalled exchanges."""
DOCUMENT_SECONDS: Final = 3.0
"""Maximum seconds for prefilling passages of documents."""
LEAST_RECALL: Final = 128
LEAST_DOCUMENTS: Final = 256
"""Tokens given even if prefilling them takes longer on this machine: one exchange, one passage."""

_VECTORS_AT_ONCE: Final = 16
"""Missing vectors that a message waits for; others are made while idle."""
_ASKS_ABOUT_THE_REPLY: Final = re.compile(
    r"\b(short(er)?|long(er)?|again|explain|example|elaborate|rephrase|rewrite|translate|simpler|table|list|bullet|why|how)\b",
    re.IGNORECASE,
)
"""Matches a message about the previous reply, which still needs that reply's passages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalRequest:
    """A message, and what is already in the context."""

    store: ConversationStore
    """The conversations; in memory for a temporary chat."""
    conversation_id: str
    message: str
    turn_id: str
    """The turn of the message."""
    in_context: Collection[str] | None
    """The ids of the turns in the context; None if this conversation is not in the KV cache."""
    window: int
    """Tokens of the context window."""
    available: int
    """Tokens available for passages in addition to the message and pinned turns."""
    recall: bool
    """Whether exchanges are recalled."""
    collections: Sequence[tuple[ConversationStore, Sequence[str]]] = ()
    """The collections to search, by the store that they are in: a temporary chat has its long files in its own."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The passages for a message."""

    passages: tuple[Passage, ...] = ()
    documents_searched: bool = False
    """Whether documents were searched; if so and none has a passage here, nothing matched."""
    whole: bool = False
    """Whether the message asks about a whole document that has more passages than these."""


class Retriever:
    """Finds passages for messages, one after another. Its calls block and belong on a thread."""

    def __init__(self, documents: ConversationStore, open_embedder: Callable[[], Embedder | None]) -> None:
        """Search `documents`; the embedding model is loaded when first needed.

        Args:
            documents: the saved store, on its own connection; closed with the retriever.
            open_embedder: loads the embedding model; None if there is none on this machine.
        """
        self.documents = documents
        self._open_embedder = open_embedder
        self._lock = threading.Lock()
        self._relevance: Relevance | None = None
        self._search: tuple[ConversationStore, DocumentSearch] | None = None
        self._recall: tuple[str, ConversationStore, ConversationRecall] | None = None
        self._closed = False
        self.prefill_speed = 0.0
        """Measured tokens per second of prefill; 0.0 until a reply has been generated."""

    def retrieve(self, request: RetrievalRequest) -> Retrieved:
        """Find the passages for `request`.

        Raises:
            MistralChatError: the store or the embedding model failed.
        """
        with self._lock:
            if self._closed:
                return Retrieved()
            earlier = request.store.turns_page(request.conversation_id, before=request.turn_id, limit=-1)
            before = earlier[-1] if earlier else None
            room = min(request.available, request.window // WINDOW_SHARE)
            share = room // 2 if request.collections else room  # the other half is for them
            recalled = self._recalled(request, earlier, min(share, RECALL_BUDGET)) if request.recall else []
            room -= sum(each.tokens for each in recalled)
            if not request.collections:
                return Retrieved(tuple(recalled))
            budget = min(room, DOCUMENTS_BUDGET, self._affordable(DOCUMENT_SECONDS, LEAST_DOCUMENTS))
            found = self._found(request, before, budget)
            counts = (store.documents.passage_count(names) for store, names in request.collections)
            whole = asks_for_the_whole(request.message) and sum(counts) > len(found)
            return Retrieved((*recalled, *found), documents_searched=True, whole=whole)

    def _recalled(self, request: RetrievalRequest, earlier: Sequence[StoredTurn], budget: int) -> list[Passage]:
        outside = _outside(earlier, request)
        if not outside:
            return []
        recall = self._recall_of(request.store, request.conversation_id)
        recall.add_vectors(outside, most=_VECTORS_AT_ONCE)
        budget = min(budget, self._affordable(RECALL_SECONDS, LEAST_RECALL))
        return recall.find(request.message, outside, before=split_message(earlier[-1].turn.user).question, budget=budget)

    def _found(self, request: RetrievalRequest, before: StoredTurn | None, budget: int) -> list[Passage]:
        said = split_message(before.turn.user).question if before else ""
        found: list[Passage] = []
        for store, names in request.collections:
            if self._search is None or self._search[0] is not store:
                self._search = (store, DocumentSearch(store, self._ranking()))
            search = self._search[1]
            whole = search.all_of(names, budget=budget) if asks_for_the_whole(request.message) else []
            best = whole or search.find(request.message, names, before=said, budget=budget)
            found += [each.as_given() for each in best]
            budget -= sum(each.tokens for each in found)
        if not found and before is not None and _ASKS_ABOUT_THE_REPLY.search(request.message):
            return self._still_attached(before.turn.passages, request, budget)
        return found

    def _still_attached(self, passages: Sequence[Passage], request: RetrievalRequest, budget: int) -> list[Passage]:
        """Those of some passages that are in the documents searched now, as far as they fit."""
        kept: list[Passage] = []
        for store, names in request.collections:
            stored = store.documents.passages_of(*(each.key for each in passages))
            for each in passages:
                if each.tokens <= budget and each.key in stored and stored[each.key].collection in names:
                    kept.append(each)
                    budget -= each.tokens
        return kept

    def _affordable(self, seconds: float, least: int) -> int:
        """The number of tokens that this machine prefills in `seconds`, and at least `least`."""
        return max(least, int(self.prefill_speed * seconds)) if self.prefill_speed else 1 << 20

    def index(self, store: ConversationStore, conversation_id: str) -> None:
        """Embed the exchanges of a conversation that have no vectors.

        Raises:
            MistralChatError: the store or the embedding model failed.
        """
        missing = _VECTORS_AT_ONCE
        while missing >= _VECTORS_AT_ONCE:
            with self._lock:
                if self._closed or self._ranking().embedder is None:
                    return
                recall = self._recall_of(store, conversation_id)
                missing = recall.add_vectors(store.turns(conversation_id), most=_VECTORS_AT_ONCE)

    def index_file(self, path: Path, store: ConversationStore, reader: DocumentReader) -> str:
        """Read a file into a collection of its own in `store`, named after it as no other is, and return the name.

        Raises:
            InvalidText: it cannot be read, or contains no text.
            StoreError: the store cannot be written.
        """
        others = () if store is self.documents else {each.name for each in self.documents.documents.collections()}
        name, indexed = DocumentIndexer(store, reader).add_file(path, others)
        if indexed.status in ("failed", "removed"):
            raise InvalidText(f"{path.name} cannot be read: {indexed.message}.")
        return name

    def index_documents(self, collections: Sequence[str], store: ConversationStore) -> None:
        """Make vectors of the passages of `collections` of `store` that have none, in steps between which messages are answered.

        Raises:
            MistralChatError: the store or the embedding model failed.
        """
        used: Embedder | None = None
        steps: Iterator[tuple[int, int]] = iter(())
        added = False
        while True:
            with self._lock:
                embedder = None if self._closed else self._ranking().embedder
                if embedder is None:
                    return
                if embedder is not used:
                    used, added = embedder, False
                    steps = DocumentIndexer(store, DocumentReader(), embedder=embedder).add_vectors(collections)
                if next(steps, None) is not None:
                    added = True
                elif added:  # a document that changed meanwhile was left out
                    used = None
                else:
                    return

    def reload(self) -> None:
        """Reopen the embedding model when it is next needed, because it has changed."""
        with self._lock:
            self._free()

    @property
    def by_words(self) -> bool:
        """Whether something was searched, and by words alone because there is no embedding model."""
        return self._relevance is not None and self._relevance.embedder is None

    def close(self) -> None:
        """Free the embedding model and the store's connection. Later calls find nothing."""
        if not self._closed:
            self._closed = True  # before the lock is free: what makes vectors ends with those it is making
            with self._lock:
                self._free()
                self.documents.close()

    def _free(self) -> None:
        if self._recall is not None:
            self._recall[2].close()
        if self._relevance is not None and self._relevance.embedder is not None:
            self._relevance.embedder.close()
        self._recall = self._relevance = self._search = None

    def _ranking(self) -> Relevance:
        if self._relevance is None:
            try:
                self._relevance = Relevance(self._open_embedder())
            except MistralChatError as error:
                log.warning("no embedding model: %s", type(error).__name__)
                self._relevance = Relevance()
        return self._relevance

    def _recall_of(self, store: ConversationStore, conversation_id: str) -> ConversationRecall:
        """The index of one conversation; that of the last one is cached."""
        kept = self._recall
        if kept is not None and kept[0] == conversation_id and kept[1] is store:
            return kept[2]
        if kept is not None:
            kept[2].close()
        recall = ConversationRecall(store, conversation_id, self._ranking())
        self._recall = (conversation_id, store, recall)
        return recall


def _outside(earlier: Sequence[StoredTurn], request: RetrievalRequest) -> list[StoredTurn]:
    """The turns that the model will not see: those outside the context, or that would not fit in it."""
    if request.in_context is not None:
        return [turn for turn in earlier if turn.turn_id not in request.in_context and not turn.turn.pinned]
    left = request.available
    for place in range(len(earlier) - 1, -1, -1):
        left -= estimate_tokens(earlier[place].turn.user) + estimate_tokens(earlier[place].turn.reply) + 8
        if left < 0:
            return [turn for turn in earlier[: place + 1] if not turn.turn.pinned]
    return []
