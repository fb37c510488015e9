"""Estimates the memory that models need, which fit, and which one to recommend. Pure: the machine is measured elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mistral_chat.memory_estimate import KvType, MemoryEstimate, estimate_memory
from mistral_chat.model_listing import ModelRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.model_listing import FitVerdict
    from mistral_chat.models.catalog import Catalog, CatalogEntry
    from mistral_chat.models.metadata import GGUFMetadata

_BITS_PER_WEIGHT: Final = {
    "Q2_K": 3.00,
    "IQ3_M": 3.63,
    "IQ4_XS": 4.32,
    "Q4_K_S": 4.58,
    "Q4_K_M": 4.83,
    "Q5_K_M": 5.67,
    "Q6_K": 6.57,
    "Q8_0": 8.51,
    "F16": 16.0,
}
"""File size / number of weights, from the 7B files whose sizes are published."""

_SPARE_RAM: Final = 500_000_000
"""Bytes left to other programs."""
_TIGHT: Final = 0.85
"""A model that needs more than this share of the available memory is tight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableMemory:
    """The memory that is available on this machine, in bytes."""

    ram: int
    """Available to programs, including caches that the system would give up."""
    vram: int = 0
    """Free on the graphics cards that llama.cpp uses; 0 without one."""
    unified: bool = False
    """Whether the graphics card shares `ram`, as on Apple silicon; `vram` is the part that it may use."""


def estimate_for(metadata: GGUFMetadata, *, window: int, kv_type: KvType = "f16") -> MemoryEstimate:
    """The memory that a model file needs with a context of `window` tokens."""
    return estimate_memory(
        metadata.dimensions,
        metadata.bytes,
        window=window,
        kv_type=kv_type,
        kv_items=metadata.kv_items,
    )


def file_bytes(entry: CatalogEntry) -> tuple[int | None, bool]:
    """The file size of a catalog entry, published or estimated, and whether it is exact; None if it cannot be estimated."""
    if entry.bytes is not None:
        return entry.bytes, True
    if entry.about_bytes is not None:
        return entry.about_bytes, False
    bits = _BITS_PER_WEIGHT.get(entry.quantization)
    if entry.dimensions is None or bits is None:
        return None, False
    return int(entry.dimensions.parameters * bits / 8), False


def fit_verdict(needed: MemoryEstimate | None, memory: AvailableMemory) -> FitVerdict:
    """Whether `needed` fits: on the graphics card alone, or in the memory of both together."""
    if needed is None:
        return "unknown"
    free = max(0, memory.ram - _SPARE_RAM)
    room = free if memory.unified else max(memory.vram, free + memory.vram)
    if needed.total > room:
        return "too large"
    return "tight" if needed.total > room * _TIGHT else "fits"


def fit_reason(needed: MemoryEstimate | None, memory: AvailableMemory) -> str:
    """The memory needed, the memory available and what follows, in one sentence."""
    verdict = fit_verdict(needed, memory)
    if needed is None:
        return "Its memory needs are unknown until it is downloaded."
    amount = f"Needs about {needed.total / 1e9:.1f} GB of memory"
    available = f"{memory.ram / 1e9:.1f} GB available"
    if memory.vram:
        available = f"{memory.vram / 1e9:.1f} GB available on the graphics card, {memory.ram / 1e9:.1f} GB in RAM"
        if memory.unified:
            available = f"{memory.ram / 1e9:.1f} GB available, of which macOS lets the GPU use {memory.vram / 1e9:.1f} GB"
        if verdict != "too large" and needed.total > memory.vram:
            return f"{amount}; {available}. Part of it runs on the CPU, which is slower."
    endings = {"fits": ".", "tight": ". Close other programs first.", "too large": ". It would fail to load or be very slow."}
    return f"{amount}; {available}{endings[verdict]}"


def recommend(catalog: Catalog, memory: AvailableMemory, *, window: int = 4096, kv_type: KvType = "f16") -> list[ModelRow]:
    """A row for every chat entry of `catalog`, in its order; one is recommended, and one of each model suggested.

    A model's suggested entry is its default if that fits, else the largest that fits, else the smallest. Recommended is that of
    the catalog's first model if it fits, else the largest other model that fits, else the entry that needs the least memory.
    Models with research licences are never recommended. The user's settings are ignored.
    """
    sized = [size_entry(entry, memory, window, kv_type) for entry in catalog.entries("chat")]
    families: dict[str, list[ModelRow]] = {}
    for one in sized:
        families.setdefault(one.family, []).append(one)
    suggested = [_suggested(family, catalog) for family in families.values()]
    best = _recommended(suggested, sized)
    return [replace(one, recommended=one is best, suggested=one in suggested) for one in sized]


def size_entry(entry: CatalogEntry, memory: AvailableMemory, window: int, kv_type: KvType) -> ModelRow:
    """The row of a catalog entry with the memory it needs, neither recommended nor suggested."""
    size, exact = file_bytes(entry)
    needed = estimate_memory(entry.dimensions, size, window=window, kv_type=kv_type) if entry.dimensions and size else None
    return ModelRow(
        spec=entry.name,
        name=entry.name,
        title=entry.title,
        family=entry.model,
        quantization=entry.quantization,
        licence=entry.licence,
        bytes=size,
        exact=exact,
        memory=needed,
        fit=fit_verdict(needed, memory),
        reason=fit_reason(needed, memory),
        address=f"{entry.repository}/{entry.file}" if entry.repository else entry.file,
    )


def _suggested(family: Sequence[ModelRow], catalog: Catalog) -> ModelRow:
    default = next(one for one in family if one.spec == catalog.models[one.family].default.name)
    for verdict in ("fits", "tight"):
        fitting = [one for one in family if one.fit == verdict]
        if fitting:
            return default if default in fitting else max(fitting, key=_needed)
    return default if default.fit == "unknown" else min(family, key=_needed)


def _recommended(suggested: Sequence[ModelRow], sized: Sequence[ModelRow]) -> ModelRow | None:
    for verdict in ("fits", "tight"):
        fitting = [one for one in suggested if one.fit == verdict and "Research" not in one.licence]
        if fitting:
            return fitting[0] if fitting[0] is suggested[0] else max(fitting, key=_needed)
    return min((one for one in sized if one.memory), key=_needed, default=None)


def _needed(one: ModelRow) -> int:
    return one.memory.total if one.memory else 0
