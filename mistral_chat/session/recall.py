"""Recall: exchanges of a conversation that have left the context, retrieved for one message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mistral_chat.conversation import Passage
from mistral_chat.documents.passages import cut, estimate_tokens
from mistral_chat.documents.text_files import markdown
from mistral_chat.session.relevance import Vectors, choose
from mistral_chat.store.retrieval import ExchangeIndex, add_turn_vectors, content_words, turn_vectors

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from mistral_chat.session.relevance import About, Embedder, Relevance
    from mistral_chat.store.records import StoredTurn
    from mistral_chat.store.store import ConversationStore

MOST_EXCHANGES: Final = 3
BUDGET: Final = 512
"""Maximum tokens of all exchanges recalled for one message."""

_LONGEST: Final = 200
"""Maximum tokens of one exchange; a longer one is shortened to the parts that match the message best."""
_LONGEST_MESSAGE: Final = 80
_FRAME: Final = 12
"""Tokens of the speakers' names and of the marks where an exchange is shortened."""
_EMBEDDED_CHARACTERS: Final = 3000
_BATCH: Final = 16
_WORD_BEGINNING: Final = 5
_ROWS: Final = 3
"""The vectors of an exchange: of all of it, of the message and of the reply."""
_GREETINGS: Final = "hey|hi|hello|dear|thanks|thank you|bye|oh|ok|okay|yes|no|well|wow"
_LEAST_ADDRESSED: Final = 3


class ConversationRecall:
    """Finds exchanges of one conversation that a message refers to. Not thread-safe."""

    def __init__(self, store: ConversationStore, conversation_id: str, relevance: Relevance) -> None:
        """Search a conversation of `store`."""
        self._store = store
        self._conversation_id = conversation_id
        self._relevance = relevance
        self._index = ExchangeIndex(store.database, conversation_id)

    def find(
        self,
        message: str,
        turns: Sequence[StoredTurn],
        *,
        before: str = "",
        budget: int = BUDGET,
        most: int | None = MOST_EXCHANGES,
    ) -> list[Passage]:
        """The exchanges among `turns` that match `message`, in the engine's form, best first; empty if none does.

        Excluded turns and those without a reply are never recalled.

        Args:
            message: what the user asks.
            turns: the turns that may be recalled: those of the branch that are outside the context.
            before: the message before it, which a short question follows up.
            budget: the most tokens, as estimated.
            most: the most exchanges; None takes as many as fit.

        Raises:
            ConversationNotFound: the conversation was deleted.
            EngineFailed: the embedding model failed.
        """
        known = {turn.turn_id: turn for turn in turns if _recallable(turn)}
        question = self._relevance.question(message, before) if known else None
        if question is None:
            return []
        named = {name: texts for name in question.names if (texts := self._index.texts_with(name))}
        question = self._relevance.in_first_person(question, [name for name, texts in named.items() if _speaks(name, texts)])
        by_words = self._index.search(question.words, among=known)
        about: About = "named" if named else "user" if question.about_user else "unknown"
        ranked = self._relevance.rank(question, by_words, self._vectors(known), population=len(known), about=about)
        passages: dict[str, Passage] = {}
        longest = min(_LONGEST, budget - _FRAME)
        for key, score in ranked[: max(24, 4 * (most or 24))]:
            turn = known[key]
            text = exchange_text(turn.turn.user, turn.turn.reply, message, longest=longest)
            source, tokens = f"Earlier in this conversation, {_date(turn.created)}", estimate_tokens(text)
            passages[key] = Passage(kind="exchange", text=text, source=source, key=key, score=round(score, 4), tokens=tokens)
        sizes = {key: passage.tokens for key, passage in passages.items()}
        chosen = choose([each for each in ranked if each[0] in passages], sizes, budget=budget, most=most)
        return [passages[key] for key in chosen]

    def add_vectors(self, turns: Sequence[StoredTurn], *, most: int | None = None) -> int:
        """Embed up to `most` exchanges among `turns` that have no vectors, newest first; returns how many were missing.

        Raises:
            EngineFailed: the embedding model failed.
        """
        embedder = self._relevance.embedder
        if embedder is None:
            return 0
        stored = self._stored(embedder)
        missing = [turn for turn in reversed(turns) if _recallable(turn) and turn.turn_id not in stored]
        wanted = missing[:most]
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            vectors = embedder.embed_passages([text for turn in batch for text in _embedded(turn)])
            blobs = (vectors[row : row + _ROWS].tobytes() for row in range(0, len(vectors), _ROWS))
            rows = [(turn.turn_id, turn.turn.reply, blob) for turn, blob in zip(batch, blobs, strict=True)]
            add_turn_vectors(self._store.database, embedder.key, rows)
        return len(missing)

    def close(self) -> None:
        """Free the index."""
        self._index.close()

    def _vectors(self, among: Collection[str]) -> Vectors | None:
        embedder = self._relevance.embedder
        if embedder is None:
            return None
        import numpy as np

        kept = [(key, blob) for key, blob in self._stored(embedder).items() if key in among]
        rows = np.frombuffer(b"".join(blob for _, blob in kept), np.float16).reshape(-1, _ROWS, embedder.dimensions)
        vectors = rows.astype(np.float32)
        return Vectors([key for key, _ in kept], vectors[:, 0], parts=vectors[:, 1:])

    def _stored(self, embedder: Embedder) -> dict[str, bytes]:
        """The vectors of the exchanges that have all of them; earlier versions made one each."""
        stored = turn_vectors(self._store.database, embedder.key, self._conversation_id)
        return {key: blob for key, blob in stored.items() if len(blob) == 2 * _ROWS * embedder.dimensions}


