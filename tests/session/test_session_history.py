"""What the engine is given: the turns that count, the pinned ones, the draft; and a title on the side."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.effort import PATIENCE
from support.scripted_engine import ScriptedEngine
from support.sessions import SessionBench, until

from mistral_chat.config import Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import EngineFailed, StoreFull
from mistral_chat.generation import History
from mistral_chat.session.reply import ContinueReply, NewMessage
from mistral_chat.session.session import ChatSession
from mistral_chat.store.store import ConversationStore


async def test_the_engine_gets_the_included_turns(bench: SessionBench, session: ChatSession, engine: ScriptedEngine) -> None:
    one, two, three = [await bench.say(session, text) for text in ("One", "Two", "Three")]
    bench.store.set_turn_flags(one, pinned=True)
    bench.store.set_turn_flags(two, excluded=True)
    engine.at_delta = lambda _: (_ for _ in ()).throw(EngineFailed("no"))
    with pytest.raises(EngineFailed):
        await bench.say(session, "Fails")
    engine.at_delta = lambda _: None
    four = await bench.say(session, "Four")
    history = engine.asked[-1]
    assert [(turn.key, turn.pinned) for turn in history.turns] == [(one, True), (three, False), (four, False)]
    assert history.turns[0].reply == "You said: One"
    assert history.turns[-1].reply == ""
    assert history.system == "Be kind."
    assert history.conversation == session.conversation_id


async def test_an_excluded_turn_is_still_answered_when_it_is_continued(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    turn_id = await bench.say(session, "One")
    bench.store.set_turn_flags(turn_id, excluded=True)
    await bench.send(session, ContinueReply(turn_id))
    assert [turn.key for turn in engine.asked[-1].turns] == [turn_id]


async def test_a_pinned_turn_far_above_is_still_sent(store: ConversationStore) -> None:
    engine = ScriptedEngine(window=256)
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings())
    session = bench.open()
    first = await bench.say(session, "First")
    store.set_turn_flags(first, pinned=True)
    for number in range(40):
        await bench.say(session, f"Number {number}")
    keys = [turn.key for turn in engine.asked[-1].turns]
    assert keys[0] == first
    assert len(keys) <= 256 // 8 + 1, "no more turns are given than any context holds"
    assert keys[1:] == [turn.turn_id for turn in bench.turns(session)][-len(keys) + 1 :]
    store.set_turn_flags(first, excluded=True)
    await bench.say(session, "Last")
    assert first not in [turn.key for turn in engine.asked[-1].turns]
    await bench.close()


async def test_a_turn_that_another_window_excludes_is_left_out_although_something_is_not_saved_yet(
    bench: SessionBench, session: ChatSession
) -> None:
    first, second = [await bench.say(session, text) for text in ("One", "Two")]
    may_succeed = threading.Event()

    def fail(_: ConversationStore) -> None:
        if not may_succeed.is_set():
            raise StoreFull("The disk is full.")

    saving = bench.saver.save(fail)
    bench.store.set_turn_flags(first, excluded=True)
    session.conversation.load()
    assert [turn.turn.excluded for turn in session.turns] == [True, False]
    assert [turn.key for turn in session.conversation.history().turns] == [second]
    may_succeed.set()
    await saving


async def test_a_waiting_message_is_answered_although_another_window_shows_another_branch(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    first, second = [await bench.say(session, text) for text in ("One", "Two")]
    other = bench.open()
    engine.at_delta_waits = 1
    await other.send(NewMessage("Long"))
    await asyncio.to_thread(engine.waiting.wait, PATIENCE)
    engine.at_delta_waits = -1
    await session.send(NewMessage("Three"))
    await until(lambda: session.current is not None and session.current.reply is not None)
    edited = bench.store.add_turn(session.conversation_id or "", "Two, edited", parent_id=first)
    bench.store.finish_reply(edited, "Its reply", finish_reason="stop")
    bench.store.set_turn_flags(edited, pinned=True)
    await other.stop()
    await session.idle()
    assert [turn.key for turn in engine.asked[-1].turns] == [first, second, session.turns[-1].turn_id]
    assert session.turns[-1].turn.reply == "You said: Three"


async def test_a_temporary_chat_has_no_snapshot_name(store: ConversationStore, engine: ScriptedEngine) -> None:
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings(), saved=False)
    await bench.say(bench.open(), "Secret")
    assert [history.conversation for history in engine.asked] == [""]
    await bench.close()


async def test_the_conversation_and_the_draft_are_prefilled(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    turn_id = await bench.say(session, "One")
    await session.context.prefill()
    await bench.settled()
    assert engine.ahead[-1] == History(
        conversation=session.conversation_id or "", system="Be kind.", turns=session.conversation.history().turns
    )
    session.context.prefill_draft("What I ty")
    await bench.settled()
    assert [turn.key for turn in engine.ahead[-1].turns] == [turn_id]
    assert engine.ahead[-1].draft == "What I ty"
    assert bench.host.context is not None
    assert [turn.key for turn in bench.host.context.turns] == [turn_id]
    assert session.context.seen == {turn_id: False}


async def test_generating_a_title_adds_no_turn(bench: SessionBench, session: ChatSession, engine: ScriptedEngine) -> None:
    await bench.say(session, "Hello")
    engine._answer = lambda _: "A greeting"
    assert "A greeting" in await session.titles.suggest()
    assert len(bench.turns(session)) == 1


async def test_a_conversation_that_is_deleted_while_its_title_is_written_is_no_error(
    store: ConversationStore, engine: ScriptedEngine
) -> None:
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings(titles="model"))
    session = bench.open()

    def answer(text: str) -> str:
        if "title" in text:
            store.delete(session.conversation_id or "")
        return "Tea"

    engine._answer = answer
    await bench.say(session, "Hello")
    await bench.settled()
    assert store.summaries() == []
    await bench.close()


async def test_a_first_reply_is_followed_by_a_title(store: ConversationStore, engine: ScriptedEngine) -> None:
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings(titles="model"))
    session = bench.open()
    engine._answer = lambda text: "Tea" if "title" in text else "Yes."
    await bench.say(session, "Hello")
    await bench.settled()
    assert session.conversation_id is not None
    stored = store.conversation(session.conversation_id)
    assert (stored.summary.title, stored.title_by) == ("Tea", "model")
    await bench.close()
