"""A download continues behind the chat: shown, paused, announced, and switched to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.app_harness import rendered_rows, run, until, until_answered, until_drawn
from support.first_run import SIZE, STALL, FirstRun, chatting, point_at, stalled
from support.hub_server import Fault

from mistral_chat.ui.dialogs.choice import ChoiceDialog

if TYPE_CHECKING:
    from textual.pilot import Pilot


async def in_the_background(pilot: Pilot[Any], first: FirstRun) -> None:
    """Leave a stalled download in the background, and use the demo."""
    await stalled(pilot, first)
    await pilot.press("b")
    await until_drawn(pilot, "The download continues in the background.")
    await until_drawn(pilot, "Downloading")
    point_at(first, "demo")
    await pilot.press("enter")
    await chatting(pilot, first)
    assert first.chat.model == "demo"


async def asked(pilot: Pilot[Any], first: FirstRun, text: str) -> str:
    """Say `text`; the reply."""
    await pilot.press(*text, "enter")
    await until_answered(pilot, first)
    return first.store.turns(first.store.latest() or "")[-1].turn.reply


async def test_the_demo_can_be_used_during_a_download(first: FirstRun) -> None:
    async with run(first) as pilot:
        await in_the_background(pilot, first)
        assert await asked(pilot, first, "hello") == "You said: hello"
        await until_drawn(pilot, "⟳ downloading 33%")
        first.hub.close_stalled()
        await until(pilot, lambda: first.target.exists() and "Downloaded tiny" in first.chat.notice)
        assert first.chat.model == "demo", "a finished download does not replace the model in use"
        await until_drawn(pilot, "F7 and Enter switch to it")
        await until(pilot, lambda: "⟳" not in rendered_rows(first.app))
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        assert first.models.model_list.selected == "tiny"
        await pilot.press("enter")
        await until(pilot, lambda: first.chat.is_current)
        await chatting(pilot, first)
        assert first.chat.model == "tiny"
        assert [turn.turn.user for turn in first.chat.turns] == ["hello"]
        assert "model: tiny" in (first.folder / "config.yaml").read_text("utf-8"), "the demo was only for the meantime"
    assert first.target.read_bytes() == first.content
    assert first.hub.bytes_sent() < 1.01 * SIZE


async def test_a_click_on_the_notice_switches_to_the_downloaded_model(first: FirstRun) -> None:
    async with run(first) as pilot:
        await in_the_background(pilot, first)
        first.hub.close_stalled()
        await until(pilot, lambda: "Downloaded tiny" in first.chat.notice)
        await pilot.pause()
        await pilot.click("#notice")
        await until(pilot, lambda: first.chat.model == "tiny")
        await chatting(pilot, first)


async def test_a_download_behind_the_chat_can_be_shown_and_paused(first: FirstRun) -> None:
    async with run(first) as pilot:
        await in_the_background(pilot, first)
        await pilot.press("f7")
        await until(pilot, lambda: first.choosing)
        assert first.models.model_list.selected == "tiny", "the download is what one comes to see"
        await until_drawn(pilot, "downloading 33%")
        await until_drawn(pilot, "Show download")
        await pilot.press("enter")
        await until_drawn(pilot, "1.0 of 3.0 MB")
        assert not first.hub.requests("GET", "store")[1:], "it was begun a second time"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(first.app.screen, ChoiceDialog))
        await pilot.press("down", "enter")
        await until(pilot, lambda: first.chat.is_current)
        await until_drawn(pilot, "⟳ downloading 33%")
        await pilot.press("alt+z")
        await until_drawn(pilot, "Cancelled: downloading. Downloaded data is kept")
        await until(pilot, lambda: "⟳" not in rendered_rows(first.app))
        assert first.part.stat().st_size == STALL


async def test_a_failure_behind_the_chat_is_reported_with_its_reason(first: FirstRun) -> None:
    async with run(first) as pilot:
        await in_the_background(pilot, first)
        first.hub.misbehave(Fault(status=403))
        first.hub.close_stalled()
        await until(pilot, lambda: "Download failed" in first.chat.notice, "the failure is reported")
        assert "403" in first.chat.notice or "HF_TOKEN" in first.chat.notice
        assert await asked(pilot, first, "still here") == "You said: still here"


async def test_the_first_download_is_loaded_when_it_is_done_in_the_background(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("b")
        await until_drawn(pilot, "Downloading")
        await pilot.press("escape")
        await until(pilot, lambda: first.chat.is_current)
        await until_drawn(pilot, "Downloading tiny F32")
        first.chat.type("typed meanwhile")
        await pilot.press("enter")
        await until_drawn(pilot, "Your message stays in the message box")
        assert first.chat.is_current
        first.hub.close_stalled()
        await chatting(pilot, first)
        assert first.chat.model == "tiny"
        assert first.chat.draft == "typed meanwhile"


async def test_a_download_that_ends_behind_the_list_is_announced(first: FirstRun) -> None:
    async with run(first) as pilot:
        await stalled(pilot, first)
        await pilot.press("b")
        await until_drawn(pilot, "Downloading")
        first.hub.close_stalled()
        await until_drawn(pilot, "Press Enter in the list to use it.")
        await until_drawn(pilot, "Installed · downloaded")
        await pilot.press("escape")
        await chatting(pilot, first)
        assert first.chat.model == "tiny", "it is all there is"


async def test_quitting_pauses_a_download_behind_the_chat(first: FirstRun) -> None:
    async with run(first) as pilot:
        await in_the_background(pilot, first)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not first.app.is_running)
    assert first.part.stat().st_size == STALL
