"""Switching versions, and the line where the context starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.app_harness import PAUSE, AppHarness, run_loaded, screen_text, send_and_wait, send_message, until, until_answered

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def replies(harness: AppHarness) -> list[str]:
    return [turn.turn.reply for turn in harness.store.turns(harness.store.latest() or "")]


async def test_regenerating_keeps_the_old_reply_as_a_branch() -> None:
    answers = iter(["first answer", "second answer"])
    harness = AppHarness(answer=lambda _: next(answers))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Go")
        await until_answered(pilot, harness)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "second answer" in screen_text(harness))
        await until_answered(pilot, harness)
        await until(pilot, lambda: "Reply 2 of 2" in screen_text(harness))
        assert "first answer" not in screen_text(harness)
        assert len(harness.chat.turns) == 1
        await pilot.press("alt+left")
        await until(pilot, lambda: "first answer" in screen_text(harness))
        await until(pilot, lambda: "Reply 1 of 2" in screen_text(harness))
        assert replies(harness) == ["first answer"]


async def test_editing_sends_the_last_message_again() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Helo")
        await until_answered(pilot, harness)
        await pilot.press(*"draft", "f3")
        assert harness.chat.draft == "Helo"
        await pilot.press("escape")
        assert harness.chat.draft == "draft"
        await pilot.press("f3", "backspace", *"lo", "enter")
        await until(pilot, lambda: "You said: Hello" in screen_text(harness).replace("Hello", "Hello"))
        await until_answered(pilot, harness)
        assert [turn.turn.user for turn in harness.store.turns(harness.store.latest() or "")] == ["Hello"]
        assert harness.chat.draft == "draft"


async def test_continuing_resumes_where_the_reply_was_stopped() -> None:
    harness = AppHarness(answer=lambda _: f"one {PAUSE} two")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Count")
        await until(pilot, lambda: "one" in screen_text(harness))
        await pilot.press("escape")
        await until_answered(pilot, harness)
        harness.gate.set()
        await pilot.press("f6")
        await until(pilot, lambda: "two" in screen_text(harness))
        await until_answered(pilot, harness)
        assert len(harness.chat.turns) == 1
        (reply,) = replies(harness)
        assert reply.startswith("one")
        assert reply.endswith("two")


async def test_continuing_a_complete_reply_is_reported() -> None:
    answers = iter(["All of it.", ""])
    harness = AppHarness(answer=lambda _: next(answers))
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Count")
        await pilot.press("f6")
        await until(pilot, lambda: "nothing to add" in harness.chat.notice)
        await until_answered(pilot, harness)
        assert replies(harness) == ["All of it."]


async def test_the_context_line_is_where_the_ledger_begins() -> None:
    harness = AppHarness(answer=lambda text: f"{text} " + "word " * 60, window=512)
    async with run_loaded(harness, (100, 60)) as pilot:
        for number in range(9):
            await send_and_wait(pilot, harness, f"message {number}")
        assert harness.chat.ledger is not None
        seen = [turn.key for turn in harness.chat.ledger.turns]
        ids = [turn.turn_id for turn in harness.chat.turns]
        assert 0 < len(seen) < len(ids)
        assert harness.chat.evicted == ids[: -len(seen)]
        marked = [view for view in harness.chat.views if view.has_class("-edge")]
        assert [view.shown.turn_id for view in marked] == seen[:1]
        assert harness.chat.full_context_announced


async def test_another_conversations_context_draws_no_line() -> None:
    harness = AppHarness()
    other = harness.add_conversation(*((f"q{number}", f"a{number}") for number in range(5)))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Hello")
        await until_answered(pilot, harness)
        await harness.chat.open(other)
        await pilot.pause()
        assert not harness.chat.evicted
        assert not [view for view in harness.chat.views if view.has_class("-edge")]


async def test_copying_reports_how_it_was_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    harness = AppHarness()
    program = tmp_path / "xclip"
    program.write_text(f'#!/bin/sh\n/bin/cat > "{tmp_path}/clipboard"\n')
    program.chmod(0o700)
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Hello")
        await until_answered(pilot, harness)
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        await pilot.press("ctrl+y")
        await until(pilot, lambda: "OSC 52" in harness.chat.notice)
        assert harness.app.clipboard == "You said: Hello"
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setenv("PATH", str(tmp_path))
        await pilot.press("ctrl+y")
        await until(pilot, lambda: "with xclip" in harness.chat.notice)
        assert (tmp_path / "clipboard").read_text() == "You said: Hello"
        program.write_text("#!/bin/sh\nexit 1\n")
        await pilot.press("ctrl+y")
        await until(pilot, lambda: "OSC 52" in harness.chat.notice)


async def test_without_an_editor_the_notice_says_how_to_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("PATH", "")
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "EDITOR" in harness.chat.notice)


async def test_keys_that_need_a_turn_explain_themselves() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        for key in ("ctrl+r", "f3", "f6", "alt+left", "ctrl+y", "f2", "f4", "f9"):
            harness.chat.clear_notice()
            await pilot.press(key)
            await until(pilot, lambda: harness.chat.notice, key)


async def test_an_opened_conversation_is_prefilled() -> None:
    harness = AppHarness(window=256)
    conversation = harness.add_conversation(*((f"question {number}", "word " * 30) for number in range(12)))
    async with run_loaded(harness) as pilot:
        await harness.chat.open(conversation)
        await until(pilot, lambda: harness.chat.evicted, "the line is drawn")
        assert harness.chat.tokens_used > 100
        await until(pilot, lambda: harness.chat.state == "ready")
