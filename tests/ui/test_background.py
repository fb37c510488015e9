"""Background tasks: shown with their progress, and stoppable."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from support.app_harness import (
    PAUSE,
    AppHarness,
    run,
    run_loaded,
    screen_text,
    send_and_wait,
    send_message,
    until,
    until_answered,
    until_ready,
    until_shown,
)
from support.echo_engine import EchoEngine
from support.hostile import PROBES, dangerous

from mistral_chat.config import Settings
from mistral_chat.engine.encoding.format import Encoding
from mistral_chat.engine.snapshots import Snapshot, SnapshotFolder
from mistral_chat.engine.thread import EngineThread
from mistral_chat.generation import CancelToken
from mistral_chat.session.tasks import BackgroundTask, TaskRegistry, cancelled_message
from mistral_chat.ui.dialogs.tasks import TasksDialog
from mistral_chat.ui.widgets.status_bar import StatusBar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mistral_chat.generation import History, Prefill
    from mistral_chat.sampling import Sampling

NAMED = replace(Settings(), titles="model")


def answers(text: str) -> str:
    return '"A calm title"\nand more' if "title" in text else f"You said: {text}"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Titles wait for this event, or until they are stopped."""
    gate = threading.Event()
    generate_detached = EchoEngine.generate_detached

    def waiting(self: EchoEngine, history: History, sampling: Sampling, cancel: CancelToken) -> str:
        while not gate.wait(0.005) and not cancel.is_set:
            pass
        return generate_detached(self, history, sampling, cancel)

    monkeypatch.setattr(EchoEngine, "generate_detached", waiting)
    return gate


def title(harness: AppHarness) -> tuple[str, str]:
    stored = harness.store.conversation(harness.store.latest() or "")
    return stored.summary.title, stored.title_by


async def test_the_model_names_a_conversation_after_its_first_reply() -> None:
    harness = AppHarness(answer=answers, settings=NAMED)
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "How do I bake bread?")
        await until(pilot, lambda: title(harness) == ("A calm title", "model"))
        await until(pilot, lambda: "A calm title" in screen_text(harness))
        await send_and_wait(pilot, harness, "And rye?")
        assert [turn.turn.user for turn in harness.store.turns(harness.store.latest() or "")] == [
            "How do I bake bread?",
            "And rye?",
        ]


async def test_the_first_line_stays_the_title_if_set_so() -> None:
    harness = AppHarness(answer=answers)
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Bread")
        await pilot.pause()
        assert title(harness) == ("Bread", "first_line")


async def test_a_temporary_chat_gets_no_title() -> None:
    harness = AppHarness(answer=answers, settings=NAMED, saved=False)
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Bread")
        await pilot.pause()
        assert title(harness) == ("Bread", "first_line")


async def test_the_users_title_is_never_replaced(held: threading.Event) -> None:
    harness = AppHarness(answer=answers, settings=NAMED)
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Bread")
        await until(pilot, lambda: "titling" in screen_text(harness))
        harness.store.rename(harness.store.latest() or "", "Mine", by="person")
        held.set()
        await until(pilot, lambda: "titling" not in screen_text(harness))
        assert title(harness) == ("Mine", "person")


async def test_a_message_goes_before_a_title(held: threading.Event) -> None:
    harness = AppHarness(answer=answers, settings=NAMED)
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Bread")
        await until(pilot, lambda: "titling" in screen_text(harness))
        await send_and_wait(pilot, harness, "And rye?")
        await until(pilot, lambda: "You said: And rye?" in screen_text(harness))
        held.set()
        await until(pilot, lambda: title(harness) == ("A calm title", "model"))


async def test_a_stopped_reply_gets_no_title() -> None:
    harness = AppHarness(answer=lambda text: f"one {PAUSE} two" if "title" not in text else "Title", settings=NAMED)
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Bread")
        await until(pilot, lambda: "one" in screen_text(harness))
        await pilot.press("escape")
        await until_answered(pilot, harness)
        await pilot.pause()
        assert title(harness) == ("Bread", "first_line")


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_titling_is_shown_and_can_be_stopped(held: threading.Event, size: tuple[int, int]) -> None:
    harness = AppHarness(answer=answers, settings=NAMED)
    async with run_loaded(harness, size) as pilot:
        await send_and_wait(pilot, harness, "Bread")
        await until(pilot, lambda: "⟳ titling" in screen_text(harness).splitlines()[-1])
        await pilot.press("alt+z")
        await until(pilot, lambda: "Cancelled: titling" in screen_text(harness))
        await until(pilot, lambda: "⟳" not in screen_text(harness))
        assert title(harness) == ("Bread", "first_line")
        await pilot.press("alt+z")
        await until(pilot, lambda: "No background tasks" in screen_text(harness))


