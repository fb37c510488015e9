"""Scenes of models: choosing and fetching one, what can be done with it, and what goes on in the background."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from support.app_harness import AppHarness, until
from support.first_run import GB, StillShelf, here, usual_stock
from support.scenes import Scene, furnish, press, see

from mistral_chat.config import Settings
from mistral_chat.errors import DownloadFailed, ModelNotFound
from mistral_chat.ui.screens.weights import WeightsScreen
from mistral_chat.ui.shelf import Arrival, Stock

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.pilot import Pilot

    from mistral_chat.errors import MistralChatError

_ABSENT: Final = ModelNotFound("mistral-7b-instruct-v0.3 is not on this disk.")
_PART: Final = Arrival(stage="downloading", here=1_749_124_800, total=4_372_812_000, speed=12_400_000, seconds_left=211)
_SILENT: Final = DownloadFailed(
    "huggingface.co does not answer. It was tried 7 times. What has arrived is kept; start the download again to go on."
)


def _shelf(
    stock: Stock | None = None, moment: Arrival = _PART, failure: MistralChatError | None = None
) -> Callable[[], AppHarness]:
    """A computer without a model, and what could be had."""
    shelf = StillShelf(stock or usual_stock(), moment, failure)
    settings = replace(Settings(), model="mistral-7b-instruct-v0.3")
    return lambda: AppHarness(failure=_ABSENT, settings=settings, app_options={"shelf": shelf})


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


def _moment(stage: str, **changes: Any) -> Callable[[], AppHarness]:
    facts: dict[str, Any] = {"stage": stage, "here": _PART.here, "total": _PART.total}
    return _shelf(moment=Arrival(**(facts | changes)))


def _ours() -> AppHarness:
    """A model in our folder, while another is in use."""
    size = 4_372_812_000
    ours = here(
        "Mistral 7B Instruct v0.3",
        "our folder",
        spec="ours",
        quantization="Q4_K_M",
        size=size,
        needs=(size, 537_000_000, 280_000_000),
        frees=size,
        prompt_format="mistral-v3",
        verified=True,
    )
    stock = usual_stock()
    stock = replace(stock, weights=(ours, *stock.weights), in_use="demo", chosen="ours")
    return AppHarness(app_options={"shelf": StillShelf(stock, _PART)})


async def _at_ours(pilot: Pilot[Any], harness: AppHarness) -> None:
    await pilot.press("f7")
    await until(pilot, lambda: isinstance(harness.app.screen, WeightsScreen))
    await see("Choose a model", "our folder")(pilot, harness)
    screen = harness.app.screen
    assert isinstance(screen, WeightsScreen)
    screen.listed.highlighted = screen.listed.get_option_index("ours")
    await pilot.pause()


async def _busy(pilot: Pilot[Any], harness: AppHarness) -> None:
    """A download, a check and a title go on."""
    begin = harness.chat.jobs.begin
    fetching = begin("fetching", "Mistral 7B Instruct v0.3 Q4_K_M", cancel=lambda: None, kept="What has arrived is kept.")
    begin("checking", "SmolLM2 135M Instruct (demo) Q4_1", cancel=lambda: None).tell(0.61, "60.0 of 98.4 MB")
    begin("titling", "this conversation", cancel=lambda: None)
    fetching.tell(0.4, "1.75 of 4.37 GB, 12.4 MB/s, 3 min 31 s left")
    await see("⟳ fetching 40%")(pilot, harness)


_CHOICE = see("Choose a model", "Fetch")
_FETCH: Final = (_CHOICE, press("enter"))

SCENES: Final = (
    Scene(name="first-run", harness=_shelf(), start=furnish, steps=(_CHOICE,), shows=("is not on this computer yet", "Fetch")),
    Scene(
        name="another-model",
        harness=lambda: AppHarness(app_options={"shelf": StillShelf(replace(usual_stock(), in_use="demo"))}),
        steps=(press("f7"),),
        shows=("Choose what to go on with",),
    ),
    Scene(name="nothing-fits", harness=_shelf(_tight()), start=furnish, shows=("Choose a model", "Nothing here fits")),
    Scene(name="a-download-was-begun", harness=_shelf(_begun()), start=furnish, shows=("Choose a model", "Go on fetching")),
    Scene(
        name="asking-the-hub",
        harness=_moment("asking", here=0, total=None),
        start=furnish,
        steps=_FETCH,
        shows=("asking the hub",),
    ),
    Scene(name="downloading", harness=_shelf(), start=furnish, steps=_FETCH, shows=("40", "Pause")),
    Scene(
        name="waiting-to-try-again",
        harness=_moment("retrying", note="huggingface.co does not answer."),
        start=furnish,
        steps=_FETCH,
        shows=("does not answer",),
    ),
    Scene(name="checking", harness=_moment("verifying"), start=furnish, steps=_FETCH, shows=("checking what is here",)),
    Scene(name="paused", harness=_shelf(), start=furnish, steps=(*_FETCH, see("Pause"), press("p")), shows=("paused", "Go on")),
    Scene(name="offline", harness=_shelf(failure=_SILENT), start=furnish, steps=_FETCH, shows=("does not answer", "Try again")),
    Scene(
        name="leaving-a-download",
        harness=_shelf(),
        start=furnish,
        steps=(*_FETCH, see("Pause"), press("escape")),
        shows=("Leave while the model is being fetched?",),
    ),
    Scene(
        name="fetching-behind-the-list",
        harness=_shelf(),
        start=furnish,
        steps=(*_FETCH, see("Pause"), press("b")),
        shows=("Choose a model", "fetching 40 %"),
    ),
    Scene(
        name="fetching-behind-the-chat",
        harness=_shelf(),
        start=furnish,
        steps=(*_FETCH, see("Pause"), press("b"), see("Choose a model"), press("escape")),
        shows=("⟳ fetching 40%",),
    ),
    Scene(name="what-to-do-with-a-model", harness=_ours, steps=(_at_ours, press("m")), shows=("Check",)),
    Scene(name="the-format-of-a-model", harness=_ours, steps=(_at_ours, press("f")), shows=("mistral-v3-tekken",)),
    Scene(name="deleting-a-model", harness=_ours, steps=(_at_ours, press("delete")), shows=("4.37 GB",)),
    Scene(name="checking-a-model", harness=_ours, steps=(_at_ours, press("v")), shows=("checking",)),
    Scene(name="background-in-the-line", steps=(_busy,), shows=("⟳ fetching 40%",)),
    Scene(name="background", steps=(_busy, press("alt+z")), shows=("In the background", "1.75 of 4.37 GB")),
)
