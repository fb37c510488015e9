"""The app with the real model service and the tests' own hub, and a frozen service for pictures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from support.app_harness import ChatDriver, until, until_drawn
from support.hub_server import Fault, HubServer
from support.programs import echo_program
from support.tiny_files import FILE, REPOSITORY, gguf_bytes

from mistral_chat.memory_estimate import MemoryEstimate
from mistral_chat.model_listing import DownloadProgress, ModelListing, ModelRow
from mistral_chat.models.memory_fit import AvailableMemory
from mistral_chat.models.retry import DownloadPaused
from mistral_chat.models.service import ModelService
from mistral_chat.models.task import ModelTask
from mistral_chat.ui.app import MistralChatApp
from mistral_chat.ui.context import AppContext
from mistral_chat.ui.dialogs.confirm import ConfirmDialog
from mistral_chat.ui.screens.models import ModelsScreen

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

    from mistral_chat.errors import MistralChatError
    from mistral_chat.models.download import Download
    from mistral_chat.models.operations import Verification
    from mistral_chat.store.store import ConversationStore

SIZE = 3_000_000
"""Bytes of the file on the hub."""

STALL = 1_000_000
"""Bytes after which a stalling hub falls silent."""

GB = 10**9

FORMATS = ("automatic", "mistral-v1", "mistral-v3", "mistral-v3-tekken", "mistral-v7", "mistral-v7-tekken", "chatml", "template")


@dataclass
class FirstRun:
    """A computer without a downloaded model, whose settings ask for `tiny`, which a hub of its own has."""

    folder: Path
    hub: HubServer
    memory: AvailableMemory = field(default_factory=lambda: AvailableMemory(ram=9 * GB))
    service: ModelService | None = None
    """In place of the real one."""
    model: str = "tiny"

    def __post_init__(self) -> None:
        self.content = gguf_bytes(SIZE)
        self.hub.add(REPOSITORY, FILE, self.content)
        settings = self.folder / "config.yaml"
        settings.write_text(
            f"model: {self.model}\nmodels:\n  catalog:\n    tiny: {{repository: {REPOSITORY}, file: {FILE}}}\n", encoding="utf-8"
        )
        environ = {
            "HF_ENDPOINT": self.hub.endpoint,
            "MISTRAL_CHAT_CONFIG": str(settings),
            "MISTRAL_CHAT_DATA_DIR": str(self.folder / "data"),
        }
        self.program = echo_program(environ=environ)
        self.target = self.folder / "data" / "models" / REPOSITORY / FILE
        self.part = self.target.with_name(FILE + ".part")
        self.store: ConversationStore = self.program.open_store(saved=False)
        self.app = MistralChatApp(
            AppContext(
                open_store=lambda: self.store,
                open_engine=self.program.runner,
                settings=self.program.settings,
                now=self.program.now,
                models=lambda: self.service or replace(self.program.model_service(), memory=lambda: self.memory),
            )
        )

    @property
    def models(self) -> ModelsScreen:
        """The models screen, which must be open."""
        return next(screen for screen in self.app.screen_stack if isinstance(screen, ModelsScreen))

    @property
    def chat(self) -> ChatDriver:
        """The chat screen."""
        return ChatDriver(self.app)

    @property
    def choosing(self) -> bool:
        """Whether the list is on the screen, with everything in it."""
        screen = self.app.screen
        return isinstance(screen, ModelsScreen) and screen.is_mounted and screen.model_list.selected != ""


def point_at(first: FirstRun, spec: str) -> None:
    """Put the cursor of the list on the model `spec`."""
    models = first.models.model_list
    models.highlighted = next(index for index, option in enumerate(models.options) if option.id == spec)


async def download(pilot: Pilot[Any], first: FirstRun) -> None:
    """Select what the cursor is on and confirm its download."""
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(first.app.screen, ConfirmDialog), "the download is confirmed first")
    await pilot.press("right", "enter")


async def chatting(pilot: Pilot[Any], first: FirstRun) -> None:
    """Wait until the chat is open and its model is loaded."""
    await until(pilot, lambda: first.chat.is_current and first.chat.state == "ready", "the chat is open")


async def stalled(pilot: Pilot[Any], first: FirstRun) -> None:
    """Begin the download, which stalls after a third."""
    first.hub.misbehave(Fault(stall_after=STALL, times=1))
    await until(pilot, lambda: first.choosing)
    await download(pilot, first)
    await until_drawn(pilot, "1.0 of 3.0 MB")


def put(first: FirstRun) -> None:
    """Put the model where a download would."""
    first.target.parent.mkdir(parents=True)
    first.target.write_bytes(first.content)


class FrozenModelService(ModelService):
    """Lists the same models at all times, and downloads up to one moment, so that pictures are reproducible."""

    def __init__(
        self, listing: ModelListing, moment: DownloadProgress | None = None, failure: MistralChatError | None = None
    ) -> None:
        object.__setattr__(self, "_fixed", (listing, moment, failure))

    def listing(self, wanted: str, in_use: str | None) -> ModelListing:
        found: ModelListing = self._fixed[0]  # type: ignore[attr-defined]  # set above, past the frozen fields
        return found

    def download(self, spec: str) -> Download:
        listing, moment, failure = self._fixed  # type: ignore[attr-defined]  # set above, past the frozen fields
        row = listing.find(spec)
        assert moment is not None
        assert row is not None
        return cast("Download", FrozenTask("downloading", spec, row.label, moment, failure))

    def verification(self, row: ModelRow) -> Verification:
        moment = DownloadProgress(stage="verifying", bytes=60_000_000, total=98_362_432)
        return cast("Verification", FrozenTask("verifying", row.spec, row.label, moment))

    def save_default(self, spec: str, *, first: bool) -> str:
        return ""

    def remove(self, spec: str) -> int:
        return 0

    def prompt_formats(self) -> tuple[str, ...]:
        return FORMATS

    def set_prompt_format(self, spec: str, name: str) -> str:
        return ""


class FrozenTask(ModelTask):
    """A task that stays at one moment until it is cancelled, or fails there."""

    def __init__(
        self, kind: str, spec: str, name: str, moment: DownloadProgress, failure: MistralChatError | None = None
    ) -> None:
        self.kind = kind
        super().__init__(spec, name)
        self._moment, self._failure = moment, failure

    @property
    def progress(self) -> DownloadProgress:
        return replace(self._moment, stage="paused", speed=0.0) if self.state == "paused" else self._moment

    def _work(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._stop.wait(30)
        raise DownloadPaused


def offered(quantization: str, size: int, **changes: Any) -> ModelRow:
    """One quantization of the default model, as the catalog offers it."""
    memory = MemoryEstimate(weights=size, kv=537_000_000, compute=280_000_000)
    spec = f"mistral-7b-instruct-v0.3:{quantization}"
    fields: dict[str, Any] = {
        "spec": spec,
        "name": spec,
        "title": "Mistral 7B Instruct v0.3",
        "family": "mistral-7b-instruct-v0.3",
        "quantization": quantization,
        "about": "The default. Good all-round chat in English and the major European languages.",
        "licence": "Apache-2.0",
        "bytes": size,
        "memory": memory,
        "fit": "fits",
        "reason": f"Needs about {memory.total / GB:.1f} GB of memory; 9.0 GB available.",
        "address": f"bartowski/Mistral-7B-Instruct-v0.3-GGUF/Mistral-7B-Instruct-v0.3-{quantization}.gguf",
    }
    return ModelRow(**(fields | changes))


def installed(title: str, source: str, **changes: Any) -> ModelRow:
    """A model on this computer."""
    fields: dict[str, Any] = {
        "spec": title,
        "name": title,
        "title": title,
        "quantization": "Q4_1",
        "licence": "Apache-2.0",
        "bytes": 98_362_432,
        "memory": MemoryEstimate(weights=98_362_432, kv=94_000_000, compute=107_000_000),
        "fit": "fits",
        "reason": "Needs about 0.3 GB of memory; 9.0 GB available.",
        "source": source,
        "path": "/home/ada/models/model.gguf",
    }
    return ModelRow(**(fields | changes))


def usual_listing(**changes: Any) -> ModelListing:
    """What a laptop with 9 GB free shows at its first start."""
    size = 4_113_289_152
    rows = (
        installed("SmolLM2 135M Instruct (demo)", "demo", spec="demo"),
        installed(
            "mistral:latest",
            "ollama",
            quantization="Q4_0",
            bytes=size,
            memory=MemoryEstimate(weights=size, kv=537_000_000, compute=280_000_000),
        ),
        offered(
            "Q8_0",
            7_710_000_000,
            exact=False,
            fit="too large",
            reason="Needs about 8.6 GB of memory; 9.0 GB available. It would fail to load or be very slow.",
        ),
        offered("Q6_K", 5_950_000_000, exact=False),
        offered("Q4_K_M", 4_372_812_000, spec="mistral-7b-instruct-v0.3", recommended=True, suggested=True),
        offered("Q2_K", 2_720_000_000, exact=False),
        offered(
            "Q4_K_M",
            7_477_208_192,
            spec="mistral-nemo-instruct-2407",
            title="Mistral Nemo Instruct 2407",
            family="mistral-nemo-instruct-2407",
            fit="too large",
            suggested=True,
        ),
    )
    fields: dict[str, Any] = {
        "rows": rows,
        "selected": "mistral-7b-instruct-v0.3",
        "ram": 9 * GB,
        "disk": 120 * GB,
        "folder": "/home/ada/.local/share/mistral-chat/models",
        "hub": "huggingface.co",
        "context_size": 4096,
    }
    return ModelListing(**(fields | changes))
