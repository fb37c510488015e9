"""Doing something with one turn: choose it, take it along, mark it, fork at it, walk from it."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

from support.hostile import STRINGS, dangerous
from support.screens import Stage, answered, drawn, ready, run, spoken, until
from textual.widgets import Input, OptionList

from mistral_chat.ui.dialogs.choice import ChoiceDialog
from mistral_chat.ui.dialogs.input import InputDialog
from mistral_chat.ui.widgets.turn_head import TurnHead

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from textual.pilot import Pilot

    from mistral_chat.store.records import StoredTurn

CODE = "Two:\n\n```python\nprint(1)\n```\n\nand\n\n```sh\nls\n```\n"


def path(stage: Stage) -> list[StoredTurn]:
    assert stage.chat.conversation_id is not None
    return stage.store.turns(stage.chat.conversation_id)


def opened(*pairs: tuple[str, str], **settings: Any) -> Stage:
    """A stage whose app begins with a conversation."""
    stage = Stage(**settings)
    stage.begin(*pairs)
    return stage


async def shown(pilot: Pilot[Any], stage: Stage) -> None:
    await ready(pilot, stage)
    await until(pilot, lambda: stage.chat.turns, "the conversation is shown")
    await until(pilot, lambda: stage.chat.ledger and stage.chat.ledger.turns, "it is read")
    await ready(pilot, stage)


def chosen(stage: Stage) -> str | None:
    turn = stage.chat.chosen
    return turn.turn.user if turn is not None else None


async def test_a_turn_is_chosen_with_the_keys_and_the_composer_lies_behind_the_last() -> None:
    stage = opened(*((f"q{number}", f"a{number}") for number in range(3)))
    async with run(stage) as pilot:
        await shown(pilot, stage)
        await pilot.press("alt+up")
        assert chosen(stage) == "q2"
        await pilot.press("ctrl+up", "alt+up", "alt+up")
        assert chosen(stage) == "q0"
        await until(pilot, lambda: "chosen  ·  5 tokens" in drawn(stage), "what the turn takes")
        assert len(stage.screen.query(".-chosen")) == 1
        await pilot.press("alt+down")
        assert chosen(stage) == "q1"
        await pilot.press("escape")
        assert chosen(stage) is None
        assert stage.chat.composer.has_focus
        await pilot.press("alt+up", "alt+down")
        assert chosen(stage) is None
        assert stage.chat.composer.has_focus
        await pilot.press("alt+up", "x")
        assert stage.chat.draft == "x", "typing goes on in the composer"


async def test_choosing_goes_on_into_turns_that_were_not_loaded() -> None:
    stage = opened(*((f"q{number}", f"a{number}") for number in range(70)))
    async with run(stage) as pilot:
        await shown(pilot, stage)
        known = len(stage.chat.turns)
        assert known < 70
        await stage.chat.transcript.choose(stage.chat.turns[0].turn_id)
        await pilot.press("alt+up")
        await until(pilot, lambda: chosen(stage) == f"q{69 - known}")
        await until(pilot, lambda: f"q{69 - known}" in drawn(stage), "it is in view")


async def test_a_click_chooses_a_turn_and_enter_shows_what_can_be_done() -> None:
    stage = opened(("first", "one"), ("second", "two"))
    async with run(stage) as pilot:
        await shown(pilot, stage)
        reply = stage.chat.views[0].reply
        await until(pilot, lambda: reply.region and stage.app.screen.region.contains_region(reply.region), "it is laid out")
        await pilot.click(reply)
        assert chosen(stage) == "first"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(stage.app.screen, ChoiceDialog))
        assert "tokens in context" in drawn(stage)
        await pilot.press("escape")
        await pilot.click(stage.chat.views[0].reply)
        assert chosen(stage) is None


async def test_the_menu_does_what_is_taken() -> None:
    stage = opened(("first", "one"), ("second", "two"))
    async with run(stage) as pilot:
        await shown(pilot, stage)
        await pilot.press("alt+up", "alt+up", "enter")
        await until(pilot, lambda: isinstance(stage.app.screen, ChoiceDialog))
        deeds = stage.app.screen.query_one(OptionList)
        deeds.highlighted = deeds.get_option_index("pin_turn")
        await pilot.press("enter")
        await until(pilot, lambda: path(stage)[0].turn.pinned)


async def test_message_reply_and_code_are_copied_from_the_chosen_turn() -> None:
    stage = opened(("first", CODE), ("second", "two"))
    async with run(stage) as pilot:
        await shown(pilot, stage)
        for key, wanted in {"ctrl+y": "two", "alt+m": "second", "alt+c": "print(1)"}.items():
            await pilot.press(key)
            await until(pilot, lambda wanted=wanted: stage.app.clipboard.strip() == wanted, key)  # type: ignore[misc]  # a default binds it
        await until(pilot, lambda: "code block 1 of 2" in stage.chat.notice)
        await pilot.press("alt+c")
        await until(pilot, lambda: stage.app.clipboard.strip() == "ls")
        await pilot.press("alt+up", "alt+up", "ctrl+y")
        await until(pilot, lambda: stage.app.clipboard == CODE)
        await pilot.press("alt+down", "alt+c")
        await until(pilot, lambda: "no code" in stage.chat.notice)


async def test_a_code_block_is_saved_and_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.sh").write_text("mine")
    stage = opened(("first", CODE))
    async with run(stage) as pilot:
        await shown(pilot, stage)
        await pilot.press("alt+s")
        await until(pilot, lambda: isinstance(stage.app.screen, ChoiceDialog))
        assert "1 · python · 1 line" in drawn(stage)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(stage.app.screen, InputDialog))
        field = stage.app.screen.query_one(Input)
        assert field.value == "code.sh"
        await pilot.press("enter")
        await until(pilot, lambda: "code.sh exists" in drawn(stage))
        assert (tmp_path / "code.sh").read_text() == "mine"
        field.value = "no/such/folder.sh"
        await pilot.press("enter")
        await until(pilot, lambda: "Cannot write" in drawn(stage))
        field.value = "list.sh"
        await pilot.press("enter")
        await until(pilot, lambda: "list.sh" in stage.chat.notice)
    assert (tmp_path / "list.sh").read_text() == "ls\n"
    assert stat.S_IMODE((tmp_path / "list.sh").stat().st_mode) == 0o600


def seen(stage: Stage) -> list[str]:
    runner = stage.chat.runner
    ids = {turn.turn_id: turn.turn.user for turn in path(stage)}
    return [ids[turn.key] for turn in runner.ledger.turns] if runner is not None and runner.ledger is not None else []


async def test_an_excluded_turn_leaves_the_model_and_comes_back() -> None:
    stage = opened(*((f"q{number}", f"a{number}") for number in range(3)))
    async with run(stage) as pilot:
        await shown(pilot, stage)
        await pilot.press("alt+up", "alt+up", "alt+x")
        await until(pilot, lambda: seen(stage) == ["q0", "q2"], "the model does not see it")
        assert "tokens" in stage.chat.notice
        assert "the model does not see this" in drawn(stage)
        assert stage.chat.views[1].has_class("-left")
        assert not stage.chat.left, "it did not leave by itself"
        assert not stage.screen.query(".-edge")
        await pilot.press("alt+x")
        await until(pilot, lambda: seen(stage) == ["q0", "q1", "q2"])
        assert not stage.chat.views[1].has_class("-left")


async def test_a_pinned_turn_stays_when_the_window_is_full() -> None:
    stage = Stage(answer=lambda text: f"{text} " + "word " * 60, window=512)
    async with run(stage, (100, 60)) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "message 0")
        await pilot.press("alt+p")
        await until(pilot, lambda: path(stage)[0].turn.pinned)
        for number in range(1, 9):
            await spoken(pilot, stage, f"message {number}")
        assert seen(stage)[0] == "message 0"
        assert len(seen(stage)) < 9
        turns = stage.chat.turns
        assert turns[0].turn_id not in stage.chat.left
        assert turns[1].turn_id in stage.chat.left
        stage.chat.transcript.action_oldest()
        await until(pilot, lambda: "◆ pinned" in drawn(stage))
        await stage.chat.transcript.choose(turns[0].turn_id)
        await pilot.press("alt+p")
        await until(pilot, lambda: not path(stage)[0].turn.pinned)
        assert "not pinned any more" in stage.chat.notice


async def test_a_pin_that_would_fill_the_window_is_refused_with_numbers() -> None:
    stage = opened(("long", "word " * 200), ("short", "b"), window=256)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await until(pilot, lambda: stage.chat.tokens_used)
        await pilot.press("alt+up", "alt+up", "alt+p")
        await until(pilot, lambda: "cannot be pinned" in stage.chat.notice)
        assert "204 tokens" in stage.chat.notice
        assert not path(stage)[0].turn.pinned


async def test_a_fork_ends_with_the_chosen_turn_and_leaves_the_other_alone() -> None:
    stage = opened(*((f"q{number}", f"a{number}") for number in range(3)))
    async with run(stage) as pilot:
        await shown(pilot, stage)
        before = stage.chat.conversation_id
        assert before is not None
        await pilot.press("alt+up", "alt+up", "alt+k")
        await until(pilot, lambda: stage.chat.conversation_id != before)
        assert [turn.turn.user for turn in path(stage)] == ["q0", "q1"]
        assert len(stage.store.turns(before)) == 3


async def test_regenerating_and_walking_at_a_turn_in_the_middle() -> None:
    answers = iter(["first", "second", "other first"])
    stage = Stage(answer=lambda _: next(answers))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "one")
        await spoken(pilot, stage, "two")
        await pilot.press("alt+up", "alt+up", "ctrl+r")
        await until(pilot, lambda: "other first" in drawn(stage))
        await answered(pilot, stage)
        assert [turn.turn.reply for turn in path(stage)] == ["other first"]
        await pilot.click(stage.screen.query(TurnHead).first(), offset=(2, 0))
        await until(pilot, lambda: [turn.turn.reply for turn in path(stage)] == ["first", "second"])
        assert chosen(stage) == "one"
        await pilot.press("alt+right")
        await until(pilot, lambda: [turn.turn.reply for turn in path(stage)] == ["other first"])
        await pilot.press("alt+left", "alt+down", "alt+left")
        await until(pilot, lambda: "no branches" in stage.chat.notice)


async def test_editing_the_chosen_turn_begins_a_branch_there() -> None:
    stage = opened(("one", "a"), ("two", "b"))
    async with run(stage) as pilot:
        await shown(pilot, stage)
        await pilot.press("alt+up", "alt+up", "f3", *"!", "enter")
        await until(pilot, lambda: [turn.turn.user for turn in path(stage)] == ["one!"])
        await answered(pilot, stage)
        assert chosen(stage) is None


async def test_details_stand_under_every_reply_and_stay_for_the_next() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "Hello there")
        assert "ended by itself" not in drawn(stage)
        await pilot.press("alt+d")
        await until(pilot, lambda: "4 tokens · prompt 5, of them 0 cached · first token after" in drawn(stage))
        await spoken(pilot, stage, "Again")
        await until(pilot, lambda: drawn(stage).count("ended by itself") == 2)
        await stage.chat.open(None)
        await spoken(pilot, stage, "Elsewhere")
        assert "ended by itself" in drawn(stage)
        await pilot.press("alt+d")
        await until(pilot, lambda: "ended by itself" not in drawn(stage))


async def test_keys_for_a_turn_say_so_where_there_is_none() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        for key in ("alt+up", "alt+m", "alt+c", "alt+s", "alt+p", "alt+x", "alt+k", "f11"):
            stage.chat.clear_notice()
            await pilot.press(key)
            await until(pilot, lambda: stage.chat.notice, key)


async def test_hostile_text_in_the_menu_and_the_details() -> None:
    stage = Stage()
    texts = [text.encode("utf-8", "replace").decode() for text in STRINGS[::10]]
    async with run(stage, (60, 20)) as pilot:
        await ready(pilot, stage)
        await pilot.press("alt+d")
        for text in texts:
            conversation = stage.store.create(model=text)
            turn = stage.store.add_turn(conversation, text, parent_id=None, model=text)
            stage.store.finish_reply(turn, f"```{text}\n{text}\n```", finish_reason="stop", usage=None, model=text)
            await stage.chat.open(conversation)
            await pilot.press("f11")
            await until(pilot, lambda: isinstance(stage.app.screen, ChoiceDialog))
            await pilot.pause()
            assert not dangerous(drawn(stage)), repr(text)
            await pilot.press("escape")
            await pilot.press("alt+s")
            await pilot.pause()
            assert not dangerous(drawn(stage)), repr(text)
            if isinstance(stage.app.screen, InputDialog | ChoiceDialog):
                await pilot.press("escape")
