"""The question is on the disk first, and whatever ends a reply leaves what was written."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.echo_engine import EchoEngine
from support.effort import PATIENCE
from support.scripted_engine import Clock, ScriptedEngine
from support.sessions import SessionBench, until
from support.stores import open_store

from mistral_chat.config import Settings
from mistral_chat.conversation import Turn
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import EngineFailed, StoreBusy
from mistral_chat.message_form import FileText, build_message
from mistral_chat.session import events
from mistral_chat.session.attachments import Attachment
from mistral_chat.session.events import AttachmentsChanged, DraftReturned, ReplyFinished, ReplyStarted, SessionEvent, TextAdded
from mistral_chat.session.reply import NewMessage, Regenerate, save_question
from mistral_chat.session.session import ChatSession
from mistral_chat.store.store import ConversationStore


async def test_the_question_is_saved_before_the_engine_gets_it(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    kept: list[tuple[str, str, bool]] = []
    engine.at_start = lambda: kept.extend((t.turn.user, t.turn.reply, t.writing) for t in bench.turns(session))
    await bench.say(session, "Hello")
    assert kept == [("Hello", "", True)]


async def test_a_reply_is_streamed_and_saved_as_it_ended(bench: SessionBench, session: ChatSession) -> None:
    await bench.say(session, "Hello")
    started = next(event for event in bench.events if isinstance(event, ReplyStarted))
    finished = next(event for event in bench.events if isinstance(event, ReplyFinished))
    assert "".join(event.text for event in bench.events if isinstance(event, TextAdded)) == "You said: Hello"
    assert finished.completion is not None
    stored = bench.turns(session)[-1]
    assert stored.turn_id == started.turn.turn_id == finished.turn.turn_id
    assert not stored.writing
    usage = finished.completion.usage
    assert stored.turn == Turn(user="Hello", reply="You said: Hello", finish_reason="stop", model="echo", usage=usage)
    assert finished.turn.turn == stored.turn, "what is reported is what is saved"
    assert [turn.turn for turn in session.turns] == [stored.turn]


async def test_the_turn_is_reported_before_its_reply(bench: SessionBench, session: ChatSession, engine: ScriptedEngine) -> None:
    asked: list[int] = []

    async def look(event: SessionEvent) -> None:
        if isinstance(event, ReplyStarted):
            asked.append(len(engine.asked))
            assert bench.turns(session)[-1].turn_id == event.turn.turn_id

    bench.heard = look
    await bench.say(session, "Hello")
    assert asked == [0]


async def test_a_growing_reply_is_saved_about_once_a_second(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine, clock: Clock
) -> None:
    engine._answer = lambda _: "a b c d e f g h"
    seen: list[str] = []

    async def look(event: SessionEvent) -> None:
        if isinstance(event, TextAdded):
            await bench.saver.flush()
            seen.append(bench.last(session).reply)
            clock.now += 0.4

    bench.heard = look
    await bench.say(session, "Hello")
    assert seen == ["", "", "", "a b c d ", "a b c d ", "a b c d ", "a b c d e f g ", "a b c d e f g "]
    assert bench.last(session).reply == "a b c d e f g h"


async def test_a_stopped_reply_keeps_what_was_written(bench: SessionBench, session: ChatSession, engine: ScriptedEngine) -> None:
    engine.at_delta_waits = 2
    shown = 0

    async def stop(event: SessionEvent) -> None:
        nonlocal shown
        if isinstance(event, TextAdded):
            shown += 1
            if shown == 2:
                await session.stop()

    bench.heard = stop
    await bench.say(session, "Hello there")
    assert (bench.last(session).reply, bench.last(session).finish_reason) == ("You said: ", "cancelled")
    assert not bench.turns(session)[-1].writing


async def test_messages_queued_behind_a_stopped_reply_are_returned(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    engine.at_delta_waits = 1
    await session.send(NewMessage("One"))
    await asyncio.to_thread(engine.waiting.wait, PATIENCE)
    await session.send(NewMessage("Two"))
    await session.send(NewMessage("Three"))
    assert [pending.draft for pending in session.queue] == ["Two", "Three"]
    await session.end()
    assert [event.text for event in bench.events if isinstance(event, DraftReturned)] == ["Two\n\nThree"]
    await bench.saver.flush()
    assert [turn.turn.user for turn in bench.turns(session)] == ["One"]


async def test_a_file_of_two_messages_that_are_returned_is_attached_once(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    """As of two edits of one message."""
    engine.at_delta_waits = 1
    await session.send(NewMessage("One"))
    await asyncio.to_thread(engine.waiting.wait, PATIENCE)
    for text in ("Two", "Three"):
        session.files.files[:] = [Attachment("a.txt", "x\n"), Attachment("a.txt", text)]
        await session.send(NewMessage(text))
    await session.end()
    assert [file.text for file in session.files.files] == ["x\n", "Two", "Three"]


def draft_after_a_crash(folder: Path, conversation_id: str) -> str:
    """The draft in a copy of the database, whose writers do not live."""
    copied = folder / secrets.token_hex(4)
    shutil.copytree(folder, copied, ignore=shutil.ignore_patterns("*.writing", copied.name))
    store = open_store(copied / "chats.db")
    store.recover()
    draft = store.draft(conversation_id)
    store.close()
    return draft


async def test_a_message_that_waits_behind_a_reply_survives_a_crash_until_it_is_sent_or_returned(
    tmp_path: Path, engine: ScriptedEngine
) -> None:
    store = open_store(tmp_path / "chats.db")
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings())

    session = bench.open()

    async def crashed() -> str:
        await bench.saver.flush()
        return draft_after_a_crash(tmp_path, session.conversation_id or "")

    await bench.say(session, "Hello")
    engine.at_delta_waits = 1
    await session.send(NewMessage("One"))
    await asyncio.to_thread(engine.waiting.wait, PATIENCE)
    await session.files.add(Attachment("notes.txt", "Tea is hot.", tokens=3))
    await session.send(NewMessage("Two"))
    await session.send(NewMessage("Three"))
    assert await crashed() == build_message([FileText("notes.txt", "Tea is hot.")], "", "Two\n\nThree")
    await session.return_queued()
    assert await crashed() == "", "the message box has it"
    session.attachments.clear()
    await session.send(NewMessage("Four"))
    assert await crashed() == "Four"
    engine.at_delta_waits = -1
    assert bench.host.engine is not None
    bench.host.engine.stop()
    await session.idle()
    assert (await crashed(), bench.last(session).user) == ("", "Four"), "it was sent"
    await bench.close()
    store.close()


async def test_messages_that_wait_before_a_conversation_is_saved_return_to_it_after_a_crash(
    tmp_path: Path, engine: ScriptedEngine
) -> None:
    store = open_store(tmp_path / "chats.db")
    bench = SessionBench(store, lambda _: EngineThread(lambda _: engine), Settings())
    session = bench.open()
    engine.at_delta_waits = 1
    for message in ("One", "Two"):  # while no model is loaded
        await session.send(NewMessage(message))
    await bench.saver.flush()
    assert draft_after_a_crash(tmp_path, "") == "One\n\nTwo"
    await asyncio.wait({bench.host.load()})
    await session.advance()
    await session.send(NewMessage("Three"))  # while the first one is being saved
    assert session.conversation_id is None
    await asyncio.to_thread(engine.waiting.wait, PATIENCE)
    await session.send(NewMessage("Four"))
    await bench.saver.flush()
    assert session.conversation_id is not None
    assert draft_after_a_crash(tmp_path, session.conversation_id) == "Two\n\nThree\n\nFour"
    assert draft_after_a_crash(tmp_path, "") == ""
    await session.cancel()
    await bench.close()
    store.close()


async def test_a_cancelled_session_keeps_what_was_written(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    engine.at_delta_waits = 2
    await session.send(NewMessage("Hello there"))
    await asyncio.to_thread(engine.waiting.wait, PATIENCE)
    await session.cancel()
    await bench.saver.flush()
    assert bench.last(session).finish_reason == "cancelled"
    assert "You said: ".startswith(bench.last(session).reply)
    assert not bench.turns(session)[-1].writing
    engine.at_delta_waits = -1
    await bench.say(session, "And now?")
    assert bench.last(session).reply == "You said: And now?"


async def test_the_context_of_a_growing_reply_is_its_prompt_whatever_was_in_the_cache(bench: SessionBench) -> None:
    """What the cache held of another conversation, or of the reply that is regenerated, is no longer counted."""
    used: list[int] = []
    one, two = bench.open(), bench.open()

    async def look(event: SessionEvent) -> None:
        current = one.current or two.current
        if isinstance(event, TextAdded) and current is not None:
            used.append(current.used)

    bench.heard = look
    await bench.say(one, "A first message of several words")
    turn = await bench.say(one, "A second one")
    for session, request in ((one, Regenerate(turn)), (two, NewMessage("Hello")), (two, NewMessage("And more"))):
        used.clear()
        await bench.send(session, request)
        usage = bench.last(session).usage
        assert usage is not None
        assert set(used) == {usage.prompt_tokens}


async def test_two_sessions_take_turns_with_the_model(bench: SessionBench, engine: ScriptedEngine) -> None:
    one, two = bench.open(), bench.open()
    engine.at_delta_waits = 1
    await one.send(NewMessage("First"))
    await asyncio.to_thread(engine.waiting.wait, PATIENCE)
    engine.at_delta_waits = -1
    await two.send(NewMessage("Second"))
    await until(lambda: two.current is not None and two.current.reply is not None)
    assert bench.last(two).user == "Second", "the question is saved while another conversation's reply goes first"
    await one.stop()
    async with asyncio.timeout(PATIENCE):
        await two.idle()
    await bench.saver.flush()
    assert bench.last(one).finish_reason == "cancelled"
    assert bench.last(two).reply == "You said: Second", "stopping one conversation leaves the other alone"


async def test_a_reply_that_waits_for_another_conversation_can_be_stopped(bench: SessionBench, engine: ScriptedEngine) -> None:
    one, two = bench.open(), bench.open()
    engine.at_delta_waits = 1
    await one.send(NewMessage("First"))
    await asyncio.to_thread(engine.waiting.wait, PATIENCE)
    await two.send(NewMessage("Second"))
    await until(lambda: two.current is not None and two.current.reply is not None)
    async with asyncio.timeout(PATIENCE):
        await two.end()
    assert one.replying, "stopping one conversation leaves the other alone"
    await one.end()


async def test_a_failed_reply_keeps_its_text_and_the_reason(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    def fail(delta: int) -> None:
        if delta == 2:
            raise EngineFailed("llama.cpp failed. Send the message again.")

    engine.at_delta = fail
    with pytest.raises(EngineFailed):
        await bench.say(session, "Hello")
    wanted = Turn(user="Hello", reply="You said: ", error="llama.cpp failed. Send the message again.", model="echo")
    assert bench.last(session) == wanted
    failed = next(event for event in bench.events if isinstance(event, events.ReplyFailed))
    assert failed.turn is not None
    assert failed.turn.turn == wanted
    assert not bench.turns(session)[-1].writing


async def test_an_unexpected_error_keeps_the_text_and_is_reported(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    def fail(delta: int) -> None:
        if delta == 2:
            raise ZeroDivisionError

    engine.at_delta = fail
    await bench.say(session, "Hello")
    assert (bench.last(session).reply, bench.last(session).finish_reason) == ("You said: ", "cancelled")
    assert [event.turn.turn.reply for event in bench.events if isinstance(event, ReplyFinished)] == ["You said: "]
    await asyncio.sleep(0)
    assert [type(error) for error in bench.unexpected] == [ZeroDivisionError]
    bench.unexpected.clear()


async def test_an_unexpected_error_before_a_message_is_saved_returns_it(
    bench: SessionBench, session: ChatSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("mistral_chat.session.session.save_question", fail)
    await session.send(NewMessage("Hello"))
    await session.idle()
    assert DraftReturned("Hello") in bench.events
    await bench.settled()
    assert [type(error) for error in bench.unexpected] == [ZeroDivisionError]
    bench.unexpected.clear()


async def test_a_failed_load_keeps_the_question_and_the_reason(store: ConversationStore) -> None:
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def load(_: object) -> EchoEngine:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(PATIENCE)
        raise EngineFailed("The file is damaged.")

    bench = SessionBench(store, lambda _: EngineThread(load), Settings())
    session = bench.open()
    loading = bench.host.load()
    await until(lambda: bench.host.engine is not None)
    await session.send(NewMessage("Hello"))
    await until(lambda: session.current is not None and session.current.reply is not None)
    gate.set()
    await asyncio.wait({loading})
    await session.idle()
    await bench.saver.flush()
    last = bench.last(session)
    assert (last.user, last.error, last.reply) == ("Hello", "The file is damaged.", "")
    with pytest.raises(EngineFailed):
        await session.send(NewMessage("Again"))
    await bench.close()


async def test_saving_a_reply_is_retried_while_the_store_is_busy(
    bench: SessionBench, session: ChatSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply must not be lost because another window was writing at that moment."""
    real, calls = ConversationStore.finish_reply, 0

    def busy(store: ConversationStore, turn_id: str, text: str, **rest: Any) -> None:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise StoreBusy("Another window is busy. Try again.")
        real(store, turn_id, text, **rest)

    monkeypatch.setattr(ConversationStore, "finish_reply", busy)
    await bench.say(session, "Hello")
    assert calls == 4
    assert bench.last(session).finish_reason == "stop"
    assert bench.last(session).reply == "You said: Hello"
    assert not bench.turns(session)[-1].writing
    assert [type(event) for event in bench.saving] == [events.SavingFailed, events.SavingResumed]


