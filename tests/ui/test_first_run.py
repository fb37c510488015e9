"""The first run: from nothing to a reply, with whatever the user picks, types or already has on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.app_harness import AppHarness, rendered_rows, run, until, until_answered, until_drawn
from support.first_run import GB, STALL, FirstRun, FrozenModelService, chatting, download, point_at, usual_listing
from support.hub_server import Fault, HubServer
from support.tiny_files import gguf_bytes

from mistral_chat.config import Settings
from mistral_chat.errors import EngineError, ModelNotFound
from mistral_chat.models.memory_fit import AvailableMemory
from mistral_chat.ui.dialogs.confirm import ConfirmDialog
from mistral_chat.ui.dialogs.help import HelpDialog
from mistral_chat.ui.screens.models import ModelsScreen

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_first_run_leads_from_nothing_to_a_reply(first: FirstRun) -> None:
    async with run(first, (60, 20)) as pilot:
        await until(pilot, lambda: first.choosing)
        assert first.models.model_list.selected == "tiny"
        await download(pilot, first)
        await chatting(pilot, first)
        assert first.target.read_bytes() == first.content
        await pilot.press(*"hello", "enter")
        await until_answered(pilot, first)
        assert first.store.turns(first.store.latest() or "")[0].turn.reply == "You said: hello"


async def test_a_draft_typed_before_the_list_opened_is_kept(first: FirstRun) -> None:
    async with run(first) as pilot:
        first.chat.type("early")
        await until(pilot, lambda: first.chat.model_error is not None)
        assert first.chat.is_current, "the list took the keys of who is typing"
        await pilot.press("enter")
        await until(pilot, lambda: first.choosing)
        await download(pilot, first)
        await chatting(pilot, first)
        assert first.chat.draft == "early"


async def test_the_list_does_not_open_over_a_dialog(first: FirstRun) -> None:
    async with run(first) as pilot:
        first.chat.type("early")
        await until(pilot, lambda: first.chat.model_error is not None)
        first.chat.set_draft("")
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(first.app.screen, HelpDialog))
        await first.chat.use_model("tiny")
        await until(pilot, lambda: first.chat.model_error is not None)
        await pilot.pause()
        assert isinstance(first.app.screen, HelpDialog), "the list took the keys of who is reading"


async def test_a_click_selects_and_a_double_click_uses(first: FirstRun) -> None:
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await until_drawn(pilot, "Your chats never leave this")
        await until_drawn(pilot, "disk free")
        await pilot.pause()
        row = (
            rendered_rows(first.app)
            .split("\n")
            .index(next(row for row in rendered_rows(first.app).split("\n") if "SmolLM2" in row))
        )
        await pilot.click(offset=(8, row))
        await pilot.pause()
        assert isinstance(first.app.screen, ModelsScreen), "a click alone began something"
        assert first.models.model_list.selected == "demo"
        await pilot.click(offset=(8, row), times=2)
        await chatting(pilot, first)
        assert first.chat.model == "demo"


async def test_models_of_other_programs_are_used_in_place(first: FirstRun, own_folders: Path) -> None:
    file = own_folders / ".lmstudio" / "models" / "acme" / "other-GGUF" / "other-F32.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(gguf_bytes(200_000))
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await until_drawn(pilot, "Installed · LM Studio")
        shown = next(each for each in first.models._listing.rows if each.source == "lm studio")
        point_at(first, shown.spec)
        await until_drawn(pilot, "used in place")
        await pilot.press("enter")
        await chatting(pilot, first)
        assert first.chat.model == shown.spec
        await until(pilot, lambda: "Saved as the default model" in first.chat.notice)
        assert shown.spec in (first.folder / "config.yaml").read_text("utf-8"), "the first choice is not asked for again"
    assert not list(first.target.parents[2].rglob("*.gguf")), "nothing is copied"


async def test_a_message_sent_before_the_model_was_missing_comes_back(first: FirstRun) -> None:
    async with run(first) as pilot:
        await until(pilot, lambda: first.chat.store is not None)
        await first.chat.send("first words")
        await until(pilot, lambda: first.choosing)
        await download(pilot, first)
        await chatting(pilot, first)
        assert first.chat.draft == "first words"


async def test_an_unknown_model_is_reported_above_the_list(tmp_path: Path, hub: HubServer) -> None:
    first = FirstRun(tmp_path, hub, model="mistrel-7b-instruct-v0.3")
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await until_drawn(pilot, "Did you mean mistral-7b-instruct-v0.3")
        assert first.models.model_list.selected == "mistral-7b-instruct-v0.3"


async def test_a_model_that_does_not_fit_is_offered_with_a_warning(tmp_path: Path, hub: HubServer) -> None:
    first = FirstRun(tmp_path, hub, memory=AvailableMemory(ram=2 * GB), model="mistral-7b-instruct-v0.3")
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        large = "mistral-7b-instruct-v0.3"
        assert first.models.model_list.selected != large, "what is recommended fits"
        point_at(first, "mistral-7b-instruct-v0.3:Q2_K")
        await pilot.press("right")
        point_at(first, large)
        await until_drawn(pilot, "Download 4.4 GB anyway")
        await until_drawn(pilot, "It would fail to load")


async def test_typing_before_the_list_appears_downloads_nothing(first: FirstRun) -> None:
    """A message and Enter, typed while the program starts, must not cost gigabytes."""
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await pilot.press(*"hello there", "enter")
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmDialog))
        await until_drawn(pilot, "Download tiny F32?")
        await pilot.press(*"how are you", "enter")
        await until(pilot, lambda: first.choosing)
        assert first.hub.seen == []
        assert not first.part.exists()


async def test_the_installed_demo_is_one_button_away(first: FirstRun) -> None:
    async with run(first, (60, 20)) as pilot:
        await until(pilot, lambda: first.choosing)
        await until_drawn(pilot, "Try the demo")
        await pilot.pause()
        await pilot.click("#demo")
        await chatting(pilot, first)
        assert first.chat.model == "demo"
        await until(pilot, lambda: "Saved as the default model" in first.chat.notice)
    settings = (first.folder / "config.yaml").read_text("utf-8")
    assert "temperature" not in settings, "more is written than what was chosen"


async def test_a_dialog_that_opens_while_the_first_model_loads_leaves_it_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[tuple[str, bool]] = []
    monkeypatch.setattr(FrozenModelService, "save_default", lambda _, spec, *, first: saved.append((spec, first)))
    service = FrozenModelService(usual_listing())
    harness = AppHarness(failure=ModelNotFound("None."), loading=True, app_options={"models": lambda: service})
    async with run(harness) as pilot:
        await until_drawn(pilot, "Try the demo")
        harness.failure = None
        await pilot.pause()
        await pilot.click("#demo")
        await until(pilot, lambda: harness.chat.is_current and "loading" in harness.chat.state)
        await pilot.press("ctrl+f")
        await until(pilot, lambda: not harness.chat.is_current)
        await pilot.press("escape")
        harness.loaded.set()
        await until(pilot, lambda: saved == [("demo", True)])


async def test_a_choice_after_a_failed_load_does_not_become_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[tuple[str, bool]] = []
    monkeypatch.setattr(FrozenModelService, "save_default", lambda _, spec, *, first: saved.append((spec, first)))
    service = FrozenModelService(usual_listing(selected="mistral:latest"))
    failure = EngineError("It needs more memory.")
    options = {"models": lambda: service}
    harness = AppHarness(load_failure=failure, settings=Settings(model="demo"), loading=True, app_options=options)
    async with run(harness) as pilot:
        await until(pilot, lambda: "loading" in harness.chat.state)
        await pilot.press("f7")
        await until_drawn(pilot, "Switch model.")
        await pilot.press("escape")
        harness.loaded.set()
        await until(pilot, lambda: harness.chat.model_error is not None)
        await pilot.press("f7")
        await until_drawn(pilot, "It needs more memory. Models are downloaded once")
        harness.load_failure = None
        await pilot.press("enter")
        await until(pilot, lambda: saved == [("mistral:latest", False)])


async def test_a_download_shows_its_size_before_it_starts(tmp_path: Path, hub: HubServer) -> None:
    first = FirstRun(tmp_path, hub, model="mistral-7b-instruct-v0.3")
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await pilot.press("enter")
        await until_drawn(pilot, "4.4 GB download from 127.0.0.1.")
        await until_drawn(pilot, "Needs about 5.2 GB of memory; 9.0 GB available.")


async def test_each_model_is_one_row_with_its_sizes_inside(tmp_path: Path, hub: HubServer) -> None:
    first = FirstRun(tmp_path, hub, model="mistral-7b-instruct-v0.3")
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        shown = [option.id for option in first.models.model_list.options if option.id]
        assert shown.count("mistral-7b-instruct-v0.3") == 1
        assert not [spec for spec in shown if ":" in spec], "every size is in the way of a newcomer"
        await until_drawn(pilot, "▸ 7 more sizes")
        await pilot.press("right")
        await until_drawn(pilot, "▾ 7 more sizes")
        await pilot.press("down")
        assert first.models.model_list.selected == "mistral-7b-instruct-v0.3:Q8_0"
        await pilot.press("left")
        await until_drawn(pilot, "▸ 7 more sizes")
        assert first.models.model_list.selected == "mistral-7b-instruct-v0.3", "the cursor is lost with the row under it"


MINILM = ("second-state/All-MiniLM-L6-v2-Embedding-GGUF", "all-MiniLM-L6-v2-Q8_0.gguf")


async def test_the_embedding_model_is_used_once_it_is_there(first: FirstRun) -> None:
    first.hub.add(*MINILM, gguf_bytes(200_000))
    first.hub.misbehave(Fault(stall_after=STALL))
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await download(pilot, first)
        await until_drawn(pilot, "1.0 of 3.0 MB")
        await until(pilot, lambda: "Recall and documents use it from now on." in first.chat.notice)


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_embedding_model_comes_along_unless_it_is_unchecked(first: FirstRun, wanted: bool) -> None:  # noqa: FBT001 (a parameter)
    first.hub.add(*MINILM, gguf_bytes(200_000))
    embedding = first.folder.joinpath("data", "models", *MINILM)
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await pilot.press("enter")
        await until_drawn(pilot, "Also all-MiniLM-L6-v2 (about 25.0 MB, Apache-2.0)")
        if not wanted:
            await pilot.press("shift+tab", "space", "tab")
        await pilot.press("right", "enter")
        await chatting(pilot, first)
        assert first.target.exists()
        if wanted:
            await until(pilot, embedding.exists)
    assert embedding.exists() == wanted
    assert bool([seen for seen in first.hub.seen if MINILM[1] in seen.path]) == wanted
