"""The screen for weights: the first run, the download with all that can happen to it, and changing the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.hostile import STRINGS, dangerous
from support.hub_server import Fault, HubServer
from support.screens import until
from support.shelves import GB, SIZE, FirstRun, StillShelf, here, offered, point_at, rows, until_drawn, usual_stock
from support.tiny_files import gguf_bytes

from mistral_chat.ui.screens.confirm import ConfirmScreen
from mistral_chat.ui.screens.pick import PickScreen
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
        await until(pilot, lambda: isinstance(first.app.screen, PickScreen))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(first.app.screen, WeightsScreen), "staying was the first answer")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(first.app.screen, PickScreen))
        await pilot.press("down", "down", "enter")
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
        await until(pilot, lambda: first.chat.is_current or first.weights._arrived)
        if isinstance(first.app.screen, PickScreen):
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


async def in_the_background(pilot: Pilot[Any], first: FirstRun) -> None:
    """Leave a stalled download behind, and take the demo meanwhile."""
    await stalled(pilot, first)
    await pilot.press("b")
    await until_drawn(pilot, "It goes on in the background.")
    await until_drawn(pilot, "Being fetched")
    point_at(first, "demo")
    await pilot.press("enter")
    await chatting(pilot, first)
    assert first.chat.model == "demo"


async def asked(pilot: Pilot[Any], first: FirstRun, text: str) -> str:
    """Say `text`; the reply."""
    await pilot.press(*text, "enter")
    await until(pilot, lambda: first.chat.transcript.turns and not first.chat.replying)
    return first.store.path(first.store.latest() or "")[-1].turn.reply


async def test_one_can_chat_with_the_demo_while_a_model_is_fetched(first: FirstRun) -> None:
    async with run(first) as pilot:
        await in_the_background(pilot, first)
        assert await asked(pilot, first, "hello") == "You said: hello"
        await until_drawn(pilot, "⟳ fetching 33%")
        first.hub.cut_the_silent()
        await until(pilot, lambda: first.target.exists() and "is here." in first.chat.notice.text)
        assert first.chat.model == "demo", "a model that comes does not push itself forward"
        await until_drawn(pilot, "F7 and Enter switch to it")
        await until(pilot, lambda: "⟳" not in rows(first.app))
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        assert first.weights.listed.marked == "tiny"
        await pilot.press("enter")
        await until(pilot, lambda: first.chat.is_current)
        await chatting(pilot, first)
        assert first.chat.model == "tiny"
        assert [turn.turn.user for turn in first.chat.transcript.turns] == ["hello"]
        assert "model: tiny" in (first.folder / "config.yaml").read_text("utf-8"), "the demo was only for the meantime"
    assert first.target.read_bytes() == first.content
    assert first.hub.bytes_sent() < 1.01 * SIZE


async def test_a_click_on_the_notice_switches_to_what_has_come(first: FirstRun) -> None:
    async with run(first) as pilot:
        await in_the_background(pilot, first)
        first.hub.cut_the_silent()
        await until(pilot, lambda: "is here." in first.chat.notice.text)
        await pilot.pause()
        await pilot.click("#notice")
        await until(pilot, lambda: first.chat.model == "tiny")
        await chatting(pilot, first)


async def test_a_download_behind_the_chat_can_be_looked_at_and_paused(first: FirstRun) -> None:
    async with run(first) as pilot:
        await in_the_background(pilot, first)
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        assert first.weights.listed.marked == "tiny", "the download is what one comes to see"
        await until_drawn(pilot, "fetching 33 %")
        await until_drawn(pilot, "Show the download")
        await pilot.press("enter")
        await until_drawn(pilot, "1.0 of 3.0 MB")
        assert not first.hub.requests("GET", "store")[1:], "it was begun a second time"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(first.app.screen, PickScreen))
        await pilot.press("down", "enter")
        await until(pilot, lambda: first.chat.is_current)
        await until_drawn(pilot, "⟳ fetching 33%")
        await pilot.press("alt+z")
        await until_drawn(pilot, "Stopped: fetching. What has arrived is kept")
        await until(pilot, lambda: "⟳" not in rows(first.app))
        assert first.part.stat().st_size == STALL


async def test_a_failure_behind_the_chat_is_told_with_its_reason(first: FirstRun) -> None:
    async with run(first) as pilot:
        await in_the_background(pilot, first)
        first.hub.misbehave(Fault(status=403))
        first.hub.cut_the_silent()
        await until(pilot, lambda: "was not fetched" in first.chat.notice.text, "the failure is told")
        assert "403" in first.chat.notice.text or "HF_TOKEN" in first.chat.notice.text
        assert await asked(pilot, first, "still here") == "You said: still here"


async def test_the_chat_opens_when_a_download_is_done_that_was_left_behind_without_a_model(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("b")
        await until_drawn(pilot, "Being fetched")
        await pilot.press("escape")
        await until(pilot, lambda: first.chat.is_current)
        await until_drawn(pilot, "tiny F32 is being fetched")
        first.chat.composer.insert("typed meanwhile")
        await pilot.press("enter")
        await until_drawn(pilot, "Your message stays here until then")
        assert first.chat.is_current
        first.hub.cut_the_silent()
        await chatting(pilot, first)
        assert first.chat.model == "tiny"
        assert first.chat.composer.text == "typed meanwhile"


async def test_a_download_that_ends_while_the_list_is_looked_at_says_so(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("b")
        await until_drawn(pilot, "Being fetched")
        first.hub.cut_the_silent()
        await until_drawn(pilot, "is here. Enter in the list takes it.")
        await until_drawn(pilot, "On this disk · our folder")
        await pilot.press("escape")
        await chatting(pilot, first)
        assert first.chat.model == "tiny", "it is all there is"


async def test_quitting_pauses_a_download_behind_the_chat(first: FirstRun) -> None:
    async with run(first) as pilot:
        await in_the_background(pilot, first)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not first.app.is_running)
    assert first.part.stat().st_size == STALL


def put(first: FirstRun) -> None:
    """Lay the weights where a download would put them."""
    first.target.parent.mkdir(parents=True)
    first.target.write_bytes(first.content)


async def with_the_demo(pilot: Pilot[Any], first: FirstRun) -> None:
    """Chat with the demo, and look at the list with the cursor on the weights of ours."""
    await chatting(pilot, first)
    await first.chat.use_model("demo")
    await chatting(pilot, first)
    await pilot.press("f7")
    await until(pilot, lambda: first.choosing)
    point_at(first, "tiny")
    await pilot.pause()


async def test_weights_of_ours_are_removed_after_a_question(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await with_the_demo(pilot, first)
        await pilot.press("delete")
        await until_drawn(pilot, "3.0 MB of the disk are free then.")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(first.app.screen, WeightsScreen), "keeping it was the first answer")
        assert first.target.exists()
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmScreen))
        await pilot.click("#yes")
        await until_drawn(pilot, "3.0 MB are free again.")
        assert not first.target.exists()


async def test_the_model_in_use_and_what_is_not_ours_stay(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await chatting(pilot, first)
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        await pilot.press("delete")
        await until_drawn(pilot, "It is in use.")
        point_at(first, "demo")
        await pilot.press("delete")
        await until_drawn(pilot, "not ours to remove")
        point_at(first, "mistral-7b-instruct-v0.3")
        await pilot.press("delete")
        await until_drawn(pilot, "is not here. Enter fetches it.")
    assert first.target.exists()


async def test_what_has_arrived_of_a_download_can_be_removed(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.click("#back")
        await until_drawn(pilot, "1.0 MB here")
        await pilot.press("m")
        await until_drawn(pilot, "Frees 1.0 MB")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmScreen))
        await pilot.click("#yes")
        await until_drawn(pilot, "1.0 MB are free again.")
        assert not first.part.exists()


async def test_a_file_is_checked_in_the_background(first: FirstRun) -> None:
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await pilot.press("enter")
        await chatting(pilot, first)
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        await pilot.press("v")
        await until_drawn(pilot, "its SHA-256 is right.")
        first.target.chmod(0o600)
        first.target.write_bytes(first.content[:-1] + bytes([first.content[-1] ^ 1]))
        await pilot.press("v")
        # The file has changed since the hub said what it should be, so nobody says that any more.
        await until_drawn(pilot, "nobody states what its SHA-256 should be.")


async def test_a_check_that_is_left_goes_on_and_can_be_stopped(tmp_path: Path, hub: HubServer) -> None:
    first = FirstRun(tmp_path, hub, shelf=StillShelf(usual_stock()))
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        point_at(first, "demo")
        await pilot.press("v")
        await until_drawn(pilot, "checking 60 %")
        await pilot.press("escape")
        await until_drawn(pilot, "⟳ checking 60%")
        await pilot.press("alt+z")
        await until_drawn(pilot, "Stopped: checking.")
        await until(pilot, lambda: "⟳" not in rows(first.app))


async def test_a_prompt_format_is_chosen_kept_and_given_back(first: FirstRun) -> None:
    put(first)
    settings = first.folder / "config.yaml"
    async with run(first) as pilot:
        await with_the_demo(pilot, first)
        await pilot.press("f")
        await until_drawn(pilot, "Qwen, SmolLM and many others")
        await pilot.press("end", "up", "enter")
        await until_drawn(pilot, "Its prompt format is chatml")
        assert '    tiny: "chatml"' in settings.read_text("utf-8")
        assert first.program.library().find("tiny").prompt_format == "chatml", "the next loading does not know it"
        await until_drawn(pilot, "Prompt format: chatml")
        await pilot.press("m", "down", "enter")
        await until_drawn(pilot, "Qwen, SmolLM and many others")
        await pilot.press("home", "enter")
        await until_drawn(pilot, "Its prompt format is found by itself")
        assert first.program.library().find("tiny").prompt_format is None
        assert "chatml" not in settings.read_text("utf-8")


async def test_a_new_format_of_the_model_in_use_loads_it_anew(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await chatting(pilot, first)
        before = first.chat.runner
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        await pilot.press("f")
        await until_drawn(pilot, "is loaded anew")
        await pilot.press("end", "enter")
        await until(pilot, lambda: first.chat.is_current and first.chat.runner not in {None, before})
        await chatting(pilot, first)
        assert first.chat.model == "tiny"


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
        for button in first.weights.query("#buttons Button").filter("#act, #back"):
            assert button.region.bottom <= size[1]
            assert button.region.right <= size[0]
            assert button.region.width
