"""Hostile text in every place of the chat that shows text; what is written to the terminal is searched for it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from support.app_harness import AppHarness, screen_text, send_message, until, until_answered, until_ready, until_shown
from support.hostile import MEGABYTES, PROBES
from support.hostile_screens import storable
from support.terminal_output import capture_output

from mistral_chat.conversation import Usage
from mistral_chat.errors import EngineError, MistralChatError, ModelNotFound
from mistral_chat.session.attachments import Attachment
from mistral_chat.text import clean
from mistral_chat.ui.widgets.attachment_bar import AttachmentBar

pytestmark = pytest.mark.no_cover
"""What reaches the terminal is searched; measuring what is covered besides would take twice as long."""

USAGE = Usage(prompt_tokens=9, completion_tokens=9, cached_tokens=0, time_to_first_token=0.1, tokens_per_second=9.0)


async def test_in_messages_replies_titles_and_notices() -> None:
    harness = AppHarness()
    texts = [storable(text) for text in PROBES]
    conversations = [harness.add_conversation((text, text), title=text[:300]) for text in texts]
    async with capture_output(harness.app) as (pilot, output):
        await until_ready(pilot, harness)
        for text, conversation in zip(texts, conversations, strict=True):
            await harness.chat.open(conversation)
            harness.chat.notify(text, offer="F8 undo")
            harness.chat.show_status(model=text)
            await pilot.pause()
            assert not output.foreign(), repr(text)


async def test_in_the_list_with_its_tags_and_the_archive() -> None:
    harness = AppHarness()
    for place, text in enumerate(PROBES):
        conversation = harness.add_conversation(("Question", "Answer"), title=f"find {storable(text)[:200]}")
        harness.store.archive(conversation, archived=place % 2 == 1)
        with suppress(MistralChatError):  # what cannot be a tag
            harness.store.tag(conversation, storable(text)[:30])
    async with capture_output(harness.app, (100, 400)) as (pilot, output):
        await until_ready(pilot, harness)
        assert not output.foreign()
        await pilot.press("alt+v")
        await until(pilot, lambda: "Archived" in screen_text(harness))
        assert not output.foreign()


async def test_in_files_details_and_the_history() -> None:
    harness = AppHarness()
    harness.conversation_id = harness.store.create(title="Models")
    parent = None
    for text in PROBES:
        parent = harness.store.add_turn(harness.conversation_id, "Question", parent_id=parent, model=storable(text)[:200])
        harness.store.finish_reply(parent, "Answer", finish_reason="stop", usage=USAGE, model=storable(text)[:200])
    harness.add_conversation(*((storable(text), "Answer") for text in PROBES))
    harness.app = harness.make_app()
    async with capture_output(harness.app, (100, 500)) as (pilot, output):
        await until_ready(pilot, harness)
        await pilot.press("alt+d")
        await until(pilot, lambda: screen_text(harness).count("tokens/s") > len(PROBES) // 2)
        assert not output.foreign()
        bar = AttachmentBar()
        await harness.chat.mount_above_composer(bar)
        bar.styles.max_height = 400
        bar.show([Attachment(text, "nine byte", tokens=9) for text in (*PROBES, *MEGABYTES)])
        await pilot.pause()
        assert not output.foreign()
        for text in PROBES:
            await pilot.press("up")
            assert not output.foreign(), repr(text)


async def test_in_empty_states_and_notices_a_megabyte_long() -> None:
    harness = AppHarness()
    async with capture_output(harness.app) as (pilot, output):
        await until_ready(pilot, harness)
        for text in (*PROBES, *MEGABYTES):
            harness.chat.show_failure(text)
            harness.chat.notify(text, offer="F8", trouble=True)
            harness.chat.show_status(model=text, activity=text)
            await pilot.pause()
            assert not output.foreign(), repr(text[:500])


async def test_while_it_streams() -> None:
    harness = AppHarness(answer=lambda text: text)
    async with capture_output(harness.app) as (pilot, output):
        await until_ready(pilot, harness)
        for text in PROBES:
            if not storable(text).strip() or len(text) > 2000:
                continue
            await harness.chat.open(None)
            await harness.chat.send(storable(text))
            await until(pilot, lambda: harness.chat.replying)
            await until_answered(pilot, harness)
            assert not output.foreign(), repr(text)


@pytest.mark.parametrize("text", PROBES[:6])
async def test_in_errors(text: str) -> None:
    harness = AppHarness(failure=ModelNotFound(text))
    async with capture_output(harness.app) as (pilot, output):
        await until_shown(pilot, harness)
        await until(pilot, lambda: harness.chat.model_error is not None)
        await pilot.pause()
        assert not output.foreign()


async def test_in_a_failed_reply() -> None:
    def fail(_text: str) -> str:
        raise EngineError("broken \x1b]0;x\x07 [/INST] [/]")

    harness = AppHarness(answer=fail)
    async with capture_output(harness.app) as (pilot, output):
        await until_ready(pilot, harness)
        await send_message(pilot, harness, "Go")
        await until_answered(pilot, harness)
        await until(pilot, lambda: "broken" in screen_text(harness))
        assert not output.foreign()


async def test_in_the_composer_and_its_history() -> None:
    harness = AppHarness()
    async with capture_output(harness.app) as (pilot, output):
        await until_ready(pilot, harness)
        for text in PROBES:
            pilot.app.post_message(_paste(text))
            await pilot.pause()
            pasted = clean(text.replace("\r\n", "\n").replace("\r", "\n"))
            files = harness.screen.session.attachments
            assert (files.pop().text if files else harness.chat.draft) == pasted
            assert not output.foreign(), repr(text)
            harness.chat.set_draft(text)
            await pilot.pause()
            assert not output.foreign(), repr(text)
            harness.chat.set_draft("")


async def test_in_the_dialogs_and_the_palette() -> None:
    harness = AppHarness()
    for text in PROBES:
        harness.add_conversation(("Q", "A"), title=f"find {storable(text)[:200]}")
    async with capture_output(harness.app) as (pilot, output):
        await until_ready(pilot, harness)
        for summary in harness.store.summaries()[:45:4]:
            await harness.chat.open(summary.conversation_id)
            await pilot.press("f2")
            await until(pilot, lambda: "Rename the conversation" in screen_text(harness))
            assert not output.foreign()
            await pilot.press("escape")
            await pilot.pause()
        await pilot.press("ctrl+p", *"find")
        await until(pilot, lambda: "Open the conversation" in screen_text(harness))
        assert not output.foreign()


async def test_a_megabyte_of_text_does_not_freeze_the_screen() -> None:
    harness = AppHarness()
    async with capture_output(harness.app) as (pilot, _):
        await until_ready(pilot, harness)
        pilot.app.post_message(_paste("x" * 1_000_000))
        await until(pilot, lambda: "1,000,000 characters" in harness.chat.notice)
        assert harness.chat.draft == ""
        pilot.app.post_message(_paste("x" * 60_000))
        await until(pilot, lambda: "Pasted text · 1 line" in screen_text(harness))
        assert harness.chat.draft == ""
        await pilot.press("f8")
        await until(pilot, lambda: len(harness.chat.draft) >= 60_000)
        assert max(map(len, harness.chat.composer.document.text.split())) <= 2001, (
            "the view is broken, or typing would take seconds"
        )
        await pilot.press("a")
        await until(pilot, lambda: harness.chat.draft.endswith("a"))


async def test_a_paste_of_lines_never_sends() -> None:
    harness = AppHarness()
    async with capture_output(harness.app) as (pilot, _):
        await until_ready(pilot, harness)
        pilot.app.post_message(_paste("one\ntwo\r\nthree\rfour\n"))
        await pilot.pause()
        assert harness.chat.draft == "one\ntwo\nthree\nfour\n"
        assert not harness.chat.replying


def _paste(text: str) -> Any:
    from textual import events

    return events.Paste(text)
