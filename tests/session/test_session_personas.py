"""System prompt, sampling and persona: which one applies, and what a conversation keeps of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.scripted_engine import ScriptedEngine
from support.sessions import SessionBench

from mistral_chat.config import Persona, Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.sampling import Sampling
from mistral_chat.session.overrides import Overrides, resolve
from mistral_chat.session.session import ChatSession
from mistral_chat.store.store import ConversationStore

COLD = Sampling(temperature=0)
HOT = Sampling(temperature=2)
MIDDLE = Sampling(temperature=1)
SETTINGS = Settings(
    system="Plain.",
    sampling=HOT,
    personas={"pirate": Persona(system="Arr.", sampling=COLD), "poet": Persona(system="Rhyme."), "mute": Persona()},
)


def bench_of(
    store: ConversationStore, engine: ScriptedEngine, settings: Settings, started: Overrides | None = None
) -> SessionBench:
    return SessionBench(store, lambda _: EngineThread(lambda _: engine), settings, started=started)


@pytest.mark.parametrize(
    ("layers", "system", "sampling", "persona", "own"),
    [
        ((), "Plain.", HOT, "", None),
        ((Overrides(), Overrides(persona="pirate")), "Arr.", COLD, "pirate", COLD),
        ((Overrides(), Overrides(persona="poet")), "Rhyme.", HOT, "poet", None),
        ((Overrides(), Overrides(persona="mute")), "", HOT, "mute", None),
        ((Overrides(), Overrides(persona="pirate", system="Mine.")), "Mine.", COLD, "pirate", COLD),
        ((Overrides(persona="poet"), Overrides(persona="pirate")), "Rhyme.", HOT, "poet", None),
        ((Overrides(persona=""), Overrides(persona="pirate")), "Plain.", HOT, "", None),
        ((Overrides(persona="poet"), Overrides(system="Mine.")), "Rhyme.", HOT, "poet", None),
        ((Overrides(persona=""), Overrides(system="Mine.")), "Mine.", HOT, "", None),
        ((Overrides(system="Chosen.", sampling=MIDDLE), Overrides(persona="pirate")), "Chosen.", MIDDLE, "pirate", MIDDLE),
        ((Overrides(persona="gone"),), "Plain.", HOT, "gone", None),
    ],
)
def test_a_new_conversation_uses_the_settings(
    layers: tuple[Overrides, ...], system: str, sampling: Sampling, persona: str, own: Sampling | None
) -> None:
    found = resolve(SETTINGS, stored=None, layers=layers)
    assert (found.system, found.sampling, found.persona, found.own_sampling) == (system, sampling, persona, own)


async def test_a_conversation_keeps_its_first_system_prompt(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    await bench.say(session, "One")
    other = bench_of(bench.store, engine, Settings(system="Something else"))
    again = other.open(session.conversation_id)
    assert again.conversation.resolve().system == "Be kind."
    await other.say(again, "Two")
    assert [turn.turn.user for turn in bench.turns(session)] == ["One", "Two"]
    await other.close()


async def test_a_persona_sets_system_prompt_and_sampling(store: ConversationStore, engine: ScriptedEngine) -> None:
    bench = bench_of(store, engine, SETTINGS, Overrides(persona="pirate"))
    session = bench.open()
    await bench.say(session, "Hello")
    assert session.conversation_id is not None
    kept = store.conversation(session.conversation_id)
    assert (kept.system, kept.sampling, kept.persona) == ("Arr.", COLD, "pirate")
    later = resolve(Settings(), stored=kept)
    assert (later.system, later.sampling) == ("Arr.", COLD)
    await bench.close()


async def test_choosing_a_persona_is_saved_and_can_be_undone(store: ConversationStore, engine: ScriptedEngine) -> None:
    bench = bench_of(store, engine, SETTINGS)
    session = bench.open()
    await bench.say(session, "Hello")
    assert session.conversation_id is not None
    await session.conversation.apply(Overrides(persona="pirate"))
    kept = store.conversation(session.conversation_id)
    assert (kept.system, kept.sampling, kept.persona) == ("Arr.", COLD, "pirate")
    assert session.conversation.resolve().system == "Arr."
    _, undo = bench.environment.undo.pop()
    await undo()
    kept = store.conversation(session.conversation_id)
    assert (kept.system, kept.sampling, kept.persona) == ("Plain.", None, "")
    await bench.close()


async def test_a_persona_of_a_new_conversation_can_be_undone_once_it_was_sent(
    store: ConversationStore, engine: ScriptedEngine
) -> None:
    bench = bench_of(store, engine, SETTINGS)
    session = bench.open()
    await session.conversation.apply(Overrides(persona="pirate"))
    await bench.say(session, "Hello")
    _, undo = bench.environment.undo.pop()
    await undo()
    kept = store.conversation(session.conversation_id or "")
    assert (kept.system, kept.sampling, kept.persona) == ("Plain.", None, "")
    await bench.close()


async def test_system_prompt_and_sampling_are_saved(store: ConversationStore, engine: ScriptedEngine) -> None:
    bench = bench_of(store, engine, SETTINGS)
    session = bench.open()
    await session.conversation.apply(Overrides(system="Short."))
    await bench.say(session, "Hello")
    await session.conversation.apply(Overrides(sampling=COLD))
    assert session.conversation_id is not None
    kept = store.conversation(session.conversation_id)
    assert (kept.system, kept.sampling) == ("Short.", COLD)
    await bench.close()


async def test_sampling_options_of_one_run_are_not_saved(store: ConversationStore, engine: ScriptedEngine) -> None:
    bench = bench_of(store, engine, SETTINGS)
    session = bench.open(sampling_options={"temperature": 0.0, "seed": 1})
    await bench.say(session, "Hello")
    assert engine.sampling == [replace(HOT, temperature=0.0, seed=1)]
    assert session.conversation_id is not None
    assert store.conversation(session.conversation_id).sampling is None
    await bench.close()


async def test_a_conversation_without_sampling_follows_the_settings(store: ConversationStore, engine: ScriptedEngine) -> None:
    bench = bench_of(store, engine, SETTINGS)
    session = bench.open()
    await bench.say(session, "Hello")
    other = bench_of(store, engine, Settings(sampling=COLD))
    await other.say(other.open(session.conversation_id), "Hello")
    assert engine.sampling == [HOT, COLD]
    await bench.close()
    await other.close()
