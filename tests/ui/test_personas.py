"""Personas: who the model is in a conversation, chosen from the settings; and marks of turns taken back with F8."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.screens import Stage, drawn, ready, run, say, spoken, until
from textual.widgets import OptionList

from mistral_chat.config import Persona, Settings
from mistral_chat.generation import Sampling
from mistral_chat.ui.dialogs.choice import ChoiceDialog

if TYPE_CHECKING:
    from mistral_chat.store.records import StoredConversation

COLD = Sampling(temperature=0.1)


def with_personas(**more: Persona) -> Stage:
    personas = {"cook": Persona(system="You are a cook.\nBe brief.", sampling=COLD), "clerk": Persona(system="You are a clerk.")}
    return Stage(settings=Settings(system="You are helpful.", personas=personas | more))


def opened(stage: Stage) -> Stage:
    """The stage with a conversation on the screen."""
    stage.begin(("Question", "Answer"))
    return stage


def held(stage: Stage) -> StoredConversation:
    assert stage.chat.conversation_id is not None
    return stage.store.conversation(stage.chat.conversation_id)


async def test_a_new_conversation_begins_with_the_persona_that_was_named() -> None:
    stage = with_personas()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "/persona cook")
        await until(pilot, lambda: stage.chat.notice == "Persona: cook from the next message on.")
        await spoken(pilot, stage, "Hello")
        assert (held(stage).persona, held(stage).system) == ("cook", "You are a cook.\nBe brief.")
        assert held(stage).sampling == COLD
        await pilot.press("ctrl+n")
        await until(pilot, lambda: stage.chat.conversation_id is None)
        await spoken(pilot, stage, "Hello")
        assert (held(stage).persona, held(stage).system) == ("", "You are helpful."), "it was that conversation's alone"


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_persona_is_chosen_from_the_list_for_a_conversation_and_undone(size: tuple[int, int]) -> None:
    stage = opened(with_personas())
    stage.store.set_system(stage.conversation_id or "", "My own words.")
    async with run(stage, size) as pilot:
        await ready(pilot, stage)
        await pilot.press("alt+r")
        await until(pilot, lambda: "You are a cook." in drawn(stage) and "You are a clerk." in drawn(stage))
        assert "Be brief." not in drawn(stage), "one line tells who it is"
        await pilot.press("down", "enter")
        await until(pilot, lambda: held(stage).persona == "cook")
        assert (held(stage).system, held(stage).sampling) == ("You are a cook.\nBe brief.", COLD)
        await spoken(pilot, stage, "Go on")
        assert held(stage).persona == "cook"
        await pilot.press("f8")
        await until(pilot, lambda: held(stage).persona == "")
        assert (held(stage).system, held(stage).sampling) == ("My own words.", None)


async def test_none_goes_back_to_the_settings() -> None:
    stage = opened(with_personas())
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "/persona cook")
        await until(pilot, lambda: held(stage).persona == "cook")
        await pilot.press("alt+r")
        await until(pilot, lambda: isinstance(stage.app.screen, ChoiceDialog) and stage.app.screen.query(OptionList))
        assert stage.app.screen.query_one(OptionList).highlighted == 1, "the mark is on the one that is held"
        await pilot.press("home", "enter")
        await until(pilot, lambda: held(stage).persona == "")
        assert (held(stage).system, held(stage).sampling) == ("You are helpful.", None)


async def test_none_without_a_persona_leaves_the_system_prompt() -> None:
    stage = opened(with_personas())
    stage.store.set_system(stage.conversation_id or "", "My own words.")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "/persona none")
        await until(pilot, lambda: "no persona in this conversation" in stage.chat.notice)
        assert held(stage).system == "My own words."


async def test_escape_in_the_list_changes_nothing() -> None:
    stage = opened(with_personas())
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("alt+r")
        await until(pilot, lambda: isinstance(stage.app.screen, ChoiceDialog))
        await pilot.press("down", "escape")
        await until(pilot, lambda: not isinstance(stage.app.screen, ChoiceDialog))
        assert held(stage).persona == ""


async def test_an_unknown_persona_is_refused_with_those_there_are() -> None:
    stage = with_personas()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "/persona pirate")
        await until(pilot, lambda: "There is no persona 'pirate'" in stage.chat.notice)
        assert "clerk, cook" in stage.chat.notice
        assert stage.chat.draft == "/persona pirate"


async def test_without_personas_it_is_told_how_to_add_one() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("alt+r")
        await until(pilot, lambda: "Add one in the settings: F12" in stage.chat.notice)


async def test_the_list_draws_no_escape_sequence_and_no_markup() -> None:
    stage = with_personas(**{"[bold]x\x1b[31m": Persona(system="[red]y\x1b]52;c;AAAA\x07")})
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("alt+r")
        await until(pilot, lambda: "[bold]x" in drawn(stage) and "[red]y" in drawn(stage))
        assert "\x1b" not in drawn(stage)


async def test_pinning_and_excluding_a_turn_are_taken_back() -> None:
    stage = opened(with_personas())

    def marks() -> tuple[bool, bool]:
        turn = stage.store.turns(stage.conversation_id or "")[0].turn
        return turn.pinned, turn.excluded

    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press("alt+p")
        await until(pilot, lambda: marks() == (True, False))
        await pilot.press("alt+x")
        await until(pilot, lambda: marks() == (False, True))
        await pilot.press("f8")
        await until(pilot, lambda: marks() == (True, False), "the exclusion is undone, and the pin is back")
        assert stage.chat.notice == "Undone: exclude a turn"
        assert stage.chat.turns[0].turn.pinned
        await say(pilot, stage, "/undo")
        await until(pilot, lambda: marks() == (False, False))


async def test_setting_one_number_keeps_the_personas_others() -> None:
    stage = with_personas(calm=Persona(system="Be calm.", sampling=Sampling(temperature=0.3, top_k=7)))
    stage.app._rooms = replace(stage.app._rooms, persona="calm")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "/set")
        await until(pilot, lambda: "temperature 0.3" in stage.chat.notice)
        await say(pilot, stage, "/set top_p 0.5")
        await until(pilot, lambda: "top_p is 0.5" in stage.chat.notice)
        await spoken(pilot, stage, "Hello")
        assert held(stage).sampling == Sampling(temperature=0.3, top_k=7, top_p=0.5)