async def test_loading_can_be_stopped_and_restarted() -> None:
    harness = AppHarness(loading=True)
    async with run(harness) as pilot:
        await until_shown(pilot, harness)
        await until(pilot, lambda: "loading 40%" in screen_text(harness))
        await pilot.press("alt+z")
        await until(pilot, lambda: "Loading was cancelled" in screen_text(harness))
        harness.loaded.set()
        await pilot.press("f5")
        await until(pilot, lambda: harness.chat.state == "ready")


class Keeping(EchoEngine):
    """Writes a KV state whenever it rests, through the real folder."""

    def __init__(self, snapshots: SnapshotFolder) -> None:
        super().__init__(answers)
        self._snapshots = snapshots

    def prefill(self, history: History, cancel: CancelToken) -> Iterator[Prefill]:
        self._snapshots.load("one", "")
        yield from super().prefill(history, cancel)

    def run_idle_tasks(self, cancel: CancelToken) -> None:
        state = b"state" * 100
        self._snapshots.save(
            Snapshot(conversation="one", identity="", contents=Encoding((), ()), sampled={}, pinned=frozenset(), state=state)
        )


@dataclass
class KeepingHarness(AppHarness):
    """Keeps KV states in a folder."""

    snapshots: SnapshotFolder | None = None

    def _open_engine(self, _spec: str) -> EngineThread:
        assert self.snapshots is not None
        engine = Keeping(self.snapshots)
        return EngineThread(lambda _progress: engine, snapshots=self.snapshots)


async def test_saving_a_snapshot_is_shown_and_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slowly(_pieces: object) -> Iterator[memoryview]:
        yield memoryview(b"beginning")
        gate.wait(20)
        yield memoryview(b"end")

    monkeypatch.setattr("mistral_chat.engine.snapshots.blocks", slowly)
    monkeypatch.setattr("mistral_chat.engine.thread.IDLE_SECONDS", 0.05)
    folder = SnapshotFolder(tmp_path / "snapshots", budget=10_000)
    harness = KeepingHarness(snapshots=folder)
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: "⟳ saving snapshot" in screen_text(harness).splitlines()[-1])
        await pilot.press("alt+z")
        await until(pilot, lambda: "Cancelled: saving snapshot. The conversation itself is saved" in screen_text(harness))
        gate.set()
        await until(pilot, lambda: "⟳" not in screen_text(harness))
    folder.close()
    assert not list((tmp_path / "snapshots").glob("*.kv*")), "half a state is left on the disk"


async def test_loading_a_snapshot_is_shown_and_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slowly(view: memoryview, start: int) -> memoryview:
        if start:
            gate.wait(20)
        return view[start : start + 64]

    folder = SnapshotFolder(tmp_path / "snapshots", budget=10_000)
    harness = KeepingHarness(snapshots=folder)
    Keeping(folder).run_idle_tasks(CancelToken())
    folder.flush()
    harness.start_with(("Bread?", "Flour."))
    monkeypatch.setattr("mistral_chat.engine.snapshots.block_of", slowly)
    async with run(harness) as pilot:
        await until(pilot, lambda: "⟳ preloading context, loading snapshot" in screen_text(harness).splitlines()[-1])
        await pilot.press("alt+z")
        await until(pilot, lambda: isinstance(harness.app.screen, TasksDialog))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Cancelled: loading snapshot. The conversation is processed" in screen_text(harness))
        gate.set()
        await pilot.press("escape")
        await until(pilot, lambda: "⟳" not in screen_text(harness))
    assert len(list((tmp_path / "snapshots").glob("*.kv"))) == 1, "what was only not waited for is gone"
    folder.close()


