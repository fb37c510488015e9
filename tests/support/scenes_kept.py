"""Scenes of what was said and kept: turns and what is done with them, the list, search, the archive and the trash."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from support.scenes import Scene, ask, attach, draft, press, see, send, write
from support.screens import NOON, Stage, until

from mistral_chat.config import Persona, Settings
from mistral_chat.conversation import Usage
from mistral_chat.generation import Sampling

if TYPE_CHECKING:
    from textual.pilot import Pilot

_USAGE: Final = Usage(
    prompt_tokens=1204, cached_tokens=1100, completion_tokens=212, time_to_first_token=0.84, tokens_per_second=11.2
)
_CODE: Final = "Two of them:\n\n```python\nprint(1)\n```\n\nand\n\n```sh\nls\n```\n"


def talked() -> Stage:
    """Three turns on the screen: one pinned, one excluded, and one with code."""
    stage = Stage()
    stage.conversation_id = stage.store.create(title="Bread")
    parent = None
    ids = []
    for user, reply in (
        ("Remember: I bake with rye.", "I will."),
        ("Never mind this one", "As you like."),
        ("Show me code", _CODE),
    ):
        parent = stage.store.add_turn(stage.conversation_id, user, parent_id=parent)
        stage.store.finish_reply(parent, reply, finish_reason="stop", usage=_USAGE, model="mistral-7b-instruct-v0.3")
        ids.append(parent)
    stage.store.set_turn_flags(ids[0], pinned=True)
    stage.store.set_turn_flags(ids[1], excluded=True)
    stage.app = stage.make_app()
    return stage


def crowded() -> Stage:
    """Nine turns in a small window, the first of them left, one pinned; and a system prompt."""
    stage = Stage(window=512, settings=replace(Settings(), system="Be brief."))
    stage.conversation_id = stage.say(*((f"message {number}", "word " * 60) for number in range(9)), title="Words")
    stage.store.set_system(stage.conversation_id, "Be brief.")
    stage.store.set_turn_flags(stage.store.turns(stage.conversation_id)[-2].turn_id, pinned=True)
    stage.app = stage.make_app()
    return stage


def listed() -> Stage:
    """Conversations of many days, with a pin, tags, one in the archive."""
    stage = Stage()
    titles = {40: "Tax letters", 5: "A walk in the Alps, with a title that cannot fit", 1: "Rye bread", 0: "Rust lifetimes"}
    tags = {40: ("home", "urgent"), 1: ("kitchen",)}
    for days, title in titles.items():
        stage.moment = NOON.replace(day=2) - timedelta(days=days)
        stage.store.tag(stage.say(("Question", "Answer"), title=title), *tags.get(days, ()))
    stage.moment = NOON
    stage.store.pin(stage.say(("Q", "A"), title="Reading list"), pinned=True)
    stage.store.archive(stage.say(("Question", "Answer"), title="Last year's plans"), archived=True)
    return stage


def one(*pairs: tuple[str, str], title: str = "Bread") -> Stage:
    """One conversation, on the screen."""
    stage = Stage()
    stage.conversation_id = stage.say(*(pairs or (("How do I bake bread?", "Slowly."),)), title=title)
    stage.app = stage.make_app()
    return stage


def baked() -> Stage:
    """Two conversations about dough."""
    stage = Stage()
    stage.say(("How do I bake bread?", "Mix flour, water and salt, and let the dough rest for a night."), title="Bread")
    stage.say(("What is rye good for?", "Rye bread keeps for a week, and rye dough needs acid."), title="Rye")
    return stage


def thrown_away() -> Stage:
    """Two conversations in the trash."""
    stage = Stage()
    for title in ("Bread", "Rye"):
        stage.store.trash(stage.say(("Question", "Answer"), title=title))
    return stage


def with_personas() -> Stage:
    """Two personas in the settings."""
    cook = Persona(system="You are a cook.\nBe brief.", sampling=Sampling(temperature=0.1))
    clerk = Persona(system="You are a clerk who answers letters, and who never forgets to say please and thank you.")
    return Stage(settings=replace(Settings(), system="You are helpful.", personas={"cook": cook, "clerk": clerk}))


async def _half_named(pilot: Pilot[Any], stage: Stage) -> None:
    """Say what goes on in the background, at a moment that does not pass."""
    stage.chat.jobs.begin("titling")


async def _weighed(pilot: Pilot[Any], stage: Stage) -> None:
    stage.chat.type("word " * 20)
    await until(pilot, lambda: stage.chat.usage and stage.chat.usage.draft == 20, "the draft is weighed")


async def _unread(_pilot: Pilot[Any], stage: Stage) -> None:
    stage.chat.clear_notice()


TURNS: Final = (
    Scene(
        name="marks-and-the-chosen-turn",
        stage=talked,
        steps=(press("alt+up", "alt+up"),),
        shows=("chosen", "the model does not see this"),
    ),
    Scene(name="the-pinned-turn", stage=talked, steps=(press("alt+up", "alt+up", "alt+up"),), shows=("chosen", "pinned")),
    Scene(name="details", stage=talked, steps=(press("alt+d"),), shows=("by itself", "mistral-7b")),
    Scene(name="what-to-do-with-a-turn", stage=talked, steps=(press("f11"),), shows=("Copy the reply", "Regenerate")),
    Scene(name="saving-code", stage=talked, steps=(press("alt+s"),), shows=("Save a code block", "code.py")),
    Scene(
        name="saving-code-refused",
        stage=talked,
        steps=(press("alt+s"), see("code.py"), write("/nowhere/code.py"), press("enter")),
        shows=("cannot be written",),
    ),
    Scene(name="pinned-notice", stage=talked, steps=(press("alt+p"),), shows=("The turn is pinned",)),
    Scene(name="forked", stage=talked, steps=(press("alt+k"),), shows=("This is a new conversation",)),
    Scene(
        name="the-window-in-parts",
        stage=crowded,
        steps=(_weighed, press("alt+w")),
        shows=("The window holds 512 tokens", "pinned turns"),
    ),
    Scene(name="the-window-while-empty", steps=(press("alt+w"),), shows=("Nothing has been said yet",)),
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
        stage=lambda: Stage(window=256),
        steps=(attach("book.txt", "word " * 999),),
        shows=("book.txt takes",),
    ),
    Scene(name="slash-commands", steps=(write("/"),), shows=("/help", "/export", "/quit")),
    Scene(name="a-slash-command", steps=(write("/exp"),), shows=("/export FILE: write",)),
    Scene(name="a-slash-refused", steps=(send("/pesrona cook"),), shows=("Did you mean /persona?",)),
    Scene(name="titling", stage=one, steps=(_half_named,), shows=("titling",)),
)
"""What is done with turns, drafts and files."""

LISTS: Final = (
    Scene(name="the-list", stage=listed, steps=(press("ctrl+o", "down"),), shows=("Reading list", "Tax letters")),
    Scene(name="the-list-is-empty", steps=(press("ctrl+o"),), shows=("No conversations yet",)),
    Scene(name="filtering", stage=listed, steps=(press("alt+l"), write("bread"), see("Rye bread")), shows=("Rye bread",)),
    Scene(name="filtering-by-tag", stage=listed, steps=(press("alt+l"), write("#home")), shows=("Tax letters",)),
    Scene(name="filtering-finds-nothing", stage=listed, steps=(press("alt+l"), write("marmalade")), shows=("Nothing fits",)),
    Scene(name="the-archive", stage=listed, steps=(press("alt+v"),), shows=("Archived", "Last year")),
    Scene(name="the-archive-is-empty", stage=one, steps=(press("alt+v"),), shows=("The archive is empty",)),
    Scene(name="tagged", stage=one, steps=(send("/tag kitchen home"),), shows=("#kitchen",)),
    Scene(name="deleted", stage=one, steps=(press("f4"),), shows=("is in the trash.", "F8")),
    Scene(name="renaming", stage=one, steps=(press("f2"),), shows=("Rename the conversation",)),
    Scene(name="search", stage=baked, steps=(press("ctrl+f"),), shows=("Find words",)),
    Scene(name="search-finds", stage=baked, steps=(press("ctrl+f"), write("dough")), shows=("2 found", "Rye")),
    Scene(name="search-finds-nothing", stage=baked, steps=(press("ctrl+f"), write("jam")), shows=("Nothing found",)),
    Scene(name="the-trash", stage=thrown_away, steps=(press("f10"),), shows=("2 deleted", "Take back")),
    Scene(name="the-trash-is-empty", steps=(press("f10"),), shows=("The trash is empty",)),
    Scene(
        name="deleting-for-good",
        stage=thrown_away,
        steps=(press("f10"), see("2 deleted"), press("delete")),
        shows=("for good?", "Keep"),
    ),
    Scene(name="a-persona", stage=with_personas, steps=(press("alt+r"),), shows=("You are a cook.", "You are a clerk")),
    Scene(name="a-persona-was-chosen", stage=with_personas, steps=(send("/persona cook"),), shows=("Persona: cook",)),
    Scene(name="no-personas", steps=(press("alt+r"),), shows=("There are no personas yet",)),
    Scene(name="unsaved", stage=one, steps=(press("ctrl+t"),), shows=("not saved",)),
    Scene(
        name="leaving-what-is-not-saved",
        steps=(press("ctrl+t"), see("A conversation that is not saved"), ask("Between you and me"), press("ctrl+t")),
        shows=("Go back to what is saved?",),
    ),
)
"""Finding conversations and putting them in order."""

SCENES: Final = (*TURNS, *LISTS)
