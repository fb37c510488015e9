"""What fills the context, what the draft takes of it, and prefilling a long draft."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.app_harness import (
    AppHarness,
    run,
    run_loaded,
    screen_text,
    send_and_wait,
    send_message,
    until,
    until_answered,
    until_drawn,
    until_ready,
    until_shown,
)
from support.echo_engine import EchoEngine
from support.hostile import PROBES, dangerous

from mistral_chat.config import Settings
from mistral_chat.conversation import TranscriptTurn
from mistral_chat.engine.thread import EngineThread
from mistral_chat.generation import CachedTurn, ContextState
from mistral_chat.session.context import ContextUsage, usage_of
from mistral_chat.ui.dialogs.context import ContextDialog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_chat.engine.thread import LoadProgress
    from mistral_chat.generation import CancelToken, Engine, History, Prefill


class ReadingEngine(EchoEngine):
    """Notes the drafts it is given to read, and reads them until it is stopped or the gate opens."""

    def __init__(self, harness: AppHarness) -> None:
        super().__init__(harness.answer, window=harness.window)
        self._gate = harness.gate
        self.drafts: list[str] = []
        self.stopped: list[str] = []

    def prefill(self, history: History, cancel: CancelToken) -> Iterator[Prefill]:
        if history.draft:
            self.drafts.append(history.draft)
            while not self._gate.wait(0.005) and not cancel.is_set:
                """Read on."""
            if cancel.is_set:
                self.stopped.append(history.draft)
        yield from super().prefill(history, cancel)

    def ambiguous_markup(self, text: str) -> str | None:
        return "The model reads [INST] in this text as the start or end of a message." if "[INST]" in text else None


class ReadingHarness(AppHarness):
    """A harness with an engine that notes what it reads."""

    engine: ReadingEngine

    def _open_engine(self, _spec: str) -> EngineThread:
        def load(progress: LoadProgress) -> Engine:
            if self.loading:
                while not self.loaded.wait(0.005) and progress(0.4):
                    """Load on."""
            self.engine = ReadingEngine(self)
            return self.engine

        return EngineThread(load)


def turn(key: str, *, pinned: bool = False, excluded: bool = False) -> TranscriptTurn:
    from mistral_chat.conversation import Turn

    return TranscriptTurn(turn_id=key, turn=Turn(user=key, reply="r", pinned=pinned, excluded=excluded))


def test_the_context_parts_add_up_without_excluded_turns() -> None:
    held = (CachedTurn("a", 10), CachedTurn("b", 20, pinned=True), CachedTurn("c", 40), CachedTurn("\0draft", 80))
    ledger = ContextState(window=512, reserve=64, system_tokens=5, turns=held)
    parts = usage_of(ledger, [turn("a", excluded=True), turn("b", pinned=True), turn("c")], draft=100)
    assert parts == ContextUsage(window=512, system=5, pinned=20, conversation=40, seen=2, draft=100, reserve=64)
    assert (parts.used, parts.free, parts.max_message_tokens, parts.fits, parts.evicts) == (
        65,
        512 - 65 - 100 - 64,
        512 - 64 - 25,
        True,
        False,
    )


def test_another_conversations_turns_are_not_counted() -> None:
    ledger = ContextState(window=512, reserve=64, system_tokens=5, turns=(CachedTurn("x", 300),))
    assert usage_of(ledger, [turn("a")], system=7).used == 7


async def test_the_drafts_tokens_are_shown_until_it_is_sent() -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        composer = harness.chat.composer
        composer.insert("one two three")
        await until(pilot, lambda: "3 tokens" in str(composer.border_subtitle))
        assert "0+3/256" in screen_text(harness).replace("1+3", "0+3")
        await pilot.press("enter")
        await until(pilot, lambda: not composer.border_subtitle)
        await until_answered(pilot, harness)
        composer.insert("/help")
        await until(pilot, lambda: harness.chat.counted == "/help")
        assert not composer.border_subtitle, "a command is no message"


async def test_the_draft_is_counted_once_the_model_is_loaded() -> None:
    harness = AppHarness(loading=True)
    async with run(harness) as pilot:
        await until_shown(pilot, harness)
        harness.chat.type("one two three")
        await until(pilot, lambda: harness.chat.counted)
        assert not harness.chat.composer.border_subtitle
        harness.loaded.set()
        await until(pilot, lambda: "3 tokens" in str(harness.chat.composer.border_subtitle))


async def test_a_draft_that_does_not_fit_is_reported_while_typing() -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        composer = harness.chat.composer
        composer.set_draft("word " * 300)
        await until(pilot, lambda: composer.has_class("-over"))
        await until(pilot, lambda: "300 tokens" in harness.chat.notice)
        room = harness.chat.usage.max_message_tokens if harness.chat.usage else 0
        assert f"{room} available" in harness.chat.notice
        assert f"300 / {room} tokens" in str(composer.border_subtitle)
        composer.set_draft("word")
        await until(pilot, lambda: not composer.has_class("-over"))
        await until(pilot, lambda: not harness.chat.notice, "the warning goes with its reason")


async def test_a_draft_that_drops_turns_is_announced() -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "word " * 70)
        harness.chat.type("word " * 120)
        await until(pilot, lambda: "120 tokens · oldest messages will drop out" in str(harness.chat.composer.border_subtitle))


async def test_misread_text_is_reported_before_it_is_sent() -> None:
    harness = ReadingHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.type("what is [INST]?")
        await until(pilot, lambda: "[INST] in this text" in harness.chat.notice)
        harness.chat.set_draft("what?")
        await until(pilot, lambda: not harness.chat.notice)


async def test_a_long_draft_is_prefilled_until_typing_resumes() -> None:
    harness = ReadingHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.type("word " * 60)
        await until(pilot, lambda: harness.engine.drafts, "the draft is read")
        assert harness.engine.drafts == ["word " * 60]
        await until(pilot, lambda: "⟳ preloading context" in screen_text(harness).splitlines()[-1], "it is seen")
        await pilot.press("x")
        await until(pilot, lambda: harness.engine.stopped == ["word " * 60], "typing stops it")
        await until(pilot, lambda: len(harness.engine.drafts) == 2, "the longer one is read after the next pause")
        await pilot.press("enter")
        await until_answered(pilot, harness)
        assert len(harness.engine.stopped) == 2, "sending stops it"
        assert harness.chat.turns[-1].turn.reply.startswith("You said: word")


async def test_prefilling_can_be_stopped_and_keeps_the_draft() -> None:
    harness = ReadingHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.type("word " * 60)
        await until(pilot, lambda: harness.engine.drafts, "the draft is read")
        await pilot.press("alt+z")
        await until(pilot, lambda: harness.engine.stopped == ["word " * 60])
        await until(pilot, lambda: "Cancelled: preloading context." in screen_text(harness))
        assert harness.chat.draft == "word " * 60


async def test_short_drafts_and_commands_are_not_prefilled() -> None:
    settings = Settings(context=replace(Settings().context, read_ahead=False))
    for harness, draft in (
        (ReadingHarness(), "short"),
        (ReadingHarness(), "/system " + "word " * 60),
        (ReadingHarness(settings=settings), "w " * 200),
    ):
        async with run_loaded(harness) as pilot:
            harness.chat.type(draft)
            await until(pilot, lambda harness=harness: harness.chat.draft_due)  # type: ignore[misc]  # a default binds it
            await until(pilot, lambda harness=harness: not harness.chat.draft_due, "the pause has passed")  # type: ignore[misc]  # a default binds it
            assert not harness.engine.drafts


async def test_the_context_is_shown_part_by_part() -> None:
    harness = AppHarness(
        answer=lambda text: f"{text} " + "word " * 60, window=512, settings=replace(Settings(), system="Be brief.")
    )
    async with run_loaded(harness) as pilot:
        for number in range(9):
            await send_and_wait(pilot, harness, f"message {number}")
        await pilot.press("alt+up", "alt+p")
        await until(pilot, lambda: harness.chat.usage and harness.chat.usage.pinned)
        harness.chat.type("one two")
        await until(pilot, lambda: harness.chat.usage and harness.chat.usage.draft == 2)
        parts = harness.chat.usage
        assert parts is not None
        await pilot.press("alt+w")
        await until(pilot, lambda: isinstance(harness.app.screen, ContextDialog))
        await pilot.pause()
        text = screen_text(harness)
        for amount in (parts.system, parts.pinned, parts.conversation, parts.draft, parts.reserve, parts.free):
            assert f"{amount:,}  " in text
        assert parts.system + parts.pinned + parts.conversation + parts.draft + parts.reserve + parts.free == 512
        assert f"The model sees {parts.seen} of 9 messages." in text
        assert f"{9 - parts.seen} messages dropped" in text
        assert f"message {8 - parts.seen}" in text
        await pilot.press("escape")
        assert harness.app.screen is harness.screen


async def test_messages_that_are_not_loaded_count_as_dropped() -> None:
    harness = AppHarness(window=512)
    harness.start_with(*((f"message {number}", "word " * 60) for number in range(100)))
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: harness.chat.evicted)
        await pilot.press("alt+w")
        await until(pilot, lambda: isinstance(harness.app.screen, ContextDialog))
        assert harness.chat.usage is not None
        assert len(harness.chat.turns) < 100
        await until_drawn(pilot, f"{100 - harness.chat.usage.seen} messages dropped")


async def test_the_context_command_needs_a_model() -> None:
    harness = AppHarness(loading=True)
    async with run(harness) as pilot:
        await until_shown(pilot, harness)
        await pilot.press("alt+w")
        await until(pilot, lambda: "has not loaded yet" in harness.chat.notice)
        harness.loaded.set()
        await until_ready(pilot, harness)
        await send_message(pilot, harness, "/context")
        await until(pilot, lambda: isinstance(harness.app.screen, ContextDialog))
        await pilot.pause()
        await until(pilot, lambda: "No messages yet." in screen_text(harness))


@pytest.mark.parametrize("text", PROBES[:4])
async def test_hostile_messages_outside_the_context_are_named_safely(text: str) -> None:
    parts = ContextUsage(window=256, system=1, conversation=100, seen=2, draft=400, reserve=32)
    harness = AppHarness()
    async with run_loaded(harness, (60, 20)) as pilot:
        harness.app.push_screen(ContextDialog(parts, turns=9, excluded=1, left=[text] * 6))
        await pilot.pause()
        await pilot.press("end")
        await pilot.pause()
        assert not dangerous(screen_text(harness)), repr(text)
