"""The app over the real shelf of weights and a hub of the tests' own; and a shelf that holds still for pictures."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.app_harness import ChatDriver, until, until_drawn
from support.hub_server import Fault, HubServer
from support.programs import echo_program
from support.tiny_files import FILE, REPOSITORY, gguf_bytes

from mistral_chat.cli.shelf import ProgramShelf
from mistral_chat.models.memory_fit import AvailableMemory
from mistral_chat.ui.app import MistralChatApp
from mistral_chat.ui.screens.weights import WeightsScreen
from mistral_chat.ui.shelf import Arrival, ShownWeights, Stock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from textual.pilot import Pilot

    from mistral_chat.errors import MistralChatError
    from mistral_chat.store.store import ConversationStore
    from mistral_chat.ui.shelf import Shelf

SIZE = 3_000_000
"""Bytes of the file on the hub."""

STALL = 1_000_000
"""Bytes after which a stalling hub falls silent."""

GB = 10**9

FORMATS = ("automatic", "mistral-v1", "mistral-v3", "mistral-v3-tekken", "mistral-v7", "mistral-v7-tekken", "chatml", "template")


@dataclass
class FirstRun:
    """A computer with no weights of ours, whose settings ask for `tiny`, which a hub of its own has."""

    folder: Path
    hub: HubServer
    memory: AvailableMemory = field(default_factory=lambda: AvailableMemory(ram=9 * GB))
    shelf: Shelf | None = None
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
            open_store=lambda: self.store,
            runner_for=self.program.runner,
            settings=self.program.settings,
            now=self.program.now,
            shelf=self.shelf or ProgramShelf(self.program, memory=lambda: self.memory),
        )

    @property
    def weights(self) -> WeightsScreen:
        """The screen for weights, which must be open."""
        return next(screen for screen in self.app.screen_stack if isinstance(screen, WeightsScreen))

    @property
    def chat(self) -> ChatDriver:
        """The chat screen."""
        return ChatDriver(self.app)

    @property
    def choosing(self) -> bool:
        """Whether the list is on the screen, with everything in it."""
        screen = self.app.screen
        return isinstance(screen, WeightsScreen) and screen.is_mounted and screen.listed.marked is not None


def point_at(first: FirstRun, spec: str) -> None:
    """Put the cursor of the list on the weights `spec`."""
    listed = first.weights.listed
    listed.highlighted = next(place for place, option in enumerate(listed.options) if option.id == spec)


async def chatting(pilot: Pilot[Any], first: FirstRun) -> None:
    """Wait until the chat is open and its model is loaded."""
    await until(pilot, lambda: first.chat.is_current and first.chat.state == "ready", "the chat is open")


async def stalled(pilot: Pilot[Any], first: FirstRun) -> None:
    """Begin the download, which stalls after a third."""
    first.hub.misbehave(Fault(stall_after=STALL, times=1))
    await until(pilot, lambda: first.choosing)
    await pilot.press("enter")
    await until_drawn(pilot, "1.0 of 3.0 MB")


def put(first: FirstRun) -> None:
    """Lay the weights where a download would put them."""
    first.target.parent.mkdir(parents=True)
    first.target.write_bytes(first.content)


class StillShelf:
    """Holds the same weights at all times and fetches up to one moment, so that pictures of it are alike."""

    def __init__(self, stock: Stock, moment: Arrival | None = None, failure: MistralChatError | None = None) -> None:
        self._stock = stock
        self._moment = moment
        self._failure = failure

    def look(self, wanted: str, in_use: str | None) -> Stock:
        return self._stock

    def fetch(self, spec: str, stop: threading.Event) -> Iterator[Arrival]:
        assert self._moment is not None
        yield self._moment
        if self._failure is not None:
            raise self._failure
        stop.wait(30)
        yield Arrival(stage="paused", here=self._moment.here, total=self._moment.total)

    def keep(self, spec: str, *, first: bool) -> str:
        return ""

    def check(self, spec: str, stop: threading.Event, tell: Callable[[int], None]) -> bool | None:
        tell(60_000_000)
        stop.wait(30)
        return None

    def remove(self, spec: str) -> int:
        return 0

    def formats(self) -> tuple[str, ...]:
        return FORMATS

    def keep_format(self, spec: str, name: str) -> str:
        return ""


def offered(quantization: str, size: int, **changes: Any) -> ShownWeights:
    """One quantization of the default model, as the catalog offers it."""
    needs = (size, 537_000_000, 280_000_000)
    facts: dict[str, Any] = {
        "spec": f"mistral-7b-instruct-v0.3:{quantization}",
        "title": "Mistral 7B Instruct v0.3",
        "quantization": quantization,
        "about": "The default. Good all-round chat in English and the large European languages.",
        "licence": "Apache-2.0",
        "size": size,
        "needs": needs,
        "fit": "fits",
        "reason": f"Needs about {sum(needs) / GB:.1f} GB; 9.0 GB are free.",
        "source": f"bartowski/Mistral-7B-Instruct-v0.3-GGUF/Mistral-7B-Instruct-v0.3-{quantization}.gguf",
    }
    return ShownWeights(**(facts | changes))


def here(title: str, place: str, **changes: Any) -> ShownWeights:
    """Weights on this disk."""
    facts: dict[str, Any] = {
        "spec": title,
        "title": title,
        "quantization": "Q4_1",
        "licence": "Apache-2.0",
        "size": 98_362_432,
        "needs": (98_362_432, 94_000_000, 107_000_000),
        "fit": "fits",
        "reason": "Needs about 0.3 GB; 9.0 GB are free.",
        "place": place,
        "source": "/home/ada/models/weights.gguf",
    }
    return ShownWeights(**(facts | changes))


def usual_stock(**changes: Any) -> Stock:
    """What a laptop with 9 GB free shows at its first start."""
    weights = (
        here("SmolLM2 135M Instruct (demo)", "demo package", spec="demo"),
        here(
            "mistral:latest", "Ollama", quantization="Q4_0", size=4_113_289_152, needs=(4_113_289_152, 537_000_000, 280_000_000)
        ),
        offered(
            "Q8_0", 7_710_000_000, exact=False, fit="too large", reason="Needs about 8.6 GB; 9.0 GB are free; it would crawl."
        ),
        offered("Q6_K", 5_950_000_000, exact=False),
        offered("Q4_K_M", 4_372_812_000, spec="mistral-7b-instruct-v0.3", recommended=True),
        offered("Q2_K", 2_720_000_000, exact=False),
    )
    facts: dict[str, Any] = {
        "weights": weights,
        "chosen": "mistral-7b-instruct-v0.3",
        "memory": 9 * GB,
        "disk": 120 * GB,
        "folder": "/home/ada/.local/share/mistral-chat/models",
        "hub": "huggingface.co",
        "window": 4096,
    }
    return Stock(**(facts | changes))
