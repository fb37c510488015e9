"""What every state looks like, as pictures that a person has looked at."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from support.screens import NOON, PAUSE, Stage, answered, furnished, ready, say, spoken, until

from mistral_chat.config import Settings
from mistral_chat.errors import EngineError, EngineLoadFailed, NotEnoughMemory, StoreDamaged, WeightsNotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.pilot import Pilot

    Compare = Callable[..., bool]

MEDIUM, NARROW, WIDE = (100, 30), (60, 20), (200, 50)

REPLY = """\
A **context window** is what the model sees at once. When it is full, the oldest turns leave:

1. The system prompt stays, and so does what you pin.
2. Everything else leaves oldest first, in whole turns.
   - What left stays on the screen and in search.

```python
def fits(tokens: int, window: int = 4096) -> bool:
    \"\"\"Whether a message fits.\"\"\"
    return tokens <= window  # in tokens, not words
```

| Term | Means | Cost |
|---|:-:|--:|
| prefill | reading the prompt | 1.5 s |
| decode | producing tokens | 0.1 s |

> Text is the truth, the cache is a working copy.

See [the notes](https://example.org/notes) for more.
"""

LONG_CODE = (
    "Here it is:\n\n```python\n"
    + "\n".join(
        f"value_{number} = compute(first={number}, second={number * 2}, third='a long argument that reaches beyond the edge')"
        for number in range(12)
    )
    + "\n```\n"
)


def picture(compare: Compare, stage: Stage, size: tuple[int, int], act: Callable[[Pilot[Any]], Awaitable[None]]) -> None:
    async def before(pilot: Pilot[Any]) -> None:
        await act(pilot)
        await pilot.pause()

    assert compare(stage.app, terminal_size=size, run_before=before)


def themed(name: str) -> Settings:
    return replace(Settings(), theme=name)


@pytest.mark.parametrize("size", [NARROW, MEDIUM, WIDE], ids=str)
@pytest.mark.parametrize("theme", ["mistral-dark", "mistral-light"])
class TestEverySizeInDarkAndLight:
    def test_a_new_conversation(self, snap_compare: Compare, size: tuple[int, int], theme: str) -> None:
        stage = Stage(settings=themed(theme))
        picture(snap_compare, stage, size, lambda pilot: ready(pilot, stage))

    def test_a_reply(self, snap_compare: Compare, size: tuple[int, int], theme: str) -> None:
        stage = Stage(answer=lambda _: REPLY, settings=themed(theme))

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await say(pilot, stage, "What is a context window?")
            await answered(pilot, stage)

        picture(snap_compare, stage, size, act)

    def test_the_list(self, snap_compare: Compare, size: tuple[int, int], theme: str) -> None:
        stage = Stage(settings=themed(theme))
        titles = {40: "Tax letters", 5: "A walk in the Alps, with a title that cannot fit", 1: "Bread", 0: "Rust lifetimes"}
        for days, title in titles.items():
            stage.moment = NOON.replace(day=2) - timedelta(days=days)
            stage.say(("Question", "Answer"), title=title)
        stage.moment = NOON
        stage.store.pin(stage.say(("Q", "A"), title="Reading list"), pinned=True)

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await pilot.press("ctrl+o", "down")

        picture(snap_compare, stage, size, act)


class TestStates:
    SIZE: ClassVar = MEDIUM

    def test_loading(self, snap_compare: Compare) -> None:
        stage = Stage(loading=True)

        async def act(pilot: Pilot[Any]) -> None:
            await furnished(pilot, stage)
            await until(pilot, lambda: stage.screen.status.status.state == "loading 40%")

        picture(snap_compare, stage, MEDIUM, act)
        stage.loaded.set()

    def test_a_message_waits_for_the_model(self, snap_compare: Compare) -> None:
        stage = Stage(loading=True)

        async def act(pilot: Pilot[Any]) -> None:
            await furnished(pilot, stage)
            await say(pilot, stage, "Are you there?")
            await until(pilot, lambda: stage.screen.transcript.turns)
            await until(pilot, lambda: stage.screen.status.status.state == "loading 40%")

        picture(snap_compare, stage, MEDIUM, act)
        stage.loaded.set()

    def test_streaming_with_one_queued(self, snap_compare: Compare) -> None:
        stage = Stage(answer=lambda _: REPLY.replace("in tokens", f"{PAUSE} in tokens"))

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await say(pilot, stage, "What is a context window?")
            await until(pilot, lambda: stage.screen.replying and "window  # " in stage.screen.transcript.views[-1].reply.text)
            stage.screen.transcript.views[-1].reply.draw()
            await say(pilot, stage, "And what is prefill?")
            stage.screen.status.tell(state="writing 11.2 tok/s", used=120)

        picture(snap_compare, stage, MEDIUM, act)

    def test_stopped(self, snap_compare: Compare) -> None:
        stage = Stage(answer=lambda _: REPLY.replace("Everything", f"{PAUSE} Everything"))

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await say(pilot, stage, "What is a context window?")
            await until(pilot, lambda: stage.screen.replying and "2." in stage.screen.transcript.views[-1].reply.text)
            await pilot.press("escape")
            await answered(pilot, stage)

        picture(snap_compare, stage, MEDIUM, act)

    @pytest.mark.parametrize("theme", ["mistral-dark", "mistral-light"])
    def test_turns_have_left_the_window(self, snap_compare: Compare, theme: str) -> None:
        stage = Stage(answer=lambda text: f"{text}? " + "A reply of some length. " * 12, window=320, settings=themed(theme))

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            for number in range(7):
                await spoken(pilot, stage, f"Message {number}")
            stage.screen.transcript.focus()
            await pilot.press("pageup")

        picture(snap_compare, stage, MEDIUM, act)

    def test_a_second_reply_beside_the_first(self, snap_compare: Compare) -> None:
        stage = Stage()

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await say(pilot, stage, "Say it again")
            await answered(pilot, stage)
            await pilot.press("ctrl+r")
            await until(pilot, lambda: stage.screen.transcript.turns[-1].siblings == 2)
            await answered(pilot, stage)

        picture(snap_compare, stage, MEDIUM, act)

    def test_failed(self, snap_compare: Compare) -> None:
        def fail(_text: str) -> str:
            raise EngineError("llama.cpp failed while it was working. The next message starts afresh.")

        stage = Stage(answer=fail)

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await say(pilot, stage, "What is a context window?")
            await answered(pilot, stage)

        picture(snap_compare, stage, MEDIUM, act)

    def test_long_code(self, snap_compare: Compare) -> None:
        stage = Stage(answer=lambda _: LONG_CODE)

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await say(pilot, stage, "Compute twelve values.")
            await answered(pilot, stage)

        picture(snap_compare, stage, MEDIUM, act)

    @pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
    def test_no_model_yet(self, snap_compare: Compare, size: tuple[int, int]) -> None:
        stage = Stage(
            failure=WeightsNotFound(
                "mistral-7b-instruct-v0.3 is not on this disk. Get it (4.4 GB) with:\n\n"
                "    mistral-chat models pull mistral-7b-instruct-v0.3\n\n"
                "Or try the small demo model: mistral-chat -m demo"
            )
        )

        async def act(pilot: Pilot[Any]) -> None:
            await furnished(pilot, stage)
            await until(pilot, lambda: stage.screen.trouble is not None)

        picture(snap_compare, stage, size, act)

    @pytest.mark.parametrize("kind", ["cut", "memory"])
    def test_the_model_does_not_load(self, snap_compare: Compare, kind: str) -> None:
        from pathlib import Path

        path = Path("/models/mistral-7b-instruct-v0.3.Q4_K_M.gguf")
        errors = {
            "cut": EngineLoadFailed(path, "the file ends before its tensors do. Fetch it again with: mistral-chat models verify"),
            "memory": NotEnoughMemory(path, 5_600_000_000, 3_100_000_000),
        }
        stage = Stage(load_failure=errors[kind])

        async def act(pilot: Pilot[Any]) -> None:
            await furnished(pilot, stage)
            await until(pilot, lambda: stage.screen.trouble is not None)

        picture(snap_compare, stage, MEDIUM, act)

    def test_the_conversations_do_not_open(self, snap_compare: Compare) -> None:
        stage = Stage()

        def broken() -> Any:
            raise StoreDamaged("/data/conversations.db is damaged. Restore a backup, or move the file away and start again.")

        stage.app._rooms = replace(stage.app._rooms, open_store=broken)

        async def act(pilot: Pilot[Any]) -> None:
            await until(pilot, lambda: stage.screen.query("Composer") and stage.screen.placard.display)
            stage.screen.composer.cursor_blink = False

        picture(snap_compare, stage, MEDIUM, act)

    def test_nothing_is_kept(self, snap_compare: Compare) -> None:
        stage = Stage(saved=False)
        picture(snap_compare, stage, MEDIUM, lambda pilot: ready(pilot, stage))

    def test_deleted_with_a_way_back(self, snap_compare: Compare) -> None:
        stage = Stage()
        stage.say(("Question", "Answer"), title="Bread")

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await pilot.press("ctrl+o", "down", "delete")
            await until(pilot, lambda: stage.screen.notice.text)

        picture(snap_compare, stage, MEDIUM, act)

    @pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
    def test_renaming(self, snap_compare: Compare, size: tuple[int, int]) -> None:
        stage = Stage()
        stage.conversation_id = stage.say(("How do I bake bread?", "Slowly."), title="Bread")
        stage.app = stage.make_app()

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await pilot.press("f2")
            await until(pilot, lambda: len(stage.app.screen_stack) == 2)
            from textual.widgets import Input

            stage.app.screen.query_one(Input).cursor_blink = False

        picture(snap_compare, stage, size, act)

    @pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
    def test_searching(self, snap_compare: Compare, size: tuple[int, int]) -> None:
        stage = Stage()
        stage.say(("How do I bake bread?", "Mix flour, water and salt, and let the dough rest for a night."), title="Bread")
        stage.say(("What is rye good for?", "Rye bread keeps for a week, and rye dough needs acid."), title="Rye")

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await pilot.press("ctrl+f", *"dough")
            from textual.widgets import Input, OptionList

            await until(pilot, lambda: stage.app.screen.query_one(OptionList).option_count == 2)
            stage.app.screen.query_one(Input).cursor_blink = False

        picture(snap_compare, stage, size, act)

    @pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=str)
    def test_the_trash(self, snap_compare: Compare, size: tuple[int, int]) -> None:
        stage = Stage()
        for title in ("Bread", "Rye"):
            stage.store.trash(stage.say(("Question", "Answer"), title=title))

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await pilot.press("f10")
            await until(pilot, lambda: len(stage.app.screen_stack) == 2)

        picture(snap_compare, stage, size, act)

    def test_help(self, snap_compare: Compare) -> None:
        stage = Stage()

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await pilot.press("f1")
            await pilot.pause()

        picture(snap_compare, stage, (120, 40), act)

    def test_the_palette(self, snap_compare: Compare) -> None:
        stage = Stage()

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            await pilot.press("ctrl+p")
            await until(pilot, lambda: len(stage.app.screen_stack) == 2)
            from textual.command import CommandInput, CommandList

            stage.app.screen.query_one(CommandInput).cursor_blink = False
            await until(pilot, lambda: stage.app.screen.query_one(CommandList).option_count > 5)

        picture(snap_compare, stage, MEDIUM, act)

    def test_a_long_draft(self, snap_compare: Compare) -> None:
        stage = Stage()

        async def act(pilot: Pilot[Any]) -> None:
            await ready(pilot, stage)
            stage.screen.composer.set_draft("\n".join(f"line {number}" for number in range(12)))
            await until(pilot, lambda: stage.screen.composer.border_subtitle, "it is counted")

        picture(snap_compare, stage, MEDIUM, act)


class TestColours:
    def test_high_contrast(self, snap_compare: Compare) -> None:
        stage = Stage(answer=lambda _: REPLY, settings=themed("mistral-high-contrast"))
        picture(snap_compare, stage, MEDIUM, lambda pilot: _ask(pilot, stage))

    def test_without_colour(self, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        stage = Stage(answer=lambda _: REPLY)
        picture(snap_compare, stage, MEDIUM, lambda pilot: _ask(pilot, stage))

    def test_a_theme_of_textuals(self, snap_compare: Compare) -> None:
        stage = Stage(answer=lambda _: REPLY, settings=themed("nord"))
        picture(snap_compare, stage, MEDIUM, lambda pilot: _ask(pilot, stage))


async def _ask(pilot: Pilot[Any], stage: Stage) -> None:
    await ready(pilot, stage)
    await say(pilot, stage, "What is a context window?")
    await answered(pilot, stage)
