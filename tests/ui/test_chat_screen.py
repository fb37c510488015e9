"""A conversation through the real session, store and engine thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import (
    PAUSE,
    AppHarness,
    rendered_rows,
    run,
    run_loaded,
    screen_text,
    send_and_wait,
    send_message,
    until,
    until_answered,
    until_drawn,
    until_ready,
    until_shown,
)
from support.effort import PATIENCE
from support.first_run import FrozenModelService, usual_listing
from textual import events
from textual.app import App

from mistral_chat.errors import EngineLoadFailed, ModelNotFound, StoreDamaged
from mistral_chat.session.attachments import Attachment
from mistral_chat.session.reply import NewMessage, PendingReply
from mistral_chat.ui.dialogs.input import InputDialog
from mistral_chat.ui.screens.models import ModelsScreen
from mistral_chat.ui.widgets.status_bar import StatusBar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mistral_chat.store.store import ConversationStore


async def test_a_message_is_answered_and_saved() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press(*"Hello", "enter")
        await until_answered(pilot, harness)
        await until(pilot, lambda: "You said: Hello" in screen_text(harness))
        (turn,) = harness.store.turns(harness.store.latest() or "")
        assert (turn.turn.user, turn.turn.reply, turn.turn.finish_reason) == ("Hello", "You said: Hello", "stop")


async def test_typing_before_the_screen_is_ready_is_not_lost() -> None:
    harness = AppHarness()
    async with run(harness) as pilot:
        await pilot.press(*"early")
        await until_ready(pilot, harness)
        assert harness.chat.draft == "early"


async def test_what_is_typed_before_the_conversations_open_comes_after_the_saved_draft() -> None:
    harness = AppHarness()
    harness.store.save_draft("", "a long letter")
    async with run(harness) as pilot:
        await pilot.press(*"early")
        await until_ready(pilot, harness)
        assert harness.chat.draft == "a long letter\n\nearly"


async def test_a_message_sent_while_the_model_loads_waits_for_it() -> None:
    harness = AppHarness(loading=True)
    async with run(harness) as pilot:
        await until_shown(pilot, harness)
        await send_message(pilot, harness, "Are you there?")
        await until(pilot, lambda: "loading 40%" in screen_text(harness))
        await until(pilot, lambda: "Are you there?" in screen_text(harness))
        harness.loaded.set()
        await until_answered(pilot, harness)
        await until(pilot, lambda: "You said: Are you there?" in screen_text(harness))


async def test_escape_stops_and_keeps_what_was_written() -> None:
    harness = AppHarness(answer=lambda _: f"one two {PAUSE} three")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Count")
        await until(pilot, lambda: "one two" in screen_text(harness))
        await pilot.press("escape")
        await until_answered(pilot, harness)
        (turn,) = harness.store.turns(harness.store.latest() or "")
        assert turn.turn.reply.split() == ["one", "two"]
        assert turn.turn.finish_reason == "cancelled"
        assert "Stopped" in screen_text(harness)


async def test_ctrl_c_stops_then_clears_the_draft_and_quits_when_pressed_twice() -> None:
    harness = AppHarness(answer=lambda _: f"one {PAUSE}")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Count")
        await until(pilot, lambda: "one" in screen_text(harness))
        await pilot.press("ctrl+c")
        await until_answered(pilot, harness)
        await pilot.press(*"draft", "ctrl+c")
        await until(pilot, lambda: harness.chat.draft == "")
        assert "Ctrl+Z restores it" in harness.chat.notice
        await pilot.press("ctrl+z")
        await until(pilot, lambda: harness.chat.draft.startswith("draf"))
        harness.chat.set_draft("")
        await pilot.press("ctrl+c")
        assert harness.app.is_running
        await until(pilot, lambda: "Press Ctrl+C again to quit" in screen_text(harness))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: not harness.app.is_running)


@pytest.mark.parametrize("place", ["ctrl+o", "shift+tab"])
async def test_words_typed_fast_where_letters_are_commands_reach_the_message_box_whole(place: str) -> None:
    """The first letter that is no command begins a message, and the next ones are there before the focus has moved."""
    harness = AppHarness()
    async with run(harness) as pilot:
        await until_ready(pilot, harness)
        await send_message(pilot, harness, "Hello")
        await until_answered(pilot, harness)
        await pilot.press(place)
        await until(pilot, lambda: not harness.chat.composer.has_focus)
        words = "how old are sand dunes, up there"
        for letter in words:
            harness.app.post_message(events.Key({" ": "space", ",": "comma"}.get(letter, letter), letter))
        await until(pilot, lambda: len(harness.chat.draft) >= len(words) - 2)
        await pilot.pause()
        assert harness.chat.draft == words
        assert len(harness.store.summaries()) == 1
        assert harness.chat.composer.has_focus


async def test_ctrl_d_quits_only_from_an_empty_message_box() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press(*"ab", "home", "ctrl+d")
        await until(pilot, lambda: harness.chat.draft == "b")
        assert harness.app.is_running
        harness.chat.set_draft("")
        await pilot.press("ctrl+d")
        await until(pilot, lambda: not harness.app.is_running)


async def test_page_keys_scroll_the_transcript_from_the_message_box() -> None:
    harness = AppHarness()
    harness.start_with(*((f"question {number}", "answer\n" * 20) for number in range(6)))
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: harness.chat.transcript.scroll_y > 0)
        end = harness.chat.transcript.scroll_y
        await pilot.press("pageup")
        await until(pilot, lambda: harness.chat.transcript.scroll_y < end)
        above = harness.chat.transcript.scroll_y
        await pilot.press("pagedown")
        await until(pilot, lambda: harness.chat.transcript.scroll_y > above)
        await pilot.press("ctrl+end")
        await until(pilot, lambda: harness.chat.transcript.following)
        assert harness.chat.composer.has_focus


async def test_alt_with_an_arrow_moves_by_words_while_there_is_text() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.set_draft("two words")
        await pilot.press("alt+left", "x")
        await until(pilot, lambda: harness.chat.draft == "two xwords")
        await pilot.press("alt+right", "y")
        await until(pilot, lambda: harness.chat.draft == "two xwordsy")


async def test_a_question_mark_opens_the_help_and_an_at_sign_the_files() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("?")
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        await pilot.press("escape")
        await until(pilot, lambda: harness.app.screen is harness.screen)
        await pilot.press(*"why", "?")
        assert harness.chat.draft == "why?"
        await pilot.press("space", "@")
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.draft == "why? @", "an at sign that attaches nothing is typed")
        harness.chat.set_draft("Use ")
        await pilot.press("@")
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        await pilot.press(*"property", "escape")
        await until(pilot, lambda: harness.chat.draft == "Use @property", "what was typed after it stays")
        harness.chat.set_draft("me")
        await pilot.press("@", "x")
        assert harness.chat.draft == "me@x"


async def test_queued_messages_and_other_replies_are_shown() -> None:
    harness = AppHarness(answer=lambda text: f"A {PAUSE} {text}")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "First")
        await until(pilot, lambda: "A " in screen_text(harness))
        await send_message(pilot, harness, "Second")
        await until(pilot, lambda: "queued: Second" in screen_text(harness))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "queued: Second" not in screen_text(harness) and "⟳ First" in screen_text(harness))
        await send_message(pilot, harness, "Elsewhere")
        await until(pilot, lambda: [turn.turn.user for turn in harness.chat.turns] == ["Elsewhere"], "it is shown at once")
        harness.gate.set()
        await until_answered(pilot, harness)
        assert harness.chat.turns[-1].turn.reply.endswith("Elsewhere")
        await until(pilot, lambda: "⟳ First" not in screen_text(harness))


async def test_typing_and_sending_survive_a_locked_database(tmp_path: Path) -> None:
    models = FrozenModelService(usual_listing())
    harness = AppHarness(path=tmp_path / "c.db", app_options={"models": lambda: models})
    async with run_loaded(harness) as pilot:
        harness.chat.shorten_busy_timeout()
        other = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await pilot.press(*"Precious")
        harness.chat.save_draft()
        await until(pilot, lambda: "Not saved yet" in harness.chat.notice)
        assert harness.chat.draft == "Precious"
        await pilot.press("f9", "enter")
        await until(pilot, lambda: "starts a temporary chat" in harness.chat.notice)
        assert harness.chat.draft == "Precious", "what cannot be sent stays in the message box"
        await pilot.press("f7")
        await until(pilot, lambda: isinstance(harness.app.screen, ModelsScreen))
        await pilot.press("ctrl+q")
        await until_drawn(pilot, "again quits without saving")
        await pilot.press("escape")
        await until(pilot, lambda: "again quits without saving" in harness.chat.notice)
        assert harness.app.is_running
        other.rollback()
        await until(pilot, lambda: harness.store.draft("") == "Precious")
        other.close()


async def test_changes_by_another_window_are_reported(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    harness.start_with(("Mine", "Answer"))
    conversation = harness.conversation_id or ""
    async with run_loaded(harness) as pilot:
        other = harness.open_store()
        turn = other.add_turn(conversation, "Theirs", parent_id=other.turns(conversation)[-1].turn_id)
        other.finish_reply(turn, "From the other window", finish_reason="stop")
        await harness.chat.force_poll()
        await until(pilot, lambda: "From the other window" in screen_text(harness))
        assert "another window changed this conversation" in harness.chat.notice
        other.set_turn_flags(turn, excluded=True)
        await harness.chat.force_poll()
        await until(pilot, lambda: harness.chat.turns[-1].turn.excluded)
        other.trash(conversation)
        await harness.chat.force_poll()
        await until(pilot, lambda: "moved to the trash in another window" in harness.chat.notice)
        await send_and_wait(pilot, harness, "Still here?")
        assert other.conversation(conversation).summary.trashed is None, "what is sent does not go into the trash"
        await harness.chat.force_poll()
        await until(pilot, lambda: "no longer in the trash" in harness.chat.notice)
        other.close()


async def test_a_conversation_deleted_by_another_window_leaves_its_draft(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db")
    harness.start_with(("Mine", "Answer"))
    async with run_loaded(harness) as pilot:
        harness.store.save_draft("", "Older")
        harness.chat.composer.focus()
        await pilot.press(*"Typed")
        other = harness.open_store()
        other.delete(harness.conversation_id or "")
        other.close()
        await pilot.press("enter")
        await until(pilot, lambda: "does not exist" in harness.chat.notice)
        assert "temporary chat" not in harness.chat.notice
        assert harness.chat.draft == "Typed"
        for name in ("notes.txt", "a name that no saved draft can hold"):
            await harness.screen.session.files.add(Attachment(name, "text"))
        await harness.chat.force_poll()
        await until(pilot, lambda: "deleted in another window" in harness.chat.notice)
        assert (harness.chat.conversation_id, harness.chat.draft) == (None, "Older\n\nTyped")
        await until(pilot, lambda: "▪ notes.txt" in screen_text(harness) and "▪ a name that no" in screen_text(harness))
        await until(pilot, lambda: "Answer" not in screen_text(harness))
        harness.chat.save_draft()
        await until(pilot, lambda: harness.store.draft("").endswith("```\n\nOlder\n\nTyped"))


async def test_the_app_ends_before_there_is_anything_but_the_message_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_chat.ui.screens.chat._SETTLED_SECONDS", 1e6)
    harness = AppHarness()
    async with run(harness):
        assert await harness.screen.may_leave(), "nothing was typed"
        await harness.screen.leave()


async def test_nothing_begins_to_read_the_conversations_while_the_app_ends() -> None:
    harness = AppHarness()
    async with run_loaded(harness):
        session = harness.screen.session
        await harness.screen.leave()
        harness.screen.commands.in_background(partial(session.context.measure, "draft"))  # type: ignore[arg-type]  # as a draft is
        assert not list(harness.screen.workers), "it would read a closed store"


async def test_a_check_for_changes_while_the_app_ends_changes_nothing() -> None:
    harness = AppHarness()
    async with run_loaded(harness):
        await harness.screen.leave()
        await harness.chat.poll_changes()


async def test_a_change_during_a_reply_is_reported_after_it(tmp_path: Path) -> None:
    harness = AppHarness(path=tmp_path / "c.db", answer=lambda _: f"A {PAUSE}")
    harness.start_with(("Mine", "Answer"))
    conversation = harness.conversation_id or ""
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Go on")
        await until(pilot, lambda: "A " in screen_text(harness), "the message is saved and its reply begun")
        other = harness.open_store()
        other.trash(conversation)
        await harness.chat.force_poll()
        harness.gate.set()
        await until_answered(pilot, harness)
        await until(pilot, lambda: not harness.screen.opened.saver.pending, "the reply is saved")
        await harness.chat.poll_changes()
        await until(pilot, lambda: "moved to the trash in another window" in harness.chat.notice)
        other.close()


async def test_a_second_message_waits_and_the_replies_come_in_order() -> None:
    harness = AppHarness(answer=lambda text: f"A {PAUSE} {text}")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "first")
        await until(pilot, lambda: harness.chat.turns)
        await send_message(pilot, harness, "second")
        await until(pilot, lambda: "1 queued" in screen_text(harness))
        harness.gate.set()
        await until(pilot, lambda: len(harness.chat.turns) == 2)
        await until_answered(pilot, harness)
        assert [turn.turn.user for turn in harness.store.turns(harness.store.latest() or "")] == ["first", "second"]


async def test_a_message_that_is_sent_while_it_is_shown_as_queued_is_queued_no_more() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        box, queue = harness.screen.message_box, harness.screen.session.queue
        queue.append(PendingReply(NewMessage("First"), draft="First"))
        shown = asyncio.create_task(box.show_queue())
        await asyncio.sleep(0)
        queue.clear()
        await box.show_queue()
        await shown
        await pilot.pause()
        assert "queued" not in screen_text(harness)


async def test_stopping_returns_queued_messages() -> None:
    harness = AppHarness(answer=lambda _: f"A {PAUSE}")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "first")
        await until(pilot, lambda: harness.chat.turns)
        await send_message(pilot, harness, "second")
        await pilot.press("escape")
        await until_answered(pilot, harness)
        assert harness.chat.draft == "second"
        assert len(harness.chat.turns) == 1


async def test_deleting_can_be_undone() -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "Answer"), title="Keep me")
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+o", "down", "delete")
        await until(pilot, lambda: "to the trash" in screen_text(harness))
        assert not harness.store.summaries()
        await pilot.press("f8")
        await until(pilot, lambda: "Answer" in screen_text(harness))
        assert [summary.title for summary in harness.store.summaries()] == ["Keep me"]


async def test_a_conversation_can_be_renamed() -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "Answer"), title="Old")
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+o", "down", "f2")
        await until(pilot, lambda: "Rename the conversation" in screen_text(harness))
        await pilot.press(*"New", "enter")
        await until(pilot, lambda: harness.store.summaries()[0].title == "New")
        await until(pilot, lambda: "New" in screen_text(harness))


async def test_drafts_are_kept_for_each_conversation() -> None:
    harness = AppHarness()
    one = harness.add_conversation(("Question", "Answer"), title="One")
    async with run_loaded(harness) as pilot:
        await pilot.press(*"fresh")
        await harness.chat.open(one)
        assert harness.chat.draft == ""
        await pilot.press(*"follow")
        await harness.chat.open(None)
        assert harness.chat.draft == "fresh"
        await harness.chat.open(one)
        assert harness.chat.draft == "follow"


async def test_quitting_in_mid_reply_keeps_what_was_written(tmp_path: Path) -> None:
    harness = AppHarness(answer=lambda _: f"half {PAUSE}", path=tmp_path / "c.db")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Go")
        await until(pilot, lambda: "half" in screen_text(harness))
        await pilot.press(*"draft", "ctrl+q")
        await until(pilot, lambda: not harness.app.is_running)
    assert harness.app.return_code == 0
    again = harness.open_store()
    latest = again.latest() or ""
    (turn,) = again.turns(latest)
    assert (turn.turn.reply.strip(), turn.turn.finish_reason) == ("half", "cancelled")
    assert again.draft(latest) == "draft"


async def test_a_message_of_a_new_conversation_returns_to_the_next_new_one() -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        session = harness.screen.session
        session.attachments.append(Attachment("notes.txt", "text"))
        await session.send(NewMessage("word " * 400))
        await harness.chat.open(None)
        await until(pilot, lambda: "Not sent in another conversation: The message takes" in harness.chat.notice)
        assert harness.chat.draft == "word " * 400
        assert [file.name for file in harness.screen.session.attachments] == ["notes.txt"]


async def test_quitting_makes_queued_messages_drafts(tmp_path: Path) -> None:
    harness = AppHarness(answer=lambda _: f"half {PAUSE}", path=tmp_path / "c.db")
    async with run_loaded(harness) as pilot:
        for first, queued in (("One", "Two"), ("Three", "Four")):
            await pilot.press("ctrl+n")
            await send_message(pilot, harness, first)
            await until(pilot, lambda first=first: [turn.turn.user for turn in harness.chat.turns] == [first])  # type: ignore[misc]  # mypy has no type for a lambda's default
            await send_message(pilot, harness, queued)
            await until(pilot, lambda: "1 queued" in screen_text(harness))
        await pilot.press(*"draft", "ctrl+q")
        await until(pilot, lambda: not harness.app.is_running)
    again = harness.open_store()
    assert {again.draft(each.conversation_id) for each in again.summaries()} == {"Two", "Four\n\ndraft"}


@pytest.mark.parametrize(("key", "opened"), [("f2", InputDialog), ("f7", ModelsScreen)])
async def test_the_models_are_not_offered_over_what_was_opened_meanwhile(key: str, opened: type) -> None:
    models = FrozenModelService(usual_listing())
    harness = AppHarness(failure=ModelNotFound("There is no model yet."), app_options={"models": lambda: models})
    conversation = harness.start_with(("Question", "Answer"))
    async with run(harness) as pilot:
        await until_shown(pilot, harness)
        await until(pilot, lambda: not harness.chat.is_current, "the models are offered")
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.is_current)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(harness.app.screen, opened))
        await harness.chat.send("Hello")
        await until(pilot, lambda: harness.chat.draft == "Hello")
        if key == "f2":
            await pilot.press(*"Mine", "enter")
            await until(pilot, lambda: harness.store.conversation(conversation).summary.title == "Mine")
        else:
            await pilot.press("escape")
        await until(pilot, lambda: harness.chat.is_current)


async def test_without_a_model_the_screen_says_how_to_get_one() -> None:
    harness = AppHarness(failure=ModelNotFound("Get one with: mistral-chat models pull mistral-7b"))
    async with run(harness) as pilot:
        await until(pilot, lambda: not harness.chat.is_current, "the models are offered")
        await pilot.press("escape")
        await until(pilot, lambda: "No model loaded" in screen_text(harness))
        await until(pilot, lambda: "mistral-chat models pull mistral-7b" in screen_text(harness))
        await send_message(pilot, harness, "Hello?")
        await until(pilot, lambda: harness.chat.draft == "Hello?" and not harness.chat.is_current, "they are offered again")
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.is_current)
        harness.failure = None
        await pilot.press("f5")
        await until(pilot, lambda: harness.chat.state == "ready")
        await until(pilot, lambda: "New conversation" in screen_text(harness))


async def test_a_first_conversation_that_was_deleted_meanwhile_leaves_a_new_one() -> None:
    harness = AppHarness(conversation_id="gone")
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: "does not exist" in harness.chat.notice)
        assert "New conversation" in screen_text(harness)
        await send_and_wait(pilot, harness, "Hello")
        assert harness.chat.turns[-1].turn.reply == "You said: Hello"


async def test_a_model_can_be_loaded_while_the_conversations_do_not_open() -> None:
    def broken() -> ConversationStore:
        raise StoreDamaged("/data/conversations.db is damaged.")

    service = FrozenModelService(usual_listing())
    harness = AppHarness(app_options={"open_store": broken, "models": lambda: service})
    async with run(harness) as pilot:
        await until(pilot, lambda: "is damaged" in screen_text(harness))
        await pilot.press("f7")
        await until(pilot, lambda: not harness.chat.is_current)
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.is_current)
        await harness.chat.use_model("other")
        await until(pilot, lambda: harness.chat.state == "ready" or "Internal error" in harness.chat.notice)
        await pilot.pause()
        assert harness.chat.notice == ""
        assert "is damaged" in screen_text(harness)


async def test_a_model_that_does_not_load_says_why(tmp_path: Path) -> None:
    harness = AppHarness(load_failure=EngineLoadFailed(tmp_path / "model.gguf", "the file is cut"))
    conversation = harness.add_conversation(("Question", "Answer"))
    harness.conversation_id = conversation
    harness.app = harness.make_app()
    async with run(harness) as pilot:
        await until_shown(pilot, harness)
        await until(pilot, lambda: "model not loaded" in screen_text(harness))
        await until(pilot, lambda: "the file is cut" in screen_text(harness))
        await until(pilot, lambda: "Answer" in screen_text(harness))


async def test_a_message_that_is_too_long_returns_to_the_composer() -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "word " * 400)
        await until(pilot, lambda: "tokens" in harness.chat.notice)
        assert harness.chat.draft.count("word") == 400
        assert harness.store.latest() is None


async def test_an_edit_that_is_too_long_is_still_an_edit() -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Hello")
        await pilot.press("f3")
        await until(pilot, lambda: harness.chat.editing)
        harness.chat.set_draft("word " * 400)
        await pilot.press("enter")
        await until(pilot, lambda: "tokens" in harness.chat.notice)
        assert harness.chat.editing
        assert harness.chat.draft.count("word") == 400
        harness.chat.set_draft("Good morning")
        await send_message(pilot, harness, "")
        await until(pilot, lambda: [turn.turn.user for turn in harness.chat.turns] == ["Good morning"])
        await until_answered(pilot, harness)


async def test_another_conversation_can_be_read_while_a_reply_is_written() -> None:
    harness = AppHarness(answer=lambda _: f"growing {PAUSE} done")
    other = harness.add_conversation(("Old question", "Old answer"), title="Other")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Go")
        await until(pilot, lambda: "growing" in screen_text(harness))
        mine = harness.chat.conversation_id
        await harness.chat.open(other)
        await until(pilot, lambda: "Old answer" in screen_text(harness))
        assert "growing" not in screen_text(harness)
        await harness.chat.open(mine)
        await until(pilot, lambda: "growing" in screen_text(harness))
        harness.gate.set()
        await until_answered(pilot, harness)
        await until(pilot, lambda: "done" in screen_text(harness))


async def test_a_conversation_that_is_opened_while_its_next_message_begins_shows_each_turn_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = threading.Event()

    def answer(text: str) -> str:
        assert text == "first" or shown.wait(PATIENCE)
        return f"A {PAUSE} {text}"

    harness = AppHarness(answer=answer)
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "first")
        await until(pilot, lambda: harness.chat.turns)
        await send_message(pilot, harness, "second")
        session, show = harness.screen.session, harness.chat.transcript.show
        await harness.chat.open(None)

        async def show_slowly(*turns: Any, **more: Any) -> None:
            await show(*turns, **more)
            harness.gate.set()
            await until(pilot, lambda: len(session.turns) == 2)

        monkeypatch.setattr(harness.chat.transcript, "show", show_slowly)
        await harness.chat.open(session.conversation_id)
        shown.set()
        await until_answered(pilot, harness)
        assert [view.shown.turn.user for view in harness.chat.views] == ["first", "second"]


async def test_the_list_and_the_composer_fit_at_60_columns() -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "Answer"), title="Narrow one")
    async with run_loaded(harness, (60, 20)) as pilot:
        assert "Narrow one" not in screen_text(harness)
        await pilot.press("ctrl+b")
        await until(pilot, lambda: "Narrow one" in screen_text(harness))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Answer" in screen_text(harness))
        assert "mistral-chat" not in screen_text(harness), "the list is closed"


async def test_no_row_of_the_status_ever_wraps() -> None:
    harness = AppHarness()
    async with run_loaded(harness, (60, 20)) as pilot:
        for width in (20, 40, 60, 200):
            await pilot.resize_terminal(width, 20)
            await pilot.pause()
            assert harness.chat.status_height == 1
            assert len(screen_text(harness).splitlines()[-1]) == width


async def test_download_progress_is_visible_at_60_columns() -> None:
    class Line(App[None]):
        def compose(self) -> Iterator[StatusBar]:
            yield StatusBar()

    app = Line()
    async with app.run_test(size=(60, 1)) as pilot:
        status = app.query_one(StatusBar)
        status.state = "writing 11.2 tok/s"
        status.temporary = True
        status.activity = "⟳ fetching 43%"
        status.hints = (("Esc", "stop"),)
        parts = ("not saved", "writing 11.2 tok/s", "⟳ 43%", "Esc stop")
        await until(pilot, lambda: all(part in rendered_rows(app) for part in parts), "all of it is on the row")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
async def test_a_signal_saves_and_quits(number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    harness = AppHarness(answer=lambda _: f"half {PAUSE}", path=tmp_path / "c.db")
    watchdogs: list[_Watchdog] = []

    def watchdog(*arguments: Any) -> _Watchdog:
        watchdogs.append(_Watchdog(arguments))
        return watchdogs[-1]

    monkeypatch.setattr("mistral_chat.ui.app.threading.Timer", watchdog)
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Go")
        await until(pilot, lambda: "half" in screen_text(harness))
        signal.raise_signal(signal.Signals[number])
        await asyncio.sleep(0)
        await until(pilot, lambda: not harness.app.is_running)
    code = 128 + signal.Signals[number]
    assert harness.app.return_code == code
    assert watchdogs[0].arguments[2] == (code,)
    assert watchdogs[0].daemon
    (turn,) = harness.open_store().turns(harness.open_store().latest() or "")
    assert turn.turn.reply.strip() == "half"


class _Watchdog:
    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments
        self.daemon = False

    def start(self) -> None:
        """Never fires: the test ends first."""
