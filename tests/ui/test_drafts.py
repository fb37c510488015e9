"""Nothing that was typed is lost: by leaving an edit, by recalling a message, by quitting, or to another window."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.app_harness import (
    PAUSE,
    AppHarness,
    press_at_once,
    run,
    run_loaded,
    screen_text,
    send_and_wait,
    send_message,
    until,
    until_answered,
)
from textual import events

from mistral_chat.errors import InvalidText, ModelNotFound, StoreBusy
from mistral_chat.message_form import build_message
from mistral_chat.session.attachments import LARGEST_SAVED, Attachment
from mistral_chat.session.grounding import Grounding
from mistral_chat.session.reply import EditMessage
from mistral_chat.ui.commands import command

if TYPE_CHECKING:
    from pathlib import Path

LONG = "\n".join(f"line {number}" for number in range(40))
"""A paste that becomes an attachment."""


@pytest.mark.parametrize("key", ["ctrl+n", "ctrl+t", "ctrl+q"])
async def test_an_edit_that_is_left_is_in_the_draft(tmp_path: Path, key: str) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    mine = harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press(*"draft", "f3", *"s?")
        await until(pilot, lambda: harness.chat.draft == "Questions?")
        await pilot.press(key)
        await until(pilot, lambda: not harness.app.is_running or harness.chat.draft == "")
    assert harness.open_store().draft(mine) == "draft\n\nQuestions?"


async def test_an_edit_that_is_left_before_it_is_refused_is_in_its_own_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AppHarness(window=256)
    mine = harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        left, session = asyncio.Event(), harness.screen.session
        count = harness.screen.host.count

        async def slowly(*texts: str) -> int | None:
            await left.wait()
            return await count(*texts)

        await pilot.press("f3")
        await until(pilot, lambda: harness.chat.draft == "Question")
        edit = "word " * 400
        monkeypatch.setattr(harness.screen.host, "count", slowly)
        sending = asyncio.create_task(harness.screen.message_box.send(EditMessage(session.turns[0].turn_id, edit)))
        await asyncio.sleep(0)
        await harness.chat.open(None)
        left.set()
        await sending
        assert harness.chat.draft == ""
        await until(pilot, lambda: harness.store.draft(mine).strip() == edit.strip())


async def test_an_edit_does_not_begin_in_a_conversation_that_was_opened_meanwhile() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        press_at_once(harness, "f3", "ctrl+n")
        await until(pilot, lambda: harness.chat.conversation_id is None)
        await pilot.pause()
        assert (harness.chat.editing, harness.chat.draft) == (False, "")
        await send_and_wait(pilot, harness, "Hello")
        assert [turn.turn.user for turn in harness.chat.turns] == ["Hello"]


async def test_an_edit_without_a_change_leaves_the_draft_alone() -> None:
    harness = AppHarness()
    mine = harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press(*"draft", "f3")
        await until(pilot, lambda: harness.chat.draft == "Question")
        await harness.chat.open(None)
        await harness.chat.open(mine)
        assert harness.chat.draft == "draft"


async def test_an_edit_is_kept_when_another_begins_and_when_a_reply_is_stopped() -> None:
    harness = AppHarness(answer=lambda _: f"one {PAUSE}")
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press("f3", "s", "f3")
        await until(pilot, lambda: "Send the edit or cancel it (Esc) first." in harness.chat.notice)
        assert harness.chat.draft == "Questions"
        await pilot.press("up", "ctrl+r")
        await until(pilot, lambda: "one" in screen_text(harness))
        await pilot.press("escape")
        await until_answered(pilot, harness)
        assert harness.chat.draft == "Questions"
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.draft == "", "Esc cancels the edit once no reply is generated")


async def test_attachments_return_with_their_draft_after_a_restart(tmp_path: Path) -> None:
    for name in ("notes.txt", "without an ending"):
        (tmp_path / name).write_text("buy bread\n")
    harness = AppHarness(path=tmp_path / "c.db")
    other = harness.add_conversation(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        harness.chat.composer.post_message(events.Paste(LONG))
        await until(pilot, lambda: "▪ Pasted text" in screen_text(harness))
        await until(pilot, lambda: harness.open_store().draft("") == build_message([("Pasted text", LONG)], "", ""))
        await send_message(pilot, harness, f"/attach {tmp_path / 'without an ending'}")
        await until(pilot, lambda: "▪ without an ending" in screen_text(harness))
        await pilot.press(*"draft")
        await harness.chat.open(other)
        await until(pilot, lambda: "▪" not in screen_text(harness))
        await harness.chat.attach(str(tmp_path / "notes.txt"))
        await harness.chat.open(None)
        assert harness.chat.draft == "draft", "what is attached still is not shown as text, too"
        assert [file.name for file in harness.screen.session.attachments] == ["Pasted text", "without an ending"]
    again = AppHarness(path=tmp_path / "c.db")
    async with run_loaded(again) as pilot:
        (pasted,) = again.screen.session.attachments
        assert (pasted.name, pasted.text, pasted.pasted) == ("Pasted text", LONG, True)
        assert again.chat.draft == "draft", "a file that cannot be told from what was written is not saved"
        await until(pilot, lambda: "▪ Pasted text" in screen_text(again) and "… tokens" not in screen_text(again))
        await again.chat.open(other)
        await until(pilot, lambda: "▪ notes.txt" in screen_text(again))


async def test_an_attachment_that_is_too_large_to_be_saved_every_second_stays_in_memory(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("word " * LARGEST_SAVED)
    harness = AppHarness(window=4 * LARGEST_SAVED)
    async with run_loaded(harness) as pilot:
        await harness.chat.attach(str(tmp_path / "notes.txt"))
        await pilot.press(*"draft")
        harness.chat.save_draft()
        await until(pilot, lambda: harness.store.draft("") == "draft")
        await harness.chat.open(None)
        assert [file.name for file in harness.screen.session.attachments] == ["notes.txt"]


async def test_a_draft_moves_into_a_temporary_chat_with_its_attachments(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db", window=4 * LARGEST_SAVED)
    async with run_loaded(harness) as pilot:
        harness.chat.composer.post_message(events.Paste(LONG))
        await until(pilot, lambda: "▪ Pasted text" in screen_text(harness))
        (tmp_path / "large.txt").write_text("word " * LARGEST_SAVED)
        await harness.chat.attach(str(tmp_path / "large.txt"))
        await pilot.press(*"draft", "ctrl+t")
        await until(pilot, lambda: "Temporary chat" in screen_text(harness) and "▪ Pasted text" in screen_text(harness))
        assert harness.chat.draft == "draft"
        assert [file.name for file in harness.screen.session.attachments] == ["Pasted text", "large.txt"]
        await until(pilot, lambda: harness.open_store().draft("") == "")
        assert not harness.screen.workspaces[1].current.attachments
        await pilot.press("ctrl+u", "ctrl+t")
        await until(pilot, lambda: "Discard this temporary chat?" in screen_text(harness), "attachments are asked about, too")


async def test_a_recalled_message_leaves_the_draft_and_its_attachments(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    mine = harness.start_with((build_message([("notes.txt", "buy bread")], "", "Older"), "Answer"))
    async with run_loaded(harness) as pilot:
        harness.chat.composer.post_message(events.Paste(LONG))
        await until(pilot, lambda: "▪ Pasted text" in screen_text(harness))
        await pilot.press(*"draft", "up")
        await until(pilot, lambda: harness.chat.draft == "Older" and "▪ notes.txt" in screen_text(harness))
        kept = build_message([("Pasted text", LONG)], "", "draft")
        harness.chat.save_draft()
        await until(pilot, lambda: harness.open_store().draft(mine) == kept)
        await harness.chat.open(None)
        await harness.chat.open(mine)
        assert harness.chat.draft == "draft"
        assert [file.name for file in harness.screen.session.attachments] == ["Pasted text"]
        await pilot.press("up", *"!?", "ctrl+n")
        await until(pilot, lambda: harness.chat.draft == "")
        await harness.chat.open(mine)
        assert harness.chat.draft == "draft\n\nOlder!?", "what was added to a message that was sent is new"


async def test_sending_a_recalled_message_brings_the_draft_back() -> None:
    harness = AppHarness()
    harness.start_with((build_message([("notes.txt", "buy bread")], "", "Older"), "Answer"))
    async with run_loaded(harness) as pilot:
        harness.chat.composer.post_message(events.Paste(LONG))
        await until(pilot, lambda: "▪ Pasted text" in screen_text(harness))
        await pilot.press(*"draft", "up")
        await until(pilot, lambda: "▪ notes.txt" in screen_text(harness))
        await pilot.press("enter")
        await until_answered(pilot, harness)
        await until(pilot, lambda: len(harness.chat.turns) == 2)
        assert harness.chat.turns[0].turn.user == harness.chat.turns[1].turn.user
        assert harness.chat.draft == "draft"
        await until(pilot, lambda: "▪ Pasted text" in screen_text(harness))


async def test_what_is_typed_before_a_new_conversation_is_saved_is_its_draft_alone(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    other = harness.open_store()
    async with run_loaded(harness) as pilot:
        with other.database.write():
            await send_message(pilot, harness, "Question")
            await pilot.press(*"more")
            harness.chat.save_draft()
            assert harness.chat.conversation_id is None
        await until_answered(pilot, harness)
        harness.chat.save_draft()
        await until(pilot, lambda: other.draft(harness.chat.conversation_id or "") == "more")
    assert other.draft("") == ""
    other.close()


async def test_a_draft_that_another_window_wrote_is_not_replaced(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    mine = harness.start_with(("Question", "Answer"))
    other = harness.open_store()
    async with run_loaded(harness) as pilot:
        other.save_draft(mine, "theirs")
        await harness.chat.open(None)
        other.save_draft("", "also theirs")
        await harness.chat.open(mine)
        assert harness.chat.draft == "theirs"
        await send_and_wait(pilot, harness, "")
        await until(pilot, lambda: other.draft(mine) == "")
    assert other.draft("") == "also theirs"
    other.close()


async def test_a_message_queued_before_an_edit_returns_to_the_draft_and_not_to_the_edit(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    mine = harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        host = harness.screen.host
        engine, host.engine = host.engine, None  # as between two models
        await harness.screen.session.files.attach_paste(LONG)
        await send_message(pilot, harness, "Second")
        await pilot.press("f3", *"s?", "escape")
        await until(pilot, lambda: not harness.chat.editing, "Esc cancels the edit first")
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.draft == "Second" and "▪ Pasted text" in screen_text(harness))
        await send_message(pilot, harness, "")
        await pilot.press("f3", *"s?")
        await until(pilot, lambda: harness.chat.draft == "Questions?")
        await harness.screen.session.return_queued()
        assert harness.chat.draft == "Questions?"
        assert not harness.screen.session.attachments
        kept = build_message([("Pasted text", LONG)], "", "Second\n\nQuestions?")
        await until(pilot, lambda: harness.open_store().draft(mine) == kept)
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.draft == "Second" and "▪ Pasted text" in screen_text(harness))
        host.engine = engine


async def test_an_edit_that_ends_twice_leaves_the_attachments_of_the_draft() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness):
        session = harness.screen.session
        await session.files.attach_paste(LONG)
        session.begin_edit(session.turns[-1])
        await session.end_edit()
        await session.end_edit()
        assert [file.name for file in session.attachments] == ["Pasted text"]


async def test_a_recalled_message_that_is_sent_at_once_has_its_own_files() -> None:
    harness = AppHarness()
    harness.start_with((build_message([("notes.txt", "buy bread")], "", "Older"), "Answer"), ("Newer", "Answer"))
    async with run_loaded(harness) as pilot:
        await harness.screen.session.files.attach_paste(LONG)
        for action in ("up", "up", "submit"):  # in one step, as keys that are read together
            getattr(harness.chat.composer, f"action_{action}")()
        await until(pilot, lambda: len(harness.chat.turns) == 3)
        await until_answered(pilot, harness)
        assert harness.chat.turns[2].turn.user == harness.chat.turns[0].turn.user
        await until(pilot, lambda: "▪ Pasted text" in screen_text(harness))


async def test_a_recalled_message_that_is_refused_returns_with_its_files() -> None:
    harness = AppHarness(failure=ModelNotFound("none"))
    harness.start_with((build_message([("notes.txt", "buy bread")], "", "Older"), "Answer"))
    async with run(harness) as pilot:
        await until(pilot, lambda: harness.chat.model_error)
        harness.chat.composer.action_up()
        await until(pilot, lambda: [file.name for file in harness.screen.session.attachments] == ["notes.txt"])
        harness.chat.composer.action_submit()
        await until(pilot, lambda: harness.chat.draft == "Older" and harness.chat.composer.recalled_files is None)
        await pilot.pause()
        assert [file.name for file in harness.screen.session.attachments] == ["notes.txt"]


@pytest.mark.parametrize("shown", [True, False])
async def test_a_message_that_began_with_two_slashes_does_not_return_as_a_command(tmp_path: Path, *, shown: bool) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    mine = harness.start_with(("/new", "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press("up")
        assert harness.chat.draft == "//new"
        host, first = harness.screen.host, harness.screen.session
        engine, host.engine = host.engine, None  # as between two models
        await pilot.press("enter")
        await until(pilot, lambda: first.queue)
        if not shown:
            await harness.chat.open(None)
        await first.return_queued()
        await harness.chat.open(mine)
        assert harness.chat.draft == "//new"
        host.engine, host.error = engine, (refusal := ModelNotFound("none"))
        await pilot.press("enter")
        await until(pilot, lambda: refusal.problem in harness.chat.notice)
        assert harness.chat.draft == "//new", "refused"


@pytest.mark.parametrize("shown", [True, False])
async def test_all_new_conversations_have_one_draft(tmp_path: Path, *, shown: bool) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    other = harness.add_conversation(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        host, first = harness.screen.host, harness.screen.session
        engine, host.engine = host.engine, None  # as between two models
        await first.files.attach_paste(LONG)
        await first.files.add(Attachment("long.pdf", "", collection="long.pdf"))
        await send_message(pilot, harness, "First")
        await harness.chat.open(None)
        await harness.screen.session.files.add(Attachment("notes.txt", "buy bread"))
        await pilot.press(*"more")
        if not shown:
            await harness.chat.open(other)
        await first.return_queued()
        await harness.chat.open(None)
        assert harness.chat.draft == "First\n\nmore"
        names = [file.name for file in harness.screen.session.attachments]
        assert names == ["notes.txt", "Pasted text", *(["long.pdf"] if shown else [])]
        assert not shown or harness.screen.session.grounding.chosen == ["long.pdf"]
        host.engine = engine


async def test_a_message_that_returns_elsewhere_is_saved_also_while_its_draft_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    mine = harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        host, first = harness.screen.host, harness.screen.session
        engine, host.engine = host.engine, None  # as between two models
        await first.files.attach_paste(LONG)
        await send_message(pilot, harness, "First")
        await pilot.press(*"more")
        await harness.chat.open(None)

        def busy(_: str) -> str:
            raise StoreBusy("Another program is using the database.")

        with monkeypatch.context() as patch:
            patch.setattr(first.environment.saver, "draft", busy)
            await first.return_queued()
        kept = build_message([("Pasted text", LONG)], "", "First\n\nmore")
        await until(pilot, lambda: harness.open_store().draft(mine) == kept)
        host.engine = engine


@pytest.mark.parametrize("shown", [True, False])
async def test_a_message_that_returns_to_a_deleted_conversation_is_in_the_draft_of_a_new_one(
    tmp_path: Path, *, shown: bool
) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    mine, other = harness.start_with(("Question", "Answer")), harness.add_conversation(("Another", "Answer"))
    async with run_loaded(harness) as pilot:
        host, first = harness.screen.host, harness.screen.session
        engine, host.engine = host.engine, None  # as between two models
        await first.files.attach_paste(LONG)
        await send_message(pilot, harness, "Precious")
        await harness.chat.open(None)
        await pilot.press(*"more")
        if not shown:
            await harness.chat.open(other)
        with closing(harness.open_store()) as another_window:
            another_window.delete(mine)
        await first.return_queued()
        await harness.chat.open(None)
        assert harness.chat.draft == "Precious\n\nmore"
        assert [file.name for file in harness.screen.session.attachments] == ["Pasted text"]
        host.engine = engine


async def test_the_draft_of_a_new_conversation_is_shown_when_the_first_cannot_be_opened(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db", conversation_id="deleted")
    harness.store.save_draft("", "draft")
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: harness.chat.draft == "draft" and "deleted" in harness.chat.notice)


async def test_a_command_that_is_put_into_the_box_leaves_the_draft_for_later(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    mine = harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press(*"draft")
        await harness.screen.commands.run(command("chat.export"))
        await until(pilot, lambda: harness.chat.draft == "/export question.md")
        harness.chat.save_draft()
        await until(pilot, lambda: harness.open_store().draft(mine) == "draft\n\n/export question.md")
        for keys in (["up", "down"], ["f3", "escape"], ["ctrl+n"]):
            await pilot.press(*keys)
            if keys == ["ctrl+n"]:
                await until(pilot, lambda: harness.chat.conversation_id is None)
                await harness.chat.open(mine)
            await until(pilot, lambda: harness.chat.draft == "/export question.md")
            assert harness.chat.composer.draft == "draft\n\n/export question.md"
        harness.chat.set_draft(f"/export {tmp_path / 'question.md'}")
        await pilot.press("enter")
        await until(pilot, lambda: harness.chat.draft == "draft" and "Exported to" in harness.chat.notice)
        await harness.screen.commands.run(command("chat.export"))
        await until(pilot, lambda: harness.chat.draft == "/export question.md")
        await pilot.press("ctrl+c")
        await until(pilot, lambda: harness.chat.draft == "draft")


async def test_a_command_that_is_refused_later_returns_although_a_draft_is_there() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press(*"draft")
        await harness.screen.commands.run(command("chat.sampling"), "temperature hot", "/set temperature hot")
        await until(pilot, lambda: harness.chat.draft == "/set temperature hot" and "takes a number" in harness.chat.notice)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: harness.chat.draft == "draft")


@pytest.mark.parametrize("key", ["f3", "ctrl+n"])
async def test_a_command_that_is_refused_later_does_not_come_into_an_edit_or_another_conversation(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    reading = asyncio.Event()

    async def refuse_later(_grounding: Grounding, _path: Path) -> Attachment:
        await reading.wait()
        raise InvalidText("big.pdf contains no text.")

    monkeypatch.setattr(Grounding, "read_file", refuse_later)
    harness = AppHarness()
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/attach big.pdf")
        await until(pilot, lambda: harness.screen.message_box._reading)
        await pilot.press(*"draft", key)
        await until(pilot, lambda: harness.chat.editing or harness.chat.conversation_id is None)
        before = harness.chat.draft
        reading.set()
        await until(pilot, lambda: "big.pdf contains no text." in harness.chat.notice)
        assert harness.chat.draft == before
        await (pilot.press("escape") if key == "f3" else harness.chat.open(harness.conversation_id))
        await until(pilot, lambda: harness.chat.draft == "draft")


async def test_an_edit_that_waits_for_a_file_leaves_the_files_of_its_message_to_it() -> None:
    harness = AppHarness()
    mine = harness.start_with((build_message([("notes.txt", "buy bread")], "", "Question"), "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press("f3")
        await until(pilot, lambda: "▪ notes.txt" in screen_text(harness))
        harness.screen.message_box._reading.append((harness.screen.session, "long.pdf"))
        await pilot.press("enter")
        await until(pilot, lambda: "Reading long.pdf" in harness.chat.notice)
        await harness.chat.open(None)
        await harness.chat.open(mine)
        assert not harness.screen.session.attachments


@pytest.mark.parametrize("key", ["f3", "up"])
async def test_a_file_that_is_read_while_another_message_comes_into_the_box_is_attached_to_the_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    reading, read_file = asyncio.Event(), Grounding.read_file

    async def read_later(grounding: Grounding, path: Path) -> Attachment:
        await reading.wait()
        return await read_file(grounding, path)

    monkeypatch.setattr(Grounding, "read_file", read_later)
    (tmp_path / "notes.txt").write_text("buy bread\n")
    harness = AppHarness()
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {tmp_path / 'notes.txt'}")
        await until(pilot, lambda: harness.screen.message_box._reading)
        await pilot.press(*"draft", key)
        await until(pilot, lambda: harness.chat.draft == "Question")
        reading.set()
        await until(pilot, lambda: "Attached notes.txt" in harness.chat.notice)
        assert not harness.screen.session.attachments
        await pilot.press("escape" if key == "f3" else "down")
        await until(pilot, lambda: harness.chat.draft == "draft" and "▪ notes.txt" in screen_text(harness))


@pytest.mark.parametrize("typed", ["later", ""])
async def test_what_is_sent_while_the_program_quits_is_a_draft(tmp_path: Path, typed: str) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    mine = harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        ending, may_end = asyncio.Event(), asyncio.Event()

        async def slow_to_end() -> None:
            try:
                await may_end.wait()
            finally:
                ending.set()
                await may_end.wait()

        harness.screen.commands.in_background(slow_to_end)
        host, session = harness.screen.host, harness.screen.session
        engine, host.engine = host.engine, None  # as between two models: a message waits
        await pilot.pause()
        leaving = asyncio.create_task(harness.screen.leave())
        await ending.wait()
        session.attachments.append(Attachment("notes.txt", "buy bread"))
        press_at_once(harness, *typed, "enter")
        await until(pilot, lambda: session.queue)
        host.engine = engine
        may_end.set()
        await leaving
    with closing(harness.open_store()) as again:
        assert again.draft(mine) == build_message([("notes.txt", "buy bread")], "", typed)


@pytest.mark.parametrize("meanwhile", [(), ("up",), ("f3", "escape")])
async def test_a_message_that_returns_waits_behind_a_command_in_the_box(tmp_path: Path, meanwhile: tuple[str, ...]) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    mine = harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        host = harness.screen.host
        engine, host.engine = host.engine, None  # as between two models
        await send_message(pilot, harness, "First")
        await send_message(pilot, harness, "/set temperature hot")
        await until(pilot, lambda: harness.chat.draft == "/set temperature hot")
        await pilot.press(*meanwhile[:1])
        await harness.screen.session.return_queued()
        await pilot.press(*meanwhile[1:])
        await until(pilot, lambda: harness.chat.draft == "/set temperature hot")
        await until(pilot, lambda: harness.open_store().draft(mine) == "First\n\n/set temperature hot")
        host.engine = engine
        harness.chat.set_draft("/set temperature 0.2")
        await pilot.press("enter")
        await until(pilot, lambda: harness.chat.draft == "First")
        assert [turn.turn.user for turn in harness.chat.turns] == ["Question"], "the command was sent to the model"