def _recallable(turn: StoredTurn) -> bool:
    return bool(turn.turn.reply) and not turn.turn.excluded and not turn.writing


def _embedded(turn: StoredTurn) -> list[str]:
    """The exchange, the message and the reply."""
    message, reply = turn.turn.user[:_EMBEDDED_CHARACTERS], turn.turn.reply[:_EMBEDDED_CHARACTERS]
    return [f"{message}\n{reply}", message, reply]


def _speaks(name: str, texts: Sequence[str]) -> bool:
    """Whether `name` is that of somebody who speaks, by being addressed: in most of `texts`, which contain it, and in several."""
    address = re.compile(
        rf"(?:^|[.!?,:;]\s*|\b(?:{_GREETINGS})\s+){re.escape(name)}\s*(?:[.!?,:;]|$)", re.IGNORECASE | re.MULTILINE
    )
    addressed = sum(bool(address.search(text)) for text in texts)
    return addressed >= max(_LEAST_ADDRESSED, len(texts) / 2)


def _date(moment: datetime) -> str:
    local = moment.astimezone()
    return f"{local.day} {local:%B %Y}"


def exchange_text(user: str, reply: str, question: str, *, longest: int = _LONGEST) -> str:
    """Format an exchange in about `longest` tokens: the message and the reply, or the parts that share words with `question`."""
    whole = f"User: {user}\nAssistant: {reply}"
    if estimate_tokens(whole) <= longest:
        return whole
    asked = _beginnings(question)
    shown = _best_part(user, asked, _LONGEST_MESSAGE)
    answer = _best_part(reply, asked | _beginnings(shown), longest - min(_LONGEST_MESSAGE, estimate_tokens(shown)))
    return f"User: {shown}\nAssistant: {answer}"


def _best_part(text: str, asked: set[str], longest: int) -> str:
    """The part of `text` with the most words of the question, the first of several; all of it if it is short."""
    if estimate_tokens(text) <= longest:
        return text
    parts = [passage.text for passage in cut(markdown(text), estimate_tokens, longest=max(longest - 4, 16))]
    best = max(range(len(parts)), key=lambda place: (len(asked & _beginnings(parts[place])), -place), default=0)
    if not parts:
        return ""
    return f"{'… ' if best else ''}{parts[best]}{' …' if best + 1 < len(parts) else ''}"


def _beginnings(text: str) -> set[str]:
    """The stems of the content words of `text`: prefixes shared by most forms of a word."""
    return {word[:_WORD_BEGINNING] for word in content_words(text)}
