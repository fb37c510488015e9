"""The settings: frozen dataclasses, whose fields' docstrings are the reference, and whose types are the checks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from mistral_chat.errors import UsageError
from mistral_chat.generation import Sampling

SMALLEST_WINDOW = 256
"""llama.cpp silently makes a smaller window this large."""


def _check_range(owner: object, name: str, low: float, high: float) -> None:
    value = getattr(owner, name)
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSettings:
    """The window that the model sees."""

    size: int = 4096
    """How many tokens the model may see; llama.cpp rounds it up to a multiple of 256."""
    reserve: int = 512
    """Tokens kept free for a reply when a turn begins; at most an eighth of the window is used."""
    low_water: float = 0.75
    """When turns must leave, they leave until the window is filled to this share."""
    read_ahead: bool = True
    """Read an opened conversation, and a long draft, before anything is sent."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of its range; the message begins with the field's name.
        """
        _check_range(self, "size", SMALLEST_WINDOW, 2**20)
        _check_range(self, "reserve", 16, 2**20)
        _check_range(self, "low_water", 0.1, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSettings:
    """KV states on disk, which let an old conversation reopen at once."""

    enabled: bool = True
    """Keep KV states on disk. They hold what was said, as the database does, and die with their conversation."""
    budget: int = 2 * 1024**3
    """Bytes that all snapshots may take; the least recently used go first."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of its range; the message begins with the field's name.
        """
        _check_range(self, "budget", 0, 2**50)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How llama.cpp runs."""

    n_gpu_layers: int | None = None
    """Layers on the GPU; empty means as many as fit."""
    threads: int | None = None
    """CPU threads; empty means one for each physical core."""
    kv_type: Literal["f16", "q8_0"] = "f16"
    """How the KV cache is stored; q8_0 takes about half the memory of f16."""
    flash_attention: Literal["auto", "on", "off"] = "auto"
    """Flash attention; auto is on with a GPU and off on a CPU, where it is slower in a long context."""
    repack: bool = True
    """Let llama.cpp keep a second copy of the weights that is faster on this CPU."""
    check_memory: bool = True
    """Refuse to load what does not fit in the memory that is free."""
    lora: tuple[str, ...] = ()
    """LoRA adapters, each FILE or FILE:SCALE."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of its range; the message begins with the field's name.
        """
        _check_range(self, "n_gpu_layers", 0, 10_000)
        _check_range(self, "threads", 1, 1024)
        if self.kv_type != "f16" and self.flash_attention == "off":
            raise ValueError(f"flash_attention must be auto or on with a {self.kv_type} cache, which needs it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """A system prompt and a way of drawing tokens, under a name."""

    system: str = ""
    """The system prompt."""
    sampling: Sampling | None = None
    """How the next token is drawn; empty keeps the settings'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSource:
    """One more model that can be had."""

    repository: str
    """The hub's repository, OWNER/NAME."""
    file: str
    """The GGUF file in it."""
    revision: str = "main"
    """The commit or branch."""
    bytes: int | None = None
    """The file's size, where it is known."""
    sha256: str | None = None
    """The file's SHA-256 as 64 hexadecimal digits, where it is known."""
    prompt_format: str | None = None
    """How messages become tokens, where the file does not say."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of its range; the message begins with the field's name.
        """
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            raise ValueError(f"repository must be OWNER/NAME, not {self.repository!r}")
        if not self.file.endswith(".gguf"):
            raise ValueError(f"file must end in .gguf, not {self.file!r}")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits")
        _check_range(self, "bytes", 1, 2**50)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Where weights are looked for and which more can be had."""

    folder: str | None = None
    """Where downloads go; empty means the data folder."""
    folders: tuple[str, ...] = ()
    """More folders with GGUF files, used in place."""
    formats: dict[str, str] = field(default_factory=dict)
    """Prompt formats by model name, where the file's own is not to be used; `automatic` goes back to that."""
    catalog: dict[str, CatalogSource] = field(default_factory=dict)
    """More models by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, with its default."""

    model: str = "mistral-7b-instruct-v0.3"
    """What is chatted with: a catalog name, `demo`, a path to a .gguf, or hf:owner/repository/file.gguf."""
    system: str = ""
    """The system prompt of a new conversation."""
    theme: str = "mistral-dark"
    """The colours."""
    titles: Literal["first_line", "model"] = "first_line"
    """Where a conversation's title comes from until a person gives one."""
    trash_days: int = 30
    """Days until deleted conversations are gone for good; 0 keeps them until the trash is emptied."""
    sampling: Sampling = field(default_factory=Sampling)
    """How the next token is drawn."""
    context: ContextSettings = field(default_factory=ContextSettings)
    """The window that the model sees."""
    snapshots: SnapshotSettings = field(default_factory=SnapshotSettings)
    """KV states on disk, which let an old conversation reopen at once."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    """How llama.cpp runs."""
    models: ModelSettings = field(default_factory=ModelSettings)
    """Where weights are looked for and which more can be had."""
    personas: dict[str, Persona] = field(default_factory=dict)
    """System prompts with sampling, chosen by name."""
    keymap: dict[str, str] = field(default_factory=dict)
    """Keys by binding id."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of its range; the message begins with the field's name.
        """
        _check_range(self, "trash_days", 0, 36_500)
        if not self.model.strip():
            raise ValueError("model must name a model")

    def persona(self, name: str) -> Persona:
        """The persona `name`.

        Raises:
            UsageError: there is none.
        """
        if name not in self.personas:
            known = ", ".join(sorted(self.personas)) or "none yet"
            raise UsageError(f"There is no persona {name!r}. The personas in config.yaml are: {known}.")
        return self.personas[name]
