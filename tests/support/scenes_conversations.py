"""Scenes of conversations: turns and their actions, the list, search, the archive and the trash."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from support.app_harness import NOON, AppHarness, until
from support.scenes import Scene, ask, attach, draft, press, see, send, write

from mistral_chat.config import Persona, Settings
from mistral_chat.conversation import Usage
from mistral_chat.sampling import Sampling

if TYPE_CHECKING:
    from textual.pilot import Pilot

_USAGE: Final = Usage(
    prompt_tokens=1204, cached_tokens=1100, completion_tokens=212, time_to_first_token=0.84, tokens_per_second=11.2
)
_CODE: Final = "Two of them:\n\n```python\nprint(1)\n```\n\nand\n\n```sh\nls\n```\n"


def talked() -> AppHarness:
    """Three turns on the screen: one pinned, one excluded, and one with code."""
    harness = AppHarness()
    harness.conversation_id = harness.store.create(title="Bread")
    parent = None
    ids = []
    for user, reply in (
        ("Remember: I bake with rye.", "I will."),
        ("Never mind this one", "As you like."),
        ("Show me code", _CODE),
    ):
        parent = harness.store.add_turn(harness.conversation_id, user, parent_id=parent)
        harness.store.finish_reply(parent, reply, finish_reason="stop", usage=_USAGE, model="mistral-7b-instruct-v0.3")
        ids.append(parent)
    harness.store.set_turn_flags(ids[0], pinned=True)
    harness.store.set_turn_flags(ids[1], excluded=True)
    harness.app = harness.make_app()
    return harness


def with_full_context() -> AppHarness:
    """Nine turns in a small window, the first of them left, one pinned; and a system prompt."""
    harness = AppHarness(window=512, settings=replace(Settings(), system="Be brief."))
    conversation = harness.start_with(*((f"message {number}", "word " * 60) for number in range(9)), title="Words")
    harness.store.set_overrides(conversation, system="Be brief.")
    harness.store.set_turn_flags(harness.store.turns(conversation)[-2].turn_id, pinned=True)
    return harness


def listed() -> AppHarness:
    """Conversations of many days, with a pin, tags, one in the archive."""
    harness = AppHarness()
    titles = {40: "Tax letters", 5: "A walk in the Alps, with a title that cannot fit", 1: "Rye bread", 0: "Rust lifetimes"}
    tags = {40: ("home", "urgent"), 1: ("kitchen",)}
    for days, title in titles.items():
        harness.moment = NOON.replace(day=2) - timedelta(days=days)
        harness.store.tag(harness.add_conversation(("Question", "Answer"), title=title), *tags.get(days, ()))
    harness.moment = NOON
    harness.store.pin(harness.add_conversation(("Q", "A"), title="Reading list"), pinned=True)
    harness.store.archive(harness.add_conversation(("Question", "Answer"), title="Last year's plans"), archived=True)
    return harness


def one(*pairs: tuple[str, str], title: str = "Bread") -> AppHarness:
    """One conversation, on the screen."""
    harness = AppHarness()
    harness.start_with(*(pairs or (("How do I bake bread?", "Slowly."),)), title=title)
    return harness


def with_two_matches() -> AppHarness:
    """Two conversations about dough."""
    harness = AppHarness()
    harness.add_conversation(
        ("How do I bake bread?", "Mix flour, water and salt, and let the dough rest for a night."), title="Bread"
    )
    harness.add_conversation(("What is rye good for?", "Rye bread keeps for a week, and rye dough needs acid."), title="Rye")
    return harness


def with_trash() -> AppHarness:
    """Two conversations in the trash."""
    harness = AppHarness()
    for title in ("Bread", "Rye"):
        harness.store.trash(harness.add_conversation(("Question", "Answer"), title=title))
    return harness


def with_personas() -> AppHarness:
    """Two personas in the settings."""
    cook = Persona(system="You are a cook.\nBe brief.", sampling=Sampling(temperature=0.1))
    clerk = Persona(system="You are a clerk who answers letters, and who never forgets to say please and thank you.")
    return AppHarness(settings=replace(Settings(), system="You are helpful.", personas={"cook": cook, "clerk": clerk}))


async def _half_named(pilot: Pilot[Any], harness: AppHarness) -> None:
    """Show a background task that never ends."""
    harness.chat.tasks.begin("titling", cancel=lambda: None)


async def _weighed(pilot: Pilot[Any], harness: AppHarness) -> None:
    harness.chat.type("word " * 20)
    await until(pilot, lambda: harness.chat.usage and harness.chat.usage.draft == 20, "the draft is weighed")


async def _unread(_pilot: Pilot[Any], harness: AppHarness) -> None:
    harness.chat.clear_notice()


TURNS: Final = (
    Scene(
        name="marks-and-the-chosen-turn",
        harness=talked,
        steps=(press("alt+up", "alt+up"),),
        shows=("selected", "excluded from context"),
    ),
    Scene(name="the-pinned-turn", harness=talked, steps=(press("alt+up", "alt+up", "alt+up"),), shows=("selected", "pinned")),
    Scene(name="details", harness=talked, steps=(press("alt+d"),), shows=("11.2 tokens/s", "mistral-7b")),
    Scene(name="what-to-do-with-a-turn", harness=talked, steps=(press("f11"),), shows=("Copy reply", "Regenerate")),
    Scene(name="saving-code", harness=talked, steps=(press("alt+s"),), shows=("Save a code block", "print(1)")),
    Scene(
        name="saving-code-refused",
        harness=talked,
        steps=(
            press("alt+s"),
            see("print(1)"),
            press("enter"),
            see("code.py"),
            press("ctrl+u"),
            write("/nowhere/code.py"),
            press("enter"),
        ),
        shows=("Cannot write",),
    ),
    Scene(name="pinned-notice", harness=talked, steps=(press("alt+p"),), shows=("Pinned in context",)),
    Scene(name="forked", harness=talked, steps=(press("alt+k"),), shows=("Forked.",)),
    Scene(
        name="the-window-in-parts",
        harness=with_full_context,
        steps=(_weighed, press("alt+w")),
        shows=("Context: 512 tokens", "pinned messages"),
    ),
    Scene(name="the-window-while-empty", steps=(press("alt+w"),), shows=("No messages yet.",)),
    Scene(
        name="files",
        steps=(
            attach("a file with a long and telling name.md", "# Heading\n" * 9),
            see("✕"),
            attach("notes.txt", "buy bread and salt\n" * 40),
            see("notes.txt", "760 bytes"),
            draft("Summarise both."),
            _unread,
        ),
        shows=("▪ notes.txt", "▪ a file", "193 tokens"),
    ),
    Scene(
        name="a-file-too-large",
        harness=lambda: AppHarness(window=256),
        steps=(attach("book.txt", "word " * 999),),
        shows=("book.txt takes",),
    ),
    Scene(name="slash-commands", steps=(write("/"),), shows=("/new", "/regen", "/copy")),
    Scene(name="a-slash-command", steps=(write("/exp"),), shows=("/export FILE",)),
    Scene(name="a-slash-refused", steps=(send("/pesrona cook"),), shows=("Did you mean /persona?",)),
    Scene(name="titling", harness=one, steps=(_half_named,), shows=("titling",)),
)
"""What is done with turns, drafts and files."""

LISTS: Final = (
    Scene(name="the-list", harness=listed, steps=(press("ctrl+o", "down"),), shows=("Reading list", "Tax lette")),
    Scene(name="the-list-is-empty", steps=(press("ctrl+o"),), shows=("No conversations yet",)),
    Scene(name="filtering", harness=listed, steps=(press("alt+l"), write("bread"), see("Rye bread")), shows=("Rye bread",)),
    Scene(name="filtering-by-tag", harness=listed, steps=(press("alt+l"), write("#home")), shows=("Tax lette",)),
    Scene(name="filtering-finds-nothing", harness=listed, steps=(press("alt+l"), write("marmalade")), shows=("No matches",)),
    Scene(name="the-archive", harness=listed, steps=(press("alt+v"),), shows=("Archived", "Last year")),
    Scene(name="the-archive-is-empty", harness=one, steps=(press("alt+v"),), shows=("The archive is empty",)),
    Scene(name="tagged", harness=one, steps=(send("/tag kitchen home"),), shows=("#kitchen",)),
    Scene(name="deleted", harness=one, steps=(press("f4"),), shows=("to the trash.", "F8")),
    Scene(name="renaming", harness=one, steps=(press("f2"),), shows=("Rename the conversation",)),
    Scene(name="search", harness=with_two_matches, steps=(press("ctrl+f"),), shows=("Search all conversations",)),
    Scene(name="search-finds", harness=with_two_matches, steps=(press("ctrl+f"), write("dough")), shows=("2 found", "Rye")),
    Scene(name="search-finds-nothing", harness=with_two_matches, steps=(press("ctrl+f"), write("jam")), shows=("Nothing found",)),
    Scene(name="the-trash", harness=with_trash, steps=(press("f10"),), shows=("2 conversations", "Restore")),
    Scene(name="the-trash-is-empty", steps=(press("f10"),), shows=("The trash is empty",)),
    Scene(
        name="deleting-for-good",
        harness=with_trash,
        steps=(press("f10"), see("2 conversations"), press("delete")),
        shows=("permanently?",),
    ),
    Scene(name="a-persona", harness=with_personas, steps=(press("alt+r"),), shows=("You are a cook.", "You are a clerk")),
    Scene(name="a-persona-was-chosen", harness=with_personas, steps=(send("/persona cook"),), shows=("Persona: cook",)),
    Scene(name="no-personas", steps=(press("alt+r"),), shows=("No personas yet",)),
    Scene(name="unsaved", harness=one, steps=(press("ctrl+t"),), shows=("not saved",)),
    Scene(
        name="leaving-what-is-not-saved",
        steps=(press("ctrl+t"), see("Temporary chat"), ask("Between you and me"), press("ctrl+t")),
        shows=("Discard this temporary chat?",),
    ),
)
"""Finding conversations and putting them in order."""

SCENES: Final = (*TURNS, *LISTS)
