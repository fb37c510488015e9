"""Going back in a conversation, and the line where the model's memory begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.screens import PAUSE, Stage, answered, drawn, ready, run, say, spoken, until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def replies(stage: Stage) -> list[str]:
    return [turn.turn.reply for turn in stage.store.turns(stage.store.latest() or "")]


async def test_regenerating_keeps_the_old_reply_beside_the_new_one() -> None:
    answers = iter(["first answer", "second answer"])
    stage = Stage(answer=lambda _: next(answers))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Go")
        await answered(pilot, stage)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "second answer" in drawn(stage))
        await answered(pilot, stage)
        assert "2/2" in drawn(stage)
        assert "first answer" not in drawn(stage)
        assert len(stage.chat.turns) == 1
        await pilot.press("alt+left")
        await until(pilot, lambda: "first answer" in drawn(stage))
        assert "1/2" in drawn(stage)
        assert replies(stage) == ["first answer"]


async def test_editing_says_the_last_message_anew() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Helo")
        await answered(pilot, stage)
        await pilot.press(*"draft", "f3")
        assert stage.chat.draft == "Helo"
        await pilot.press("escape")
        assert stage.chat.draft == "draft"
        await pilot.press("f3", "backspace", *"lo", "enter")
        await until(pilot, lambda: "You said: Hello" in drawn(stage).replace("Hello", "Hello"))
        await answered(pilot, stage)
        assert [turn.turn.user for turn in stage.store.turns(stage.store.latest() or "")] == ["Hello"]
        assert stage.chat.draft == "draft"


async def test_continuing_goes_on_where_the_reply_was_stopped() -> None:
    stage = Stage(answer=lambda _: f"one {PAUSE} two")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Count")
        await until(pilot, lambda: "one" in drawn(stage))
        await pilot.press("escape")
        await answered(pilot, stage)
        stage.gate.set()
        await pilot.press("f6")
        await until(pilot, lambda: "two" in drawn(stage))
        await answered(pilot, stage)
        assert len(stage.chat.turns) == 1
        (reply,) = replies(stage)
        assert reply.startswith("one")
        assert reply.endswith("two")


async def test_a_whole_reply_that_is_continued_says_that_there_is_no_more() -> None:
    answers = iter(["All of it.", ""])
    stage = Stage(answer=lambda _: next(answers))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "Count")
        await pilot.press("f6")
        await until(pilot, lambda: "nothing to add" in stage.chat.notice)
        await answered(pilot, stage)
        assert replies(stage) == ["All of it."]


async def test_the_line_stands_where_the_ledger_begins() -> None:
    stage = Stage(answer=lambda text: f"{text} " + "word " * 60, window=512)
    async with run(stage, (100, 60)) as pilot:
        await ready(pilot, stage)
        for number in range(9):
            await spoken(pilot, stage, f"message {number}")
        runner = stage.chat.runner
        assert runner is not None
        assert runner.ledger is not None
        seen = [turn.key for turn in runner.ledger.turns]
        ids = [turn.turn_id for turn in stage.chat.turns]
        assert 0 < len(seen) < len(ids)
        assert stage.chat.left == ids[: -len(seen)]
        marked = [view for view in stage.chat.views if view.has_class("-edge")]
        assert [view.shown.turn_id for view in marked] == seen[:1]
        assert stage.chat.told_of_full_context


async def test_another_conversations_memory_draws_no_line() -> None:
    stage = Stage()
    other = stage.say(*((f"q{number}", f"a{number}") for number in range(5)))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Hello")
        await answered(pilot, stage)
        await stage.chat.open(other)
        await pilot.pause()
        assert not stage.chat.left
        assert not [view for view in stage.chat.views if view.has_class("-edge")]


async def test_copying_says_how_it_was_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stage = Stage()
    program = tmp_path / "xclip"
    program.write_text(f'#!/bin/sh\n/bin/cat > "{tmp_path}/clipboard"\n')
    program.chmod(0o700)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Hello")
        await answered(pilot, stage)
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        await pilot.press("ctrl+y")
        await until(pilot, lambda: "OSC 52" in stage.chat.notice)
        assert stage.app.clipboard == "You said: Hello"
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setenv("PATH", str(tmp_path))
        await pilot.press("ctrl+y")
        await until(pilot, lambda: "with xclip" in stage.chat.notice)
        assert (tmp_path / "clipboard").read_text() == "You said: Hello"
        program.write_text("#!/bin/sh\nexit 1\n")
        await pilot.press("ctrl+y")
        await until(pilot, lambda: "OSC 52" in stage.chat.notice)


async def test_without_an_editor_it_says_how_to_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "EDITOR" in stage.chat.notice)


async def test_keys_that_need_a_turn_say_so() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        for key in ("ctrl+r", "f3", "f6", "alt+left", "ctrl+y", "f2", "f4", "f9"):
            stage.chat.clear_notice()
            await pilot.press(key)
            await until(pilot, lambda: stage.chat.notice, key)


async def test_an_opened_conversation_is_read_before_anything_is_sent() -> None:
    stage = Stage(window=256)
    conversation = stage.say(*((f"question {number}", "word " * 30) for number in range(12)))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await stage.chat.open(conversation)
        await until(pilot, lambda: stage.chat.left, "the line is drawn")
        assert stage.chat.tokens_used > 100
        await until(pilot, lambda: stage.chat.state == "ready")
