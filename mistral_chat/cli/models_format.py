"""What `mistral-chat models` prints: tables for people, and the facts of one model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mistral_chat.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_chat.config import Settings
    from mistral_chat.models.catalog import CatalogEntry
    from mistral_chat.models.library import Library, ModelFile, PartialDownload, UnusableFile
    from mistral_chat.models.metadata import GGUFMetadata

_VERIFIED = {True: "yes", False: "NO", None: "-"}
_FITS = {True: "fits", False: "too large", None: "?"}


def weights_table(
    rows: Sequence[Mapping[str, Any]], unusable: Sequence[UnusableFile], begun: Sequence[PartialDownload], wanted: str
) -> str:
    """What is on this disk, what has begun to arrive, and what cannot be used; where nothing is, how to get `wanted`."""
    lines = [] if rows else [f"No weights are on this disk. Get some with: mistral-chat models pull {one_line(wanted)}"]
    if rows:
        cells = [
            (row["name"], row["quantization"], size(row["bytes"]), row["source"], _VERIFIED[row["verified"]], _FITS[row["fits"]])
            for row in rows
        ]
        lines = _columns(("NAME", "QUANTIZATION", "SIZE", "SOURCE", "VERIFIED", "MEMORY"), cells)
    for partial in begun:
        share = f"{size(partial.bytes)} of {size(partial.total)}"
        lines.append(f"{one_line(partial.name)}: {share} are here; go on with: mistral-chat models pull {one_line(partial.name)}")
    for each in unusable:
        lines.append(f"Not usable: {one_line(str(each.path))}: {one_line(each.reason)}")
    return "\n".join([*lines, "What can be fetched: mistral-chat models list --available"])


def offers_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the catalog offers, with what this machine makes of it."""
    cells = [
        (
            ("* " if row["recommended"] else "  ") + row["name"],
            row["quantization"],
            ("" if row["exact"] else "about ") + size(row["bytes"]) if row["bytes"] else "?",
            size(row["needs"]) if row["needs"] else "?",
            _FITS[row["fits"]],
            row["licence"],
        )
        for row in rows
    ]
    lines = _columns(("  NAME", "QUANTIZATION", "DOWNLOAD", "MEMORY NEEDED", "HERE", "LICENCE"), cells)
    best = next((row for row in rows if row["recommended"]), None)
    return "\n".join([*lines, f"* recommended: {best['reason']}"] if best else lines)


def facts_of_weights(weights: ModelFile, settings: Settings) -> dict[str, Any]:
    """Everything that is known of weights on this disk."""
    from mistral_chat.models.memory_fit import estimate_for
    from mistral_chat.models.metadata import read_metadata

    facts = read_metadata(weights.path)
    need = estimate_for(facts, window=settings.context.size, kv_type=settings.engine.kv_type)
    return {
        "name": weights.name,
        "path": str(weights.path),
        "source": weights.source,
        "bytes": weights.bytes,
        "parts": facts.parts,
        "verified": weights.verified,
        "title": facts.name,
        "architecture": facts.architecture,
        "quantization": weights.quantization,
        "licence": facts.licence,
        **asdict(facts.shape),
        "tokenizer": facts.tokenizer,
        "chat_template": f"{len(facts.template):,} characters" if facts.template else "none",
        "prompt_format": _prompt_format(weights, facts),
        "window": settings.context.size,
        "memory_needed": {"weights": need.weights, "kv": need.kv, "compute": need.compute, "total": need.total},
    }


def facts_of_offer(entry: CatalogEntry, library: Library, settings: Settings) -> dict[str, Any]:
    """What the catalog knows of weights that are not here."""
    from mistral_chat.memory_estimate import estimate_memory
    from mistral_chat.models.memory_fit import file_bytes

    size, exact = file_bytes(entry)
    needed = (
        estimate_memory(entry.shape, size, window=settings.context.size, kv_type=settings.engine.kv_type)
        if entry.shape and size
        else None
    )
    model = library.catalog.models.get(entry.model)
    return {
        "name": entry.name,
        "path": None,
        "title": entry.title,
        "about": model.about if model else "",
        "quantization": entry.quantization,
        "licence": entry.licence,
        "repository": entry.repository,
        "revision": entry.revision,
        "file": entry.file,
        "bytes": size if exact else None,
        "sha256": entry.sha256,
        "prompt_format": entry.prompt_format,
        "memory_needed": {**asdict(needed), "total": needed.total} if needed else None,
    }


def facts_table(facts: Mapping[str, Any]) -> str:
    """Facts, one on a line."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            text = ", ".join(f"{name} {size(amount)}" for name, amount in value.items())
        elif key == "bytes" and value is not None:
            text = f"{value:,}"
        elif value is None:
            text = {"path": "not on this disk", "verified": "not checked"}.get(key, "not known")
        else:
            text = {True: "yes", False: "NO"}[value] if isinstance(value, bool) else one_line(str(value), 4096)
        lines.append(f"{key.replace('_', ' ') + ':':<18}{text}")
    return "\n".join(lines)


def _prompt_format(weights: ModelFile, facts: GGUFMetadata) -> str:
    """The prompt format that the engine will choose, or why it cannot."""
    from mistral_chat.engine.encoding.choose import choose_format
    from mistral_chat.engine.llama.vocabulary import open_vocabulary
    from mistral_chat.errors import MistralChatError

    try:
        with open_vocabulary(weights.path) as vocabulary:
            return choose_format(vocabulary, facts.template or None, facts.name, weights.prompt_format).name
    except MistralChatError as error:
        return clean(f"none: {error}")


def _columns(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    shown = [heads, *(tuple(("  " if cell.startswith("  ") else "") + one_line(cell) for cell in row) for row in rows)]
    widths = [max(len(row[place]) for row in shown) for place in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]


def size(amount: int) -> str:
    """An amount of bytes, in MB or GB as people count them."""
    return f"{amount / 1e9:.2f} GB" if amount >= 1e9 else f"{amount / 1e6:.1f} MB"  # noqa: PLR2004 (a gigabyte)
