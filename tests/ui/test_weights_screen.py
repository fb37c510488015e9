"""The screen for weights: the model is changed, weights are removed and checked, and prompt formats are chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import rendered_rows, run, until, until_drawn
from support.first_run import FirstRun, StillShelf, chatting, here, offered, point_at, put, stalled, usual_stock
from support.hostile import STRINGS, dangerous
from support.hub_server import HubServer

from mistral_chat.ui.dialogs.confirm import ConfirmDialog
from mistral_chat.ui.screens.weights import WeightsScreen
from mistral_chat.ui.shelf import Arrival

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot


async def test_changing_the_model_keeps_the_conversation(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await chatting(pilot, first)
        await pilot.press(*"stay", "enter")
        await until(pilot, lambda: first.chat.turns and not first.chat.replying)
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
        assert [turn.turn.user for turn in first.chat.turns] == ["stay"]


async def test_changing_the_model_ends_the_reply_that_is_being_written(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await chatting(pilot, first)
        first.chat.send("word " * 900)
        await until(pilot, lambda: first.chat.turns)
        await first.chat.use_model("demo")
        assert not first.chat.replying
        await chatting(pilot, first)
        assert first.chat.runner is not None
        turn = first.store.turns(first.store.latest() or "")[0].turn
        assert turn.finish_reason is not None, "the reply stands as it was"


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
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmDialog))
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
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmDialog))
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
        await until(pilot, lambda: "⟳" not in rendered_rows(first.app))


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
        assert "Models" in [command.title for command in first.app.get_system_commands(first.chat.screen)]
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
            assert not dangerous(rendered_rows(first.app)), first.weights.listed.marked
            await pilot.press("down")
        first.weights.fetching.begin(names[2], Arrival(stage="asking", here=0), hub=names[3], folder=names[4])
        first.weights.fetching.fail(names[5], names[6])
        first.weights._introduce(names[7])
        first.weights.query_one("#choice").display = False
        first.weights.fetching.display = True
        await pilot.pause()
        assert not dangerous(rendered_rows(first.app))


@pytest.mark.parametrize("size", [(60, 20), (40, 12), (200, 50)], ids=str)
async def test_the_buttons_stay_where_there_is_little_room(first: FirstRun, size: tuple[int, int]) -> None:
    async with run(first, size) as pilot:
        await until(pilot, lambda: first.choosing)
        for button in first.weights.query("#buttons Button").filter("#act, #back"):
            assert button.region.bottom <= size[1]
            assert button.region.right <= size[0]
            assert button.region.width
