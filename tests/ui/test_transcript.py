"""Where the reader is in a conversation, and what the scroll bar says about it."""

from __future__ import annotations

from support.pictures import picture
from support.screens import Stage, ready, run, until


async def test_the_scroll_bar_follows_when_the_room_for_the_conversation_shrinks() -> None:
    stage = Stage()
    stage.begin(*((f"Question {number}", "An answer of some length. " * 2) for number in range(12)))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        transcript = stage.screen.transcript
        await until(pilot, lambda: transcript.max_scroll_y, "the conversation is longer than the screen")
        for lines in range(2, 6):
            stage.screen.composer.set_draft("line\n" * lines)
            await pilot.pause()
            transcript.refresh(layout=True)
            await until(pilot, lambda: transcript.following and transcript.scroll_y == transcript.max_scroll_y, "the end is seen")
            await pilot.pause()
            shown = picture(stage.app)
            transcript.vertical_scrollbar.refresh()
            await pilot.pause()
            assert picture(stage.app) == shown, "the scroll bar tells another place than the one that is read"
