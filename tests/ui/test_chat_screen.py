"""A conversation through the real chat, store and engine's thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.screens import PAUSE, Stage, answered, drawn, furnished, ready, rows, run, say, until
from textual.app import App

from mistral_chat.errors import EngineLoadFailed, ModelNotFound
from mistral_chat.ui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


async def test_a_message_is_answered_and_kept() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press(*"Hello", "enter")
        await answered(pilot, stage)
        assert "You said: Hello" in drawn(stage)
        (turn,) = stage.store.turns(stage.store.latest() or "")
        assert (turn.turn.user, turn.turn.reply, turn.turn.finish_reason) == ("Hello", "You said: Hello", "stop")


async def test_what_is_typed_before_anything_is_open_is_not_lost() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await pilot.press(*"early")
        await ready(pilot, stage)
        assert stage.chat.draft == "early"


async def test_a_message_sent_while_the_model_loads_waits_for_it() -> None:
    stage = Stage(loading=True)
    async with run(stage) as pilot:
        await furnished(pilot, stage)
        await say(pilot, stage, "Are you there?")
        await until(pilot, lambda: "loading 40%" in drawn(stage))
        await until(pilot, lambda: "Are you there?" in drawn(stage))
        stage.loaded.set()
        await answered(pilot, stage)
        assert "You said: Are you there?" in drawn(stage)


async def test_escape_stops_and_keeps_what_was_written() -> None:
    stage = Stage(answer=lambda _: f"one two {PAUSE} three")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Count")
        await until(pilot, lambda: "one two" in drawn(stage))
        await pilot.press("escape")
        await answered(pilot, stage)
        (turn,) = stage.store.turns(stage.store.latest() or "")
        assert turn.turn.reply.split() == ["one", "two"]
        assert turn.turn.finish_reason == "cancelled"
        assert "Stopped" in drawn(stage)


async def test_ctrl_c_stops_a_reply_and_never_quits() -> None:
    stage = Stage(answer=lambda _: f"one {PAUSE}")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Count")
        await until(pilot, lambda: "one" in drawn(stage))
        await pilot.press("ctrl+c")
        await answered(pilot, stage)
        await pilot.press("ctrl+c")
        assert stage.app.is_running
        assert "Ctrl+Q quits" in drawn(stage)


async def test_a_second_message_waits_and_the_replies_come_in_order() -> None:
    stage = Stage(answer=lambda text: f"A {PAUSE} {text}")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "first")
        await until(pilot, lambda: stage.chat.turns)
        await say(pilot, stage, "second")
        await until(pilot, lambda: "1 queued" in drawn(stage))
        stage.gate.set()
        await until(pilot, lambda: len(stage.chat.turns) == 2)
        await answered(pilot, stage)
        assert [turn.turn.user for turn in stage.store.turns(stage.store.latest() or "")] == ["first", "second"]


async def test_stopping_gives_back_what_was_queued() -> None:
    stage = Stage(answer=lambda _: f"A {PAUSE}")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "first")
        await until(pilot, lambda: stage.chat.turns)
        await say(pilot, stage, "second")
        await pilot.press("escape")
        await answered(pilot, stage)
        assert stage.chat.draft == "second"
        assert len(stage.chat.turns) == 1


async def test_deleting_can_be_taken_back() -> None:
    stage = Stage()
    stage.say(("Question", "Answer"), title="Keep me")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("ctrl+o", "down", "delete")
        await until(pilot, lambda: "is in the trash" in drawn(stage))
        assert not stage.store.summaries()
        await pilot.press("f8")
        await until(pilot, lambda: "Answer" in drawn(stage))
        assert [summary.title for summary in stage.store.summaries()] == ["Keep me"]


async def test_a_conversation_can_be_renamed() -> None:
    stage = Stage()
    stage.say(("Question", "Answer"), title="Old")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("ctrl+o", "down", "f2")
        await until(pilot, lambda: "Rename the conversation" in drawn(stage))
        await pilot.press(*"New", "enter")
        await until(pilot, lambda: stage.store.summaries()[0].title == "New")
        await until(pilot, lambda: "New" in drawn(stage))


async def test_drafts_are_kept_for_each_conversation() -> None:
    stage = Stage()
    one = stage.say(("Question", "Answer"), title="One")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press(*"fresh")
        await stage.chat.open(one)
        assert stage.chat.draft == ""
        await pilot.press(*"follow")
        await stage.chat.open(None)
        assert stage.chat.draft == "fresh"
        await stage.chat.open(one)
        assert stage.chat.draft == "follow"


async def test_quitting_in_mid_reply_keeps_what_was_written(tmp_path: Path) -> None:
    stage = Stage(answer=lambda _: f"half {PAUSE}", path=tmp_path / "c.db")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Go")
        await until(pilot, lambda: "half" in drawn(stage))
        await pilot.press(*"draft", "ctrl+q")
        await until(pilot, lambda: not stage.app.is_running)
    assert stage.app.return_code == 0
    again = stage.open_store()
    latest = again.latest() or ""
    (turn,) = again.turns(latest)
    assert (turn.turn.reply.strip(), turn.turn.finish_reason) == ("half", "cancelled")
    assert again.draft(latest) == "draft"


async def test_without_weights_the_screen_says_how_to_get_them() -> None:
    stage = Stage(failure=ModelNotFound("Get one with: mistral-chat models pull mistral-7b"))
    async with run(stage) as pilot:
        await furnished(pilot, stage)
        await until(pilot, lambda: "There is no model on this computer yet" in drawn(stage))
        assert "mistral-chat models pull mistral-7b" in drawn(stage)
        await say(pilot, stage, "Hello?")
        await until(pilot, lambda: stage.chat.draft == "Hello?")
        stage.failure = None
        await pilot.press("f5")
        await until(pilot, lambda: stage.chat.state == "ready")
        assert "A new conversation" in drawn(stage)


async def test_a_model_that_does_not_load_says_why(tmp_path: Path) -> None:
    stage = Stage(load_failure=EngineLoadFailed(tmp_path / "model.gguf", "the file is cut"))
    conversation = stage.say(("Question", "Answer"))
    stage.conversation_id = conversation
    stage.app = stage.make_app()
    async with run(stage) as pilot:
        await furnished(pilot, stage)
        await until(pilot, lambda: "the model did not load" in drawn(stage))
        assert "the file is cut" in drawn(stage)
        await until(pilot, lambda: "Answer" in drawn(stage))


async def test_a_message_too_long_goes_back_to_the_composer() -> None:
    stage = Stage(window=256)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "word " * 400)
        await until(pilot, lambda: "tokens" in stage.chat.notice)
        assert stage.chat.draft.count("word") == 400
        assert stage.store.latest() is None


async def test_another_conversation_can_be_read_while_a_reply_is_written() -> None:
    stage = Stage(answer=lambda _: f"growing {PAUSE} done")
    other = stage.say(("Old question", "Old answer"), title="Other")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Go")
        await until(pilot, lambda: "growing" in drawn(stage))
        mine = stage.chat.conversation_id
        await stage.chat.open(other)
        await until(pilot, lambda: "Old answer" in drawn(stage))
        assert "growing" not in drawn(stage)
        await stage.chat.open(mine)
        await until(pilot, lambda: "growing" in drawn(stage))
        stage.gate.set()
        await answered(pilot, stage)
        await until(pilot, lambda: "done" in drawn(stage))


async def test_the_list_and_the_composer_have_room_at_60_columns() -> None:
    stage = Stage()
    stage.say(("Question", "Answer"), title="Narrow one")
    async with run(stage, (60, 20)) as pilot:
        await ready(pilot, stage)
        assert "Narrow one" not in drawn(stage)
        await pilot.press("ctrl+b")
        await until(pilot, lambda: "Narrow one" in drawn(stage))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Answer" in drawn(stage))
        assert "Narrow one" not in drawn(stage)


async def test_no_row_of_the_status_ever_wraps() -> None:
    stage = Stage()
    async with run(stage, (60, 20)) as pilot:
        await ready(pilot, stage)
        for width in (20, 40, 60, 200):
            await pilot.resize_terminal(width, 20)
            await pilot.pause()
            assert stage.chat.status_height == 1
            assert len(drawn(stage).splitlines()[-1]) == width


async def test_how_far_a_download_is_stays_in_sight_beside_a_reply_at_60_columns() -> None:
    class Line(App[None]):
        def compose(self) -> Iterator[StatusLine]:
            yield StatusLine()

    app = Line()
    async with app.run_test(size=(60, 1)) as pilot:
        status = app.query_one(StatusLine)
        status.tell(state="writing 11.2 tok/s", unsaved=True, working="⟳ fetching 43%", hints=(("Esc", "stop"),))
        parts = ("not saved", "writing 11.2 tok/s", "⟳ 43%", "Esc stop")
        await until(pilot, lambda: all(part in rows(app) for part in parts), "all of it is on the row")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
async def test_a_signal_saves_and_leaves(number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    stage = Stage(answer=lambda _: f"half {PAUSE}", path=tmp_path / "c.db")
    watchdogs: list[_Watchdog] = []

    def watchdog(*arguments: Any) -> _Watchdog:
        watchdogs.append(_Watchdog(arguments))
        return watchdogs[-1]

    monkeypatch.setattr("mistral_chat.ui.app.threading.Timer", watchdog)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Go")
        await until(pilot, lambda: "half" in drawn(stage))
        signal.raise_signal(signal.Signals[number])
        await asyncio.sleep(0)
        await until(pilot, lambda: not stage.app.is_running)
    code = 128 + signal.Signals[number]
    assert stage.app.return_code == code
    assert watchdogs[0].arguments[2] == (code,)
    assert watchdogs[0].daemon
    (turn,) = stage.open_store().turns(stage.open_store().latest() or "")
    assert turn.turn.reply.strip() == "half"


class _Watchdog:
    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments
        self.daemon = False

    def start(self) -> None:
        """Never fires: the test ends first."""