@pytest.mark.parametrize("ending", [ChatSession.stop, ChatSession.cancel])
async def test_a_message_that_is_stopped_at_once_returns_and_does_not_hold_up_the_next(
    bench: SessionBench, session: ChatSession, ending: Callable[[ChatSession], Coroutine[Any, Any, None]]
) -> None:
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(session.send(NewMessage("Hello")), ending(session))
        await session.idle()
    assert DraftReturned("Hello") in bench.events
    await bench.say(session, "Again")
    assert bench.turns(session)[-1].turn.reply == "You said: Again"


async def test_a_message_that_is_stopped_while_it_is_saved_is_not_in_the_conversation(
    bench: SessionBench, session: ChatSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def save_slowly(*given: Any, **named: Any) -> Any:
        begun.set()
        assert may_end.wait(PATIENCE)
        return save_question(*given, **named)

    monkeypatch.setattr("mistral_chat.session.session.save_question", save_slowly)
    await session.send(NewMessage("Hello"))
    await until(begun.is_set)
    await session.stop()
    may_end.set()
    await session.idle()
    await bench.saver.flush()
    assert DraftReturned("Hello") in bench.events
    assert not bench.store.summaries()


async def test_stopping_twice_does_not_lose_the_message_that_is_being_returned(bench: SessionBench, session: ChatSession) -> None:
    returning, may_go_on = asyncio.Event(), asyncio.Event()

    async def wait(event: SessionEvent) -> None:
        if isinstance(event, AttachmentsChanged):
            returning.set()
            await may_go_on.wait()

    bench.heard = wait
    await asyncio.gather(session.send(NewMessage("Hello")), session.stop())
    async with asyncio.timeout(PATIENCE):
        await returning.wait()
    await session.stop()
    may_go_on.set()
    await session.idle()
    assert [event for event in bench.events if isinstance(event, DraftReturned)] == [DraftReturned("Hello")]


async def test_a_message_that_is_stopped_while_it_is_committed_stays_in_the_conversation_alone(
    bench: SessionBench, session: ChatSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, may_end = threading.Event(), threading.Event()

    def tell_slowly(*given: Any, **named: Any) -> Any:
        saved = save_question(*given, **named)
        committed.set()
        assert may_end.wait(PATIENCE)
        return saved

    monkeypatch.setattr("mistral_chat.session.session.save_question", tell_slowly)
    await session.send(NewMessage("Hello"))
    await until(committed.is_set)
    await session.stop()
    await session.stop()
    may_end.set()
    await session.idle()
    await bench.saver.flush()
    assert not [event for event in bench.events if isinstance(event, DraftReturned)], "it would be sent twice"
    assert (bench.last(session).user, bench.last(session).finish_reason) == ("Hello", "cancelled")
    assert [turn.turn.user for turn in session.turns] == ["Hello"]
