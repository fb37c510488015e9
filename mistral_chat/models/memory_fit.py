"""How much memory weights need, what fits, and what is recommended. Numbers in, numbers out: the machine is asked elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from mistral_chat.memory_estimate import KvType, Need, need

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.models.catalog import Catalog, CatalogEntry
    from mistral_chat.models.metadata import Facts

Verdict = Literal["fits", "tight", "too large", "unknown"]

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
class Memory:
    """What is free on this machine, in bytes."""

    ram: int
    """Free for programs, with what the system would give up for them."""
    vram: int = 0
    """Free on the graphics cards; 0 without one that llama.cpp uses."""
    unified: bool = False
    """Whether the graphics card shares `ram`, as on Apple's chips; `vram` is then the part that it may use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One offer, weighed against a machine."""

    offer: CatalogEntry
    bytes: int | None
    """The size of the file, or an estimate."""
    exact: bool
    """Whether `bytes` is the stated size."""
    need: Need | None
    """None where the catalog does not know the model's shape."""
    verdict: Verdict
    reason: str
    """One sentence for a person: what it needs and whether that is here."""
    recommended: bool = False


def need_of(facts: Facts, *, window: int, kv_type: KvType = "f16", flash_attention: bool = False) -> Need:
    """What a file on this disk takes with a `window` of tokens."""
    return need(
        facts.shape, facts.bytes, window=window, kv_type=kv_type, flash_attention=flash_attention, kv_items=facts.kv_items
    )


def file_bytes(offer: CatalogEntry) -> tuple[int | None, bool]:
    """The size of an offer's file and whether it is exact; estimated from the quantization, or None."""
    if offer.bytes is not None:
        return offer.bytes, True
    bits = _BITS_PER_WEIGHT.get(offer.quantization)
    if offer.shape is None or bits is None:
        return None, False
    return int(offer.shape.parameters * bits / 8), False


def verdict(needed: Need | None, memory: Memory) -> Verdict:
    """Whether `needed` fits: wholly on the graphics card, or in the memory of both together."""
    if needed is None:
        return "unknown"
    free = max(0, memory.ram - _SPARE_RAM)
    room = free if memory.unified else max(memory.vram, free + memory.vram)
    if needed.total > room:
        return "too large"
    return "tight" if needed.total > room * _TIGHT else "fits"


def reason(needed: Need | None, memory: Memory) -> str:
    """Say in one sentence what is needed, what is free, and what follows from that."""
    found = verdict(needed, memory)
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


def advise(
    catalog: Catalog,
    memory: Memory,
    *,
    preferred: str,
    window: int = 4096,
    kv_type: KvType = "f16",
) -> list[Choice]:
    """Weigh every offer of `catalog`, in its order, and recommend exactly one.

    Recommended is the `preferred` model in its default quantization where that fits, else in the largest that does, else the
    largest other model that fits, else the one that needs least. Nothing is left out: what will not fit says so.
    """
    choices = [_weigh(offer, memory, window, kv_type) for offer in catalog.offers()]
    model = preferred.lower().partition(":")[0]
    best = _recommended(choices, model if model in catalog.models else next(iter(catalog.models)), catalog)
    return [replace(choice, recommended=choice is best) for choice in choices]


def _weigh(offer: CatalogEntry, memory: Memory, window: int, kv_type: KvType) -> Choice:
    size, exact = file_bytes(offer)
    needed = need(offer.shape, size, window=window, kv_type=kv_type) if offer.shape and size else None
    found = verdict(needed, memory)
    return Choice(offer=offer, bytes=size, exact=exact, need=needed, verdict=found, reason=reason(needed, memory))


def _recommended(choices: Sequence[Choice], preferred: str, catalog: Catalog) -> Choice | None:
    fitting = [choice for choice in choices if choice.verdict == "fits"] or [
        choice for choice in choices if choice.verdict == "tight"
    ]
    wanted = [choice for choice in fitting if choice.offer.model == preferred]
    others = [choice for choice in fitting if "Research" not in choice.offer.licence]
    for group in (wanted, others):
        usual = [choice for choice in group if choice.offer == catalog.models[choice.offer.model].default]
        if usual or group:
            return max(usual or group, key=_total)
    return min((choice for choice in choices if choice.need), key=_total, default=None)


def _total(choice: Choice) -> int:
    return choice.need.total if choice.need else 0
