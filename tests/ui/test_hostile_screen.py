"""Hostile text in every place of the screen that shows text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.hostile import STRINGS, dangerous
from support.screens import Stage, answered, drawn, furnished, ready, say, until

from mistral_chat.errors import EngineError, WeightsNotFound
from mistral_chat.ui.text import break_words, clean

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from textual.pilot import Pilot


def run(stage: Stage) -> AbstractAsyncContextManager[Pilot[Any]]:
    return stage.app.run_test(size=(100, 30), notifications=True, tooltips=True)


def storable(text: str) -> str:
    """What the store takes: it refuses half characters, and so does the chat before it."""
    return text.encode("utf-8", "replace").decode("utf-8")


async def test_in_messages_replies_titles_and_notices() -> None:
    stage = Stage()
    texts = [storable(text) for text in STRINGS]
    conversations = [stage.say((text, text), title=text[:300]) for text in texts]
    async with run(stage) as pilot:
        await ready(pilot, stage)
        for text, conversation in zip(texts, conversations, strict=True):
            await stage.screen.open(conversation)
            stage.screen.notice.tell(text, offer="F8 takes it back")
            stage.screen.status.tell(model=text)
            await pilot.pause()
            assert not dangerous(drawn(stage)), repr(text)


async def test_while_it_streams() -> None:
    stage = Stage(answer=lambda text: text)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        for text in STRINGS[:60:3]:
            if not storable(text).strip() or len(text) > 2000:
                continue
            await stage.screen.open(None)
            stage.screen.send(storable(text))
            await until(pilot, lambda: stage.screen.replying)
            await answered(pilot, stage)
            assert not dangerous(drawn(stage)), repr(text)


@pytest.mark.parametrize("text", STRINGS[::12])
async def test_in_errors(text: str) -> None:
    stage = Stage(failure=WeightsNotFound(text))
    async with run(stage) as pilot:
        await furnished(pilot, stage)
        await until(pilot, lambda: stage.screen.trouble is not None)
        await pilot.pause()
        assert not dangerous(drawn(stage))


async def test_in_a_failed_reply() -> None:
    def fail(_text: str) -> str:
        raise EngineError("broken \x1b]0;x\x07 [/INST] [/]")

    stage = Stage(answer=fail)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "Go")
        await answered(pilot, stage)
        assert "broken" in drawn(stage)
        assert not dangerous(drawn(stage))


async def test_in_the_composer_and_its_history() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        for text in STRINGS[:60]:
            pilot.app.post_message(_paste(text))
            await pilot.pause()
            assert stage.screen.composer.text == break_words(clean(text.replace("\r\n", "\n").replace("\r", "\n")))
            assert not dangerous(drawn(stage)), repr(text)
            stage.screen.composer.set_draft(text)
            await pilot.pause()
            assert not dangerous(drawn(stage)), repr(text)
            stage.screen.composer.set_draft("")


async def test_in_the_dialogs_and_the_palette() -> None:
    stage = Stage()
    for text in STRINGS[:45]:
        stage.say(("Q", "A"), title=f"find {storable(text)[:200]}")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        for summary in stage.store.summaries()[:45:4]:
            await stage.screen.open(summary.conversation_id)
            await pilot.press("f2")
            await until(pilot, lambda: "Rename the conversation" in drawn(stage))
            assert not dangerous(drawn(stage))
            await pilot.press("escape")
            await pilot.pause()
        await pilot.press("ctrl+p", *"find")
        await until(pilot, lambda: "Open the conversation" in drawn(stage))
        assert not dangerous(drawn(stage))


async def test_a_megabyte_is_refused_or_broken_and_the_screen_answers() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        pilot.app.post_message(_paste("x" * 1_000_000))
        await until(pilot, lambda: "1,000,000 characters" in stage.screen.notice.text)
        assert stage.screen.composer.text == ""
        pilot.app.post_message(_paste("x" * 60_000))
        await until(pilot, lambda: len(stage.screen.composer.text) >= 60_000)
        assert max(map(len, stage.screen.composer.text.split())) <= 2000
        await pilot.press("a")
        assert stage.screen.composer.text.endswith("a")


async def test_a_paste_of_lines_never_sends() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        pilot.app.post_message(_paste("one\ntwo\r\nthree\rfour\n"))
        await pilot.pause()
        assert stage.screen.composer.text == "one\ntwo\nthree\nfour\n"
        assert not stage.screen.replying


def _paste(text: str) -> Any:
    from textual import events

    return events.Paste(text)
