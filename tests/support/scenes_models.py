"""Scenes of models: choosing and downloading one, what can be done with it, and work in the background."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from support.app_harness import AppHarness, until
from support.first_run import GB, FrozenModelService, installed, usual_listing
from support.scenes import Scene, furnish, press, see

from mistral_chat.config import Settings
from mistral_chat.errors import DownloadFailed, ModelNotFound
from mistral_chat.memory_estimate import MemoryEstimate
from mistral_chat.model_listing import DownloadProgress, ModelListing
from mistral_chat.ui.screens.models import ModelsScreen

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.pilot import Pilot

    from mistral_chat.errors import MistralChatError
    from mistral_chat.model_listing import Stage

_ABSENT: Final = ModelNotFound("mistral-7b-instruct-v0.3 is not downloaded.")
_PART: Final = DownloadProgress(stage="downloading", bytes=1_749_124_800, total=4_372_812_000, speed=12_400_000, seconds_left=211)
_SILENT: Final = DownloadFailed(
    "huggingface.co stopped responding. Gave up after 7 attempts. Downloaded data is kept; start the download again to resume it."
)


def _service(
    listing: ModelListing | None = None, moment: DownloadProgress = _PART, failure: MistralChatError | None = None
) -> Callable[[], AppHarness]:
    """A computer without a model, and what can be downloaded."""
    service = FrozenModelService(listing or usual_listing(), moment, failure)
    settings = replace(Settings(), model="mistral-7b-instruct-v0.3")
    return lambda: AppHarness(failure=_ABSENT, settings=settings, app_options={"models": lambda: service})


def _tight() -> ModelListing:
    """What a computer with very little memory shows."""
    listing = usual_listing()
    rows = tuple(
        replace(
            row,
            fit="too large",
            recommended=row.spec == "demo",
            reason=row.reason.replace("9.0 GB available.", "0.3 GB available. It would fail to load or be very slow."),
        )
        for row in listing.rows
    )
    return replace(listing, rows=rows, selected="demo", ram=3 * GB // 10, disk=2 * GB)


def _begun() -> ModelListing:
    """A paused download, and a file that cannot be used."""
    listing = usual_listing()
    rows = tuple(replace(row, downloaded=1_200_000_000) if row.recommended else row for row in listing.rows)
    unusable = (("/home/ada/models/cut.gguf", "the file is incomplete: its tensors end at 4.1 GB and the file at 2.2 GB."),)
    return replace(listing, rows=rows, unusable=unusable)


def _moment(stage: Stage, **changes: Any) -> Callable[[], AppHarness]:
    fields: dict[str, Any] = {"stage": stage, "bytes": _PART.bytes, "total": _PART.total}
    return _service(moment=DownloadProgress(**(fields | changes)))


def _ours() -> AppHarness:
    """A downloaded model, while another is in use."""
    size = 4_372_812_000
    ours = installed(
        "Mistral 7B Instruct v0.3",
        "ours",
        spec="ours",
        quantization="Q4_K_M",
        bytes=size,
        memory=MemoryEstimate(weights=size, kv=537_000_000, compute=280_000_000),
        reclaimable=size,
        prompt_format="mistral-v3",
        verified=True,
    )
    listing = usual_listing()
    listing = replace(listing, rows=(ours, *listing.rows), in_use="demo", selected="ours")
    return AppHarness(app_options={"models": lambda: FrozenModelService(listing, _PART)})


async def _at_ours(pilot: Pilot[Any], harness: AppHarness) -> None:
    await pilot.press("f7")
    await until(pilot, lambda: isinstance(harness.app.screen, ModelsScreen))
    await see("Choose a model", "downloaded")(pilot, harness)
    screen = harness.app.screen
    assert isinstance(screen, ModelsScreen)
    screen.model_list.highlighted = screen.model_list.get_option_index("ours")
    await pilot.pause()


async def _busy(pilot: Pilot[Any], harness: AppHarness) -> None:
    """A download, a verification and a title are in progress."""
    begin = harness.chat.tasks.begin
    loading = begin("downloading", "Mistral 7B Instruct v0.3 Q4_K_M", cancel=lambda: None, kept="Downloaded data is kept.")
    begin("verifying", "SmolLM2 135M Instruct (demo) Q4_1", cancel=lambda: None).tell(0.61, "60.0 of 98.4 MB")
    begin("titling", "this conversation", cancel=lambda: None)
    loading.tell(0.4, "1.75 of 4.37 GB, 12.4 MB/s, 3 min 31 s left")
    await see("⟳ downloading 40%")(pilot, harness)


_CHOICE = see("Choose a model", "Download")
_FETCH: Final = (_CHOICE, press("enter"), see("Download Mistral"), press("right", "enter"))

SCENES: Final = (
    Scene(name="first-run", harness=_service(), start=furnish, steps=(_CHOICE,), shows=("is not downloaded", "Download")),
    Scene(
        name="another-model",
        harness=lambda: AppHarness(app_options={"models": lambda: FrozenModelService(replace(usual_listing(), in_use="demo"))}),
        steps=(press("f7"),),
        shows=("Switch model",),
    ),
    Scene(name="nothing-fits", harness=_service(_tight()), start=furnish, shows=("Choose a model", "No model fits")),
    Scene(name="a-download-was-begun", harness=_service(_begun()), start=furnish, shows=("Choose a model", "Resume download")),
    Scene(
        name="asking-the-hub",
        harness=_moment("asking", bytes=0, total=None),
        start=furnish,
        steps=_FETCH,
        shows=("contacting the hub",),
    ),
    Scene(name="downloading", harness=_service(), start=furnish, steps=_FETCH, shows=("40", "Pause")),
    Scene(
        name="waiting-to-try-again",
        harness=_moment("retrying", note="huggingface.co stopped responding"),
        start=furnish,
        steps=_FETCH,
        shows=("stopped responding",),
    ),
    Scene(name="checking", harness=_moment("verifying"), start=furnish, steps=_FETCH, shows=("verifying the SHA-256",)),
    Scene(
        name="paused", harness=_service(), start=furnish, steps=(*_FETCH, see("Pause"), press("p")), shows=("paused", "Resume")
    ),
    Scene(name="offline", harness=_service(failure=_SILENT), start=furnish, steps=_FETCH, shows=("stopped responding", "Retry")),
    Scene(
        name="leaving-a-download",
        harness=_service(),
        start=furnish,
        steps=(*_FETCH, see("Pause"), press("escape")),
        shows=("Leave the download?",),
    ),
    Scene(
        name="fetching-behind-the-list",
        harness=_service(),
        start=furnish,
        steps=(*_FETCH, see("Pause"), press("b")),
        shows=("Choose a model", "downloading 40%"),
    ),
    Scene(
        name="fetching-behind-the-chat",
        harness=_service(),
        start=furnish,
        steps=(*_FETCH, see("Pause"), press("b"), see("Choose a model"), press("escape")),
        shows=("⟳ downloading 40%",),
    ),
    Scene(name="what-to-do-with-a-model", harness=_ours, steps=(_at_ours, press("m")), shows=("Verify",)),
    Scene(name="the-format-of-a-model", harness=_ours, steps=(_at_ours, press("f")), shows=("mistral-v3-tekken",)),
    Scene(name="deleting-a-model", harness=_ours, steps=(_at_ours, press("delete")), shows=("4.4 GB",)),
    Scene(name="checking-a-model", harness=_ours, steps=(_at_ours, press("v")), shows=("verifying",)),
    Scene(name="background-in-the-line", steps=(_busy,), shows=("⟳ downloading 40%",)),
    Scene(name="background", steps=(_busy, press("alt+z")), shows=("Background tasks", "1.75 of 4.37 GB")),
)
