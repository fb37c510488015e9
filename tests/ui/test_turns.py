"""Actions on one turn: select, copy, mark, fork and switch branches."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING, Any

from support.app_harness import (
    AppHarness,
    press_at_once,
    run,
    run_loaded,
    screen_text,
    send_and_wait,
    until,
    until_answered,
    until_ready,
)
from textual.widgets import Input, OptionList

from mistral_chat.conversation import TranscriptTurn, Turn, Usage
from mistral_chat.ui.dialogs.choice import ChoiceDialog
from mistral_chat.ui.dialogs.input import InputDialog
from mistral_chat.ui.widgets.turn import TurnMarks, TurnView, VersionMark

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from textual.pilot import Pilot

    from mistral_chat.store.records import StoredTurn

CODE = "Two:\n\n```python\nprint(1)\n```\n\nand\n\n```sh\nls\n```\n"


def path(harness: AppHarness) -> list[StoredTurn]:
    assert harness.chat.conversation_id is not None
    return harness.store.turns(harness.chat.conversation_id)


def opened(*pairs: tuple[str, str], **settings: Any) -> AppHarness:
    """A harness whose app opens a conversation first."""
    harness = AppHarness(**settings)
    harness.start_with(*pairs)
    return harness


async def shown(pilot: Pilot[Any], harness: AppHarness) -> None:
    await until_ready(pilot, harness)
    await until(pilot, lambda: harness.chat.turns, "the conversation is shown")
    await until(pilot, lambda: harness.chat.ledger and harness.chat.ledger.turns, "it is read")
    await until_ready(pilot, harness)


def chosen(harness: AppHarness) -> str | None:
    turn = harness.chat.selected_turn
    return turn.turn.user if turn is not None else None


async def test_keys_select_turns_and_then_the_composer() -> None:
    harness = opened(*((f"q{number}", f"a{number}") for number in range(3)))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        await pilot.press("alt+up")
        assert chosen(harness) == "q2"
        await pilot.press("ctrl+up", "alt+up", "alt+up")
        assert chosen(harness) == "q0"
        await until(pilot, lambda: "selected  ·  5 tokens" in screen_text(harness), "what the turn takes")
        assert len(harness.screen.query(".-selected")) == 1
        await pilot.press("alt+down")
        assert chosen(harness) == "q1"
        await pilot.press("escape")
        assert chosen(harness) is None
        assert harness.chat.composer.has_focus
        await pilot.press("alt+up", "alt+down")
        assert chosen(harness) is None
        assert harness.chat.composer.has_focus
        await pilot.press("alt+up", "z")
        assert harness.chat.draft == "z", "a letter that is no command is typed into the message box"


async def test_selecting_continues_into_turns_not_yet_loaded() -> None:
    harness = opened(*((f"q{number}", f"a{number}") for number in range(70)))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        known = len(harness.chat.turns)
        assert known < 70
        await harness.chat.transcript.select(harness.chat.turns[0].turn_id)
        await pilot.press("alt+up")
        await until(pilot, lambda: chosen(harness) == f"q{69 - known}")
        await until(pilot, lambda: f"q{69 - known}" in screen_text(harness), "it is in view")


async def test_a_click_selects_a_turn_and_enter_opens_its_menu() -> None:
    harness = opened(("first", "one"), ("second", "two"))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        reply = harness.chat.views[0].reply
        await until(pilot, lambda: reply.region and harness.app.screen.region.contains_region(reply.region), "it is laid out")
        await pilot.click(reply)
        assert chosen(harness) == "first"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(harness.app.screen, ChoiceDialog))
        await until(pilot, lambda: "tokens in context" in screen_text(harness))
        await pilot.press("escape")
        await pilot.click(harness.chat.views[0].reply)
        assert chosen(harness) is None


async def test_the_menu_runs_the_chosen_action() -> None:
    harness = opened(("first", "one"), ("second", "two"))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        await pilot.press("alt+up", "alt+up", "enter")
        await until(pilot, lambda: isinstance(harness.app.screen, ChoiceDialog))
        deeds = harness.app.screen.query_one(OptionList)
        deeds.highlighted = deeds.get_option_index("chat.pin_turn")
        await pilot.press("enter")
        await until(pilot, lambda: path(harness)[0].turn.pinned)


async def test_the_message_menu_shows_and_accepts_letters() -> None:
    harness = opened(("first", CODE), ("second", "two"))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        await pilot.press("shift+tab", "up", "enter")
        await until(pilot, lambda: isinstance(harness.app.screen, ChoiceDialog))
        rows = screen_text(harness)
        for label, letter in {"Edit message": "e", "Copy code block": "c", "Exclude from context": "x"}.items():
            assert re.search(rf"{label} .*  {letter} ", rows), f"the menu does not name {letter} for {label!r}"
        assert "Alt+" not in rows
        await pilot.press("p")
        await until(pilot, lambda: path(harness)[0].turn.pinned)


async def test_message_reply_and_code_of_the_selected_turn_are_copied() -> None:
    harness = opened(("first", CODE), ("second", "two"))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        for key, wanted in {"ctrl+y": "two", "alt+m": "second", "alt+c": "print(1)"}.items():
            await pilot.press(key)
            await until(pilot, lambda wanted=wanted: harness.app.clipboard.strip() == wanted, key)  # type: ignore[misc]  # a default binds it
        await until(pilot, lambda: "code block 1 of 2" in harness.chat.notice)
        await pilot.press("alt+c")
        await until(pilot, lambda: harness.app.clipboard.strip() == "ls")
        await pilot.press("alt+up", "alt+up", "ctrl+y")
        await until(pilot, lambda: harness.app.clipboard == CODE)
        await pilot.press("alt+down", "alt+c")
        await until(pilot, lambda: "No code" in harness.chat.notice)


async def test_a_code_block_is_saved_and_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.sh").write_text("mine")
    harness = opened(("first", CODE))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        await pilot.press("alt+s")
        await until(pilot, lambda: isinstance(harness.app.screen, ChoiceDialog))
        await until(pilot, lambda: "1 · python · 1 line" in screen_text(harness))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(harness.app.screen, InputDialog))
        field = harness.app.screen.query_one(Input)
        assert field.value == "code.sh"
        await pilot.press("enter")
        await until(pilot, lambda: "code.sh exists" in screen_text(harness))
        assert (tmp_path / "code.sh").read_text() == "mine"
        field.value = "no/such/folder.sh"
        await pilot.press("enter")
        await until(pilot, lambda: "Cannot write" in screen_text(harness))
        field.value = "list.sh"
        press_at_once(harness, "enter", "enter")  # it is being written at the second
        await until(pilot, lambda: "list.sh" in harness.chat.notice)
    assert (tmp_path / "list.sh").read_text() == "ls\n"
    assert stat.S_IMODE((tmp_path / "list.sh").stat().st_mode) == 0o600


def seen(harness: AppHarness) -> list[str]:
    ledger = harness.chat.ledger
    ids = {turn.turn_id: turn.turn.user for turn in path(harness)}
    return [ids[turn.key] for turn in ledger.turns] if ledger is not None else []


async def test_an_excluded_turn_leaves_the_context_and_returns() -> None:
    harness = opened(*((f"q{number}", f"a{number}") for number in range(3)))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        await pilot.press("alt+up", "alt+up", "alt+x")
        await until(pilot, lambda: seen(harness) == ["q0", "q2"], "the model does not see it")
        assert "tokens" in harness.chat.notice
        assert "excluded from context" in screen_text(harness)
        assert harness.chat.views[1].has_class("-dimmed")
        assert not harness.chat.evicted, "it did not leave by itself"
        assert not harness.screen.query(".-edge")
        await pilot.press("alt+x")
        await until(pilot, lambda: seen(harness) == ["q0", "q1", "q2"])
        assert not harness.chat.views[1].has_class("-dimmed")


async def test_a_pinned_turn_stays_when_the_context_is_full() -> None:
    harness = AppHarness(answer=lambda text: f"{text} " + "word " * 60, window=512)
    async with run_loaded(harness, (100, 60)) as pilot:
        await send_and_wait(pilot, harness, "message 0")
        await pilot.press("alt+p")
        await until(pilot, lambda: path(harness)[0].turn.pinned)
        for number in range(1, 9):
            await send_and_wait(pilot, harness, f"message {number}")
        assert seen(harness)[0] == "message 0"
        assert len(seen(harness)) < 9
        turns = harness.chat.turns
        assert turns[0].turn_id not in harness.chat.evicted
        assert turns[1].turn_id in harness.chat.evicted
        await harness.chat.transcript.show_oldest()
        await until(pilot, lambda: "◆ pinned" in screen_text(harness))
        await harness.chat.transcript.select(turns[0].turn_id)
        await pilot.press("alt+p")
        await until(pilot, lambda: "Unpinned" in harness.chat.notice)
        assert not path(harness)[0].turn.pinned


async def test_a_pin_that_would_fill_the_context_is_refused() -> None:
    harness = opened(("long", "word " * 200), ("short", "b"), window=256)
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: harness.chat.tokens_used)
        await pilot.press("alt+up", "alt+up", "alt+p")
        await until(pilot, lambda: "Too large to pin" in harness.chat.notice)
        assert "204 tokens" in harness.chat.notice
        assert not path(harness)[0].turn.pinned


async def test_a_fork_ends_with_the_selected_turn() -> None:
    harness = opened(*((f"q{number}", f"a{number}") for number in range(3)))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        before = harness.chat.conversation_id
        assert before is not None
        await pilot.press("alt+up", "alt+up", "alt+k")
        await until(pilot, lambda: harness.chat.conversation_id != before)
        assert [turn.turn.user for turn in path(harness)] == ["q0", "q1"]
        assert len(harness.store.turns(before)) == 3


async def test_versions_are_walked_by_the_arrow_keys_while_a_message_is_selected() -> None:
    answers = iter(["first", "second"])
    harness = AppHarness(answer=lambda _: next(answers))
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "one")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "second" in screen_text(harness))
        await until_answered(pilot, harness)
        await pilot.press("shift+tab", "left")
        await until(pilot, lambda: "Reply 1 of 2" in harness.chat.notice)
        await pilot.press("right")
        await until(pilot, lambda: "Reply 2 of 2" in harness.chat.notice)
        assert [turn.turn.reply for turn in path(harness)] == ["second"]
        await pilot.press("left")
        await until(pilot, lambda: "Reply 1 of 2" in harness.chat.notice)


async def test_regenerating_and_switching_branches_at_a_middle_turn() -> None:
    answers = iter(["first", "second", "other first"])
    harness = AppHarness(answer=lambda _: next(answers))
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "one")
        await send_and_wait(pilot, harness, "two")
        await pilot.press("alt+up", "alt+up", "ctrl+r")
        await until(pilot, lambda: "other first" in screen_text(harness))
        await until_answered(pilot, harness)
        assert [turn.turn.reply for turn in path(harness)] == ["other first"]
        await pilot.click(harness.screen.query(VersionMark).first(), offset=(2, 0))
        await until(pilot, lambda: "Reply 1 of 2, the oldest" in harness.chat.notice)
        assert [turn.turn.reply for turn in path(harness)] == ["first", "second"]
        assert chosen(harness) == "one"
        await pilot.press("alt+right")
        await until(pilot, lambda: "Reply 2 of 2, the newest" in harness.chat.notice)
        assert [turn.turn.reply for turn in path(harness)] == ["other first"]
        await pilot.press("alt+left")
        await until(pilot, lambda: "Reply 1 of 2, the oldest" in harness.chat.notice)
        await pilot.press("alt+down", "alt+left")
        await until(pilot, lambda: "Only one version" in harness.chat.notice)


async def test_editing_the_selected_turn_starts_a_branch_there() -> None:
    harness = opened(("one", "a"), ("two", "b"))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        await pilot.press("alt+up", "alt+up", "f3", *"!", "enter")
        await until(pilot, lambda: [turn.turn.user for turn in path(harness)] == ["one!"])
        await until_answered(pilot, harness)
        assert chosen(harness) is None


async def test_details_are_shown_under_every_reply_and_stay_on() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Hello there")
        assert "finished" not in screen_text(harness)
        await pilot.press("alt+d")
        await until(pilot, lambda: "4 tokens · 5 prompt tokens (0 cached) · first token" in screen_text(harness))
        await send_and_wait(pilot, harness, "Again")
        await until(pilot, lambda: screen_text(harness).count("finished") == 2)
        await harness.chat.open(None)
        await send_and_wait(pilot, harness, "Elsewhere")
        await until(pilot, lambda: "finished" in screen_text(harness))
        await pilot.press("alt+d")
        await until(pilot, lambda: "finished" not in screen_text(harness))


async def test_turn_keys_without_a_turn_explain_themselves() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        for key in ("alt+up", "alt+m", "alt+c", "alt+s", "alt+p", "alt+x", "alt+k", "f11"):
            harness.chat.clear_notice()
            await pilot.press(key)
            await until(pilot, lambda: harness.chat.notice, key)


async def test_a_turn_that_is_marked_before_it_is_mounted_shows_its_marks() -> None:
    """Turns that come near while scrolling are marked while they are being mounted."""
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        usage = Usage(prompt_tokens=5, cached_tokens=0, completion_tokens=7, time_to_first_token=0.1, tokens_per_second=9.0)
        view = TurnView(TranscriptTurn(turn_id="1", turn=Turn(user="Q", reply="A", finish_reason="stop", usage=usage)))
        view.mark(TurnMarks(dimmed=False, edge=False, selected=False, statistics=True, tokens=12))
        assert not view.query(".statistics")
        await harness.chat.mount_above_composer(view)
        await until(pilot, lambda: len(view.query(".statistics")) == 1)


async def test_after_a_letter_regenerates_what_is_typed_is_a_message_again() -> None:
    harness = opened(("one", "a"), ("two", "b"))
    async with run(harness) as pilot:
        await shown(pilot, harness)
        await pilot.press("shift+tab", "shift+tab")
        assert chosen(harness) == "one", "Shift+Tab goes on from message to message"
        await pilot.press("r")
        await until(pilot, lambda: [turn.turn.user for turn in path(harness)] == ["one"])
        await until_answered(pilot, harness)
        await until(pilot, lambda: harness.chat.composer.has_focus)
        await pilot.press(*"really")
        await until(pilot, lambda: harness.chat.draft == "really")
