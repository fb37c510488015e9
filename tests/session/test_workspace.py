"""Several conversations of one store: which sessions are open, and undo."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.scripted_engine import ScriptedEngine
from support.sessions import SessionBench

from mistral_chat.config import Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import UsageError
from mistral_chat.session.events import SessionEvent
from mistral_chat.session.reply import NewMessage
from mistral_chat.session.session import ChatSession
from mistral_chat.session.workspace import Workspace
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore


@pytest.fixture
def store(tmp_path: Path) -> ConversationStore:
    """In a file, and closed with the workspace; a write waits hardly at all for another."""
    return ConversationStore(open_database(tmp_path / "chats.db", busy_seconds=0.01), now=lambda: datetime.now(UTC))


@pytest.fixture
async def workspace(store: ConversationStore, engine: ScriptedEngine) -> AsyncIterator[Workspace]:
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings())

    async def emit(_session: ChatSession, event: SessionEvent) -> None:
        bench.events.append(event)

    await bench.host.load()
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
    await bench.close()
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
