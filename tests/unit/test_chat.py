"""A chat keeps its promise: the question is on the disk first, and whatever ends a reply leaves what was written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mistral_chat.chat import Chat, TurnStarted
from mistral_chat.config import Persona, Settings
from mistral_chat.conversation import Turn
from mistral_chat.engine.echo import EchoEngine
from mistral_chat.engine.runner import Runner
from mistral_chat.errors import ConversationNotFound, EngineFailed, InvalidText, MessageTooLong, StoreBusy, UsageError
from mistral_chat.generation import Cancel, Completion, Delta, Event, History, Prefill, Sampling
from mistral_chat.store.conversations import ConversationStore
from mistral_chat.store.database import open_database

PATIENCE = 10.0


class Clock:
    """Seconds that pass only when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class ScriptedEngine(EchoEngine):
    """Remembers what it was asked, and can be made to wait or to fail after a number of deltas."""

    def __init__(self, answer: Callable[[str], str] = lambda text: f"You said: {text}", *, window: int = 4096) -> None:
        super().__init__(answer, window=window)
        self.asked: list[History] = []
        self.sampling: list[Sampling] = []
        self.ahead: list[History] = []
        self.at_start: Callable[[], None] = lambda: None
        self.at_delta: Callable[[int], None] = lambda _: None
        self.at_delta_waits = -1
        self.waiting = threading.Event()

    def reply(self, history: History, sampling: Sampling, cancel: Cancel) -> Iterator[Event]:
        self.asked.append(history)
        self.sampling.append(sampling)
        self.at_start()
        deltas = 0
        for event in super().reply(history, sampling, cancel):
            if isinstance(event, Delta):
                self.at_delta(deltas)
                deltas += 1
            yield event
            if deltas == self.at_delta_waits:
                self.waiting.set()
                while not cancel.is_set:
                    threading.Event().wait(0.001)

    def read_ahead(self, history: History, cancel: Cancel) -> Iterator[Prefill]:
        self.ahead.append(history)
        return super().read_ahead(history, cancel)


@pytest.fixture
def store() -> Iterator[ConversationStore]:
    store = ConversationStore(open_database(None, now=lambda: datetime.now(UTC)), now=lambda: datetime.now(UTC))
    yield store
    store.close()


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def runner(engine: ScriptedEngine) -> Iterator[Runner]:
    runner = Runner(lambda _: engine)
    yield runner
    runner.close(PATIENCE)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chat(store: ConversationStore, runner: Runner, clock: Clock) -> Chat:
    return Chat(store=store, runner=runner, settings=Settings(system="Be kind."), clock=clock)


async def finish(events: AsyncGenerator[object, None]) -> list[object]:
    async with asyncio.timeout(PATIENCE), aclosing(events):
        return [event async for event in events]


async def say(chat: Chat, text: str) -> str:
    """Send `text`; the new turn's id."""
    started = (await finish(chat.send(text)))[0]
    assert isinstance(started, TurnStarted)
    return started.turn_id


def last(chat: Chat) -> Turn:
    return chat.turns()[-1].turn


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

    chat = Chat(store=store, runner=Runner(load), settings=Settings())
    with pytest.raises(EngineFailed):
        await say(chat, "Hello")
    assert (last(chat).user, last(chat).error, last(chat).reply) == ("Hello", "The file is damaged.", "")


@pytest.mark.parametrize("text", ["", " \n\t", "half a character \ud83d"])
async def test_a_message_that_is_none_is_refused_and_not_stored(chat: Chat, store: ConversationStore, text: str) -> None:
    with pytest.raises(InvalidText):
        await say(chat, text)
    assert chat.conversation_id is None
    assert store.summaries() == []


