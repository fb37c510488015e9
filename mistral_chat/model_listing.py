"""Models and downloads as plain values, made by the model service and shown by the screen and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from mistral_chat.formatting import format_duration, format_progress, format_size

if TYPE_CHECKING:
    from mistral_chat.memory_estimate import MemoryEstimate

Source = Literal["ours", "demo", "hub cache", "lm studio", "ollama", "folder", "path"]
"""Where a model file is: in the folder of this program, in the demo package, in another program's folder, or in the user's."""

FitVerdict = Literal["fits", "tight", "too large", "unknown"]
"""Whether a model fits in the available memory."""

Stage = Literal["asking", "waiting", "downloading", "retrying", "verifying", "paused", "done"]
"""The stage of a download: contacting the hub, waiting for another process that downloads the same file, downloading, retrying
after an error, verifying the SHA-256, paused, or done.
"""
STAGES: Final[dict[Stage, str]] = {
    "asking": "contacting the hub",
    "waiting": "waiting",
    "downloading": "downloading",
    "retrying": "retrying",
    "verifying": "verifying the SHA-256",
    "paused": "paused",
    "done": "done",
}
"""What a download does, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model, installed or available for download. Sizes are in bytes; texts are untrusted."""

    spec: str
    """The name that ``-m`` takes; unique in a listing."""
    name: str
    """The catalog name, or the name in the other program's folder; two files may share it."""
    title: str
    family: str = ""
    """The catalog model that the file is a quantization of."""
    quantization: str = ""
    about: str = ""
    """One sentence that helps to choose."""
    licence: str = ""
    bytes: int | None = None
    """The file size, all parts included; None if unknown."""
    exact: bool = True
    """Whether `bytes` is published or measured; otherwise it is an estimate."""
    memory: MemoryEstimate | None = None
    fit: FitVerdict = "unknown"
    reason: str = ""
    """The memory needed and available, in one sentence."""
    source: Source | None = None
    """Where the file is; None for a model that is not installed."""
    path: str = ""
    """The file on this computer; empty for a model that is not installed."""
    address: str = ""
    """The repository and the file on the hub."""
    verified: bool | None = None
    """Whether the SHA-256 was found to be right; None if it was never computed."""
    downloaded: int = 0
    """Bytes of a partial download."""
    obstacle: str = ""
    """Why it cannot be downloaded from here, and what to do instead."""
    recommended: bool = False
    """Whether this is the model to choose on this computer."""
    suggested: bool = False
    """Whether this is the quantization to choose of its family."""
    reclaimable: int | None = None
    """Bytes that deleting it frees; None if this program may not delete it."""
    prompt_format: str = ""
    """The prompt format set by the user; empty for the detected one."""
    activity: str = ""
    """The task running for it, such as ``downloading 40%``."""

    @property
    def installed(self) -> bool:
        """Whether the whole file is on this computer."""
        return self.source is not None

    @property
    def fits(self) -> bool | None:
        """Whether it fits in memory, tightly or not; None if that is unknown."""
        return None if self.fit == "unknown" else self.fit != "too large"

    @property
    def label(self) -> str:
        """Title and quantization."""
        return f"{self.title} {self.quantization}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelListing:
    """Every model that can be chosen, and the free memory and disk space of this computer, in bytes."""

    rows: tuple[ModelRow, ...] = ()
    """Installed models first, then the others in the catalog's order."""
    selected: str = ""
    """The spec of the row to select first; empty without rows."""
    in_use: str = ""
    """The spec of the loaded model; empty without one."""
    ram: int = 0
    vram: int = 0
    """On graphics cards with memory of their own."""
    disk: int | None = None
    """Where downloads go; None if the system does not say."""
    folder: str = ""
    """Where downloads go."""
    hub: str = ""
    """The host that downloads come from."""
    context_size: int = 0
    """Tokens of the context that memory is estimated for."""
    companion: ModelRow | None = None
    """The embedding model of the settings, if it is not installed and can be downloaded."""
    unusable: tuple[tuple[str, str], ...] = ()
    """Model files that cannot be used, each with the reason."""

    def find(self, spec: str) -> ModelRow | None:
        """The row of `spec`."""
        return next((row for row in self.rows if row.spec == spec), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadProgress:
    """The progress of a download or of a verification."""

    stage: Stage
    bytes: int = 0
    """Downloaded, or hashed."""
    total: int | None = None
    """None until the size is known."""
    speed: float = 0.0
    """Bytes per second over the last five seconds."""
    seconds_left: float | None = None
    note: str = ""
    """Why it is waiting or retrying."""

    @property
    def share(self) -> float | None:
        """The part done, 0.0 to 1.0; None until the size is known."""
        return min(1.0, self.bytes / self.total) if self.total else None

    @property
    def amounts(self) -> str:
        """Bytes, speed and remaining time, as far as they are known: ``1.75 of 4.37 GB, 12.4 MB/s, 3 min 31 s left``."""
        parts = [format_progress(self.bytes, self.total) if self.total else format_size(self.bytes) if self.bytes else ""]
        if self.stage in {"downloading", "waiting"} and self.speed > 0:
            parts.append(f"{format_size(self.speed)}/s")
            parts.append(f"{format_duration(self.seconds_left)} left" if self.seconds_left is not None else "")
        return ", ".join(part for part in parts if part)
