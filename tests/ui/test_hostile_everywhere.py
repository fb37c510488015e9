"""Hostile text in every screen and dialog that there is; what is written to the terminal is searched for it."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import AppHarness, until, until_drawn, until_ready
from support.first_run import FrozenModelService, usual_listing
from support.hostile import BASE, MEGABYTES, PROBES, dangerous
from support.hostile_screens import SCREENS, VARIANTS, Filled
from support.terminal_output import capture_output
from textual import events
from textual.command import CommandPalette
from textual.screen import Screen

import mistral_chat.ui.dialogs
import mistral_chat.ui.screens
from mistral_chat.config import Settings
from mistral_chat.ui.screens.chat import ChatScreen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textual.pilot import Pilot

pytestmark = pytest.mark.no_cover
"""What reaches the terminal is searched; measuring what is covered besides would take twice as long."""

PASTED = " ".join(text for text in BASE if dangerous(text) and len(text) < 100 and text.isascii())
"""A terminal gives no half characters."""


def parcels(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    """All of `texts`, `size` at a time; the last parcel is filled up from the beginning."""
    for start in range(0, len(texts), size):
        yield [texts[(start + place) % len(texts)] for place in range(size)]


def ours() -> set[type[Screen[Any]]]:
    """Every screen that the app can show."""
    for package in (mistral_chat.ui.screens, mistral_chat.ui.dialogs):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found: set[type[Screen[Any]]] = set()
    heads: list[type[Screen[Any]]] = [Screen]
    while heads:
        kind = heads.pop()
        below = kind.__subclasses__()
        heads += below
        if kind.__module__.startswith("mistral_chat.") and not any(each.__module__.startswith("mistral_chat.") for each in below):
            found.add(kind)
    return found


async def paste(pilot: Pilot[Any], harness: AppHarness, text: str) -> None:
    """Paste `text` into every field on the screen."""
    await pilot.pause()
    for field in harness.app.screen.query("Input, TextArea"):
        field.focus()
        await pilot.pause()
        harness.app.post_message(events.Paste(text))
        await pilot.pause()


def test_no_screen_is_left_out() -> None:
    assert ours() - {ChatScreen} == set(SCREENS), "add a new screen to support/hostile_screens.py"


@pytest.mark.parametrize("filled", [*SCREENS.values(), *VARIANTS.values()], ids=[*(kind.__name__ for kind in SCREENS), *VARIANTS])
async def test_nothing_hostile_reaches_the_terminal_from(filled: Filled) -> None:
    harness = AppHarness(app_options={"models": lambda: FrozenModelService(usual_listing())})
    async with capture_output(harness.app, (100, 90)) as (pilot, output):
        await until_ready(pilot, harness)
        for parcel in parcels([*PROBES, *MEGABYTES], filled.at_once):
            screen = filled.make(harness, parcel)
            await harness.app.push_screen(screen)
            await pilot.pause()
            await filled.act(pilot, screen, parcel)
            await paste(pilot, harness, PASTED)
            assert not (found := output.foreign()), f"{found[:9]} from {str(parcel)[:2000]!r}"
            if harness.app.screen is screen:
                await harness.app.pop_screen()
        assert harness.app.is_running


@pytest.mark.parametrize("keys", ["ctrl+p", "alt+l", "ctrl+f", "f2"])
async def test_a_paste_brings_nothing_hostile_into(keys: str) -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"), title="Bread")
    async with capture_output(harness.app) as (pilot, output):
        await until_ready(pilot, harness)
        await pilot.press(keys)
        await paste(pilot, harness, PASTED)
        if isinstance(harness.app.screen, CommandPalette):  # Textual breaks where the app ends before this is announced
            await until_drawn(pilot, "No matches found")
        assert not output.foreign()


@pytest.mark.parametrize("keys", ["\ud800 \udfff", "\x07", "\x1b[2J", "a\u202eb"])
async def test_invalid_custom_keys(keys: str) -> None:
    harness = AppHarness(settings=replace(Settings(), keymap={"chat.new": keys}))
    async with capture_output(harness.app, (60, 90)) as (pilot, output):
        await until_ready(pilot, harness)
        await until(pilot, lambda: "is not a key" in harness.chat.notice, "it is reported")
        await pilot.press("f1")
        await pilot.pause()
        assert not output.foreign()