async def test_a_message_larger_than_the_window_is_refused_and_not_stored(
    chat: Chat, store: ConversationStore, runner: Runner, engine: ScriptedEngine
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
    store: ConversationStore, runner: Runner, engine: ScriptedEngine
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
    store.mark(second, pinned=True)
    with pytest.raises(MessageTooLong):
        await say(chat, "word " * 2600)
    assert len(chat.turns()) == 2
    await finish(chat.edit(first, "word " * 2600))
    assert last(chat).reply == "Yes.", "what comes after an edited question takes no room beside it"


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
    store.select(first)
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


async def test_only_the_last_reply_can_be_gone_on_with(chat: Chat) -> None:
    with pytest.raises(ConversationNotFound):
        await finish(chat.continue_reply("none"))
    first = await say(chat, "One")
    await say(chat, "Two")
    with pytest.raises(UsageError):
        await finish(chat.continue_reply(first))


async def test_the_engine_is_given_what_counts(chat: Chat, engine: ScriptedEngine, store: ConversationStore) -> None:
    one, two, three = [await say(chat, text) for text in ("One", "Two", "Three")]
    store.mark(one, pinned=True)
    store.mark(two, excluded=True)
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
    store.mark(turn_id, excluded=True)
    await finish(chat.continue_reply(turn_id))
    assert [turn.key for turn in engine.asked[-1].turns] == [turn_id]


async def test_a_pinned_turn_far_above_is_still_given(store: ConversationStore) -> None:
    engine = ScriptedEngine(window=256)
    runner = Runner(lambda _: engine)
    chat = Chat(store=store, runner=runner, settings=Settings())
    first = await say(chat, "First")
    store.mark(first, pinned=True)
    for number in range(40):
        await say(chat, f"Number {number}")
    keys = [turn.key for turn in engine.asked[-1].turns]
    assert keys[0] == first
    assert len(keys) <= 256 // 8 + 1, "no more turns are handed over than any window holds"
    assert keys[1:] == [turn.turn_id for turn in chat.turns()][-len(keys) + 1 :]
    store.mark(first, excluded=True)
    await say(chat, "Last")
    assert first not in [turn.key for turn in engine.asked[-1].turns]
    runner.close(PATIENCE)


async def test_without_snapshots_the_conversation_has_no_name_for_the_disk(store: ConversationStore, runner: Runner) -> None:
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


async def test_a_conversation_goes_on_in_another_chat(chat: Chat, store: ConversationStore, runner: Runner) -> None:
    await say(chat, "One")
    other = Chat(store=store, runner=runner, settings=Settings(system="Something else"), conversation_id=chat.conversation_id)
    assert other.system == "Be kind.", "a conversation keeps the system prompt it was begun with"
    await say(other, "Two")
    assert [turn.turn.user for turn in chat.turns()] == ["One", "Two"]


def test_an_unknown_conversation_or_persona_is_told_at_once(store: ConversationStore, runner: Runner) -> None:
    with pytest.raises(ConversationNotFound):
        Chat(store=store, runner=runner, settings=Settings(), conversation_id="none")
    with pytest.raises(UsageError, match="none yet"):
        Chat(store=store, runner=runner, settings=Settings(), persona="pirate")


# System prompts, sampling, personas

COLD = Sampling(temperature=0)
HOT = Sampling(temperature=2)
PERSONAS = Settings(system="Plain.", sampling=HOT, personas={"pirate": Persona(system="Arr.", sampling=COLD), "mute": Persona()})


async def test_a_persona_gives_the_system_prompt_and_the_sampling_and_stays(store: ConversationStore, runner: Runner) -> None:
    chat = Chat(store=store, runner=runner, settings=PERSONAS, persona="pirate")
    assert (chat.system, chat.sampling) == ("Arr.", COLD)
    await say(chat, "Hello")
    assert chat.conversation_id is not None
    kept = store.conversation(chat.conversation_id)
    assert (kept.system, kept.sampling, kept.persona) == ("Arr.", COLD, "pirate")
    later = Chat(store=store, runner=runner, settings=Settings(), conversation_id=chat.conversation_id)
    assert (later.system, later.sampling) == ("Arr.", COLD)


def test_what_is_asked_for_wins_over_the_persona(store: ConversationStore, runner: Runner) -> None:
    chat = Chat(store=store, runner=runner, settings=PERSONAS, persona="pirate", system="Mine.", sampling=HOT)
    assert (chat.system, chat.sampling) == ("Mine.", HOT)
    assert Chat(store=store, runner=runner, settings=PERSONAS).system == "Plain."
    assert Chat(store=store, runner=runner, settings=PERSONAS).sampling == HOT


async def test_a_persona_taken_up_later_is_written_into_the_conversation(store: ConversationStore, runner: Runner) -> None:
    chat = Chat(store=store, runner=runner, settings=PERSONAS)
    await say(chat, "Hello")
    assert chat.conversation_id is not None
    Chat(store=store, runner=runner, settings=PERSONAS, conversation_id=chat.conversation_id, persona="pirate")
    kept = store.conversation(chat.conversation_id)
    assert (kept.system, kept.sampling, kept.persona) == ("Arr.", COLD, "pirate")
    assert chat.system == "Arr."


async def test_sampling_for_now_is_not_kept(store: ConversationStore, runner: Runner, engine: ScriptedEngine) -> None:
    chat = Chat(store=store, runner=runner, settings=PERSONAS, sampling_now=replace(COLD, seed=1))
    await say(chat, "Hello")
    assert engine.sampling == [replace(COLD, seed=1)]
    assert chat.conversation_id is not None
    assert store.conversation(chat.conversation_id).sampling is None


async def test_a_conversation_without_sampling_follows_the_settings(
    store: ConversationStore, runner: Runner, engine: ScriptedEngine
) -> None:
    chat = Chat(store=store, runner=runner, settings=PERSONAS)
    await say(chat, "Hello")
    again = Chat(store=store, runner=runner, settings=Settings(sampling=COLD), conversation_id=chat.conversation_id)
    await say(again, "Hello")
    assert engine.sampling == [HOT, COLD]


async def test_a_title_is_asked_for_in_passing(chat: Chat, engine: ScriptedEngine) -> None:
    await say(chat, "Hello")
    engine._answer = lambda _: "A greeting"
    assert "A greeting" in await chat.suggest_title()
    assert len(chat.turns()) == 1
