"""What cannot be answered is refused at once and not saved."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.effort import PATIENCE
from support.scripted_engine import ScriptedEngine
from support.sessions import SessionBench

from mistral_chat.config import Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import ConversationNotFound, EngineFailed, InvalidText, MessageTooLong, StoreFull, UsageError
from mistral_chat.session.attachments import Attachment
from mistral_chat.session.events import AttachmentsChanged, DraftReturned, QueueChanged, SessionEvent
from mistral_chat.session.reply import ContinueReply, EditMessage, NewMessage
from mistral_chat.session.session import ChatSession
from mistral_chat.store.store import ConversationStore


@pytest.mark.parametrize("text", ["", " \n\t", "half a character \ud83d"])
async def test_an_empty_or_broken_message_is_refused(bench: SessionBench, session: ChatSession, text: str) -> None:
    with pytest.raises(InvalidText):
        await bench.say(session, text)
    assert session.conversation_id is None
    assert bench.store.summaries() == []


async def test_a_message_larger_than_the_context_is_refused(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    await bench.host.ready()
    file = Attachment("notes.txt", "word")
    await session.files.add(file)
    with pytest.raises(MessageTooLong) as caught:
        await bench.say(session, "word " * 5000)
    assert caught.value.window == 4096
    (returned,) = [event.text for event in bench.events if isinstance(event, DraftReturned)]
    assert returned == "word " * 5000, "the message is given back"
    assert session.attachments == [file], "and its attachment"
    assert bench.store.summaries() == []
    assert engine.asked == []
    session.attachments.clear()
    turn_id = await bench.say(session, "Hello")
    with pytest.raises(MessageTooLong):
        await bench.send(session, EditMessage(turn_id, "word " * 5000))
    assert [turn.turn.user for turn in bench.turns(session)] == ["Hello"]


async def test_a_message_returns_when_the_model_fails_while_it_is_sent(store: ConversationStore) -> None:
    may_fail = threading.Event()

    def load(_: object) -> ScriptedEngine:
        assert may_fail.wait(PATIENCE)
        raise EngineFailed("The file is damaged.")

    bench = SessionBench(store, lambda _: EngineThread(load), Settings())
    session, file, loading = bench.open(), Attachment("notes.txt", "word", tokens=1), bench.host.load()
    await session.files.add(file)

    async def fail(event: SessionEvent) -> None:
        if isinstance(event, AttachmentsChanged) and not may_fail.is_set():
            may_fail.set()
            await loading
            await session.return_queued()

    bench.heard = fail
    await session.send(NewMessage("Hello"))
    async with asyncio.timeout(PATIENCE):
        await session.idle()
    assert DraftReturned("Hello") in bench.events
    assert session.attachments == [file]
    await bench.close()


async def test_an_edit_that_is_cancelled_while_it_is_counted_is_not_sent(bench: SessionBench, session: ChatSession) -> None:
    turn_id = await bench.say(session, "Hello")
    session.begin_edit(session.turns[0])
    sending = asyncio.create_task(session.send(EditMessage(turn_id, "Hello again")))
    await asyncio.sleep(0)
    await session.end_edit()
    with pytest.raises(UsageError):
        await sending
    assert [turn.turn.user for turn in bench.turns(session)] == ["Hello"]


async def test_messages_return_although_another_model_is_chosen_meanwhile(bench: SessionBench, session: ChatSession) -> None:
    await bench.host.close()
    await session.send(NewMessage("Hello"))
    returning, may_go_on = asyncio.Event(), asyncio.Event()

    async def wait(event: SessionEvent) -> None:
        if not returning.is_set():
            returning.set()
            await may_go_on.wait()

    bench.heard = wait
    telling = bench.spawn(session.return_queued())
    await returning.wait()
    telling.cancel()
    may_go_on.set()
    await bench.settled()
    assert DraftReturned("Hello") in bench.events
    assert isinstance(bench.events[-1], QueueChanged)
    await bench.saver.flush()
    with bench.store.database.read() as connection:
        assert not connection.execute("SELECT * FROM queued_messages").fetchall(), "it would return again after a restart"


async def test_a_message_that_fits_only_without_the_system_prompt_is_not_saved(
    store: ConversationStore, engine: ScriptedEngine
) -> None:
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings(system="rule " * 2000))
    await bench.host.load()
    with pytest.raises(MessageTooLong) as caught:
        await bench.say(bench.open(), "word " * 3000)
    assert (caught.value.tokens, caught.value.available) == (3000, 4096 - 64 - 2000)
    assert store.summaries() == []
    await bench.close()


async def test_a_message_that_fits_only_without_the_pinned_turns_is_not_saved(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    engine._answer = lambda _: "Yes."
    first = await bench.say(session, "word " * 1500)
    second = await bench.say(session, "word " * 1500)
    bench.store.set_turn_flags(second, pinned=True)
    with pytest.raises(MessageTooLong):
        await bench.say(session, "word " * 2600)
    assert len(bench.turns(session)) == 2
    await bench.send(session, EditMessage(first, "word " * 2600))
    assert bench.last(session).reply == "Yes.", "what comes after an edited message takes no room beside it"


async def test_a_reply_that_fills_the_context_is_not_continued_and_stays_as_it_ended(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    engine._answer = lambda _: "word " * 5000
    turn_id = await bench.say(session, "Tell me everything")
    written = bench.last(session)
    assert written.finish_reason == "length"
    with pytest.raises(MessageTooLong, match=r"^The message and its reply take") as caught:
        await bench.send(session, ContinueReply(turn_id))
    assert "Shorten" not in str(caught.value)
    assert bench.last(session) == written
    assert len(engine.asked) == 1


async def test_only_the_last_reply_can_be_continued(bench: SessionBench, session: ChatSession) -> None:
    with pytest.raises(ConversationNotFound):
        await bench.send(session, ContinueReply("none"))
    first = await bench.say(session, "One")
    await bench.say(session, "Two")
    with pytest.raises(UsageError):
        await bench.send(session, ContinueReply(first))


async def test_an_unknown_conversation_is_refused_at_once(bench: SessionBench) -> None:
    with pytest.raises(ConversationNotFound):
        bench.open("none")


async def test_a_first_message_that_does_not_fit_on_the_disk_leaves_no_empty_conversation(
    bench: SessionBench, session: ChatSession
) -> None:
    with bench.store.database.autocommit() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 8}")
    with pytest.raises(StoreFull):
        await bench.say(session, "b" * 100_000)
    assert bench.store.summaries() == []
    await bench.say(session, "Hello")
    assert len(bench.store.summaries()) == 1
