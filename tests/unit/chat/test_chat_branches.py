"""Another answer or another wording stands beside the old one, and a reply goes on where it ended."""

from __future__ import annotations

from contextlib import aclosing

from support.scripted_engine import ScriptedEngine, finish, last, say

from mistral_chat.chat import Chat, TurnStarted
from mistral_chat.store.store import ConversationStore


async def test_a_new_answer_stands_beside_the_old_one(chat: Chat, engine: ScriptedEngine, store: ConversationStore) -> None:
    first = await say(chat, "One")
    second = await say(chat, "Two")
    engine._answer = lambda _: "Another answer"
    events = await finish(chat.regenerate(second))
    assert isinstance(events[0], TurnStarted)
    new = events[0].turn_id
    assert [turn.turn.reply for turn in chat.turns()] == ["You said: One", "Another answer"]
    assert store.siblings(new) == [second, new]
    assert [turn.key for turn in engine.asked[-1].turns] == [first, new]
    assert engine.asked[-1].turns[-1].reply == ""


async def test_an_edited_question_stands_beside_the_old_one_and_leads_on_from_there(
    chat: Chat, engine: ScriptedEngine, store: ConversationStore
) -> None:
    first = await say(chat, "One")
    await say(chat, "Two")
    await finish(chat.edit(first, "Uno"))
    assert [turn.turn.user for turn in chat.turns()] == ["Uno"]
    assert len(engine.asked[-1].turns) == 1
    assert len(store.siblings(first)) == 2
    store.switch_branch(first)
    assert [turn.turn.user for turn in chat.turns()] == ["One", "Two"], "nothing was overwritten"


async def test_a_reply_goes_on_where_it_ended(chat: Chat, engine: ScriptedEngine) -> None:
    turn_id = await say(chat, "One")
    engine._answer = lambda _: " and more"
    await finish(chat.continue_reply(turn_id))
    assert engine.asked[-1].turns[-1].reply == "You said: One"
    assert (last(chat).reply, last(chat).finish_reason) == ("You said: One and more", "stop")
    assert len(chat.turns()) == 1


async def test_a_reply_that_is_stopped_while_it_goes_on_loses_nothing(chat: Chat, engine: ScriptedEngine) -> None:
    turn_id = await say(chat, "One")
    async with aclosing(chat.continue_reply(turn_id)) as events:
        await anext(events)
    assert (last(chat).reply, last(chat).finish_reason) == ("You said: One", "cancelled")
