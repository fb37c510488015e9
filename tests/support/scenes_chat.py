"""Scenes of the chat in use: asking, reading, stopping, and what can go wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from support.app_harness import PAUSE, AppHarness, until
from support.scenes import Scene, anyhow, ask, draft, furnish, press, replied, see, send

from mistral_chat.config import Settings
from mistral_chat.errors import EngineFailed, EngineLoadFailed, ModelNotFound, NotEnoughMemory, StoreDamaged

if TYPE_CHECKING:
    from textual.pilot import Pilot

QUESTION: Final = "What is a context window?"

REPLY: Final = """\
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

_LONG_CODE: Final = (
    "Here it is:\n\n```python\n"
    + "\n".join(
        f"value_{number} = compute(first={number}, second={number * 2}, third='a long argument that reaches beyond the edge')"
        for number in range(12)
    )
    + "\n```\n"
)

_WIDE_TABLE: Final = (
    "The huts on the way:\n\n| Hut | Height | Open | Beds | What to know before one goes there |\n|---|--:|---|--:|---|\n"
    "| Puez | 2,475 m | June to October | 94 | Book early for September, and bring cash |\n"
    "| Firenze | 2,037 m | May to October | 100 | The path from the valley takes some two hours |\n"
    "| Genova | 2,306 m | June to October | 90 | Donaudampfschifffahrtsgesellschaftskapitänsmütze |\n"
)

_WEIGHTS: Final = Path("/models/mistral-7b-instruct-v0.3.Q4_K_M.gguf")

_ABSENT: Final = ModelNotFound(
    "mistral-7b-instruct-v0.3 is not on this disk. Get it (4.4 GB) with:\n\n"
    "    mistral-chat models pull mistral-7b-instruct-v0.3\n\n"
    "Or try the small demo model: mistral-chat -m demo"
)


def answers(text: str, **settings: Any) -> AppHarness:
    """A model that always says `text`."""
    return AppHarness(answer=lambda _: text, **settings)


def _continues() -> AppHarness:
    """A model that was cut off, and then says the rest."""
    parts = iter(
        ("Rye keeps longer than wheat, because its bran", "bran holds water.\n\nIt also needs acid, so that it can rise.")
    )
    return AppHarness(
        answer=lambda _: next(parts), settings=replace(Settings(), sampling=replace(Settings().sampling, max_tokens=7))
    )


async def _uncut(_pilot: Pilot[Any], harness: AppHarness) -> None:
    """Let the next reply be as long as it likes."""
    harness.chat.use_settings(Settings())


def _fails(error: Exception) -> AppHarness:
    def fail(_text: str) -> str:
        raise error

    return AppHarness(answer=fail)


def _broken_store() -> AppHarness:
    def broken() -> Any:
        raise StoreDamaged("/data/conversations.db is damaged. Restore a backup, or move the file away and start again.")

    return AppHarness(app_options={"open_store": broken})


def _remapped(**keymap: str) -> AppHarness:
    return AppHarness(settings=replace(Settings(), keymap={name.replace("_", "."): keys for name, keys in keymap.items()}))


def with_rolled_context() -> AppHarness:
    """A conversation of which only the end is in the context."""
    harness = AppHarness(window=320)
    harness.start_with(
        *((f"Message {number}", f"Message {number}? " + "A reply of some length. " * 12) for number in range(7)), title="Bread"
    )
    return harness


async def _to_the_line(pilot: Pilot[Any], harness: AppHarness) -> None:
    """Scroll to the start of the context."""
    transcript = harness.chat.transcript
    await until(pilot, lambda: transcript.query(".-edge"), "the line is drawn")
    transcript.focus()
    await pilot.pause(0.05)
    transcript.scroll_to_center(transcript.query(".-edge").first(), animate=False, immediate=True)


async def _to_the_end(pilot: Pilot[Any], harness: AppHarness) -> None:
    await pilot.pause(0.05)
    harness.chat.transcript.scroll_end(animate=False, immediate=True)


async def _until_full(pilot: Pilot[Any], harness: AppHarness) -> None:
    """Talk until the first turns leave."""
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"):
        await ask(f"How was {day}?")(pilot, harness)
        if "Context full:" in harness.chat.notice:
            return


async def _written(pilot: Pilot[Any], harness: AppHarness) -> None:
    """Wait until the reply has come to its pause, and draw it; the speed is one that does not change."""

    def words() -> str:
        return harness.chat.views[-1].reply.text if harness.chat.views else ""

    await until(pilot, lambda: harness.chat.replying and words().endswith("window  # "), "the reply comes to its pause")
    harness.chat.views[-1].reply.draw()
    harness.chat.show_status(state="writing 11.2 tok/s", used=120)


async def _half_said(pilot: Pilot[Any], harness: AppHarness) -> None:
    await until(pilot, lambda: harness.chat.views and "2." in harness.chat.views[-1].reply.text, "it writes")


_TO_BE_STOPPED: Final = REPLY.replace("Everything", f"{PAUSE} Everything")
_TO_BE_AWAITED: Final = REPLY.replace("in tokens", f"{PAUSE} in tokens")

