"""Personas in a conversation, chosen from the settings; and undoing marks of turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.app_harness import AppHarness, run_loaded, screen_text, send_and_wait, send_message, until
from textual.widgets import OptionList

from mistral_chat.config import Persona, Settings
from mistral_chat.sampling import Sampling
from mistral_chat.ui.dialogs.choice import ChoiceDialog

if TYPE_CHECKING:
    from mistral_chat.store.records import StoredConversation

COLD = Sampling(temperature=0.1)


def with_personas(**more: Persona) -> AppHarness:
    personas = {"cook": Persona(system="You are a cook.\nBe brief.", sampling=COLD), "clerk": Persona(system="You are a clerk.")}
    return AppHarness(settings=Settings(system="You are helpful.", personas=personas | more))


def opened(harness: AppHarness) -> AppHarness:
    """The harness with a conversation on the screen."""
    harness.start_with(("Question", "Answer"))
    return harness


def held(harness: AppHarness) -> StoredConversation:
    assert harness.chat.conversation_id is not None
    return harness.store.conversation(harness.chat.conversation_id)


async def test_a_new_conversation_starts_with_the_named_persona() -> None:
    harness = with_personas()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/persona cook")
        await until(pilot, lambda: harness.chat.notice == "Persona: cook. Applies to the next message.")
        await send_and_wait(pilot, harness, "Hello")
        assert (held(harness).persona, held(harness).system) == ("cook", "You are a cook.\nBe brief.")
        assert held(harness).sampling == COLD
        await pilot.press("ctrl+n")
        await until(pilot, lambda: harness.chat.conversation_id is None)
        await send_and_wait(pilot, harness, "Hello")
        assert (held(harness).persona, held(harness).system) == ("", "You are helpful."), "it was that conversation's alone"


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_persona_is_chosen_from_the_list_for_a_conversation_and_undone(size: tuple[int, int]) -> None:
    harness = opened(with_personas())
    harness.store.set_overrides(harness.conversation_id or "", system="My own words.")
    async with run_loaded(harness, size) as pilot:
        await pilot.press("alt+r")
        await until(pilot, lambda: "You are a cook." in screen_text(harness) and "You are a clerk." in screen_text(harness))
        assert "Be brief." not in screen_text(harness), "one line tells who it is"
        await pilot.press("down", "enter")
        await until(pilot, lambda: held(harness).persona == "cook")
        assert (held(harness).system, held(harness).sampling) == ("You are a cook.\nBe brief.", COLD)
        await send_and_wait(pilot, harness, "Go on")
        assert held(harness).persona == "cook"
        await pilot.press("f8")
        await until(pilot, lambda: held(harness).persona == "")
        assert (held(harness).system, held(harness).sampling) == ("My own words.", None)


async def test_none_returns_to_the_settings() -> None:
    harness = opened(with_personas())
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/persona cook")
        await until(pilot, lambda: held(harness).persona == "cook")
        await pilot.press("alt+r")
        await until(pilot, lambda: isinstance(harness.app.screen, ChoiceDialog) and harness.app.screen.query(OptionList))
        assert harness.app.screen.query_one(OptionList).highlighted == 1, "the mark is on the one that is held"
        await pilot.press("home", "enter")
        await until(pilot, lambda: held(harness).persona == "")
        assert (held(harness).system, held(harness).sampling) == ("You are helpful.", None)


async def test_none_without_a_persona_leaves_the_system_prompt() -> None:
    harness = opened(with_personas())
    harness.store.set_overrides(harness.conversation_id or "", system="My own words.")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/persona none")
        await until(pilot, lambda: "No persona is in use" in harness.chat.notice)
        assert held(harness).system == "My own words."


async def test_escape_in_the_list_changes_nothing() -> None:
    harness = opened(with_personas())
    async with run_loaded(harness) as pilot:
        await pilot.press("alt+r")
        await until(pilot, lambda: isinstance(harness.app.screen, ChoiceDialog))
        await pilot.press("down", "escape")
        await until(pilot, lambda: not isinstance(harness.app.screen, ChoiceDialog))
        assert held(harness).persona == ""


async def test_an_unknown_persona_is_refused_with_the_known_ones() -> None:
    harness = with_personas()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/persona pirate")
        await until(pilot, lambda: "Unknown persona 'pirate'" in harness.chat.notice)
        assert "clerk, cook" in harness.chat.notice
        assert harness.chat.draft == "/persona pirate"


async def test_without_personas_the_notice_says_how_to_add_one() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("alt+r")
        await until(pilot, lambda: "Add one in the settings: F12" in harness.chat.notice)


async def test_the_list_draws_no_escape_sequence_and_no_markup() -> None:
    harness = with_personas(**{"[bold]x\x1b[31m": Persona(system="[red]y\x1b]52;c;AAAA\x07")})
    async with run_loaded(harness) as pilot:
        await pilot.press("alt+r")
        await until(pilot, lambda: "[bold]x" in screen_text(harness) and "[red]y" in screen_text(harness))
        assert "\x1b" not in screen_text(harness)


async def test_pinning_and_excluding_a_turn_can_be_undone() -> None:
    harness = opened(with_personas())

    def marks() -> tuple[bool, bool]:
        turn = harness.store.turns(harness.conversation_id or "")[0].turn
        return turn.pinned, turn.excluded

    async with run_loaded(harness) as pilot:
        await pilot.press("alt+p")
        await until(pilot, lambda: marks() == (True, False))
        await pilot.press("alt+x")
        await until(pilot, lambda: marks() == (False, True))
        await pilot.press("f8")
        await until(pilot, lambda: harness.chat.notice == "Undone: exclude a message")
        assert marks() == (True, False), "the exclusion is undone, and the pin is back"
        assert harness.chat.turns[0].turn.pinned
        await send_message(pilot, harness, "/undo")
        await until(pilot, lambda: marks() == (False, False))


async def test_setting_one_sampling_value_keeps_the_others() -> None:
    harness = with_personas(calm=Persona(system="Be calm.", sampling=Sampling(temperature=0.3, top_k=7)))
    harness.app._dependencies.persona = "calm"
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/set")
        await until(pilot, lambda: "temperature 0.3" in harness.chat.notice)
        await send_message(pilot, harness, "/set top_p 0.5")
        await until(pilot, lambda: "top_p = 0.5" in harness.chat.notice)
        await send_and_wait(pilot, harness, "Hello")
        assert held(harness).sampling == Sampling(temperature=0.3, top_k=7, top_p=0.5)
