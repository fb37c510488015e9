"""One open conversation: its queue, the reply being generated, and all changes to them.

A question is saved before the engine sees it, a reply is saved about once a second while it grows, and whatever ends it (the
model, the user, an error, a closed window) keeps the text so far.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal

from mistral_chat.conversation import TranscriptTurn
from mistral_chat.errors import MistralChatError, StoreError, UsageError
from mistral_chat.generation import Completion, ContextShift, Delta, Event, Prefill
from mistral_chat.message_form import build_message, split_message
from mistral_chat.session import events
from mistral_chat.session.attachments import Attachment, draft_of
from mistral_chat.session.context import ContextMeter
from mistral_chat.session.conversation import OpenConversation
from mistral_chat.session.draft_attachments import DraftAttachments
from mistral_chat.session.environment import SessionEnvironment
from mistral_chat.session.events import Emit
from mistral_chat.session.grounding import Grounding
from mistral_chat.session.reply import (
    ContinueReply,
    EditMessage,
    GrowingReply,
    NewMessage,
    PendingReply,
    Regenerate,
    ReplyRequest,
    save_question,
    validate_message,
)
from mistral_chat.session.titles import TitleWriter
from mistral_chat.store.store import ConversationStore

_PATIENCE: Final = 2.0
"""Seconds that quitting waits for a reply to end, which a disk that does not answer can hold up."""


class ChatSession:
    """The live object of one conversation. It reports by events, and knows nothing of screens."""

    def __init__(
        self,
        environment: SessionEnvironment,
        *,
        emit: Emit,
        conversation_id: str | None = None,
        sampling_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Open a conversation and read its last turns.

        Args:
            environment: what sessions share.
            emit: takes the events.
            conversation_id: None starts a conversation with the first message.
            sampling_options: sampling fields that apply to this run only, whatever the conversation says.

        Raises:
            ConversationNotFound: no such conversation.
        """
        self.environment = environment
        self._emit = emit
        self.conversation = OpenConversation(environment, conversation_id, sampling_options)
        self.context = ContextMeter(environment, self.conversation, emit)
        self.titles = TitleWriter(environment, self.conversation, emit)
        self.grounding = Grounding(environment, self.conversation, emit)
        self.queue: deque[PendingReply] = deque()
        """Queued messages, in order."""
        self.current: PendingReply | None = None
        """The reply that is pending or being generated."""
        self.editing: str | None = None
        """The turn whose message is being edited; `begin_edit` and `end_edit` set it."""
        self.files = DraftAttachments(environment.host, self.grounding, emit)
        self._shifted = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def conversation_id(self) -> str | None:
        """None until the first message of a new conversation."""
        return self.conversation.id

    @property
    def attachments(self) -> list[Attachment]:
        """The attachments of the draft, or of the message being edited."""
        return self.files.files

    @property
    def turns(self) -> Sequence[TranscriptTurn]:
        """The loaded turns of the current branch, oldest first."""
        return self.conversation.turns

    @property
    def replying(self) -> bool:
        """Whether a reply is pending or being generated."""
        return self.current is not None

    @property
    def has_unsaved(self) -> bool:
        """Whether it has more than its conversation in the store has."""
        return self.conversation_id is None or bool(self.attachments or self.grounding.chosen)

    @property
    def growing(self) -> TranscriptTurn | None:
        """The turn whose reply is pending or being generated, with the text so far; None without one."""
        reply = self.current.reply if self.current is not None else None
        return replace(reply.turn, turn=replace(reply.turn.turn, reply=reply.text)) if reply is not None else None

    async def reload(self) -> None:
        """Load the turns again, and report them.

        Raises:
            ConversationNotFound: the conversation was deleted.
        """
        self.conversation.load()
        await self._emit(events.TurnsReplaced())

    # Sending.

    async def send(self, request: ReplyRequest) -> PendingReply:
        """Queue a request, to be answered in turn. A new message takes the draft's attachments.

        Raises:
            InvalidText: the message is empty or cannot be encoded.
            UsageError: the edit was left meanwhile.
            MistralChatError: no model is available, or an edit is too long.
        """
        pending, editing = PendingReply(request), self.editing
        if isinstance(request, NewMessage | EditMessage):
            if request.text or all(file.collection for file in self.attachments):
                validate_message(request.text)
            pending.draft = request.text
            pending.attachments = tuple(self.attachments)
            pending.request = replace(request, text=self.with_attachments(request.text))
        if isinstance(request, EditMessage):
            await self.context.check_length(pending.request)  # now: what is too long is still an edit
        if self.editing != editing:
            raise UsageError("Not sent, because the edit was cancelled meanwhile.")
        if (error := self.environment.host.error) is not None:
            raise error
        if self.queue or self.replying or self.environment.host.engine is None:
            self._save_queued(pending)
        self.queue.append(pending)
        self._idle.clear()
        if isinstance(request, EditMessage):
            await self.end_edit()
        elif isinstance(request, NewMessage):
            await self.files.replace([])
        await self.advance()
        return pending

    async def advance(self) -> None:
        """Answer the next queued request, if the engine is available and idle."""
        host = self.environment.host
        if self.current is None and self.queue and host.engine is not None and host.error is None:
            self.context.cancel_prefill()
            self.titles.cancel()
            self.current = pending = self.queue.popleft()
            pending.work = asyncio.create_task(self._generate(pending))
            pending.task = self.environment.spawn(self._answer(pending, pending.work))
        if self.current is None and not self.queue:
            self._idle.set()
        await self._emit(events.QueueChanged())

    async def stop(self) -> None:
        """Stop the reply; queued messages return to the message box."""
        await self.return_queued()
        current, engine = self.current, self.environment.host.engine
        if current is not None and current.generating and engine is not None:
            engine.stop()
        elif current is not None:
            current.cancel()

    async def end(self) -> None:
        """Stop, and wait until everything has stopped."""
        await self.stop()
        await self.idle()

    async def cancel(self) -> None:
        """End immediately, when the program quits: what was written is saved, and messages that are not saved return."""
        await self.return_queued()
        self.context.cancel_prefill()
        self.titles.cancel()
        if self.current is not None and self.current.task is not None:
            self.current.cancel()
            await asyncio.wait({self.current.task}, timeout=_PATIENCE)

    async def idle(self) -> None:
        """Wait until nothing is queued or answered."""
        await self._idle.wait()

    async def return_queued(self) -> None:
        """Return queued messages and their attachments to the message box."""
        if not self.queue:
            return
        queued = list(self.queue)
        self.queue.clear()
        if self.current is None:
            self._idle.set()
        await asyncio.shield(self.environment.spawn(self._give_back(*queued)))  # the loading that failed may be cancelled

    # Branches and turns.

    async def switch_branch(
        self, turn_id: str, step: int, among: Literal["all", "messages", "replies"] = "all"
    ) -> TranscriptTurn:
        """Move `step` versions forward at a turn; return the turn that is shown instead.

        Args:
            turn_id: the turn.
            step: how many versions; after the last one comes the first.
            among: all versions, message by message; the messages, each with its last reply; or the replies to this message.
        """
        store = self.environment.store
        found = [store.turn(sibling) for sibling in store.siblings(turn_id)]
        versions = sorted(found, key=lambda version: (version.message, version.reply))
        now = next(version for version in versions if version.turn_id == turn_id)
        if among == "messages":
            versions = [now if version.message == now.message else version for version in versions]
            versions = list({version.message: version for version in versions}.values())
        elif among == "replies":
            versions = [version for version in versions if version.message == now.message]
        wanted = versions[(versions.index(now) + step) % len(versions)]
        await self.environment.saver.write(lambda store: store.switch_branch(wanted.turn_id))
        await self.reload()
        await self.context.prefill()
        return wanted

    async def set_flags(
        self, turn: TranscriptTurn, name: str, *, pinned: bool | None = None, excluded: bool | None = None
    ) -> None:
        """Pin a turn in the context or exclude it; None leaves a flag unchanged. `name` describes the action for undo."""
        await self._set_flags(turn.turn_id, pinned, excluded)
        before = turn.turn
        self.environment.undo.append((name, lambda: self._set_flags(turn.turn_id, before.pinned, before.excluded)))

    async def fork(self, turn_id: str) -> str:
        """Copy the conversation up to a turn into a new one, and return its id."""
        forked = await self.environment.saver.write(lambda store: store.fork(turn_id))
        await self._emit(events.ConversationsChanged())
        return forked

    # Editing.

    def begin_edit(self, turn: TranscriptTurn) -> str:
        """Edit the message of a turn: its files are the attachments meanwhile. Return the text to edit."""
        files, text = split_message(turn.turn.user)
        self.editing = turn.turn_id
        self.files.take_back()  # those of a recalled message are not the draft's
        self.files.put_aside(files)
        return text

    async def end_edit(self) -> None:
        """Edit no message; the draft has its own attachments again."""
        self.editing = None
        if self.files.take_back(added=False):
            await self.files.changed()

    def keep_recalled(self) -> None:
        """Make the files of a recalled message files of the draft: it is not sent."""
        if self.editing is None:
            self.files.keep()

    def with_attachments(self, message: str) -> str:
        """The text to send for `message`."""
        files = [(file.name, file.text) for file in self.attachments if not file.collection]
        return build_message(files, "", message) if files else message

    # Answering.

    async def _answer(self, pending: PendingReply, work: asyncio.Task[None]) -> None:
        """Wait for the work on one request, end it, and let the next one start. What stops the reply cancels only the work."""
        try:
            await work
        except MistralChatError as error:
            await self._failed(pending, error)
        except BaseException:
            await (self._give_back(pending) if pending.reply is None else self._finished(pending.reply, None))
            raise
        finally:
            self.current = None
            await self.context.refresh()
            await self._emit(events.ConversationsChanged())
            await self.advance()
        ended = pending.reply.turn.turn if pending.reply is not None else None
        if ended is not None and ended.finish_reason is not None:
            with suppress(StoreError):  # the reply is there; that it is not saved yet is reported by the saver
                self.grounding.note(ended.usage)
                if ended.finish_reason != "cancelled" and not self.queue:
                    self.titles.begin()

    async def _generate(self, pending: PendingReply) -> None:
        """Answer one request. Cancelling stops the engine."""
        host = self.environment.host
        await self.context.check_length(pending.request)
        reply = await self._begin(pending)
        if host.busy:
            await self._emit(events.PrefillProgress(0, 0))
        async with host.turn() as engine:
            history = self.conversation.history(reply.turn.turn_id)
            pending.generating = True
            try:
                async with aclosing(engine.reply(history, self.conversation.resolve().sampling)) as generated:
                    async for event in generated:
                        await self._take(pending, reply, event)
            finally:
                pending.generating = False

    async def _begin(self, pending: PendingReply) -> GrowingReply:
        """Save the question, report the turn with its pending reply, and give it passages."""
        environment, request, before = self.environment, pending.request, self.conversation.turns[-1:]
        work = partial(
            save_question,
            conversation_id=self.conversation_id,
            pending=pending,
            new=self.conversation.resolve(),
            model=self._model,
        )
        saving = environment.saver.write(work)
        try:
            conversation_id, turn = await asyncio.shield(saving)
        except asyncio.CancelledError:
            if pending.decided.acquire(blocking=False):
                saving.cancel()
                raise
            conversation_id, turn = await saving
        if self.conversation_id is None:
            self.conversation.id = conversation_id
            for waiting in self.queue:
                self._save_queued(waiting)
        reply = pending.reply = GrowingReply(environment.saver, turn, environment.clock)
        if isinstance(request, Regenerate | EditMessage):
            name = "regenerate" if isinstance(request, Regenerate) else "edit"
            environment.undo.append((name, partial(environment.return_to, conversation_id, request.turn_id)))
        if (before[0].turn_id if before else None) == turn.parent_id:
            self.conversation.turns.append(turn)
            await self._emit(events.ReplyStarted(turn))
        else:
            await self.reload()
        await self._emit(events.ConversationsChanged())
        if pending.work is not None and pending.work.cancelling():
            raise asyncio.CancelledError  # while the question was being committed
        if not isinstance(request, ContinueReply):
            reply.turn = await self.grounding.give(turn, recall=not isinstance(request, Regenerate) or request.recall)
        return reply

    async def _take(self, pending: PendingReply, reply: GrowingReply, event: Event) -> None:
        """Apply and report an event of the engine."""
        match event:
            case Delta(text=text):
                reply.grow(text)
                await self._emit(events.TextAdded(reply.turn.turn_id, text))
            case Prefill(done=done, total=total, kept=kept):
                pending.prefill = (done, total)
                pending.used = kept + total - reply.pieces  # in mid-reply, those are in the prompt
                await self._emit(events.PrefillProgress(done, total))
            case ContextShift(turns=gone, tokens=tokens):
                self.context.shifted(gone)
                pending.used = max(0, pending.used - tokens)
                first, self._shifted = not self._shifted, True
                await self._emit(events.ContextShifted(gone, tokens, first))
            case Completion():
                await self._finished(reply, event)

    async def _finished(self, reply: GrowingReply, completion: Completion | None) -> None:
        if reply.finished:
            return
        reason = completion.finish_reason if completion is not None else "cancelled"
        if reason == "cancelled" and reply.text and not reply.pieces:
            reply.finished = True  # it had ended before, and was not continued
        reply.finish(reason, model=self._model, usage=completion.usage if completion is not None else None)
        self.conversation.replace(reply.turn)
        await self._emit(events.ReplyFinished(reply.turn, completion))

    async def _failed(self, pending: PendingReply, error: MistralChatError) -> None:
        reply = pending.reply
        if reply is None:
            await self._give_back(pending)
        else:
            reply.finish(None, model=self._model, error=str(error))
            self.conversation.replace(reply.turn)
        await self._emit(events.ReplyFailed(error, reply.turn if reply is not None else None))

    async def _give_back(self, *unsent: PendingReply) -> None:
        """Return messages and their attachments to the message box."""
        for pending in unsent:
            self.files.give(pending.attachments)
        if drafts := [pending.draft for pending in unsent if pending.draft]:
            await self._emit(events.DraftReturned("\n\n".join(drafts)))
        for key in [pending.key for pending in unsent if pending.key]:
            self.environment.saver.save(partial(ConversationStore.drop_queued, key=key), key=("queued", key))
        await self._emit(events.AttachmentsChanged())
        await self._emit(events.QueueChanged())

    def _save_queued(self, pending: PendingReply) -> None:
        """Save a message that has to wait, as a draft is saved."""
        conversation_id, text = self.conversation_id or "", draft_of(pending.attachments, pending.draft)
        if text:
            key = pending.key = pending.key or secrets.token_hex(8)
            self.environment.saver.save(lambda store: store.save_queued(key, conversation_id, text), key=("queued", key))

    async def _set_flags(self, turn_id: str, pinned: bool | None, excluded: bool | None) -> None:  # noqa: FBT001 (the flags)
        await self.environment.saver.write(lambda store: store.set_turn_flags(turn_id, pinned=pinned, excluded=excluded))
        turn = self.environment.store.turn(turn_id)
        self.conversation.replace(turn)
        reply = self.current.reply if self.current is not None else None
        if reply is not None and reply.turn.turn_id == turn_id:
            reply.turn = turn
        await self._emit(events.TurnChanged(turn))
        await self.context.prefill()

    @property
    def _model(self) -> str:
        loaded = self.environment.host.loaded
        return loaded.model if loaded is not None else ""
