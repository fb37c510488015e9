"""The settings: frozen dataclasses are the declaration, and YAML nodes with line marks are the reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mistral_chat.generation import Sampling


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSettings:
    """KV states on disk, which let an old conversation reopen at once."""

    enabled: bool = True
    """Keep KV states on disk. They hold what was said, as the database does, and die with their conversation."""
    budget: int = 2 * 1024**3
    """Bytes that all snapshots may take; the least recently used go first."""


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
    lora: tuple[str, ...] = ()
    """LoRA adapters, each FILE or FILE:SCALE."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Where weights are looked for and which more can be had."""

    folder: str | None = None
    """Where downloads go; empty means the data folder."""
    folders: tuple[str, ...] = ()
    """More folders with GGUF files, used in place."""
    formats: dict[str, str] = field(default_factory=dict)
    """Prompt formats by model name, where the file's own is not to be used."""
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
    context: ContextSettings = field(default_factory=ContextSettings)
    snapshots: SnapshotSettings = field(default_factory=SnapshotSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    personas: dict[str, Persona] = field(default_factory=dict)
    """System prompts with sampling, chosen by name."""
    keymap: dict[str, str] = field(default_factory=dict)
    """Keys by binding id."""
