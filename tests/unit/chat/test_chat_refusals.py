"""What cannot be answered is refused at once, and nothing of it is stored."""

from __future__ import annotations

import pytest
from support.scripted_engine import ScriptedEngine, finish, last, say

from mistral_chat.chat import Chat
from mistral_chat.config import Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.errors import ConversationNotFound, InvalidText, MessageTooLong, UsageError
from mistral_chat.store.store import ConversationStore


@pytest.mark.parametrize("text", ["", " \n\t", "half a character \ud83d"])
async def test_a_message_that_is_none_is_refused_and_not_stored(chat: Chat, store: ConversationStore, text: str) -> None:
    with pytest.raises(InvalidText):
        await say(chat, text)
    assert chat.conversation_id is None
    assert store.summaries() == []


async def test_a_message_larger_than_the_window_is_refused_and_not_stored(
    chat: Chat, store: ConversationStore, runner: EngineThread, engine: ScriptedEngine
) -> None:
    await runner.wait_ready()
    with pytest.raises(MessageTooLong) as caught:
        await say(chat, "word " * 5000)
    assert (caught.value.tokens, caught.value.window) == (5000, 4096)
    assert store.summaries() == []
    assert engine.asked == []
    turn_id = await say(chat, "Hello")
    with pytest.raises(MessageTooLong):
        await finish(chat.edit(turn_id, "word " * 5000))
    assert [turn.turn.user for turn in chat.turns()] == ["Hello"]


async def test_a_message_that_fits_only_without_the_system_prompt_is_not_stored(
    store: ConversationStore, runner: EngineThread, engine: ScriptedEngine
) -> None:
    await runner.wait_ready()
    chat = Chat(store=store, runner=runner, settings=Settings(system="rule " * 2000))
    with pytest.raises(MessageTooLong) as caught:
        await say(chat, "word " * 3000)
    assert (caught.value.tokens, caught.value.available) == (3000, 4096 - 64 - 2000)
    assert store.summaries() == []


async def test_a_message_that_fits_only_without_the_pinned_turns_is_not_stored(
    chat: Chat, store: ConversationStore, engine: ScriptedEngine
) -> None:
    engine._answer = lambda _: "Yes."
    first = await say(chat, "word " * 1500)
    second = await say(chat, "word " * 1500)
    store.set_turn_flags(second, pinned=True)
    with pytest.raises(MessageTooLong):
        await say(chat, "word " * 2600)
    assert len(chat.turns()) == 2
    await finish(chat.edit(first, "word " * 2600))
    assert last(chat).reply == "Yes.", "what comes after an edited question takes no room beside it"


async def test_only_the_last_reply_can_be_gone_on_with(chat: Chat) -> None:
    with pytest.raises(ConversationNotFound):
        await finish(chat.continue_reply("none"))
    first = await say(chat, "One")
    await say(chat, "Two")
    with pytest.raises(UsageError):
        await finish(chat.continue_reply(first))


def test_an_unknown_conversation_or_persona_is_told_at_once(store: ConversationStore, runner: EngineThread) -> None:
    with pytest.raises(ConversationNotFound):
        Chat(store=store, runner=runner, settings=Settings(), conversation_id="none")
    with pytest.raises(UsageError, match="none yet"):
        Chat(store=store, runner=runner, settings=Settings(), persona="pirate")
