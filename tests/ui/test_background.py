"""What goes on without anybody waiting for it: titles by the model, and loading; both can be stopped."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.screens import PAUSE, Stage, answered, drawn, furnished, ready, say, spoken, until

from mistral_chat.config import Settings
from mistral_chat.engine.echo import EchoEngine
from mistral_chat.ui.background import Background, stopped

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from textual.pilot import Pilot

    from mistral_chat.generation import Cancel, History, Sampling

NAMED = replace(Settings(), titles="model")


def run(stage: Stage, size: tuple[int, int] = (100, 30)) -> AbstractAsyncContextManager[Pilot[Any]]:
    return stage.app.run_test(size=size, notifications=True, tooltips=True)


def answers(text: str) -> str:
    return '"A calm title"\nand more' if "title" in text else f"You said: {text}"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Titles wait for this event, or until they are stopped."""
    gate = threading.Event()
    aside = EchoEngine.aside

    def waiting(self: EchoEngine, history: History, sampling: Sampling, cancel: Cancel) -> str:
        while not gate.wait(0.005) and not cancel.is_set:
            pass
        return aside(self, history, sampling, cancel)

    monkeypatch.setattr(EchoEngine, "aside", waiting)
    return gate


def title(stage: Stage) -> tuple[str, str]:
    stored = stage.store.conversation(stage.store.latest() or "")
    return stored.summary.title, stored.title_by


async def test_the_model_names_a_conversation_after_its_first_reply() -> None:
    stage = Stage(answer=answers, settings=NAMED)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "How do I bake bread?")
        await until(pilot, lambda: title(stage) == ("A calm title", "model"))
        await until(pilot, lambda: "A calm title" in drawn(stage))
        await spoken(pilot, stage, "And rye?")
        assert [turn.turn.user for turn in stage.store.path(stage.store.latest() or "")] == ["How do I bake bread?", "And rye?"]


async def test_the_first_line_stays_where_the_settings_want_it() -> None:
    stage = Stage(answer=answers)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "Bread")
        await pilot.pause()
        assert title(stage) == ("Bread", "first_line")


async def test_nothing_unsaved_is_named() -> None:
    stage = Stage(answer=answers, settings=NAMED, saved=False)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "Bread")
        await pilot.pause()
        assert title(stage) == ("Bread", "first_line")


async def test_a_persons_title_stays_even_when_it_comes_first(held: threading.Event) -> None:
    stage = Stage(answer=answers, settings=NAMED)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "Bread")
        await until(pilot, lambda: "titling" in drawn(stage))
        stage.store.rename(stage.store.latest() or "", "Mine", by="person")
        held.set()
        await until(pilot, lambda: "titling" not in drawn(stage))
        assert title(stage) == ("Mine", "person")


async def test_a_message_goes_before_a_title_which_comes_after_it(held: threading.Event) -> None:
    stage = Stage(answer=answers, settings=NAMED)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "Bread")
        await until(pilot, lambda: "titling" in drawn(stage))
        await spoken(pilot, stage, "And rye?")
        assert "You said: And rye?" in drawn(stage)
        held.set()
        await until(pilot, lambda: title(stage) == ("A calm title", "model"))


async def test_a_stopped_reply_is_not_named() -> None:
    stage = Stage(answer=lambda text: f"one {PAUSE} two" if "title" not in text else "Title", settings=NAMED)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Bread")
        await until(pilot, lambda: "one" in drawn(stage))
        await pilot.press("escape")
        await answered(pilot, stage)
        await pilot.pause()
        assert title(stage) == ("Bread", "first_line")


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_titling_is_seen_and_can_be_stopped(held: threading.Event, size: tuple[int, int]) -> None:
    stage = Stage(answer=answers, settings=NAMED)
    async with run(stage, size) as pilot:
        await ready(pilot, stage)
        await spoken(pilot, stage, "Bread")
        await until(pilot, lambda: "⟳ titling" in drawn(stage).splitlines()[-1])
        await pilot.press("alt+z")
        await until(pilot, lambda: "Stopped: titling" in drawn(stage))
        await until(pilot, lambda: "⟳" not in drawn(stage))
        assert title(stage) == ("Bread", "first_line")
        await pilot.press("alt+z")
        await until(pilot, lambda: "Nothing goes on" in drawn(stage))


async def test_loading_can_be_stopped_and_begun_again() -> None:
    stage = Stage(loading=True)
    async with run(stage) as pilot:
        await furnished(pilot, stage)
        await until(pilot, lambda: "loading 40%" in drawn(stage))
        await pilot.press("alt+z")
        await until(pilot, lambda: "Loading was stopped" in drawn(stage))
        stage.loaded.set()
        await pilot.press("f5")
        await until(pilot, lambda: stage.screen.status.status.state == "ready")


class Clock:
    """Lets half seconds pass when it is told to."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def later(self, _seconds: float, then: Callable[[], None]) -> None:
        self.due.append(then)

    def passes(self) -> None:
        due, self.due = self.due, []
        for then in due:
            then()


def test_each_piece_of_work_is_known_until_it_ends() -> None:
    told: list[str] = []
    stops: list[str] = []
    clock = Clock()
    background = Background(told.append, later=clock.later)
    stop: Callable[[], object] = lambda: stops.append("checking")  # noqa: E731 (a callback of one line)
    with (
        background.doing("titling"),
        background.doing("checking", cancel=stop, kept="Nothing is lost.") as check,
        background.doing("loading", quiet=True),
    ):
        clock.passes()
        assert background.text == "⟳ titling, checking"
        check.tell(0.4099)
        assert told[-1] == background.text == "⟳ titling, checking 40%"
        assert background.cancel() == [check]
        assert stopped([check]) == "Stopped: checking. Nothing is lost."
    assert (background.text, stops, told[-1]) == ("", ["checking"], "")


def test_what_ends_within_half_a_second_is_never_shown() -> None:
    """A word that comes and goes in the corner of the eye is noise."""
    told: list[str] = []
    clock = Clock()
    background = Background(told.append, later=clock.later)
    with background.doing("reading ahead") as job:
        job.tell(0.9)
        assert background.jobs == [job], "and yet it can be stopped"
    clock.passes()
    assert not any(told)
