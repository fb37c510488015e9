"""The models screen: the model is switched, models are removed and verified, and prompt formats are set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import rendered_rows, run, until, until_answered, until_drawn
from support.first_run import (
    FirstRun,
    FrozenModelService,
    chatting,
    download,
    point_at,
    put,
    stalled,
    usual_listing,
)
from support.hostile import PROBES, dangerous
from support.hub_server import HubServer

from mistral_chat.model_listing import DownloadProgress
from mistral_chat.ui.dialogs.confirm import ConfirmDialog
from mistral_chat.ui.dialogs.keybindings import all_bindings
from mistral_chat.ui.screens.models import ModelsScreen

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot


async def test_changing_the_model_keeps_the_conversation(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await chatting(pilot, first)
        await pilot.press(*"stay", "enter")
        await until_answered(pilot, first)
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        await until_drawn(pilot, "in use")
        assert first.models.model_list.selected == "tiny"
        point_at(first, "demo")
        await pilot.press("enter")
        await until(pilot, lambda: first.chat.is_current)
        spec = first.chat.model
        await chatting(pilot, first)
        assert spec == "demo"
        assert [turn.turn.user for turn in first.chat.turns] == ["stay"]


async def test_changing_the_model_ends_the_current_reply(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await chatting(pilot, first)
        await first.chat.send("word " * 900)
        await until(pilot, lambda: first.chat.turns)
        await first.chat.use_model("demo")
        assert not first.chat.replying
        await chatting(pilot, first)
        assert first.chat.runner is not None
        (turn,) = first.store.turns(first.store.latest() or "")
        await until(pilot, lambda: first.store.turn(turn.turn_id).turn.finish_reason is not None, "the reply is kept")


async def with_the_demo(pilot: Pilot[Any], first: FirstRun) -> None:
    """Chat with the demo, and open the list with the cursor on the downloaded model."""
    await chatting(pilot, first)
    await first.chat.use_model("demo")
    await chatting(pilot, first)
    await pilot.press("f7")
    await until(pilot, lambda: first.choosing)
    point_at(first, "tiny")
    await pilot.pause()


async def test_a_downloaded_model_is_removed_after_a_question(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await with_the_demo(pilot, first)
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(first.app.screen, ModelsScreen), "keeping it was the first answer")
        assert first.target.exists()
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmDialog))
        await pilot.click("#yes")
        await until_drawn(pilot, "3.0 MB freed")
        assert not first.target.exists()


async def test_the_model_in_use_and_other_programs_models_are_not_removed(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await chatting(pilot, first)
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        await pilot.press("delete")
        await until_drawn(pilot, "It is in use.")
        point_at(first, "demo")
        await pilot.press("delete")
        await until_drawn(pilot, "was not removed")
        point_at(first, "mistral-7b-instruct-v0.3")
        await pilot.press("delete")
        await until_drawn(pilot, "is not downloaded. Enter downloads it.")
    assert first.target.exists()


async def test_a_partial_download_can_be_removed(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.click("#back")
        await until_drawn(pilot, "Download paused: 1.0 MB")
        await pilot.press("m")
        await until_drawn(pilot, "Frees 1.0 MB")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmDialog))
        await pilot.click("#yes")
        await until_drawn(pilot, "1.0 MB freed")
        assert not first.part.exists()


async def test_a_file_is_verified_in_the_background(first: FirstRun) -> None:
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await download(pilot, first)
        await chatting(pilot, first)
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        await pilot.press("v")
        await until_drawn(pilot, "the SHA-256 matches.")
        first.target.chmod(0o600)
        first.target.write_bytes(first.content[:-1] + bytes([first.content[-1] ^ 1]))
        await pilot.press("v")
        await until_drawn(pilot, "is damaged: wrong SHA-256.")


async def test_a_verification_continues_behind_the_chat_and_can_be_stopped(tmp_path: Path, hub: HubServer) -> None:
    first = FirstRun(tmp_path, hub, service=FrozenModelService(usual_listing()))
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        point_at(first, "demo")
        await pilot.press("v")
        await until_drawn(pilot, "verifying 60%")
        await pilot.press("escape")
        await until_drawn(pilot, "⟳ verifying 60%")
        await pilot.press("alt+z")
        await until_drawn(pilot, "Cancelled: verifying.")
        await until(pilot, lambda: "⟳" not in rendered_rows(first.app))


async def test_a_prompt_format_is_set_saved_and_reset(first: FirstRun) -> None:
    put(first)
    settings = first.folder / "config.yaml"
    async with run(first) as pilot:
        await with_the_demo(pilot, first)
        await pilot.press("f")
        await until_drawn(pilot, "Qwen, SmolLM and many others")
        await pilot.press("end", "up", "enter")
        await until_drawn(pilot, "Prompt format: chatml")
        assert '    tiny: "chatml"' in settings.read_text("utf-8")
        assert first.program.library().find("tiny").prompt_format == "chatml", "the next loading does not know it"
        await until(pilot, lambda: (row := first.models.selected) is not None and row.prompt_format == "chatml")
        await pilot.press("m", "down", "enter")
        await until_drawn(pilot, "Qwen, SmolLM and many others")
        await pilot.press("home", "enter")
        await until_drawn(pilot, "Prompt format: auto-detected")
        assert first.program.library().find("tiny").prompt_format is None
        assert "chatml" not in settings.read_text("utf-8")


async def test_a_prompt_format_is_reset_before_the_list_shows_it(first: FirstRun, monkeypatch: pytest.MonkeyPatch) -> None:
    put(first)
    settings = first.folder / "config.yaml"
    async with run(first) as pilot:
        await with_the_demo(pilot, first)
        monkeypatch.setattr(ModelsScreen, "look", lambda _: None)
        for keys in (["end", "up"], ["home"]):
            await pilot.press("f")
            await until_drawn(pilot, "Qwen, SmolLM and many others")
            await pilot.press(*keys, "enter")
            await until_drawn(pilot, f"Prompt format: {'chatml' if 'up' in keys else 'auto-detected'}")
        assert "chatml" not in settings.read_text("utf-8")


async def test_a_new_prompt_format_reloads_the_model_in_use(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await chatting(pilot, first)
        before = first.chat.runner
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        await pilot.press("f")
        await until_drawn(pilot, "will be reloaded")
        await pilot.press("end", "enter")
        await until(pilot, lambda: first.chat.is_current and first.chat.runner not in {None, before})
        await until_drawn(pilot, "Prompt format: template (saved in")
        await chatting(pilot, first)
        assert first.chat.model == "tiny"


async def test_the_footer_says_what_enter_does_only_where_it_does_so(first: FirstRun) -> None:
    put(first)
    async with run(first) as pilot:
        await with_the_demo(pilot, first)
        await until(pilot, lambda: ("Enter", "use") in first.models.status.hints)
        first.models.query_one("#back").focus()
        await until(pilot, lambda: "Enter" not in dict(first.models.status.hints))
        first.models.model_list.focus()
        await until(pilot, lambda: ("Enter", "use") in first.models.status.hints)


async def test_the_palette_opens_the_models_screen(first: FirstRun) -> None:
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await pilot.press("escape")
        await until(pilot, lambda: first.chat.is_current)
        await pilot.press("ctrl+p", *"models")
        await until(pilot, lambda: "/model" in rendered_rows(first.app), "the command is found, with its slash name")
        assert "chat.models" in all_bindings()


async def test_hostile_names_and_reasons_are_text(tmp_path: Path, hub: HubServer) -> None:
    names = [text.encode("utf-8", "replace").decode("utf-8") for text in PROBES]
    texts: list[dict[str, Any]] = [
        dict.fromkeys(("name", "title", "quantization", "about", "licence", "reason", "family"), name) for name in names
    ]
    sample, other = usual_listing().rows[0], usual_listing().rows[-1]
    rows = (
        *(replace(sample, spec=f"here {number}", path=names[number], **fields) for number, fields in enumerate(texts)),
        *(replace(other, spec=f"away {number}", obstacle=names[number], **fields) for number, fields in enumerate(texts)),
    )
    unusable = tuple(zip(names, names, strict=True))
    listing = usual_listing(rows=rows, selected="", folder=names[0], hub=names[1], unusable=unusable)
    moment = DownloadProgress(stage="waiting", bytes=1, total=2, note=names[0])
    first = FirstRun(tmp_path, hub, service=FrozenModelService(listing, moment))
    async with run(first, (60, 20)) as pilot:
        await until(pilot, lambda: first.choosing)
        for _ in range(len(rows)):
            assert not dangerous(rendered_rows(first.app)), first.models.model_list.selected
            await pilot.press("down")
        first.models.panel.open(names[2], DownloadProgress(stage="asking"), hub=names[3], folder=names[4])
        first.models.panel.fail(names[5], names[6])
        first.models._introduce(names[7])
        first.models.query_one("#choice").display = False
        first.models.panel.display = True
        await pilot.pause()
        assert not dangerous(rendered_rows(first.app))


@pytest.mark.parametrize("size", [(60, 20), (40, 12), (200, 50)], ids=str)
async def test_the_buttons_stay_visible_on_small_screens(first: FirstRun, size: tuple[int, int]) -> None:
    async with run(first, size) as pilot:
        await until(pilot, lambda: first.choosing)
        for button in first.models.query("#buttons Button").filter("#act, #back"):
            assert button.region.bottom <= size[1]
            assert button.region.right <= size[0]
            assert button.region.width
