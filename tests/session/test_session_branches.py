"""A regenerated reply or an edited message is kept as a sibling, and a reply continues from where it ended."""

from __future__ import annotations

from support.scripted_engine import ScriptedEngine
from support.sessions import SessionBench

from mistral_chat.session import events
from mistral_chat.session.reply import ContinueReply, EditMessage, Regenerate
from mistral_chat.session.session import ChatSession


async def test_a_regenerated_reply_keeps_the_original(bench: SessionBench, session: ChatSession, engine: ScriptedEngine) -> None:
    first = await bench.say(session, "One")
    second = await bench.say(session, "Two")
    engine._answer = lambda _: "Another answer"
    new = await bench.send(session, Regenerate(second))
    assert [turn.turn.reply for turn in bench.turns(session)] == ["You said: One", "Another answer"]
    assert [turn.turn.reply for turn in session.turns] == ["You said: One", "Another answer"]
    assert bench.store.siblings(new) == [second, new]
    assert [turn.key for turn in engine.asked[-1].turns] == [first, new]
    assert engine.asked[-1].turns[-1].reply == ""


async def test_an_edited_message_keeps_the_original(bench: SessionBench, session: ChatSession, engine: ScriptedEngine) -> None:
    first = await bench.say(session, "One")
    await bench.say(session, "Two")
    await bench.send(session, EditMessage(first, "Uno"))
    assert [turn.turn.user for turn in bench.turns(session)] == ["Uno"]
    assert [turn.turn.user for turn in session.turns] == ["Uno"]
    assert len(engine.asked[-1].turns) == 1
    assert len(bench.store.siblings(first)) == 2
    bench.store.switch_branch(first)
    assert [turn.turn.user for turn in bench.turns(session)] == ["One", "Two"], "nothing was overwritten"


async def test_undoing_an_edit_returns_to_the_original(bench: SessionBench, session: ChatSession) -> None:
    returned: list[tuple[str, str]] = []

    async def return_to(conversation_id: str, turn_id: str) -> None:
        returned.append((conversation_id, turn_id))

    object.__setattr__(bench.environment, "return_to", return_to)
    first = await bench.say(session, "One")
    await bench.send(session, EditMessage(first, "Uno"))
    name, undo = bench.environment.undo.pop()
    assert name == "edit"
    await undo()
    assert returned == [(session.conversation_id, first)]


async def test_switching_branches_wraps_around(bench: SessionBench, session: ChatSession) -> None:
    first = await bench.say(session, "One")
    second = await bench.send(session, Regenerate(first))
    shown = await session.switch_branch(second, 1)
    assert (shown.turn_id, shown.reply, shown.message) == (first, (1, 2), (1, 1))
    assert [turn.turn_id for turn in session.turns] == [first]
    shown = await session.switch_branch(first, 1)
    assert (shown.turn_id, shown.reply) == (second, (2, 2))


async def test_edited_messages_differ_from_regenerated_replies(bench: SessionBench, session: ChatSession) -> None:
    first = await bench.say(session, "One")
    edited = await bench.send(session, EditMessage(first, "Uno"))
    again = await bench.send(session, Regenerate(first))
    places = [(turn.message, turn.reply) for turn in map(bench.store.turn, (first, edited, again))]
    assert places == [((1, 2), (1, 2)), ((2, 2), (1, 1)), ((1, 2), (2, 2))]
    walked = [again]
    for _ in range(3):
        walked.append((await session.switch_branch(walked[-1], 1)).turn_id)
    assert walked == [again, edited, first, again], "message by message"
    assert (await session.switch_branch(again, 1, "messages")).turn_id == edited
    assert (await session.switch_branch(edited, 1, "messages")).turn_id == again, "the last reply to the other message"
    assert (await session.switch_branch(again, 1, "replies")).turn_id == first


async def test_a_reply_continues_from_where_it_ended(bench: SessionBench, session: ChatSession, engine: ScriptedEngine) -> None:
    turn_id = await bench.say(session, "One")
    engine._answer = lambda _: " and more"
    await bench.send(session, ContinueReply(turn_id))
    assert engine.asked[-1].turns[-1].reply == "You said: One"
    assert (bench.last(session).reply, bench.last(session).finish_reason) == ("You said: One and more", "stop")
    assert len(bench.turns(session)) == 1


async def test_a_continued_reply_that_is_stopped_loses_nothing(bench: SessionBench, session: ChatSession) -> None:
    turn_id = await bench.say(session, "One")
    ended = bench.last(session)
    assert ended.usage is not None

    async def stop(event: events.SessionEvent) -> None:
        if isinstance(event, events.TurnsReplaced):
            await session.stop()

    bench.heard = stop
    await bench.send(session, ContinueReply(turn_id))
    assert bench.last(session) == session.turns[-1].turn == ended


async def test_undoing_a_pin_lasts_when_the_reply_is_being_continued(
    bench: SessionBench, session: ChatSession, engine: ScriptedEngine
) -> None:
    turn_id = await bench.say(session, "One")
    await session.set_flags(session.turns[0], "pin", pinned=True)

    async def undo(event: events.SessionEvent) -> None:
        if isinstance(event, events.TextAdded) and bench.environment.undo:
            await bench.environment.undo.pop()[1]()

    bench.heard = undo
    await bench.send(session, ContinueReply(turn_id))
    assert [turn.turn for turn in session.turns] == [bench.last(session)]
    assert not session.turns[0].turn.pinned
