"""What doing something with a turn looks like, and the window in parts, as pictures that a person has looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.screens import Stage, ready, spoken, until

from mistral_chat.config import Settings
from mistral_chat.conversation import Usage
from mistral_chat.ui.screens.context import ContextScreen
from mistral_chat.ui.screens.saving import SavingScreen
from mistral_chat.ui.screens.turn import TurnScreen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.pilot import Pilot

    Compare = Callable[..., bool]

MEDIUM, NARROW = (100, 30), (60, 20)
USAGE = Usage(prompt_tokens=1204, cached_tokens=1100, completion_tokens=212, time_to_first_token=0.84, tokens_per_second=11.2)
CODE = "Two of them:\n\n```python\nprint(1)\n```\n\nand\n\n```sh\nls\n```\n"

pytestmark = pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)


def picture(compare: Compare, stage: Stage, size: tuple[int, int], act: Callable[[Pilot[Any]], Awaitable[None]]) -> None:
    async def before(pilot: Pilot[Any]) -> None:
        await act(pilot)
        await pilot.pause()

    assert compare(stage.app, terminal_size=size, run_before=before)


def talked(theme: str = "mistral-dark") -> Stage:
    """Three turns: one pinned, one excluded, and one with code."""
    stage = Stage(settings=replace(Settings(), theme=theme))
    stage.conversation_id = stage.store.create(title="Bread")
    parent = None
    ids = []
    for user, reply in (
        ("Remember: I bake with rye.", "I will."),
        ("Never mind this one", "As you like."),
        ("Show me code", CODE),
    ):
        parent = stage.store.add_turn(stage.conversation_id, user, parent_id=parent)
        stage.store.finish_reply(parent, reply, finish_reason="stop", usage=USAGE, model="mistral-7b-instruct-v0.3")
        ids.append(parent)
    stage.store.mark(ids[0], pinned=True)
    stage.store.mark(ids[1], excluded=True)
    stage.app = stage.make_app()
    return stage


async def opened(pilot: Pilot[Any], stage: Stage) -> None:
    await ready(pilot, stage)
    await until(pilot, lambda: stage.screen.status.status.used, "the conversation is read")
    await ready(pilot, stage)


@pytest.mark.parametrize("theme", ["mistral-dark", "mistral-light"])
def test_marks_and_the_chosen_turn(snap_compare: Compare, size: tuple[int, int], theme: str) -> None:
    stage = talked(theme)

    async def act(pilot: Pilot[Any]) -> None:
        await opened(pilot, stage)
        await pilot.press("alt+up", "alt+up", "alt+up")
        await pilot.pause()

    picture(snap_compare, stage, size, act)


def test_marks_without_colour(snap_compare: Compare, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stage = talked()

    async def act(pilot: Pilot[Any]) -> None:
        await opened(pilot, stage)
        await pilot.press("alt+up", "alt+up")
        await pilot.pause()

    picture(snap_compare, stage, size, act)


def test_details_under_replies(snap_compare: Compare, size: tuple[int, int]) -> None:
    stage = talked()

    async def act(pilot: Pilot[Any]) -> None:
        await opened(pilot, stage)
        await pilot.press("alt+d")

    picture(snap_compare, stage, size, act)


def test_what_can_be_done(snap_compare: Compare, size: tuple[int, int]) -> None:
    stage = talked()

    async def act(pilot: Pilot[Any]) -> None:
        await opened(pilot, stage)
        await pilot.press("f11")
        await until(pilot, lambda: isinstance(stage.app.screen, TurnScreen))

    picture(snap_compare, stage, size, act)


def test_saving_code(snap_compare: Compare, size: tuple[int, int]) -> None:
    stage = talked()

    async def act(pilot: Pilot[Any]) -> None:
        await opened(pilot, stage)
        await pilot.press("alt+s")
        await until(pilot, lambda: isinstance(stage.app.screen, SavingScreen))
        from textual.widgets import Input

        stage.app.screen.query_one(Input).cursor_blink = False

    picture(snap_compare, stage, size, act)


@pytest.mark.parametrize("colours", ["colour", "none"])
def test_the_window_in_parts(snap_compare: Compare, size: tuple[int, int], colours: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if colours == "none":
        monkeypatch.setenv("NO_COLOR", "1")
    stage = Stage(answer=lambda text: f"{text} " + "word " * 60, window=512, settings=replace(Settings(), system="Be brief."))

    async def act(pilot: Pilot[Any]) -> None:
        await ready(pilot, stage)
        for number in range(9):
            await spoken(pilot, stage, f"message {number}")
        await pilot.press("alt+p")
        await until(pilot, lambda: stage.screen.parts and stage.screen.parts.pinned)
        stage.screen.composer.insert("word " * 20)
        await until(pilot, lambda: stage.screen.parts and stage.screen.parts.draft == 20)
        await pilot.press("alt+w")
        await until(pilot, lambda: isinstance(stage.app.screen, ContextScreen))

    picture(snap_compare, stage, size, act)


def test_a_draft_that_does_not_fit(snap_compare: Compare, size: tuple[int, int]) -> None:
    stage = Stage(window=256)

    async def act(pilot: Pilot[Any]) -> None:
        await ready(pilot, stage)
        stage.screen.composer.set_draft("word " * 300)
        await until(pilot, lambda: stage.screen.composer.has_class("-over") and stage.screen.notice.text)

    picture(snap_compare, stage, size, act)
