"""The question is on the disk first, and whatever ends a reply leaves what was written."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from support.scripted_engine import PATIENCE, Clock, ScriptedEngine, finish, last, say

from mistral_chat.chat import Chat, TurnStarted
from mistral_chat.config import Settings
from mistral_chat.conversation import Turn
from mistral_chat.engine.echo import EchoEngine
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import EngineFailed, StoreBusy
from mistral_chat.generation import Completion, Delta
from mistral_chat.store.store import ConversationStore


async def test_the_question_is_kept_before_the_engine_hears_of_it(chat: Chat, engine: ScriptedEngine) -> None:
    kept: list[tuple[str, str, bool]] = []
    engine.at_start = lambda: kept.extend((t.turn.user, t.turn.reply, t.writing) for t in chat.turns())
    await say(chat, "Hello")
    assert kept == [("Hello", "", True)]


async def test_a_reply_is_streamed_and_kept_as_it_ended(chat: Chat) -> None:
    events = await finish(chat.send("Hello"))
    started, completion = events[0], events[-1]
    assert isinstance(started, TurnStarted)
    assert isinstance(completion, Completion)
    stored = chat.turns()[-1]
    assert stored.turn_id == started.turn_id
    assert not stored.writing
    assert stored.turn == Turn(user="Hello", reply="You said: Hello", finish_reason="stop", model="echo", usage=completion.usage)


async def test_the_turn_is_known_before_anything_of_the_reply(chat: Chat, engine: ScriptedEngine) -> None:
    async with aclosing(chat.send("Hello")) as events:
        started = await anext(events)
        assert isinstance(started, TurnStarted)
        assert chat.turns()[-1].turn_id == started.turn_id
        assert engine.asked == []


async def test_a_growing_reply_is_saved_about_once_a_second(chat: Chat, engine: ScriptedEngine, clock: Clock) -> None:
    engine._answer = lambda _: "a b c d e f g h"
    seen: list[str] = []
    async for event in chat.send("Hello"):
        if isinstance(event, Delta):
            seen.append(last(chat).reply)
            clock.now += 0.4
    assert seen == ["", "", "", "a b c d ", "a b c d ", "a b c d ", "a b c d e f g ", "a b c d e f g "]
    assert last(chat).reply == "a b c d e f g h"


async def test_a_stopped_reply_keeps_what_was_written(chat: Chat, engine: ScriptedEngine) -> None:
    engine.at_delta_waits = 2
    shown = 0
    async for event in chat.send("Hello there"):
        shown += isinstance(event, Delta)
        if shown == 2:
            chat.stop()
    assert (last(chat).reply, last(chat).finish_reason) == ("You said: ", "cancelled")
    assert not chat.turns()[-1].writing


async def test_a_cancelled_task_keeps_what_was_written(chat: Chat, engine: ScriptedEngine) -> None:
    engine.at_delta_waits = 2
    task = asyncio.create_task(finish(chat.send("Hello there")))
    await asyncio.to_thread(engine.waiting.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert last(chat).finish_reason == "cancelled"
    assert "You said: ".startswith(last(chat).reply)
    assert not chat.turns()[-1].writing
    engine.at_delta_waits = -1
    await say(chat, "And now?")
    assert last(chat).reply == "You said: And now?"


@pytest.mark.parametrize("deltas", [0, 1, 3])
async def test_a_closed_window_keeps_what_was_written(chat: Chat, deltas: int) -> None:
    events = chat.send("Hello there")
    shown = ""
    async for event in events:
        if isinstance(event, Delta):
            shown += event.text
        if len(shown.split()) >= deltas:
            break
    await events.aclose()
    assert (last(chat).reply, last(chat).finish_reason) == (shown, "cancelled")
    assert not chat.turns()[-1].writing


async def test_an_engine_that_fails_leaves_what_was_written_and_the_reason(chat: Chat, engine: ScriptedEngine) -> None:
    def fail(delta: int) -> None:
        if delta == 2:
            raise EngineFailed("llama.cpp failed. Send the message again.")

    engine.at_delta = fail
    with pytest.raises(EngineFailed):
        await say(chat, "Hello")
    assert last(chat) == Turn(user="Hello", reply="You said: ", error="llama.cpp failed. Send the message again.", model="echo")
    assert not chat.turns()[-1].writing


async def test_an_error_nobody_foresaw_leaves_what_was_written(chat: Chat, engine: ScriptedEngine) -> None:
    def fail(delta: int) -> None:
        if delta == 2:
            raise ZeroDivisionError

    engine.at_delta = fail
    with pytest.raises(ZeroDivisionError):
        await say(chat, "Hello")
    assert (last(chat).reply, last(chat).finish_reason) == ("You said: ", "cancelled")


async def test_an_engine_that_cannot_be_loaded_leaves_the_question_and_the_reason(store: ConversationStore) -> None:
    def load(_: object) -> EchoEngine:
        raise EngineFailed("The file is damaged.")

    chat = Chat(store=store, runner=EngineThread(load), settings=Settings())
    with pytest.raises(EngineFailed):
        await say(chat, "Hello")
    assert (last(chat).user, last(chat).error, last(chat).reply) == ("Hello", "The file is damaged.", "")


async def test_a_busy_store_at_the_end_of_a_reply_is_asked_once_more(
    chat: Chat, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written must not be lost because another window was writing at that moment."""
    real, calls = store.finish_reply, 0

    def busy_once(turn_id: str, text: str, **rest: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StoreBusy("Another window is busy. Try again.")
        real(turn_id, text, **rest)

    monkeypatch.setattr(store, "finish_reply", busy_once)
    await say(chat, "Hello")
    assert last(chat).finish_reason == "stop"
    assert last(chat).reply == "You said: Hello"
    assert not chat.turns()[-1].writing


async def test_a_busy_store_while_a_reply_grows_does_not_end_it(
    chat: Chat, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply must not break off because another window was writing when it was to be saved."""

    def busy(turn_id: str, text: str) -> None:
        raise StoreBusy("Another window is busy. Try again.")

    monkeypatch.setattr("mistral_chat.chat.SAVE_EVERY", 0.0)
    monkeypatch.setattr(store, "write_reply", busy)
    await say(chat, "Hello")
    assert last(chat).reply == "You said: Hello"
