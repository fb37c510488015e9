"""One reply: its request, saving the question, and saving the growing reply."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mistral_chat.conversation import FinishReason, TranscriptTurn, Usage
from mistral_chat.engine.encoding.text import utf8
from mistral_chat.errors import InvalidText, UsageError

if TYPE_CHECKING:
    from mistral_chat.session.attachments import Attachment
    from mistral_chat.session.overrides import Resolved
    from mistral_chat.session.saver import Saver, Work
    from mistral_chat.store.store import ConversationStore

SAVE_SECONDS = 1.0
"""Seconds between two saves of a growing reply."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """Send a message at the end of the conversation."""

    text: str


@dataclass(frozen=True, slots=True)
class EditMessage:
    """Replace a turn's message by another text; the original is kept as a sibling."""

    turn_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Regenerate:
    """Answer a turn's message again; the original reply is kept as a sibling."""

    turn_id: str
    recall: bool = True
    """Whether earlier exchanges may be recalled for it."""


@dataclass(frozen=True, slots=True)
class ContinueReply:
    """Continue the last turn's reply from where it ended."""

    turn_id: str


ReplyRequest = NewMessage | EditMessage | Regenerate | ContinueReply


@dataclass(slots=True, eq=False)
class PendingReply:
    """A request that is queued or being answered."""

    request: ReplyRequest
    draft: str = ""
    """The message without its attachments, which returns to the message box if it cannot be sent."""
    attachments: Sequence[Attachment] = field(default=())
    """The attachments that return with it."""
    key: str = ""
    """Its key among the queued messages in the store; empty if it did not wait there."""
    reply: GrowingReply | None = None
    """The reply, once its turn is saved."""
    generating: bool = False
    """Whether the engine is working on it."""
    prefill: tuple[int, int] = (0, 0)
    """The number of prompt tokens in the KV cache, and their total."""
    used: int = 0
    """Tokens in the context, without the reply; 0 until the prompt is being decoded."""
    decided: threading.Lock = field(default_factory=threading.Lock)
    """Acquired once, by what saves the question or by what stops it before."""
    work: asyncio.Task[None] | None = None
    """Saves the question and generates the reply."""
    task: asyncio.Task[None] | None = None
    """Waits for `work` and ends it."""

    def cancel(self) -> None:
        """Stop the work on it. Only the first call counts: what that work still does is not interrupted."""
        if self.work is not None and not self.work.cancelling():
            self.work.cancel()


class GrowingReply:
    """A reply's text while it grows, and its row in the store."""

    def __init__(self, saver: Saver, turn: TranscriptTurn, clock: Callable[[], float]) -> None:
        """Continue the reply of `turn`."""
        self.turn = turn
        """The turn as saved, without what the reply grew by until it has finished."""
        self._saver = saver
        self._pieces = [turn.turn.reply]
        self._clock = clock
        self._saved = clock()
        self.pieces = 0
        """The number of pieces of text from the engine: about one per token."""
        self._began = 0.0
        self.finished = False

    @property
    def text(self) -> str:
        """The text so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    @property
    def speed(self) -> float | None:
        """Tokens per second; None in the first second."""
        seconds = self._clock() - self._began
        return (self.pieces - 1) / seconds if self.pieces and seconds >= 1.0 else None

    def grow(self, piece: str) -> None:
        """Append one piece, and save about once a second."""
        if not self.pieces:
            self._began = self._clock()
        self.pieces += 1
        self._pieces.append(piece)
        if self._clock() - self._saved >= SAVE_SECONDS:
            self._saved = self._clock()
            text = self.text
            self._save(lambda store: store.write_reply(self.turn.turn_id, text))

    def finish(self, reason: FinishReason | None, *, model: str, usage: Usage | None = None, error: str = "") -> None:
        """Save the finished reply, and show it in `turn`; only the first call counts."""
        if not self.finished:
            self.finished = True
            ended: dict[str, Any] = {"finish_reason": reason, "usage": usage, "error": error}
            turn_id, text, known = self.turn.turn_id, self.text, self.turn.turn
            self._save(lambda store: store.finish_reply(turn_id, text, model=model, **ended))
            self.turn = replace(self.turn, turn=replace(known, reply=text, model=model or known.model, **ended))

    def _save(self, work: Work[object]) -> None:
        self._saver.save(work, key=("reply", self.turn.turn_id))


def save_question(
    store: ConversationStore, conversation_id: str | None, pending: PendingReply, *, new: Resolved, model: str
) -> tuple[str, TranscriptTurn]:
    """Save the question of `pending`; returns the conversation and the turn to be answered.

    Args:
        store: the conversations.
        conversation_id: None starts a conversation.
        pending: the question.
        new: the settings of a new conversation.
        model: the loaded model's name.

    Raises:
        ConversationNotFound: the conversation or the turn was deleted.
        UsageError: the reply to continue is not the last one, or the reply was stopped.
    """
    with store.database.write():  # all of it or nothing: a full disk would leave an empty conversation
        if conversation_id is not None and store.conversation(conversation_id).summary.trashed is not None:
            store.restore(conversation_id)  # another window moved it there; nothing is written into the trash
        match pending.request:
            case NewMessage(text):
                if conversation_id is None:
                    conversation_id = store.create(system=new.system, model=model, sampling=new.own_sampling, persona=new.persona)
                last = store.turns_page(conversation_id, before=None, limit=1)
                turn_id = store.add_turn(conversation_id, text, parent_id=last[-1].turn_id if last else None, model=model)
            case EditMessage(edited, text):
                turn_id = store.add_turn(conversation_id or "", text, parent_id=store.turn(edited).parent_id, model=model)
            case Regenerate(turn_id=answered):
                turn_id = store.add_sibling(answered, model=model)
            case ContinueReply(turn_id):
                store.turn(turn_id)
                last = store.turns_page(conversation_id or "", before=None, limit=1)
                if not last or last[-1].turn_id != turn_id:
                    raise UsageError("Only the last reply can be continued. Regenerate this one, or continue the last one.")
        store.drop_queued(pending.key)
        stopped = pending.work is not None and pending.work.cancelling()
        if stopped or not pending.decided.acquire(blocking=False):
            raise UsageError("The reply was stopped.")  # while the database was in use; the message went back to the box
        return conversation_id or "", store.turn(turn_id)


def validate_message(text: str) -> None:
    """Refuse a message that is empty or cannot be encoded.

    Raises:
        InvalidText: it says which, and where.
    """
    if not text.strip():
        raise InvalidText("The message is empty. Type something first.")
    utf8(text)
