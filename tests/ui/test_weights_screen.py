"""The screen for weights: the first run, the download with all that can happen to it, and changing the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.hostile import STRINGS, dangerous
from support.hub_server import Fault, HubServer
from support.screens import until
from support.shelves import GB, SIZE, FirstRun, StillShelf, here, offered, rows, until_drawn, usual_stock
from support.tiny_files import gguf_bytes

from mistral_chat.ui.screens.confirm import ConfirmScreen
from mistral_chat.ui.screens.weights import WeightsScreen
from mistral_chat.ui.shelf import Arrival
from mistral_chat.weights.fit import Memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from textual.pilot import Pilot

STALL = 1_000_000
"""Bytes after which a stalling hub falls silent."""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def first(tmp_path: Path, hub: HubServer) -> FirstRun:
    return FirstRun(tmp_path, hub)


def run(first: FirstRun, size: tuple[int, int] = (100, 30)) -> AbstractAsyncContextManager[Pilot[Any]]:
    return first.app.run_test(size=size, notifications=True, tooltips=True)


async def chatting(pilot: Pilot[Any], first: FirstRun) -> None:
    await until(pilot, lambda: first.chat.is_current and first.chat.status.status.state == "ready", "the chat is open")


async def stalled(pilot: Pilot[Any], first: FirstRun) -> None:
    """Begin the download, which stalls after a third."""
    first.hub.misbehave(Fault(stall_after=STALL, times=1))
    await until(pilot, lambda: first.choosing)
    await pilot.press("enter")
    await until_drawn(pilot, "1.0 of 3.0 MB")


def point_at(first: FirstRun, spec: str) -> None:
    listed = first.weights.listed
    listed.highlighted = next(place for place, option in enumerate(listed.options) if option.id == spec)


async def test_the_first_run_leads_from_nothing_to_a_reply(first: FirstRun) -> None:
    async with run(first, (60, 20)) as pilot:
        await until(pilot, lambda: first.choosing)
        assert first.weights.listed.marked == "tiny"
        await pilot.press("enter")
        await chatting(pilot, first)
        assert first.target.read_bytes() == first.content
        await pilot.press(*"hello", "enter")
        await until(pilot, lambda: first.chat.transcript.turns and not first.chat.replying)
        assert first.store.path(first.store.latest() or "")[0].turn.reply == "You said: hello"


async def test_what_was_typed_before_the_list_opened_is_still_there(first: FirstRun) -> None:
    async with run(first) as pilot:
        first.chat.composer.insert("early")
        await until(pilot, lambda: first.chat.trouble is not None)
        assert first.chat.is_current, "the list took the keys of who is typing"
        await pilot.press("enter")
        await until(pilot, lambda: first.choosing)
        await pilot.press("enter")
        await chatting(pilot, first)
        assert first.chat.composer.text == "early"


async def test_a_paused_download_goes_on_where_it_was(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("p")
        await until_drawn(pilot, "Go on")
        assert first.part.stat().st_size == STALL
        await pilot.press("p")
        await chatting(pilot, first)
    assert first.target.read_bytes() == first.content
    assert first.hub.bytes_sent() < 1.01 * SIZE


async def test_a_cancelled_download_is_kept_and_says_so(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.click("#back")
        await until_drawn(pilot, "1.0 MB of it are kept.")
        await until_drawn(pilot, "1.0 MB here")
        assert first.part.stat().st_size == STALL
        await pilot.click("#act")
        await chatting(pilot, first)
    assert first.hub.bytes_sent() < 1.01 * SIZE


async def test_leaving_a_download_asks_first_and_keeps_what_is_here(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmScreen))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(first.app.screen, WeightsScreen), "staying was the first answer")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmScreen))
        await pilot.click("#yes")
        await until(pilot, lambda: first.chat.is_current)
        await until_drawn(pilot, "There is no model on this computer yet")
        assert first.part.stat().st_size == STALL
        await pilot.press("f7")
        await until_drawn(pilot, "Go on fetching")


async def test_a_download_that_ends_behind_the_question_opens_the_chat(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("p")
        await until_drawn(pilot, "Go on")
        first.hub.misbehave(Fault(rate=4_000_000))
        await pilot.press("p", "escape")
        await until(pilot, first.target.exists)
        await until(pilot, lambda: not first.weights.workers or first.weights._arrived)
        if isinstance(first.app.screen, ConfirmScreen):
            await pilot.press("escape")
        await chatting(pilot, first)


async def test_a_failure_says_what_to_do_and_can_be_tried_again(first: FirstRun) -> None:
    first.hub.misbehave(Fault(on="HEAD", status=403, times=1))
    async with run(first, (60, 20)) as pilot:
        await until(pilot, lambda: first.choosing)
        await pilot.press("enter")
        await until_drawn(pilot, "HF_TOKEN")
        await until_drawn(pilot, "Try again")
        await pilot.press("enter")
        await chatting(pilot, first)


async def test_a_folder_that_cannot_be_written_is_said_on_the_screen(first: FirstRun) -> None:
    folder = first.target.parents[2]
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way", encoding="utf-8")
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await pilot.press("enter")
        await until_drawn(pilot, "models.folder")
        folder.unlink()
        await pilot.press("p")
        await chatting(pilot, first)


async def test_quitting_pauses_the_download(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not first.app.is_running)
    assert first.part.stat().st_size == STALL


async def test_a_click_looks_and_a_double_click_takes(first: FirstRun) -> None:
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await until_drawn(pilot, "leaves this computer.")
        await until_drawn(pilot, "disk free")
        await pilot.pause()
        row = rows(first.app).split("\n").index(next(row for row in rows(first.app).split("\n") if "SmolLM2" in row))
        await pilot.click(offset=(8, row))
        await pilot.pause()
        assert isinstance(first.app.screen, WeightsScreen), "a click alone began something"
        assert first.weights.listed.marked == "demo"
        await pilot.click(offset=(8, row), times=2)
        await chatting(pilot, first)
        assert first.chat.model == "demo"


async def test_weights_of_other_programs_are_used_where_they_lie(first: FirstRun, own_folders: Path) -> None:
    file = own_folders / ".lmstudio" / "models" / "acme" / "other-GGUF" / "other-F32.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(gguf_bytes(200_000))
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await until_drawn(pilot, "On this disk · LM Studio")
        shown = next(each for each in first.weights._stock.weights if each.place == "LM Studio")
        point_at(first, shown.spec)
        await until_drawn(pilot, "used where it lies")
        await pilot.press("enter")
        await chatting(pilot, first)
        assert first.chat.model == shown.spec
        await until(pilot, lambda: "The next start begins with it" in first.chat.notice.text)
        assert shown.spec in (first.folder / "config.yaml").read_text("utf-8"), "the first choice is not asked for again"
    assert not list(first.target.parents[2].rglob("*.gguf")), "nothing is copied"


async def test_changing_the_model_keeps_the_conversation(first: FirstRun) -> None:
    first.target.parent.mkdir(parents=True)
    first.target.write_bytes(first.content)
    async with run(first) as pilot:
        await chatting(pilot, first)
        await pilot.press(*"stay", "enter")
        await until(pilot, lambda: first.chat.transcript.turns and not first.chat.replying)
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        await until_drawn(pilot, "in use")
        assert first.weights.listed.marked == "tiny"
        point_at(first, "demo")
        await pilot.press("enter")
        await until(pilot, lambda: first.chat.is_current)
        spec = first.chat.model
        await chatting(pilot, first)
        assert spec == "demo"
        assert [turn.turn.user for turn in first.chat.transcript.turns] == ["stay"]


async def test_changing_the_model_ends_the_reply_that_is_being_written(first: FirstRun) -> None:
    first.target.parent.mkdir(parents=True)
    first.target.write_bytes(first.content)
    async with run(first) as pilot:
        await chatting(pilot, first)
        first.chat.send("word " * 900)
        await until(pilot, lambda: first.chat.transcript.turns)
        await first.chat.use_model("demo")
        assert not first.chat.replying
        await chatting(pilot, first)
        assert first.chat.runner is not None
        turn = first.store.path(first.store.latest() or "")[0].turn
        assert turn.finish_reason is not None, "the reply stands as it was"


async def test_a_message_sent_before_the_model_was_missed_comes_back(first: FirstRun) -> None:
    async with run(first) as pilot:
        await until(pilot, lambda: first.chat.store is not None)
        first.chat.send("first words")
        await until(pilot, lambda: first.choosing)
        await pilot.press("enter")
        await chatting(pilot, first)
        assert first.chat.composer.text == "first words"


async def test_a_model_that_nobody_knows_is_said_above_the_list(tmp_path: Path, hub: HubServer) -> None:
    first = FirstRun(tmp_path, hub, model="mistrel-7b-instruct-v0.3")
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await until_drawn(pilot, "Did you mean mistral-7b-instruct-v0.3")
        assert first.weights.listed.marked == "mistral-7b-instruct-v0.3"


async def test_what_does_not_fit_is_offered_with_a_warning(tmp_path: Path, hub: HubServer) -> None:
    first = FirstRun(tmp_path, hub, memory=Memory(ram=2 * GB), model="mistral-7b-instruct-v0.3")
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        large = "mistral-7b-instruct-v0.3"
        assert first.weights.listed.marked != large, "what is recommended fits"
        point_at(first, large)
        await until_drawn(pilot, "Fetch 4.37 GB anyway")
        await until_drawn(pilot, "would not load, or crawl.")


async def test_the_palette_knows_the_models_screen(first: FirstRun) -> None:
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await pilot.press("escape")
        await until(pilot, lambda: first.chat.is_current)
        screen: Any = first.chat
        assert "Models" in [command.title for command in first.app.get_system_commands(screen)]
        assert "chat.models" in first.app.known_bindings


async def test_hostile_names_and_reasons_are_text(tmp_path: Path, hub: HubServer) -> None:
    names = [text.encode("utf-8", "replace").decode("utf-8") for text in STRINGS[::6]]
    weights = tuple(
        maker(name, name, spec=f"{number} {name}", about=name, licence=name, reason=name, source=name, obstacle=name)
        for number, name in enumerate(names)
        for maker in (here, lambda quantization, _place, **more: offered(quantization, 5, title=quantization, **more))
    )
    weights = tuple({each.spec: each for each in weights}.values())
    stock = usual_stock(weights=weights, chosen="", folder=names[0], hub=names[1], unusable=tuple(zip(names, names, strict=True)))
    first = FirstRun(tmp_path, hub, shelf=StillShelf(stock, Arrival(stage="waiting", here=1, total=2, note=names[0])))
    async with run(first, (60, 20)) as pilot:
        await until(pilot, lambda: first.choosing)
        for _ in range(len(weights)):
            assert not dangerous(rows(first.app)), first.weights.listed.marked
            await pilot.press("down")
        first.weights.fetching.begin(names[2], Arrival(stage="asking", here=0), hub=names[3], folder=names[4])
        first.weights.fetching.fail(names[5], names[6])
        first.weights._introduce(names[7])
        first.weights.query_one("#choice").display = False
        first.weights.fetching.display = True
        await pilot.pause()
        assert not dangerous(rows(first.app))


@pytest.mark.parametrize("size", [(60, 20), (40, 12), (200, 50)], ids=str)
async def test_the_buttons_stay_where_there_is_little_room(first: FirstRun, size: tuple[int, int]) -> None:
    async with run(first, size) as pilot:
        await until(pilot, lambda: first.choosing)
        for button in first.weights.query("#buttons Button"):
            assert button.region.bottom <= size[1]
            assert button.region.right <= size[0]
            assert button.region.width
