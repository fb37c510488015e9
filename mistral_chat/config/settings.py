"""The settings as frozen dataclasses. Their types are the checks, and their annotations the documentation shown to users."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from mistral_chat.errors import UsageError
from mistral_chat.sampling import Sampling

SMALLEST_WINDOW = 256
"""llama.cpp silently enlarges a smaller context to this."""


def _check_ranges(owner: object, **ranges: tuple[float, float]) -> None:
    """Check the fields of `owner`.

    Raises:
        ValueError: a value is out of its range; the message starts with the field's name.
    """
    for name, (low, high) in ranges.items():
        if (value := getattr(owner, name)) is not None and not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSettings:
    """The context window."""

    size: Annotated[int, "Context window, in tokens. llama.cpp rounds it up to a multiple of 256."] = 4096
    reserve: Annotated[int, "Tokens reserved for the reply; at most an eighth of the context."] = 512
    low_water: Annotated[float, "When the context is full, the oldest turns are dropped until this share of it is used."] = 0.75
    read_ahead: Annotated[bool, "Prefill opened conversations and long drafts before you send, so that replies start sooner."] = (
        True
    )

    def __post_init__(self) -> None:
        """Check the values, with errors as of `_check_ranges`."""
        _check_ranges(self, size=(SMALLEST_WINDOW, 2**20), reserve=(16, 2**20), low_water=(0.1, 0.95))


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSettings:
    """Context snapshots on disk."""

    enabled: Annotated[
        bool,
        "Save context snapshots. They contain conversation text, as the database does, and are deleted with their conversation.",
    ] = True
    budget: Annotated[int, "Maximum size of all snapshots in bytes; the least recently used are deleted first."] = 2 * 1024**3

    def __post_init__(self) -> None:
        """Check the values, with errors as of `_check_ranges`."""
        _check_ranges(self, budget=(0, 2**50))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How llama.cpp runs."""

    n_gpu_layers: Annotated[int | None, "Layers to run on the GPU; empty: as many as fit."] = None
    threads: Annotated[int | None, "CPU threads; empty: one for each physical core."] = None
    kv_type: Annotated[Literal["f16", "q8_0"], "KV cache type; q8_0 takes about half the memory of f16."] = "f16"
    flash_attention: Annotated[
        Literal["auto", "on", "off"],
        "Flash attention; auto is on with a GPU and off on a CPU, where it slows down long contexts.",
    ] = "auto"
    repack: Annotated[
        bool | None, "Repack the weights for this CPU: may be faster, takes twice the memory. Empty: as measured."
    ] = None
    check_memory: Annotated[bool, "Refuse to load a model that does not fit in the free memory."] = True
    lora: Annotated[tuple[str, ...], "LoRA adapters, each FILE or FILE:SCALE."] = ()

    def __post_init__(self) -> None:
        """Check the values, with errors as of `_check_ranges`."""
        _check_ranges(self, n_gpu_layers=(0, 10_000), threads=(1, 1024))
        if self.kv_type != "f16" and self.flash_attention == "off":
            raise ValueError(f"flash_attention must be auto or on with a {self.kv_type} cache, which needs it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """A system prompt and sampling settings."""

    system: Annotated[str, "System prompt."] = ""
    sampling: Annotated[Sampling | None, "Sampling; empty: the general sampling settings."] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSource:
    """A model that the user added to the catalog."""

    repository: Annotated[str, "Hugging Face repository, OWNER/NAME."]
    file: Annotated[str, "GGUF file in the repository."]
    revision: Annotated[str, "Commit or branch."] = "main"
    bytes: Annotated[int | None, "Size of the file in bytes, if known."] = None
    sha256: Annotated[str | None, "SHA-256 of the file as 64 hexadecimal digits, if known."] = None
    prompt_format: Annotated[str | None, "Prompt format, if the file does not state one."] = None

    def __post_init__(self) -> None:
        """Check the values, with errors as of `_check_ranges`."""
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            raise ValueError(f"repository must be OWNER/NAME, not {self.repository!r}")
        if not self.file.endswith(".gguf"):
            raise ValueError(f"file must end in .gguf, not {self.file!r}")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits")
        _check_ranges(self, bytes=(1, 2**50))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Model files."""

    folder: Annotated[str | None, "Download folder; empty: the data folder."] = None
    folders: Annotated[tuple[str, ...], "More folders with GGUF files, which are used in place."] = ()
    formats: Annotated[
        dict[str, str], "Prompt formats by model name, overriding the file's own; `automatic` uses the file's own."
    ] = field(default_factory=dict)
    catalog: Annotated[dict[str, CatalogSource], "Your own models to download, by name."] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values, with errors as of `_check_ranges`."""
        if re.search(r"[\0\ud800-\udc7f\udd00-\udfff]", self.folder or ""):  # Python writes odd bytes as those left out
            raise ValueError("folder contains a character that no path can have")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, with their defaults."""

    model: Annotated[str, "Model: a catalog name, `demo`, a path to a .gguf file, or hf:OWNER/REPOSITORY/FILE.gguf."] = (
        "mistral-7b-instruct-v0.3"
    )
    system: Annotated[str, "System prompt of new conversations."] = ""
    theme: Annotated[str, "Theme."] = "mistral-dark"
    titles: Annotated[
        Literal["first_line", "model"],
        "Automatic conversation titles: the first line of the first message, or written by the model.",
    ] = "first_line"
    statistics: Annotated[bool, "Show token counts and speed under replies."] = False
    trash_days: Annotated[
        int, "Days until deleted conversations are erased permanently; 0 keeps them until you empty the trash."
    ] = 30
    embedding_model: Annotated[
        str, "Embedding model for recall and documents: a catalog name or a path to a .gguf file; empty: words only."
    ] = "all-minilm-l6-v2"
    recall: Annotated[bool, "Recall exchanges that have left the context when a message refers to them."] = True
    sampling: Annotated[Sampling, "Sampling."] = field(default_factory=Sampling)
    context: Annotated[ContextSettings, "Context window."] = field(default_factory=ContextSettings)
    snapshots: Annotated[SnapshotSettings, "Context snapshots on disk, which let an old conversation reopen at once."] = field(
        default_factory=SnapshotSettings
    )
    engine: Annotated[EngineSettings, "How llama.cpp runs."] = field(default_factory=EngineSettings)
    models: Annotated[ModelSettings, "Model files."] = field(default_factory=ModelSettings)
    personas: Annotated[dict[str, Persona], "Personas: system prompts with sampling settings, by name."] = field(
        default_factory=dict
    )
    keymap: Annotated[dict[str, str], "Keybindings by id."] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values, with errors as of `_check_ranges`."""
        _check_ranges(self, trash_days=(0, 36_500))
        if not self.model.strip():
            raise ValueError("model must name a model")

    def persona(self, name: str) -> Persona:
        """The persona called `name`.

        Raises:
            UsageError: there is none.
        """
        if name not in self.personas:
            known = ", ".join(sorted(self.personas)) or "none yet"
            raise UsageError(f"Unknown persona {name!r}. Personas in config.yaml: {known}.")
        return self.personas[name]
