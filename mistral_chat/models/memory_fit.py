"""How much memory weights need, what fits, and what is recommended. Numbers in, numbers out: the machine is asked elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from mistral_chat.memory_estimate import KvType, MemoryEstimate, estimate_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.models.catalog import Catalog, CatalogEntry
    from mistral_chat.models.metadata import GGUFMetadata

FitVerdict = Literal["fits", "tight", "too large", "unknown"]

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
"""Size of a file / weights in it, from the files of the 7B models whose sizes are known."""

_SPARE_RAM: Final = 500_000_000
"""Bytes left to everything else."""
_TIGHT: Final = 0.85
"""What needs more than this share of the free memory is called tight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableMemory:
    """What is free on this machine, in bytes."""

    ram: int
    """Free for programs, with what the system would give up for them."""
    vram: int = 0
    """Free on the graphics cards; 0 without one that llama.cpp uses."""
    unified: bool = False
    """Whether the graphics card shares `ram`, as on Apple's chips; `vram` is then the part that it may use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedEntry:
    """One offer, weighed against a machine."""

    entry: CatalogEntry
    bytes: int | None
    """The size of the file, or an estimate."""
    exact: bool
    """Whether `bytes` is the stated size."""
    need: MemoryEstimate | None
    """None where the catalog does not know the model's shape."""
    verdict: FitVerdict
    reason: str
    """One sentence for a person: what it needs and whether that is here."""
    recommended: bool = False


def estimate_for(facts: GGUFMetadata, *, window: int, kv_type: KvType = "f16", flash_attention: bool = False) -> MemoryEstimate:
    """What a file on this disk takes with a `window` of tokens."""
    return estimate_memory(
        facts.shape, facts.bytes, window=window, kv_type=kv_type, flash_attention=flash_attention, kv_items=facts.kv_items
    )


def file_bytes(entry: CatalogEntry) -> tuple[int | None, bool]:
    """The size of an offer's file and whether it is exact; estimated from the quantization, or None."""
    if entry.bytes is not None:
        return entry.bytes, True
    bits = _BITS_PER_WEIGHT.get(entry.quantization)
    if entry.shape is None or bits is None:
        return None, False
    return int(entry.shape.parameters * bits / 8), False


def fit_verdict(needed: MemoryEstimate | None, memory: AvailableMemory) -> FitVerdict:
    """Whether `needed` fits: wholly on the graphics card, or in the memory of both together."""
    if needed is None:
        return "unknown"
    free = max(0, memory.ram - _SPARE_RAM)
    room = free if memory.unified else max(memory.vram, free + memory.vram)
    if needed.total > room:
        return "too large"
    return "tight" if needed.total > room * _TIGHT else "fits"


def fit_reason(needed: MemoryEstimate | None, memory: AvailableMemory) -> str:
    """Say in one sentence what is needed, what is free, and what follows from that."""
    found = fit_verdict(needed, memory)
    if needed is None:
        return "How much memory it needs shows when the hub is asked."
    amount = f"Needs about {needed.total / 1e9:.1f} GB"
    where = f"{memory.ram / 1e9:.1f} GB are free"
    if memory.vram and not memory.unified:
        where = f"{memory.vram / 1e9:.1f} GB on the graphics card and {memory.ram / 1e9:.1f} GB of memory are free"
        if found != "too large" and needed.total > memory.vram:
            return f"{amount}; {where}, so a part runs on the processor and it answers more slowly."
    endings = {"fits": ".", "tight": "; close other programs first.", "too large": "; it would not load, or crawl."}
    return f"{amount}; {where}{endings[found]}"


def recommend(
    catalog: Catalog,
    memory: AvailableMemory,
    *,
    preferred: str,
    window: int = 4096,
    kv_type: KvType = "f16",
) -> list[SizedEntry]:
    """Weigh every offer of `catalog`, in its order, and recommend exactly one.

    Recommended is the `preferred` model in its default quantization where that fits, else in the largest that does, else the
    largest other model that fits, else the one that needs least. Nothing is left out: what will not fit says so.
    """
    choices = [_weigh(entry, memory, window, kv_type) for entry in catalog.entries()]
    model = preferred.lower().partition(":")[0]
    best = _recommended(choices, model if model in catalog.models else next(iter(catalog.models)), catalog)
    return [replace(choice, recommended=choice is best) for choice in choices]


def _weigh(entry: CatalogEntry, memory: AvailableMemory, window: int, kv_type: KvType) -> SizedEntry:
    size, exact = file_bytes(entry)
    needed = estimate_memory(entry.shape, size, window=window, kv_type=kv_type) if entry.shape and size else None
    found = fit_verdict(needed, memory)
    return SizedEntry(entry=entry, bytes=size, exact=exact, need=needed, verdict=found, reason=fit_reason(needed, memory))


def _recommended(choices: Sequence[SizedEntry], preferred: str, catalog: Catalog) -> SizedEntry | None:
    fitting = [choice for choice in choices if choice.verdict == "fits"] or [
        choice for choice in choices if choice.verdict == "tight"
    ]
    wanted = [choice for choice in fitting if choice.entry.model == preferred]
    others = [choice for choice in fitting if "Research" not in choice.entry.licence]
    for group in (wanted, others):
        usual = [choice for choice in group if choice.entry == catalog.models[choice.entry.model].default]
        if usual or group:
            return max(usual or group, key=_total)
    return min((choice for choice in choices if choice.need), key=_total, default=None)


def _total(choice: SizedEntry) -> int:
    return choice.need.total if choice.need else 0
