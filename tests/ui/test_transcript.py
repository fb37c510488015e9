"""Where the reader is in a conversation, and what the scroll bar says about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any, Final

from support.app_harness import PAUSE, AppHarness, run_loaded, screen_text, send_message, until, until_answered, until_drawn

from mistral_chat.ui.widgets.blocks import LARGEST_SHOWN
from mistral_chat.ui.widgets.turn import TurnView

if TYPE_CHECKING:
    from textual.strip import Strip

    from mistral_chat.conversation import TranscriptTurn
    from mistral_chat.ui.widgets.transcript import Transcript

_Showing = Callable[["Transcript", list["TranscriptTurn"]], Awaitable[None]]


async def test_the_scroll_bar_follows_when_the_transcript_shrinks() -> None:
    harness = AppHarness()
    harness.start_with(*((f"Question {number}", "An answer of some length. " * 2) for number in range(12)))
    async with run_loaded(harness) as pilot:
        transcript = harness.chat.transcript
        await until(pilot, lambda: transcript.max_scroll_y, "the conversation is longer than the screen")
        for lines in range(2, 6):
            room = transcript.size.height
            harness.chat.set_draft("line\n" * lines)
            await until(pilot, partial(shrunk, transcript, room), "the draft takes its room")
            await until(pilot, lambda: transcript.following and transcript.scroll_y == transcript.max_scroll_y, "the end is seen")
            place: tuple[Any, ...] = ()
            shown: list[Strip] = []
            while layout(transcript) != place:  # until nothing is being laid out any more
                place, shown = layout(transcript), bar(transcript)
                transcript.vertical_scrollbar.refresh()
                await pilot.pause()
            assert bar(transcript) == shown, "the scroll bar shows another place than the visible one"


async def test_the_first_message_is_one_key_away_in_a_conversation_of_any_length() -> None:
    harness = AppHarness()
    harness.start_with(*((f"Question {number}", "An answer of some length. " * 9) for number in range(150)))
    async with run_loaded(harness) as pilot:
        transcript = harness.chat.transcript
        await until(pilot, lambda: transcript.following and transcript.max_scroll_y)
        await pilot.press("ctrl+home")
        await until(pilot, lambda: transcript.scroll_y == 0 and "Question 0 " in screen_text(harness))
        await pilot.press("ctrl+end")
        await until(pilot, lambda: transcript.following and "Question 149" in screen_text(harness))
        await pilot.press("shift+tab", "home")
        await until(pilot, lambda: transcript.scroll_y == 0 and "Question 0 " in screen_text(harness))
        await until(pilot, lambda: len(harness.chat.views) < 60, "not everything is mounted")


async def test_a_growing_reply_is_followed_again_after_reading_the_first_message() -> None:
    harness = AppHarness(answer=lambda _: f"begun {PAUSE}and ended")
    harness.start_with(*((f"Question {number}", "An answer of some length. " * 9) for number in range(60)))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "One more")
        await until(pilot, lambda: "begun" in screen_text(harness))
        await pilot.press("ctrl+home")
        await until(pilot, lambda: "Question 0 " in screen_text(harness))
        await pilot.press("ctrl+end")
        await until(pilot, lambda: "begun" in screen_text(harness))
        harness.chat.transcript.append_text(harness.chat.turns[-1].turn_id, "and more")
        await until(pilot, lambda: "and more" in screen_text(harness), "what is written from now on is shown")
        harness.gate.set()
        await until_answered(pilot, harness)


async def test_a_reply_that_is_too_long_to_be_drawn_says_so() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "a reply " * 40_000))
    async with run_loaded(harness) as pilot:
        await until_drawn(pilot, f"… {8 * 40_000 - LARGEST_SHOWN:,} more characters. Export the conversation to read them.")


def show_all(transcript: Transcript, turns: list[TranscriptTurn]) -> Awaitable[None]:
    return transcript.show(turns, complete=True)


def show_few(transcript: Transcript, turns: list[TranscriptTurn]) -> Awaitable[None]:
    return transcript.show(turns[:3], complete=True)


def begin(transcript: Transcript, turns: list[TranscriptTurn]) -> Awaitable[None]:
    return transcript.begin(replace(turns[0], turn_id=f"begun {len(transcript.turns)}"))


def go_to_the_first(transcript: Transcript, turns: list[TranscriptTurn]) -> Awaitable[None]:
    return transcript.go_to(turns[0].turn_id)


def go_to_a_late_one(transcript: Transcript, turns: list[TranscriptTurn]) -> Awaitable[None]:
    return transcript.go_to(turns[-5].turn_id)


def go_to_the_end(transcript: Transcript, _turns: list[TranscriptTurn]) -> Awaitable[None]:
    return transcript.action_newest()


_SHOWING: Final[tuple[_Showing, ...]] = (show_all, show_few, begin, go_to_the_first, go_to_a_late_one, go_to_the_end)


async def test_whatever_is_shown_while_something_else_is_being_shown_ends_in_order() -> None:
    harness = AppHarness()
    harness.start_with(*((f"Question {number}", "An answer of some length. " * 9) for number in range(60)))
    async with run_loaded(harness) as pilot:
        transcript, turns = harness.chat.transcript, list(harness.chat.turns)

        async def a_little_later(showing: _Showing, steps: int) -> None:
            for _ in range(steps):
                await asyncio.sleep(0)
            await showing(transcript, turns)

        for order in (*product(_SHOWING, repeat=2), *(Random(n).choices(_SHOWING, k=6) for n in range(6))):
            names = [showing.__name__ for showing in order]
            await asyncio.gather(*(a_little_later(showing, number * 7) for number, showing in enumerate(order)))
            assert in_order(transcript), names
            await until(pilot, lambda: not transcript._settling, f"turns near the visible part are mounted after {names}")
            await pilot.pause()
            assert in_order(transcript), names


async def test_what_is_shown_when_a_reply_is_stopped_just_then_is_shown_whole() -> None:
    harness = AppHarness()
    harness.start_with(*((f"Question {number}", "An answer of some length. " * 9) for number in range(60)))
    async with run_loaded(harness) as pilot:
        transcript, turns = harness.chat.transcript, list(harness.chat.turns)
        for steps in (1, 2, 3, 4, 9):
            showing = asyncio.create_task(transcript.show(turns[: 60 - steps], complete=True))
            for _ in range(steps):
                await asyncio.sleep(0)
            showing.cancel()
            await until(pilot, lambda: list(transcript.children) == transcript.views, "what was shown before is gone")
            assert in_order(transcript)
            await pilot.press("ctrl+home", "ctrl+home")
            await until(pilot, lambda: transcript._first == 0)


def in_order(transcript: Transcript) -> bool:
    """Whether neighbouring turns are mounted, each once, and nothing else."""
    mounted = [view.shown.turn_id for view in transcript.query_children(TurnView) if not view._pruning]
    wanted = [turn.turn_id for turn in transcript.turns]
    place = wanted.index(mounted[0])
    return wanted[place : place + len(mounted)] == mounted


def shrunk(transcript: Transcript, room: int) -> bool:
    return transcript.size.height < room


def layout(transcript: Transcript) -> tuple[Any, ...]:
    """Where the scroll bar is, and the position that it should show."""
    return transcript.vertical_scrollbar.region, transcript.scroll_y, transcript.virtual_size, transcript.container_size


def bar(transcript: Transcript) -> list[Strip]:
    """The scroll bar as it is drawn."""
    column, top, width, height = transcript.vertical_scrollbar.region
    return [row.crop(column, column + width) for row in transcript.screen._compositor.render_strips()[top : top + height]]
