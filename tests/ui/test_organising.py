"""Organising conversations: filter, archive, tags and pins; and undoing each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import (
    PAUSE,
    AppHarness,
    run_loaded,
    screen_text,
    send_and_wait,
    send_message,
    until,
    until_answered,
    until_ready,
)
from support.terminal_output import capture_output
from textual.app import App

from mistral_chat.ui.widgets.sidebar import ConversationList, ListedConversation, Listing

if TYPE_CHECKING:
    from collections.abc import Iterator


def titles(harness: AppHarness, where: Any = "active") -> list[str]:
    return [summary.title for summary in harness.store.summaries(where=where)]


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_the_list_is_filtered_while_typing(size: tuple[int, int]) -> None:
    harness = AppHarness()
    for title in ("Bread and salt", "Tax letters", "Rye bread"):
        harness.add_conversation(("Question", f"Answer about {title}"), title=title)
    async with run_loaded(harness, size) as pilot:
        await pilot.press("ctrl+o", "slash", *"bread")
        await until(pilot, lambda: "Tax letters" not in screen_text(harness))
        await until(pilot, lambda: "Rye bread" in screen_text(harness))
        await pilot.press("x")
        await until(pilot, lambda: "No matches" in screen_text(harness))
        await pilot.press("backspace", "down", "down", "enter")
        await until(pilot, lambda: "Answer about Bread and salt" in screen_text(harness), "the second one is opened")
        await pilot.press("escape", "ctrl+o")
        await until(pilot, lambda: "Tax letters" in screen_text(harness), "everything is listed again")


async def test_enter_in_the_filter_opens_the_first() -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "The answer"), title="Only one")
    async with run_loaded(harness) as pilot:
        await pilot.press("alt+l", *"only", "enter")
        await until(pilot, lambda: "The answer" in screen_text(harness))


async def test_a_conversation_is_archived_found_and_restored() -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "Answer"), title="Old matters")
    harness.add_conversation(("Question", "Answer"), title="New matters")
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+o", "down", "alt+a")
        await until(pilot, lambda: titles(harness) == ["New matters"] and "Archived" in harness.chat.notice)
        assert "Old matters" not in screen_text(harness).replace(harness.chat.notice, "")
        await pilot.press("alt+v")
        await until(pilot, lambda: "Archived" in screen_text(harness) and "New matters" not in screen_text(harness))
        await pilot.press("alt+a")
        await until(pilot, lambda: "The archive is empty" in screen_text(harness))
        assert titles(harness) == ["New matters", "Old matters"]
        await pilot.press("escape")
        await until(pilot, lambda: "Old matters" in screen_text(harness) and "Archived" not in screen_text(harness))


async def test_tags_are_shown_and_filter() -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "Answer"), title="Bread")
    harness.start_with(("Question", "Answer"), title="Report")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/tag #work Urgent")
        await until(pilot, lambda: "#urgent #work" in screen_text(harness))
        await pilot.press("alt+l", *"#work")
        await until(pilot, lambda: "Bread" not in screen_text(harness))
        await pilot.press("escape", "escape")
        await send_message(pilot, harness, "/tag -urgent")
        await until(pilot, lambda: "#urgent" not in screen_text(harness))
        await pilot.press("f8")
        await until(pilot, lambda: "Undone: tag" in screen_text(harness))
        await until(pilot, lambda: "#urgent #work" in screen_text(harness))


@pytest.mark.parametrize("key", ["d", "a"])
async def test_a_key_that_is_held_in_the_list_removes_one_conversation(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    now = 0.0
    monkeypatch.setattr("mistral_chat.ui.widgets.sidebar.time", SimpleNamespace(monotonic=lambda: now))
    harness = AppHarness()
    for title in ("Third", "Second", "First"):
        harness.add_conversation(("Question", "Answer"), title=title)
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+o", key)
        await until(pilot, lambda: titles(harness) == ["Second", "Third"])
        for later in (0.5, 0.03, 0.03):
            now += later
            await pilot.press(key)
            await until(pilot, lambda: len(harness.screen.workers) == 0)
        assert titles(harness) == ["Second", "Third"]
        await pilot.press("down", key)
        await until(pilot, lambda: titles(harness) == ["Second"])
        for _ in range(2):
            now += 0.5
            await pilot.press(key)
            await until(pilot, lambda: len(harness.screen.workers) == 0)
        assert titles(harness) == [], "pressed again and again, the key does nothing"


async def test_the_cursor_of_the_list_stays_where_conversations_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_chat.ui.widgets.sidebar._HELD_SECONDS", 0)
    harness = AppHarness()
    for title in ("Third", "Second", "First"):
        harness.add_conversation(("Question", "Answer"), title=title)
    harness.start_with(("Question", "Answer"), title="Open")
    async with run_loaded(harness) as pilot:
        await pilot.press("ctrl+o", "down")
        for title, following in (("First", "Second"), ("Second", "Third"), ("Third", "Open")):
            await pilot.press("d")
            await until(pilot, lambda title=title: title not in titles(harness) and title in harness.chat.notice)  # type: ignore[misc]  # mypy has no type for a lambda's default
            marked = harness.chat.conversation_list.marked
            assert marked is not None
            assert harness.store.conversation(marked).summary.title == following
        await pilot.press("escape")
        assert harness.chat.conversation_list.marked == harness.conversation_id


async def test_a_reply_that_ends_moves_no_cursor_in_the_list() -> None:
    harness = AppHarness(answer=lambda _: f"one {PAUSE} two")
    other = harness.add_conversation(("Question", "Answer"), title="Other")
    harness.start_with(("Question", "Answer"), title="Open")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Go")
        await until(pilot, lambda: harness.chat.replying)
        await pilot.press("ctrl+o", "down")
        assert harness.chat.conversation_list.marked == other
        harness.gate.set()
        await until_answered(pilot, harness)
        assert harness.chat.conversation_list.marked == other


async def test_actions_are_undone_one_by_one() -> None:
    harness = AppHarness()
    conversation = harness.start_with(("First line", "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press("f9", "alt+a", "f2")
        await until(pilot, lambda: "Rename the conversation" in screen_text(harness))
        await pilot.press(*"Mine", "enter")
        await until(pilot, lambda: titles(harness, "archived") == ["Mine"])
        await pilot.press("f4")
        await until(pilot, lambda: titles(harness, "trash") == ["Mine"])
        for name in ("delete", "rename", "archive", "pin"):
            await pilot.press("f8")
            await until(pilot, lambda name=name: harness.chat.notice == f"Undone: {name}")  # type: ignore[misc]  # mypy has no type for a lambda's default
        stored = harness.store.conversation(conversation)
        assert (stored.summary.title, stored.title_by) == ("First line", "first_line")
        assert (stored.summary.pinned, stored.summary.archived, stored.summary.trashed) == (False, False, None)
        await pilot.press("f8")
        await until(pilot, lambda: harness.chat.notice == "Nothing to undo.")


async def test_undoing_a_missing_change_is_reported() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"), title="Doomed")
    async with run_loaded(harness) as pilot:
        await pilot.press("f4")
        await until(pilot, lambda: harness.chat.notice)
        assert titles(harness, "trash")
        harness.store.empty_trash()
        await pilot.press("f8")
        await until(pilot, lambda: "Cannot undo “delete”" in harness.chat.notice)


@pytest.mark.parametrize("key", ["ctrl+r", "f3"])
async def test_regenerating_and_editing_can_be_undone_during_the_reply(key: str) -> None:
    answers = iter(["first answer", f"second {PAUSE} answer"])
    harness = AppHarness(answer=lambda _: next(answers))
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Go")
        await pilot.press(key)
        if key == "f3":
            await pilot.press(*"ing", "enter")
        await until(pilot, lambda: "second" in screen_text(harness))
        await pilot.press("f8")
        await until(pilot, lambda: "Undone:" in harness.chat.notice)
        await until_answered(pilot, harness)
        (turn,) = harness.store.turns(harness.store.latest() or "")
        assert (turn.turn.user, turn.turn.reply) == ("Go", "first answer")
        assert "first answer" in screen_text(harness)


async def test_a_long_list_grows_as_it_is_scrolled() -> None:
    harness = AppHarness()
    for number in range(700):
        harness.store.create(title=f"Talk {number}")
    async with run_loaded(harness) as pilot:
        assert harness.chat.conversation_list.option_count < 310
        await pilot.press("ctrl+o", "down", "end")
        await until(pilot, lambda: harness.chat.conversation_list.option_count > 600)
        place = harness.chat.conversation_list.scroll_offset.y
        assert place > 200, "the reader's place is kept"
        await pilot.press("end")
        await until(pilot, lambda: harness.chat.conversation_list.option_count > 700)
        await pilot.press("end")
        await until(pilot, lambda: "Talk 0" in screen_text(harness))


async def test_pinning_renaming_and_regenerating_are_announced() -> None:
    harness = AppHarness()
    chosen = harness.add_conversation(("Question", "Answer"), title="Bread")
    harness.conversation_id = chosen
    harness.app = harness.make_app()
    async with run_loaded(harness) as pilot:
        await pilot.press("f9")
        await until(pilot, lambda: "Pinned “Bread”" in harness.chat.notice)
        await pilot.press("f9")
        await until(pilot, lambda: "Unpinned" in harness.chat.notice)
        await pilot.press("f2")
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        await pilot.press(*"Rye", "enter")
        await until(pilot, lambda: "Renamed to “Rye”" in harness.chat.notice)
        await pilot.press("f5")
        await until(pilot, lambda: "already loaded" in harness.chat.notice)


NOW = datetime(2026, 3, 4, 20, 30, tzinfo=UTC)
"""A Wednesday."""

BREAD = ListedConversation(conversation_id="id", title="Bread", updated=NOW - timedelta(minutes=12))

LONG = "How long must a loaf of bread rest before it is cut"


async def listed(conversation: ListedConversation, width: int = 29) -> str:
    """The row of a conversation in a list of `width` columns, of which the list leaves one empty at each side."""

    class Narrow(App[None]):
        def compose(self) -> Iterator[ConversationList]:
            yield ConversationList()

    app = Narrow()
    async with app.run_test(size=(width, 6)) as pilot:
        app.query_one(ConversationList).show(Listing((conversation,), NOW.date()))
        await pilot.pause()
        return "".join(segment.text for segment in app.query_one(ConversationList).render_line(1)).strip(" ")


@pytest.mark.parametrize(
    ("updated", "time"),
    [
        (NOW - timedelta(minutes=12), "20:18"),
        (NOW + timedelta(minutes=3), "20:33"),
        (NOW - timedelta(days=1), "Tue"),
        (NOW - timedelta(days=6), "Thu"),
        (NOW - timedelta(days=7), "25 Feb"),
        (NOW - timedelta(days=400), "28 Jan"),
    ],
)
async def test_a_row_ends_with_the_time_of_its_conversation(updated: datetime, time: str) -> None:
    assert await listed(replace(BREAD, updated=updated)) == f"Bread{time:>22}"


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({"title": LONG}, "How long must a loaf… 20:18"),
        ({"title": LONG, "replying": True}, "⟳ How long must a lo… 20:18"),
        ({"title": LONG, "tags": ("food",)}, "How long must…  #food 20:18"),
        ({"title": LONG, "tags": ("food", "long-story")}, "How long …  #food #l… 20:18"),
        ({"title": "Rye", "tags": ("food", "story")}, "Rye  #food #story     20:18"),
        ({"title": "面包要放多久才能切开再吃呢"}, "面包要放多久才能切开… 20:18"),
        ({"title": ""}, "New conversation      20:18"),
    ],
)
async def test_a_title_is_cut_to_what_marks_tags_and_time_leave(changes: dict[str, Any], row: str) -> None:
    assert await listed(replace(BREAD, **changes)) == row


async def test_a_row_in_a_very_narrow_list_is_all_title() -> None:
    assert await listed(replace(BREAD, title=LONG), 12) == "How long …"


@pytest.mark.parametrize(("width", "columns"), [(100, 29), (139, 29), (140, 34), (200, 40)])
async def test_the_list_is_wider_on_wide_screens(width: int, columns: int) -> None:
    harness = AppHarness()
    harness.add_conversation(("Question", "Answer"), title=LONG)
    async with run_loaded(harness, (width, 30)) as pilot:
        row = next(line for line in screen_text(harness).splitlines() if "How long" in line)
        assert row[:columns].rstrip().endswith("12:00"), row
        await pilot.press("ctrl+b")
        await until(pilot, lambda: "How long" not in screen_text(harness), "Ctrl+B hides it at every width")


async def test_the_title_is_in_the_frame_while_the_list_is_hidden() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"), title="Bread and salt")

    def top() -> str:
        return screen_text(harness).splitlines()[0]

    async with run_loaded(harness) as pilot:
        assert "Bread and salt" not in top(), "the list shows it"
        await pilot.press("ctrl+b")
        await until(pilot, lambda: "─ Bread and salt ─" in top())
        await send_message(pilot, harness, "/rename Rye")
        await until(pilot, lambda: "─ Rye ─" in top())
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "─ New conversation ─" in top())
        await pilot.press("ctrl+b")
        await until(pilot, lambda: "New conversation" not in top())
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: "─ New conversation ─" in top(), "a narrow screen has no list")


async def test_the_terminal_title_is_the_conversations_until_the_app_ends() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"), title="Bread \x1b]0;evil\x07[b]and[/b] salt")
    async with capture_output(harness.app) as (pilot, output):
        await until_ready(pilot, harness)
        heard = output.heard()
        assert "\x1b[22;2t\x1b]2;mistral-chat\x07" in heard, "the terminal's own title is saved first"
        assert "\x1b]2;Bread ]0;evil [b]and[/b] salt - mistral-chat\x07" in heard
        await pilot.press("ctrl+n")
        await until(pilot, lambda: harness.app.title == "mistral-chat")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not harness.app.is_running)
        assert "\x1b[23;2t" in output.heard(), "and restored at the end"


async def test_the_title_of_a_temporary_chat_is_not_given_to_the_terminal() -> None:
    harness = AppHarness(saved=False)
    async with run_loaded(harness, (60, 20)) as pilot:
        await send_and_wait(pilot, harness, "My secret")
        await until(pilot, lambda: "─ My secret ─" in screen_text(harness))
        assert harness.app.title == "mistral-chat, temporary"


async def test_replies_running_elsewhere_are_shown_at_every_width() -> None:
    harness = AppHarness(answer=lambda text: f"A {PAUSE} {text}")

    def status() -> str:
        return screen_text(harness).splitlines()[-1]

    async with run_loaded(harness, (160, 30)) as pilot:
        await send_message(pilot, harness, "First")
        await until(pilot, lambda: "A " in screen_text(harness))
        assert "elsewhere" not in status()
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "1 reply running elsewhere" in status())
        assert "writing" not in status()
        assert "processing" not in status(), "that is the other conversation's"
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: len(status()) == 60 and "elsewhere" in status())
        await pilot.resize_terminal(160, 30)
        await until(pilot, lambda: "1 reply running elsewhere" in status())
        harness.gate.set()
        await until(pilot, lambda: "elsewhere" not in status())


async def test_a_list_without_a_row_has_nothing_to_delete() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Question")
        harness.chat.conversation_list.focus()
        await until(pilot, lambda: harness.chat.conversation_list.has_focus)
        harness.chat.conversation_list.highlighted = None
        await pilot.press("f4")
        await until(pilot, lambda: harness.chat.notice == "No conversation is selected.")


@pytest.mark.parametrize("size", [(60, 8), (30, 10)])
@pytest.mark.parametrize("keys", [["f10"], ["f10", "d"], ["f2"], ["shift+tab", "enter"]], ids=" ".join)
async def test_what_has_the_focus_in_a_dialog_is_on_a_small_screen(size: tuple[int, int], keys: list[str]) -> None:
    harness = AppHarness()
    harness.store.trash(harness.add_conversation(("Question", "Answer"), title="Deleted"))
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness, size) as pilot:
        for key in keys:
            before = harness.app.focused
            await pilot.press(key)
            await until(pilot, lambda before=before: harness.app.focused not in {None, before})  # type: ignore[misc]  # mypy has no type for a lambda's default
        focused = harness.app.focused
        assert focused is not None
        assert not harness.chat.is_current
        await until(pilot, lambda: harness.app.screen.can_view_entire(focused))
