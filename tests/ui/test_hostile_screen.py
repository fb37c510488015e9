"""Hostile text in every place of the chat that shows text; what is written to the terminal is searched for it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from support.ears import listening
from support.hostile import BASE, MEGABYTES, STRINGS
from support.hostile_screens import storable
from support.screens import Stage, answered, drawn, furnished, ready, say, until

from mistral_chat.conversation import Usage
from mistral_chat.errors import EngineError, MistralChatError, ModelNotFound
from mistral_chat.text import break_words, clean
from mistral_chat.ui.shown import ShownFile
from mistral_chat.ui.widgets.file_bar import FileBar

USAGE = Usage(prompt_tokens=9, completion_tokens=9, cached_tokens=0, time_to_first_token=0.1, tokens_per_second=9.0)


async def test_in_messages_replies_titles_and_notices() -> None:
    stage = Stage()
    texts = [storable(text) for text in STRINGS]
    conversations = [stage.say((text, text), title=text[:300]) for text in texts]
    async with listening(stage.app) as (pilot, ears):
        await ready(pilot, stage)
        for text, conversation in zip(texts, conversations, strict=True):
            await stage.chat.open(conversation)
            stage.chat.notify(text, offer="F8 takes it back")
            stage.chat.show_status(model=text)
            await pilot.pause()
            assert not ears.foreign(), repr(text)


async def test_in_the_list_with_its_tags_and_the_archive() -> None:
    stage = Stage()
    for place, text in enumerate(STRINGS):
        conversation = stage.say(("Question", "Answer"), title=f"find {storable(text)[:200]}")
        stage.store.archive(conversation, archived=place % 2 == 1)
        with suppress(MistralChatError):  # what cannot be a tag
            stage.store.tag(conversation, storable(text)[:30])
    async with listening(stage.app, (100, 400)) as (pilot, ears):
        await ready(pilot, stage)
        assert not ears.foreign()
        await pilot.press("alt+v")
        await until(pilot, lambda: "Archived" in drawn(stage))
        assert not ears.foreign()


async def test_in_files_details_and_the_history() -> None:
    stage = Stage()
    stage.conversation_id = stage.store.create(title="Models")
    parent = None
    for text in BASE:
        parent = stage.store.add_turn(stage.conversation_id, "Question", parent_id=parent, model=storable(text)[:200])
        stage.store.finish_reply(parent, "Answer", finish_reason="stop", usage=USAGE, model=storable(text)[:200])
    stage.app = stage.make_app()
    async with listening(stage.app, (100, 500)) as (pilot, ears):
        await ready(pilot, stage)
        await pilot.press("alt+d")
        await until(pilot, lambda: drawn(stage).count("tokens/s") > len(BASE) // 2)
        assert not ears.foreign()
        bar = FileBar()
        await stage.chat.mount_above_composer(bar)
        bar.styles.max_height = 400
        bar.show([ShownFile(name=text, bytes=9, tokens=9) for text in (*STRINGS, *MEGABYTES)])
        await pilot.pause()
        assert not ears.foreign()
        stage.chat.composer.remember([storable(text) for text in BASE])
        for text in BASE:
            await pilot.press("up")
            assert not ears.foreign(), repr(text)


async def test_in_placards_and_notices_a_megabyte_long() -> None:
    stage = Stage()
    async with listening(stage.app) as (pilot, ears):
        await ready(pilot, stage)
        for text in (*STRINGS, *MEGABYTES):
            stage.chat.show_trouble(text)
            stage.chat.notify(text, offer="F8", trouble=True)
            stage.chat.show_status(model=text, working=text)
            await pilot.pause()
            assert not ears.foreign(), repr(text[:500])


async def test_while_it_streams() -> None:
    stage = Stage(answer=lambda text: text)
    async with listening(stage.app) as (pilot, ears):
        await ready(pilot, stage)
        for text in STRINGS[:60:3]:
            if not storable(text).strip() or len(text) > 2000:
                continue
            await stage.chat.open(None)
            stage.chat.send(storable(text))
            await until(pilot, lambda: stage.chat.replying)
            await answered(pilot, stage)
            assert not ears.foreign(), repr(text)


@pytest.mark.parametrize("text", STRINGS[::12])
async def test_in_errors(text: str) -> None:
    stage = Stage(failure=ModelNotFound(text))
    async with listening(stage.app) as (pilot, ears):
        await furnished(pilot, stage)
        await until(pilot, lambda: stage.chat.trouble is not None)
        await pilot.pause()
        assert not ears.foreign()


async def test_in_a_failed_reply() -> None:
    def fail(_text: str) -> str:
        raise EngineError("broken \x1b]0;x\x07 [/INST] [/]")

    stage = Stage(answer=fail)
    async with listening(stage.app) as (pilot, ears):
        await ready(pilot, stage)
        await say(pilot, stage, "Go")
        await answered(pilot, stage)
        assert "broken" in drawn(stage)
        assert not ears.foreign()


async def test_in_the_composer_and_its_history() -> None:
    stage = Stage()
    async with listening(stage.app) as (pilot, ears):
        await ready(pilot, stage)
        for text in STRINGS[:60]:
            pilot.app.post_message(_paste(text))
            await pilot.pause()
            assert stage.chat.draft == break_words(clean(text.replace("\r\n", "\n").replace("\r", "\n")))
            assert not ears.foreign(), repr(text)
            stage.chat.set_draft(text)
            await pilot.pause()
            assert not ears.foreign(), repr(text)
            stage.chat.set_draft("")


async def test_in_the_dialogs_and_the_palette() -> None:
    stage = Stage()
    for text in STRINGS[:45]:
        stage.say(("Q", "A"), title=f"find {storable(text)[:200]}")
    async with listening(stage.app) as (pilot, ears):
        await ready(pilot, stage)
        for summary in stage.store.summaries()[:45:4]:
            await stage.chat.open(summary.conversation_id)
            await pilot.press("f2")
            await until(pilot, lambda: "Rename the conversation" in drawn(stage))
            assert not ears.foreign()
            await pilot.press("escape")
            await pilot.pause()
        await pilot.press("ctrl+p", *"find")
        await until(pilot, lambda: "Open the conversation" in drawn(stage))
        assert not ears.foreign()


async def test_a_megabyte_is_refused_or_broken_and_the_screen_answers() -> None:
    stage = Stage()
    async with listening(stage.app) as (pilot, _):
        await ready(pilot, stage)
        pilot.app.post_message(_paste("x" * 1_000_000))
        await until(pilot, lambda: "1,000,000 characters" in stage.chat.notice)
        assert stage.chat.draft == ""
        pilot.app.post_message(_paste("x" * 60_000))
        await until(pilot, lambda: len(stage.chat.draft) >= 60_000)
        assert max(map(len, stage.chat.draft.split())) <= 2000
        await pilot.press("a")
        assert stage.chat.draft.endswith("a")


async def test_a_paste_of_lines_never_sends() -> None:
    stage = Stage()
    async with listening(stage.app) as (pilot, _):
        await ready(pilot, stage)
        pilot.app.post_message(_paste("one\ntwo\r\nthree\rfour\n"))
        await pilot.pause()
        assert stage.chat.draft == "one\ntwo\nthree\nfour\n"
        assert not stage.chat.replying


def _paste(text: str) -> Any:
    from textual import events

    return events.Paste(text)