def busy(harness: AppHarness, stops: list[str]) -> list[BackgroundTask]:
    """Begin three things, as a download, a check and a title would."""
    background = harness.chat.tasks
    fetching = background.begin("fetching", "Mistral 7B", cancel=lambda: stops.append("fetching"), kept="It is kept.")
    checking = background.begin("checking", "the demo", cancel=lambda: stops.append("checking"))
    fetching.tell(0.4, "1.75 of 4.37 GB")
    return [fetching, checking, background.begin("titling", "this conversation", cancel=lambda: stops.append("titling"))]


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_the_user_chooses_which_of_several_tasks_to_stop(size: tuple[int, int]) -> None:
    """With a download of gigabytes running, the key that stops a title must not stop the download."""
    harness, stops = AppHarness(), list[str]()
    async with run_loaded(harness, size) as pilot:
        fetching, checking, titling = busy(harness, stops)
        await until(pilot, lambda: "⟳ fetching 40%, checking, titling" in screen_text(harness).splitlines()[-1])
        await pilot.press("alt+z")
        await until(pilot, lambda: "1.75 of 4.37 GB" in screen_text(harness))
        assert stops == [], "it stopped something before anybody chose"
        assert "Mistral 7B" in screen_text(harness)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Cancelled: checking." in screen_text(harness))
        assert stops == ["checking"]
        checking.end()
        fetching.tell(0.5, "2.19 of 4.37 GB")
        await until(pilot, lambda: "2.19 of 4.37 GB" in screen_text(harness) and "the demo" not in screen_text(harness))
        await pilot.press("delete")
        await until(pilot, lambda: "Cancelled: titling." in screen_text(harness))
        await pilot.press("up", "delete")
        await until(pilot, lambda: "Cancelled: fetching. It is kept." in screen_text(harness))
        fetching.end()
        titling.end()
        await until(pilot, lambda: "Cancel all" not in screen_text(harness))
        await pilot.press("enter")
        await until(pilot, lambda: harness.chat.is_current)


async def test_everything_can_be_stopped_at_once() -> None:
    harness, stops = AppHarness(), list[str]()
    async with run_loaded(harness) as pilot:
        busy(harness, stops)
        await pilot.press("alt+z")
        await until(pilot, lambda: isinstance(harness.app.screen, TasksDialog))
        await pilot.click("#stop_all")
        await until(pilot, lambda: stops == ["fetching", "checking", "titling"])
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.is_current)


async def test_a_task_can_be_shown_while_the_app_ends() -> None:
    harness = AppHarness()
    async with run_loaded(harness):
        screen, tasks = harness.screen, harness.chat.tasks
    assert not screen.query(StatusBar)
    tasks._changed("⟳ saving snapshot")


async def test_hostile_names_of_tasks_are_text() -> None:
    harness = AppHarness()
    async with run_loaded(harness, (60, 20)) as pilot:
        for name in PROBES:
            text = name.encode("utf-8", "replace").decode("utf-8")
            harness.chat.tasks.begin("fetching", text, cancel=lambda: None).tell(0.5, text)
        await pilot.press("alt+z")
        await until(pilot, lambda: isinstance(harness.app.screen, TasksDialog))
        for _ in harness.chat.tasks.tasks:
            assert not dangerous(screen_text(harness))
            await pilot.press("down")


class Clock:
    """A clock whose half seconds pass on demand."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def later(self, _seconds: float, then: Callable[[], None]) -> None:
        self.due.append(then)

    def passes(self) -> None:
        due, self.due = self.due, []
        for then in due:
            then()


def test_each_task_is_shown_until_it_ends() -> None:
    reported: list[str] = []
    stops: list[str] = []
    clock = Clock()
    background = TaskRegistry(reported.append, later=clock.later)
    stop: Callable[[], object] = lambda: stops.append("checking")  # noqa: E731 (a callback of one line)
    with (
        background.begin("titling", cancel=lambda: stops.append("titling")) as title,
        background.begin("checking", cancel=stop, kept="Nothing is lost.") as check,
        background.begin("loading", cancel=lambda: stops.append("loading"), quiet=True),
    ):
        clock.passes()
        assert background.text == "⟳ titling, checking"
        check.tell(0.4099)
        assert reported[-1] == background.text == "⟳ titling, checking 40%"
        assert background.cancel(title) == [title]
        assert background.cancel(check) == [check]
        assert cancelled_message([check]) == "Cancelled: checking. Nothing is lost."
    assert (background.text, stops, reported[-1]) == ("", ["titling", "checking"], "")


def test_tasks_shorter_than_half_a_second_are_not_shown() -> None:
    """A word that comes and goes in the corner of the eye is noise."""
    reported: list[str] = []
    clock = Clock()
    background = TaskRegistry(reported.append, later=clock.later)
    with background.begin("reading ahead", cancel=lambda: None) as job:
        job.tell(0.9)
        assert background.tasks == [job], "and yet it can be stopped"
    clock.passes()
    assert not any(reported)


async def test_a_switch_while_a_model_loads_lists_the_new_one() -> None:
    harness = AppHarness(loading=True)
    async with run(harness) as pilot:
        await until(pilot, lambda: "loading 40%" in screen_text(harness))
        await harness.chat.use_model("other")
        await until(pilot, lambda: "loading 40%" in screen_text(harness))
        assert [(task.name, task.about) for task in harness.chat.tasks.tasks] == [("loading", "other")]
        harness.loaded.set()
        await until_ready(pilot, harness)
        assert harness.chat.tasks.tasks == []
