"""System prompts, sampling and personas: which one holds, and what a conversation keeps of them."""

from __future__ import annotations

from dataclasses import replace

from support.scripted_engine import ScriptedEngine, say

from mistral_chat.chat import Chat
from mistral_chat.config import Persona, Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.generation import Sampling
from mistral_chat.store.store import ConversationStore


async def test_a_conversation_goes_on_in_another_chat(chat: Chat, store: ConversationStore, runner: EngineThread) -> None:
    await say(chat, "One")
    other = Chat(store=store, runner=runner, settings=Settings(system="Something else"), conversation_id=chat.conversation_id)
    assert other.system == "Be kind.", "a conversation keeps the system prompt it was begun with"
    await say(other, "Two")
    assert [turn.turn.user for turn in chat.turns()] == ["One", "Two"]


COLD = Sampling(temperature=0)
HOT = Sampling(temperature=2)
PERSONAS = Settings(system="Plain.", sampling=HOT, personas={"pirate": Persona(system="Arr.", sampling=COLD), "mute": Persona()})


async def test_a_persona_gives_the_system_prompt_and_the_sampling_and_stays(
    store: ConversationStore, runner: EngineThread
) -> None:
    chat = Chat(store=store, runner=runner, settings=PERSONAS, persona="pirate")
    assert (chat.system, chat.sampling) == ("Arr.", COLD)
    await say(chat, "Hello")
    assert chat.conversation_id is not None
    kept = store.conversation(chat.conversation_id)
    assert (kept.system, kept.sampling, kept.persona) == ("Arr.", COLD, "pirate")
    later = Chat(store=store, runner=runner, settings=Settings(), conversation_id=chat.conversation_id)
    assert (later.system, later.sampling) == ("Arr.", COLD)


def test_what_is_asked_for_wins_over_the_persona(store: ConversationStore, runner: EngineThread) -> None:
    chat = Chat(store=store, runner=runner, settings=PERSONAS, persona="pirate", system="Mine.", sampling=HOT)
    assert (chat.system, chat.sampling) == ("Mine.", HOT)
    assert Chat(store=store, runner=runner, settings=PERSONAS).system == "Plain."
    assert Chat(store=store, runner=runner, settings=PERSONAS).sampling == HOT


async def test_a_persona_taken_up_later_is_written_into_the_conversation(store: ConversationStore, runner: EngineThread) -> None:
    chat = Chat(store=store, runner=runner, settings=PERSONAS)
    await say(chat, "Hello")
    assert chat.conversation_id is not None
    Chat(store=store, runner=runner, settings=PERSONAS, conversation_id=chat.conversation_id, persona="pirate")
    kept = store.conversation(chat.conversation_id)
    assert (kept.system, kept.sampling, kept.persona) == ("Arr.", COLD, "pirate")
    assert chat.system == "Arr."


async def test_sampling_for_now_is_not_kept(store: ConversationStore, runner: EngineThread, engine: ScriptedEngine) -> None:
    chat = Chat(store=store, runner=runner, settings=PERSONAS, sampling_now=replace(COLD, seed=1))
    await say(chat, "Hello")
    assert engine.sampling == [replace(COLD, seed=1)]
    assert chat.conversation_id is not None
    assert store.conversation(chat.conversation_id).sampling is None


async def test_a_conversation_without_sampling_follows_the_settings(
    store: ConversationStore, runner: EngineThread, engine: ScriptedEngine
) -> None:
    chat = Chat(store=store, runner=runner, settings=PERSONAS)
    await say(chat, "Hello")
    again = Chat(store=store, runner=runner, settings=Settings(sampling=COLD), conversation_id=chat.conversation_id)
    await say(again, "Hello")
    assert engine.sampling == [HOT, COLD]
