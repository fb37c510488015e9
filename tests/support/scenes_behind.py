"""Scenes behind the chat: help, all commands, the settings, the prompt, and choosing and fetching a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from support.scenes import Scene, furnish, opened, press, see, write
from support.screens import Stage, until
from support.shelves import GB, StillShelf, usual_stock

from mistral_chat.config import Settings
from mistral_chat.config.layers import Configuration
from mistral_chat.config.reader import read_settings
from mistral_chat.errors import DownloadFailed, WeightsNotFound
from mistral_chat.ui.screens.settings import SettingsScreen
from mistral_chat.ui.shelf import Arrival, Stock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scenes import Step
    from textual.pilot import Pilot

    from mistral_chat.errors import MistralChatError

_FILE: Final = """\
# My settings.
system: Answer briefly, and say when you do not know.
sampling:
  temperature: 0.4   # calm
  seed: 7
keymap: {chat.new: alt+n}
"""


class StillPreferences:
    """Settings that lie in the same place in every picture."""

    file = "/home/ada/.config/mistral-chat/config.yaml"

    def __init__(self, text: str = _FILE) -> None:
        self._text = text

    def read(self) -> Configuration:
        found = read_settings(self._text, self.file)
        return Configuration(found.settings, {key: f"{self.file}:{line}" for key, line in found.lines.items()})

    def write(self, _key: str, _value: object) -> Configuration:
        return self.read()

    def write_entry(self, _section: str, _name: str, _typed: object) -> Configuration:
        return self.read()

    def stamp(self) -> object:
        return None


def _settled(text: str = _FILE) -> Callable[[], Stage]:
    return lambda: Stage(doors={"preferences": StillPreferences(text)})


def _mark(key: str) -> Step:
    """Put the cursor on a setting."""

    async def step(pilot: Pilot[Any], stage: Stage) -> None:
        screen = stage.app.screen
        assert isinstance(screen, SettingsScreen)
        await until(pilot, lambda: screen.listed.option_count, "the settings are listed")
        screen.listed.highlighted = screen.listed.get_option_index(key)

    return step


def _change(key: str) -> tuple[Step, ...]:
    """Open the dialog of a setting."""
    return press("f12"), see("Settings", "Kept in"), _mark(key), press("enter"), see("Cancel")


SETTINGS: Final = (
    Scene(name="settings", stage=_settled(), steps=_change("sampling.temperature")[:3], shows=("temperature", "0.4")),
    Scene(name="settings-at-the-end", stage=_settled(), steps=(*_change("keymap")[:2], press("end")), shows=("Kept in",)),
    Scene(
        name="settings-with-a-mistake",
        stage=_settled("sampling: {temperature: warm}\n"),
        steps=(press("f12"),),
        shows=("then press F5",),
    ),
    Scene(
        name="a-setting-refused",
        stage=_settled(),
        steps=(*_change("sampling.temperature"), press("9", "enter")),
        shows=("sampling.temperature", "Keep"),
    ),
    Scene(name="a-setting-of-words", stage=_settled(), steps=_change("theme"), shows=("mistral-high-contrast",)),
    Scene(name="a-setting-of-yes-and-no", stage=_settled(), steps=_change("context.read_ahead"), shows=("read_ahead",)),
    Scene(name="a-setting-of-lines", stage=_settled(), steps=_change("system"), shows=("Answer briefly",)),
    Scene(
        name="a-setting-of-names",
        stage=_settled(),
        steps=(*_change("keymap")[:3], press("enter")),
        shows=("Everywhere", "Ctrl+Q"),
    ),
)


def _asked() -> Stage:
    """A conversation of which the window holds the end."""
    stage = Stage(window=256, settings=replace(Settings(), system="Answer briefly."))
    stage.conversation_id = stage.say(
        ("Tell me everything about oranges. " * 30, "They grow on trees. " * 20),
        ("What is marmalade?", "It is jam made of oranges."),
        title="Oranges",
    )
    stage.store.set_system(stage.conversation_id, "Answer briefly.")
    stage.app = stage.make_app()
    return stage


async def _drafted(_pilot: Pilot[Any], stage: Stage) -> None:
    stage.screen.composer.insert("And what is </s> <end> in a recipe?")


async def _listed(pilot: Pilot[Any], stage: Stage) -> None:
    from textual.command import CommandList

    await until(pilot, lambda: stage.app.screen.query_one(CommandList).option_count > 1, "the commands are listed")


BEHIND: Final = (
    Scene(name="help", steps=(press("f1"),), shows=("Enter sends",)),
    Scene(name="all-commands", steps=(press("ctrl+p"), _listed), shows=("Archived conversations",)),
    Scene(name="a-command-by-its-name", steps=(press("ctrl+p"), write("pin"), _listed), shows=("Pin",)),
    Scene(name="the-prompt", stage=_asked, steps=(_drafted, press("ctrl+l")), shows=("Your draft", "format words")),
    Scene(name="the-prompt-has-been-given", stage=_asked, steps=(press("ctrl+l"), see("Turn 2"), press("home")), shows=("Turn 2",)),
    *SETTINGS,
)

_ABSENT: Final = WeightsNotFound("mistral-7b-instruct-v0.3 is not on this disk.")
_PART: Final = Arrival(stage="downloading", here=1_749_124_800, total=4_372_812_000, speed=12_400_000, seconds_left=211)
_SILENT: Final = DownloadFailed(
    "huggingface.co does not answer. It was tried 7 times. What has arrived is kept; start the download again to go on."
)


def _shelf(
    stock: Stock | None = None, moment: Arrival = _PART, failure: MistralChatError | None = None
) -> Callable[[], Stage]:
    """A computer without a model, and what could be had."""
    shelf = StillShelf(stock or usual_stock(), moment, failure)
    settings = replace(Settings(), model="mistral-7b-instruct-v0.3")
    return lambda: Stage(failure=_ABSENT, settings=settings, doors={"shelf": shelf})


def _tight() -> Stock:
    """What there is for a computer with very little memory."""
    stock = usual_stock()
    weights = tuple(
        replace(
            each,
            fit="too large",
            recommended=each.spec == "demo",
            reason=each.reason.replace("9.0 GB are free.", "0.3 GB are free; it would not load, or crawl."),
        )
        for each in stock.weights
    )
    return replace(stock, weights=weights, chosen="demo", memory=3 * GB // 10, disk=2 * GB)


def _begun() -> Stock:
    """A download that was begun, and a file that cannot be used."""
    stock = usual_stock()
    weights = tuple(replace(each, arrived=1_200_000_000) if each.recommended else each for each in stock.weights)
    unusable = (("/home/ada/models/cut.gguf", "the file is cut: its tensors end at 4.1 GB and the file at 2.2 GB."),)
    return replace(stock, weights=weights, unusable=unusable)


def _moment(stage: str, **changes: Any) -> Callable[[], Stage]:
    facts: dict[str, Any] = {"stage": stage, "here": _PART.here, "total": _PART.total}
    return _shelf(moment=Arrival(**(facts | changes)))


_CHOICE = see("Choose a model", "Fetch")
_FETCH: Final = (_CHOICE, press("enter"))

WEIGHTS: Final = (
    Scene(name="first-run", stage=_shelf(), start=furnish, steps=(_CHOICE,), shows=("is not on this computer yet", "Fetch")),
    Scene(
        name="another-model",
        stage=lambda: Stage(doors={"shelf": StillShelf(replace(usual_stock(), in_use="demo"))}),
        start=opened,
        steps=(press("f7"),),
        shows=("Choose what to go on with",),
    ),
    Scene(name="nothing-fits", stage=_shelf(_tight()), start=furnish, shows=("Choose a model", "Nothing here fits")),
    Scene(name="a-download-was-begun", stage=_shelf(_begun()), start=furnish, shows=("Choose a model", "Go on fetching")),
    Scene(
        name="asking-the-hub",
        stage=_moment("asking", here=0, total=None),
        start=furnish,
        steps=_FETCH,
        shows=("asking the hub",),
    ),
    Scene(name="downloading", stage=_shelf(), start=furnish, steps=_FETCH, shows=("40", "Pause")),
    Scene(
        name="waiting-to-try-again",
        stage=_moment("retrying", note="huggingface.co does not answer."),
        start=furnish,
        steps=_FETCH,
        shows=("does not answer",),
    ),
    Scene(name="checking", stage=_moment("verifying"), start=furnish, steps=_FETCH, shows=("checking what is here",)),
    Scene(name="paused", stage=_shelf(), start=furnish, steps=(*_FETCH, see("Pause"), press("p")), shows=("paused", "Go on")),
    Scene(name="offline", stage=_shelf(failure=_SILENT), start=furnish, steps=_FETCH, shows=("does not answer", "Try again")),
    Scene(
        name="leaving-a-download",
        stage=_shelf(),
        start=furnish,
        steps=(*_FETCH, see("Pause"), press("escape")),
        shows=("Leave while the model is being fetched?",),
    ),
)

SCENES: Final = (*BEHIND, *WEIGHTS)
