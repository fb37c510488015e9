"""What the engine is given: the turns that count, the pinned ones, what is being typed; and a question in passing."""

from __future__ import annotations

import pytest
from support.scripted_engine import PATIENCE, ScriptedEngine, finish, say

from mistral_chat.chat import Chat
from mistral_chat.config import Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import EngineFailed
from mistral_chat.generation import History
from mistral_chat.store.store import ConversationStore


async def test_the_engine_is_given_what_counts(chat: Chat, engine: ScriptedEngine, store: ConversationStore) -> None:
    one, two, three = [await say(chat, text) for text in ("One", "Two", "Three")]
    store.set_turn_flags(one, pinned=True)
    store.set_turn_flags(two, excluded=True)
    engine.at_delta = lambda _: (_ for _ in ()).throw(EngineFailed("no"))
    with pytest.raises(EngineFailed):
        await say(chat, "Fails")
    engine.at_delta = lambda _: None
    four = await say(chat, "Four")
    history = engine.asked[-1]
    assert [(turn.key, turn.pinned) for turn in history.turns] == [(one, True), (three, False), (four, False)]
    assert history.turns[0].reply == "You said: One"
    assert history.turns[-1].reply == ""
    assert history.system == "Be kind."
    assert history.conversation == chat.conversation_id


async def test_an_excluded_turn_is_still_answered_when_it_is_asked_again(
    chat: Chat, engine: ScriptedEngine, store: ConversationStore
) -> None:
    turn_id = await say(chat, "One")
    store.set_turn_flags(turn_id, excluded=True)
    await finish(chat.continue_reply(turn_id))
    assert [turn.key for turn in engine.asked[-1].turns] == [turn_id]


async def test_a_pinned_turn_far_above_is_still_given(store: ConversationStore) -> None:
    engine = ScriptedEngine(window=256)
    runner = EngineThread(lambda _: engine)
    chat = Chat(store=store, runner=runner, settings=Settings())
    first = await say(chat, "First")
    store.set_turn_flags(first, pinned=True)
    for number in range(40):
        await say(chat, f"Number {number}")
    keys = [turn.key for turn in engine.asked[-1].turns]
    assert keys[0] == first
    assert len(keys) <= 256 // 8 + 1, "no more turns are handed over than any window holds"
    assert keys[1:] == [turn.turn_id for turn in chat.turns()][-len(keys) + 1 :]
    store.set_turn_flags(first, excluded=True)
    await say(chat, "Last")
    assert first not in [turn.key for turn in engine.asked[-1].turns]
    runner.close(PATIENCE)


async def test_without_snapshots_the_conversation_has_no_name_for_the_disk(
    store: ConversationStore, runner: EngineThread
) -> None:
    engine_asked: list[str] = []
    chat = Chat(store=store, runner=runner, settings=Settings(), snapshots=False)
    await say(chat, "Secret")
    engine_asked += [chat._history(None).conversation]
    assert engine_asked == [""]


async def test_reading_ahead_offers_the_conversation_and_the_draft(chat: Chat, engine: ScriptedEngine) -> None:
    await finish(chat.read_ahead())
    assert engine.ahead[-1] == History(system="Be kind.")
    turn_id = await say(chat, "One")
    await finish(chat.read_ahead("What I ty"))
    assert [turn.key for turn in engine.ahead[-1].turns] == [turn_id]
    assert engine.ahead[-1].draft == "What I ty"
    assert chat.ledger is not None
    assert [turn.key for turn in chat.ledger.turns] == [turn_id]


async def test_a_title_is_asked_for_in_passing(chat: Chat, engine: ScriptedEngine) -> None:
    await say(chat, "Hello")
    engine._answer = lambda _: "A greeting"
    assert "A greeting" in await chat.suggest_title()
    assert len(chat.turns()) == 1
