"""An open store with the sessions of its conversations, and operations on whole conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from mistral_chat.config import Settings
from mistral_chat.errors import ConversationNotFound, DocumentNotFound, MistralChatError, StoreError, UsageError
from mistral_chat.session.environment import SessionEnvironment
from mistral_chat.session.events import ConversationsChanged, SavingEvent, SessionEvent
from mistral_chat.session.model_host import ModelHost, Spawn
from mistral_chat.session.overrides import Overrides
from mistral_chat.session.retriever import Retriever
from mistral_chat.session.saver import Saver
from mistral_chat.session.session import ChatSession
from mistral_chat.session.tasks import TaskRegistry
from mistral_chat.store.records import StoredConversation
from mistral_chat.store.store import ConversationStore

READ_SECONDS: Final = 0.05
"""How long the event loop may wait because another program has the whole database to itself."""

_IDLE_SESSIONS: Final = 32
"""Sessions that stay open although everything of them is saved, so that undo shows what it changes."""


class Workspace:
    """The conversations of one store. A temporary chat is a second workspace, over a store in memory.

    Sessions stay open, so that several conversations can wait for replies, and none loses what is not saved with it.
    """

    def __init__(
        self,
        store: ConversationStore,
        host: ModelHost,
        *,
        settings: Callable[[], Settings],
        spawn: Spawn,
        emit: Callable[[ChatSession, SessionEvent], Awaitable[None]],
        report: Callable[[SavingEvent], object],
        on_unexpected_error: Callable[[BaseException], object],
        started: Overrides | None = None,
        saved: bool = True,
        tasks: TaskRegistry | None = None,
        show: Callable[[str], Awaitable[None]] | None = None,
        retriever: Retriever | None = None,
    ) -> None:
        """Open a new conversation in `store`.

        Args:
            store: the conversations; closed with the workspace.
            host: the model, which other workspaces may share.
            settings: returns the settings in force.
            spawn: runs a coroutine as a task.
            emit: takes the events of every session.
            report: takes a lasting problem with saving, and its end.
            on_unexpected_error: takes errors that were not foreseen.
            started: what the command line chose for new conversations.
            saved: whether anything is kept.
            tasks: the background tasks.
            show: opens a conversation on the screen, for undo.
            retriever: finds what messages are given; other workspaces may share it.
        """
        self._emit, self._show, self._changing = emit, show, asyncio.Lock()
        store.database.read_without_waiting(READ_SECONDS)  # reads are done on the event loop
        self.environment = SessionEnvironment(
            store=store,
            saver=Saver(store, report=report, on_unexpected_error=on_unexpected_error),
            host=host,
            settings=settings,
            spawn=spawn,
            started=started or Overrides(),
            saved=saved,
            tasks=tasks or TaskRegistry(lambda _: None),
            return_to=self.return_to,
            retriever=retriever,
        )
        self.sessions: list[ChatSession] = []
        """The open sessions; the one that was on the screen last comes last."""
        self.current = self.open(None)
        """The session on the screen."""

    @property
    def store(self) -> ConversationStore:
        """The conversations, for reading; `saver` writes."""
        return self.environment.store

    @property
    def saver(self) -> Saver:
        """Saves everything."""
        return self.environment.saver

    @property
    def replying(self) -> list[ChatSession]:
        """The sessions with a reply pending."""
        return [session for session in self.sessions if session.replying or session.queue]

    def open(self, conversation_id: str | None) -> ChatSession:
        """Make a conversation the current session; None is a new one, or the one that was not sent yet.

        Raises:
            ConversationNotFound: no such conversation.
        """
        replying = self.replying
        found = [each for each in self.sessions if each.conversation_id == conversation_id]
        if conversation_id is None:
            found = [each for each in found if each not in replying]
        session = found[-1] if found else self._new_session(conversation_id)
        if found and session not in replying:
            session.conversation.load()
        for each in self.sessions:
            each.context.leave()
            each.editing = None
            each.files.take_back()
        if conversation_id is None:  # all new conversations have one draft
            for each in self.sessions:
                if each is not session and each.conversation_id is None:
                    session.files.give(each.files.give_away())
        session.context.enter()
        idle = [each for each in self.sessions if each not in replying and not each.has_unsaved]
        self.sessions = [each for each in self.sessions if each is not session and each not in idle[:-_IDLE_SESSIONS]]
        self.sessions.append(session)
        self.current = session
        return session

    def find(self, conversation_id: str) -> ChatSession | None:
        """The open session of a conversation; None if there is none."""
        return next((session for session in self.sessions if session.conversation_id == conversation_id), None)

    async def model_changed(self) -> None:
        """Send requests that wait for a model; if there is none, return them."""
        for session in list(self.sessions):
            if self.environment.host.error is not None:
                await session.return_queued()
            elif session.queue:
                await session.advance()

    async def end_replies(self) -> None:
        """Stop every reply, and wait until it has stopped."""
        await asyncio.gather(*(session.end() for session in self.replying))

    async def close(self, patience: float = 0.0) -> None:
        """Stop everything and close the store, after saving what can be saved within `patience` seconds."""
        await asyncio.gather(*(session.cancel() for session in self.sessions))
        if patience:
            with suppress(MistralChatError):
                await self.saver.flush(patience)
        await self.saver.close()
        self.store.close()

    # Whole conversations. Every change can be undone. Undo waits for a change in progress: both hold `_changing`.

    async def rename(self, conversation_id: str, title: str) -> None:
        """Rename a conversation."""
        async with self._changing:
            before = self.store.conversation(conversation_id)
            await self._change(lambda store: store.rename(conversation_id, title, by="person"))
            self._push("rename", lambda store: _restore_title(store, before))

    async def pin(self, conversation_id: str, pinned: bool) -> None:  # noqa: FBT001 (the one thing it says)
        """Pin a conversation to the top of the list, or unpin it."""
        async with self._changing:
            await self._change(lambda store: store.pin(conversation_id, pinned))
            self._push("pin" if pinned else "unpin", lambda store: store.pin(conversation_id, not pinned))

    async def archive(self, conversation_id: str, archived: bool) -> None:  # noqa: FBT001 (the one thing it says)
        """Archive a conversation, or unarchive it."""
        async with self._changing:
            await self._change(lambda store: store.archive(conversation_id, archived))
            self._push("archive" if archived else "unarchive", lambda store: store.archive(conversation_id, not archived))

    async def tag(self, conversation_id: str, words: str) -> tuple[str, ...]:
        """Add tags, or remove those with a leading minus. Returns the tags of the conversation."""
        names = [word.lstrip("#") for word in words.split()]

        def work(store: ConversationStore) -> None:
            store.tag(conversation_id, *(name for name in names if not name.startswith("-")))
            store.untag(conversation_id, *(name.lstrip("-#") for name in names if name.startswith("-")))

        async with self._changing:
            before = self.store.conversation(conversation_id).summary.tags
            await self._change(work)
            after = self.store.conversation(conversation_id).summary.tags
            if after != before:
                self._push("tag", lambda store: _restore_tags(store, conversation_id, before))
        return after

    async def delete(self, conversation_id: str) -> None:
        """Move a conversation to the trash."""

        async def restore() -> None:
            await self._change(lambda store: store.restore(conversation_id))
            if self._show is not None:
                await self._show(conversation_id)

        async with self._changing:
            session = self.find(conversation_id)
            if session is not None:
                await session.end()
            if self.store.conversation(conversation_id).summary.trashed is None:
                await self._change(lambda store: store.trash(conversation_id))
                self.environment.undo.append(("delete", restore))

    async def delete_permanently(self, conversation_id: str | None, *, forget: Callable[[list[str]], object]) -> bool:
        """Delete a conversation, or all in the trash when that is None; return whether no trace is left.

        First `forget` deletes what is kept of them outside the database, and at last what was written there in between. The
        model's cache loses them once it is free.

        Raises:
            StoreError: it could not be deleted. It is not tried again.
        """
        gone = [conversation_id] if conversation_id is not None else []

        def work(store: ConversationStore) -> bool:
            if conversation_id is not None:
                forget(gone)
                traceless = store.delete(conversation_id)
            else:
                gone.extend(store.empty_trash(forget=forget))
                traceless = store.purge()
            forget(gone)
            return traceless

        traceless = await self.saver.write(work)
        kept = [self.current, *self.replying]
        self.sessions = [each for each in self.sessions if each in kept or each.conversation_id not in gone]
        self.environment.spawn(self.discard(gone))
        return traceless

    async def undo(self) -> str:
        """Undo the last action, and return its name; empty if there is none.

        Raises:
            UsageError: what it changed is gone, or nothing can be saved now.
        """
        if self._changing.locked() and (problem := self.saver.problem) is not None:
            raise UsageError(f"Cannot undo: {problem.error}")
        async with self._changing:
            if not self.environment.undo:
                return ""
            name, undo = self.environment.undo.pop()
            try:
                await undo()
            except StoreError as error:
                if not isinstance(error, ConversationNotFound | DocumentNotFound):
                    self.environment.undo.append((name, undo))  # it can be tried again
                raise UsageError(f"Cannot undo “{name}”: {error}") from error
            await self._changed()
            return name

    async def return_to(self, conversation_id: str, turn_id: str) -> None:
        """Show a conversation on the branch of a turn."""
        session = self.find(conversation_id)
        if session is not None:
            await session.end()
        await self.saver.write(lambda store: store.switch_branch(turn_id))
        if session is not None:
            await session.reload()
            await session.context.prefill()
        if session is not self.current and self._show is not None:
            await self._show(conversation_id)

    async def discard(self, conversation_ids: list[str]) -> None:
        """Remove permanently deleted conversations from the model's cache."""
        engine = self.environment.host.engine
        for conversation_id in conversation_ids:
            if engine is not None:
                with suppress(MistralChatError):  # a failed engine has no cache
                    await engine.discard_conversation(conversation_id)

    def _new_session(self, conversation_id: str | None) -> ChatSession:
        session: ChatSession
        session = ChatSession(self.environment, emit=lambda event: self._emit(session, event), conversation_id=conversation_id)
        return session

    async def _change(self, work: Callable[[ConversationStore], object]) -> None:
        await self.saver.save(work)
        await self._changed()

    async def _changed(self) -> None:
        await self._emit(self.current, ConversationsChanged())

    def _push(self, name: str, work: Callable[[ConversationStore], object]) -> None:
        self.environment.undo.append((name, lambda: self.saver.save(work)))


def _restore_title(store: ConversationStore, before: StoredConversation) -> None:
    """Restore a title and its source."""
    summary = before.summary
    store.rename(summary.conversation_id, summary.title if before.title_by == "person" else "", by="person")
    if before.title_by == "model":
        store.rename(summary.conversation_id, summary.title, by="model")


def _restore_tags(store: ConversationStore, conversation_id: str, tags: tuple[str, ...]) -> None:
    """Set a conversation's tags to exactly `tags`."""
    store.untag(conversation_id, *store.conversation(conversation_id).summary.tags)
    store.tag(conversation_id, *tags)
