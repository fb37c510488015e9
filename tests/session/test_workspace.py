"""Several conversations of one store: which sessions are open, and undo."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.effort import PATIENCE
from support.scripted_engine import ScriptedEngine
from support.sessions import SessionBench, until

from mistral_chat.config import Settings
from mistral_chat.errors import UsageError
from mistral_chat.session.events import SessionEvent
from mistral_chat.session.overrides import Overrides
from mistral_chat.session.reply import ContinueReply, NewMessage
from mistral_chat.session.session import ChatSession
from mistral_chat.session.workspace import Workspace
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore


@pytest.fixture
def store(tmp_path: Path) -> ConversationStore:
    """In a file, and closed with the workspace; a write waits hardly at all for another."""
    return ConversationStore(open_database(tmp_path / "chats.db", busy_seconds=0.01), now=lambda: datetime.now(UTC))


@pytest.fixture
async def workspace(bench: SessionBench, store: ConversationStore) -> AsyncIterator[Workspace]:
    async def emit(_session: ChatSession, event: SessionEvent) -> None:
        bench.events.append(event)

    opened = Workspace(
        store,
        bench.host,
        settings=Settings,
        spawn=bench.spawn,
        emit=emit,
        report=bench.saving.append,
        on_unexpected_error=bench.unexpected.append,
    )
    yield opened
    await opened.close()


async def say(workspace: Workspace, text: str) -> ChatSession:
    """Send a message in the current session, and wait for the reply."""
    await workspace.current.send(NewMessage(text))
    await workspace.current.idle()
    await workspace.saver.flush()
    return workspace.current


async def test_undo_can_be_tried_again_once_the_database_is_free(workspace: Workspace, store: ConversationStore) -> None:
    session = await say(workspace, "Hello")
    await session.set_flags(session.turns[0], "pin", pinned=True)
    other = store.database.new_connection()
    with other.write(), pytest.raises(UsageError, match="Cannot undo"):
        await workspace.undo()
    other.close()
    assert await workspace.undo() == "pin"
    assert not store.turn(session.turns[0].turn_id).turn.pinned


async def test_undo_waits_for_a_deletion_that_ends_a_reply_first(
    workspace: Workspace, store: ConversationStore, engine: ScriptedEngine
) -> None:
    session = await say(workspace, "Hello")
    conversation = session.conversation_id or ""
    await workspace.rename(conversation, "Mine")
    engine.at_delta_waits = 1
    await session.send(NewMessage("And now?"))
    await until(engine.waiting.is_set)
    *_, undone = await asyncio.gather(workspace.delete(conversation), workspace.delete(conversation), workspace.undo())
    assert undone == "delete"
    summary = store.conversation(conversation).summary
    assert (summary.title, summary.trashed) == ("Mine", None)
    assert await workspace.undo() == "rename", "it was deleted once"


async def test_undo_of_changes_that_waited_for_each_other_restores_what_each_one_changed(
    workspace: Workspace, store: ConversationStore
) -> None:
    conversation = (await say(workspace, "Hello")).conversation_id or ""
    await asyncio.gather(
        workspace.rename(conversation, "One"),
        workspace.rename(conversation, "Two"),
        workspace.tag(conversation, "a"),
        workspace.tag(conversation, "b"),
    )
    left = []
    for _ in range(4):
        await workspace.undo()
        summary = store.conversation(conversation).summary
        left.append((summary.title, summary.tags))
    assert left == [("Two", ("a",)), ("Two", ()), ("One", ()), ("Hello", ())]


async def test_undo_says_that_it_cannot_while_a_change_cannot_be_saved(workspace: Workspace, store: ConversationStore) -> None:
    conversation = (await say(workspace, "Hello")).conversation_id or ""
    await workspace.rename(conversation, "Mine")
    other = store.database.new_connection()
    with other.write():
        pinning = asyncio.create_task(workspace.pin(conversation, pinned=True))
        await until(lambda: workspace.saver.problem)
        for _ in range(2):
            with pytest.raises(UsageError, match="Cannot undo"):
                await asyncio.wait_for(workspace.undo(), PATIENCE)
    other.close()
    await pinning
    summary = store.conversation(conversation).summary
    assert (summary.title, summary.pinned) == ("Mine", True), "nothing is undone later"
    assert await workspace.undo() == "pin"


async def test_a_conversation_that_was_not_sent_keeps_what_was_chosen_for_it(workspace: Workspace) -> None:
    other = (await say(workspace, "Hello")).conversation_id
    new = workspace.open(None)
    await new.conversation.apply(Overrides(system="Be brief."))
    await new.grounding.attach("home")
    await new.grounding.set_recall(recall=False)
    workspace.open(other)
    assert workspace.current.grounding.collections == []
    again = workspace.open(None)
    assert again.conversation.resolve().system == "Be brief."
    assert again.grounding.collections == ["home"]
    assert not again.grounding.recalls
    assert workspace.open(other).conversation.resolve().system == ""


async def test_undo_shows_what_it_changes_in_a_conversation_that_was_left(
    workspace: Workspace, bench: SessionBench, engine: ScriptedEngine
) -> None:
    first = (await say(workspace, "Hello")).conversation_id
    workspace.open(None)
    other = (await say(workspace, "Good morning")).conversation_id
    session = workspace.open(first)
    for _ in range(2):
        await session.set_flags(session.turns[0], "pin", pinned=True)
    workspace.open(other)
    await bench.settled()
    prefilled = len(engine.ahead)
    await workspace.undo()
    await bench.settled()
    assert len(engine.ahead) == prefilled, "a conversation is prefilled that is not on the screen"
    workspace.open(first)
    await workspace.undo()
    assert not workspace.current.turns[0].turn.pinned


async def test_opening_a_conversation_again_ends_its_edit(workspace: Workspace, engine: ScriptedEngine) -> None:
    session = await say(workspace, "Hello")
    engine.at_delta_waits = 1
    await session.send(NewMessage("And now?"))
    await until(engine.waiting.is_set)
    session.begin_edit(session.turns[0])
    assert workspace.open(session.conversation_id) is session
    assert session.editing is None
    await session.end()


async def test_only_some_sessions_of_which_everything_is_saved_stay_open(workspace: Workspace, store: ConversationStore) -> None:
    new = workspace.current
    for _ in range(40):
        workspace.open(store.create())
    assert len(workspace.sessions) <= 35
    assert workspace.open(None) is new


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_reply_that_is_not_saved_yet_stays_when_its_conversation_is_opened_again(
    workspace: Workspace, tmp_path: Path, engine: ScriptedEngine, *, goes_on: bool
) -> None:
    session = await say(workspace, "Hello")
    first = session.conversation_id
    with closing(sqlite3.connect(tmp_path / "chats.db", isolation_level=None, check_same_thread=False)) as other:

        def lock() -> None:
            other.execute("BEGIN IMMEDIATE")

        engine.at_start = lock
        await session.send(ContinueReply(session.turns[0].turn_id) if goes_on else NewMessage("And now?"))
        await session.idle()
        replies = [turn.turn.reply for turn in session.turns]
        assert "".join(replies) != "You said: Hello"
        workspace.open(None)
        assert [turn.turn.reply for turn in workspace.open(first).turns] == replies


async def test_a_conversation_that_is_deleted_permanently_leaves_the_models_cache(
    workspace: Workspace, bench: SessionBench
) -> None:
    gone = (await say(workspace, "Hello")).conversation_id
    assert bench.host.context is not None
    assert bench.host.context.turns
    workspace.open(None)
    forgotten: list[str] = []
    await workspace.delete_permanently(gone, forget=forgotten.extend)
    await bench.settled()
    assert forgotten == [gone, gone], "what was written while it was being deleted is forgotten too"
    assert gone not in [each.conversation_id for each in workspace.sessions]
    assert not bench.host.context.turns