SCENES: Final = (
    Scene(name="new", shows=("New conversation", "Write a message")),
    Scene(name="loading", harness=lambda: AppHarness(loading=True), start=furnish, shows=("loading 40%",)),
    Scene(
        name="waiting-for-the-model",
        harness=lambda: AppHarness(loading=True),
        start=furnish,
        steps=(send("Are you there?"),),
        shows=("█ Are you there?", "loading 40%"),
    ),
    Scene(
        name="reading-the-prompt",
        harness=lambda: AppHarness(slow=True),
        steps=(send("Tell me everything about oranges. " * 9),),
        shows=("█ Tell me everything", "processing prompt 4"),
    ),
    Scene(
        name="streaming",
        harness=lambda: answers(_TO_BE_AWAITED),
        steps=(send(QUESTION), _written),
        shows=("return tokens", "writing 11.2 tok/s", "Esc stop"),
    ),
    Scene(
        name="queued",
        harness=lambda: answers(_TO_BE_AWAITED),
        steps=(send(QUESTION), _written, send("And what is prefill?"), _written),
        shows=("writing 11.2 tok/s", "1 queued", "Esc stop"),
    ),
    Scene(
        name="stopped",
        harness=lambda: answers(_TO_BE_STOPPED),
        steps=(send(QUESTION), _half_said, press("escape")),
        shows=("■ Stopped", "·  stopped"),
    ),
    Scene(name="cut", harness=_continues, steps=(ask("Why rye?"),), shows=("because its", "maximum length")),
    Scene(
        name="continued",
        harness=_continues,
        steps=(ask("Why rye?"), _uncut, press("f6"), see("rise."), replied),
        shows=("because its bran",),
    ),
    Scene(name="empty-reply", harness=lambda: answers(""), steps=(ask("Are you there?"),), shows=("█ Are you there?",)),
    Scene(
        name="failed",
        harness=lambda: _fails(EngineFailed("llama.cpp failed while it was working. The next message starts afresh.")),
        steps=(ask(QUESTION),),
        shows=("llama.cpp failed", "·  failed"),
    ),
    Scene(
        name="out-of-memory-while-writing",
        harness=lambda: _fails(NotEnoughMemory(_WEIGHTS, 5_600_000_000, 300_000_000)),
        steps=(ask(QUESTION),),
        shows=("0.3 GB", "·  failed"),
    ),
    Scene(name="reply", harness=lambda: answers(REPLY), steps=(ask(QUESTION),), shows=("reading the prompt", "the notes")),
    Scene(name="long-code", harness=lambda: answers(_LONG_CODE), steps=(ask("Compute twelve values."),), shows=("value_11",)),
    Scene(name="wide-table", harness=lambda: answers(_WIDE_TABLE), steps=(ask("Which huts are there?"),), shows=("Genova",)),
    Scene(
        name="giant-word", harness=lambda: answers("o" + "-o" * 150 + " and " + "o" * 300), steps=(ask("Sing."),), shows=("oooo",)
    ),
    Scene(
        name="branches",
        steps=(ask("Say it again"), press("ctrl+r"), see("Reply 2 of 2"), replied),
        shows=("Reply 2 of 2",),
    ),
    Scene(
        name="editing",
        steps=(ask("Name one mountain."), press("f3")),
        shows=("Enter sends it", "Name one mountain.", "3 tokens"),
    ),
    Scene(
        name="the-line-of-memory",
        harness=with_rolled_context,
        steps=(_to_the_line,),
        shows=("context starts here",),
    ),
    Scene(
        name="the-window-is-full",
        harness=lambda: answers("It has rained since then, and it rains still.", window=80),
        steps=(_until_full, _to_the_end),
        shows=("Context full:", "dropped out"),
    ),
    Scene(
        name="long-draft",
        steps=(draft("\n".join(f"line {number}" for number in range(12))),),
        shows=("line 11", "24 tokens"),
    ),
    Scene(
        name="draft-too-large",
        harness=lambda: AppHarness(window=256),
        steps=(draft("word " * 300),),
        shows=("Too long:", "Remove at least"),
    ),
    Scene(name="nothing-is-kept", harness=lambda: AppHarness(saved=False), shows=("Nothing leaves this computer", "not saved")),
    Scene(
        name="no-model",
        harness=lambda: AppHarness(failure=_ABSENT),
        start=furnish,
        steps=(see("Choose a model"), press("escape")),
        shows=("No model loaded", "F7"),
    ),
    Scene(
        name="weights-cut",
        harness=lambda: AppHarness(
            load_failure=EngineLoadFailed(
                _WEIGHTS, "the file ends before its tensors do. Fetch it again with: mistral-chat models verify"
            )
        ),
        start=furnish,
        shows=("Could not load the model", "F5"),
    ),
    Scene(
        name="out-of-memory",
        harness=lambda: AppHarness(load_failure=NotEnoughMemory(_WEIGHTS, 5_600_000_000, 3_100_000_000)),
        start=furnish,
        shows=("Not enough memory", "3.1 GB"),
    ),
    Scene(name="the-conversations-do-not-open", harness=_broken_store, start=anyhow, shows=("damaged", "retry")),
    Scene(
        name="keys-that-clash",
        harness=lambda: _remapped(chat_new="ctrl+f", chat_nonsense="f5"),
        shows=("chat.nonsense",),
    ),
)
