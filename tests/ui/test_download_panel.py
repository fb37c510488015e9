"""A download on the models screen: paused, left, failed and retried; downloaded data is kept."""

from __future__ import annotations

from support.app_harness import run, until, until_drawn
from support.first_run import SIZE, STALL, FirstRun, chatting, download, stalled
from support.hub_server import Fault

from mistral_chat.ui.dialogs.choice import ChoiceDialog
from mistral_chat.ui.dialogs.confirm import ConfirmDialog
from mistral_chat.ui.screens.models import ModelsScreen


async def test_a_paused_download_resumes(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("p")
        await until_drawn(pilot, "Resume")
        assert first.part.stat().st_size == STALL
        await pilot.press("p")
        await chatting(pilot, first)
    assert first.target.read_bytes() == first.content
    assert first.hub.bytes_sent() < 1.01 * SIZE


async def test_a_cancelled_download_is_kept_and_reported(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.click("#back")
        await until_drawn(pilot, "1.0 MB downloaded and kept.")
        await until_drawn(pilot, "1.0 MB downloaded")
        assert first.part.stat().st_size == STALL
        await pilot.click("#act")
        await until(pilot, lambda: isinstance(first.app.screen, ConfirmDialog))
        await pilot.click("#yes")
        await chatting(pilot, first)
    assert first.hub.bytes_sent() < 1.01 * SIZE


async def test_leaving_a_download_asks_first_and_keeps_what_was_downloaded(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(first.app.screen, ChoiceDialog))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(first.app.screen, ModelsScreen), "staying was the first answer")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(first.app.screen, ChoiceDialog))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: first.chat.is_current)
        await until_drawn(pilot, "No model loaded")
        assert first.part.stat().st_size == STALL
        await pilot.press("f7")
        await until_drawn(pilot, "Resume download")


async def test_a_download_that_ends_behind_the_dialog_opens_the_chat(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("p")
        await until_drawn(pilot, "Resume")
        first.hub.misbehave(Fault(rate=4_000_000))
        await pilot.press("p", "escape")
        await until(pilot, first.target.exists)
        await until(pilot, lambda: first.chat.is_current or first.models._ended)
        if isinstance(first.app.screen, ChoiceDialog):
            await pilot.press("escape")
        await chatting(pilot, first)


async def test_a_download_may_end_in_the_moment_in_which_the_question_is_answered(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(first.app.screen, ChoiceDialog))
        models = first.models
        first.app.screen.dismiss(None)
        models.end(None)
        await until(pilot, lambda: first.chat.is_current)
        await pilot.pause()
        assert first.app.is_running


async def test_a_failed_download_can_be_retried(first: FirstRun) -> None:
    first.hub.misbehave(Fault(on="HEAD", status=403, times=1))
    async with run(first, (60, 20)) as pilot:
        await until(pilot, lambda: first.choosing)
        await download(pilot, first)
        await until_drawn(pilot, "HF_TOKEN")
        await until_drawn(pilot, "Retry")
        await pilot.press("enter")
        await chatting(pilot, first)


async def test_a_read_only_models_folder_is_reported_on_the_screen(first: FirstRun) -> None:
    folder = first.target.parents[2]
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way", encoding="utf-8")
    async with run(first) as pilot:
        await until(pilot, lambda: first.choosing)
        await download(pilot, first)
        await until_drawn(pilot, "models.folder")
        await until_drawn(pilot, "Retry")  # the embedding model, downloaded along with it, may have failed first
        folder.unlink()
        await pilot.press("p")
        await chatting(pilot, first)


async def test_quitting_pauses_the_download(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not first.app.is_running)
    assert first.part.stat().st_size == STALL
