"""The tables of `mistral-chat models`, and the details of one model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mistral_chat.formatting import format_size
from mistral_chat.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_chat.config import Settings
    from mistral_chat.model_listing import ModelRow
    from mistral_chat.models.catalog import CatalogEntry
    from mistral_chat.models.library import Library, ModelFile, PartialDownload, UnusableFile

_VERIFIED = {True: "yes", False: "NO", None: "-"}
_FITS = {True: "yes", False: "no", None: "?"}


def installed_table(
    rows: Sequence[ModelRow],
    embedding: Sequence[ModelFile],
    unusable: Sequence[UnusableFile],
    partials: Sequence[PartialDownload],
    *,
    default: str,
) -> str:
    """Installed models, partial downloads and unusable files; without models, how to get the `default`."""
    lines = [] if rows else [f"No models installed. Download one with: mistral-chat models pull {one_line(default)}"]
    if rows:
        cells = [
            (row.name, row.quantization, format_size(row.bytes or 0), row.source or "", _VERIFIED[row.verified], _FITS[row.fits])
            for row in rows
        ]
        lines = _columns(("NAME", "QUANTIZATION", "SIZE", "SOURCE", "VERIFIED", "FITS"), cells)
    for model in embedding:
        lines.append(f"Embedding model: {one_line(model.name)} ({format_size(model.bytes)}, {model.source})")
    for partial in partials:
        name = one_line(partial.name)
        lines.append(f"Partial download: {name} ({partial.progress}). Resume with: mistral-chat models pull {name}")
    for file in unusable:
        lines.append(f"Not usable: {one_line(str(file.path))}: {one_line(file.reason)}")
    return "\n".join([*lines, "More models: mistral-chat models list --available"])


def available_table(rows: Sequence[ModelRow]) -> str:
    """The models that can be downloaded, and which fit in the available memory."""
    cells = [
        (
            ("* " if row.recommended else "  ") + row.name,
            row.quantization,
            ("" if row.exact else "about ") + format_size(row.bytes) if row.bytes else "?",
            format_size(row.memory.total) if row.memory else "?",
            _FITS[row.fits],
            row.licence,
        )
        for row in rows
    ]
    lines = _columns(("  NAME", "QUANTIZATION", "DOWNLOAD", "MEMORY NEEDED", "FITS", "LICENCE"), cells)
    best = next((row for row in rows if row.recommended), None)
    return "\n".join([*lines, f"* recommended: {best.reason}"] if best else lines)


def describe_model(model: ModelFile, settings: Settings) -> dict[str, Any]:
    """Everything known about an installed model."""
    from mistral_chat.models.memory_fit import estimate_for

    metadata = model.metadata
    needed = estimate_for(metadata, window=settings.context.size, kv_type=settings.engine.kv_type)
    return {
        "name": model.name,
        "path": str(model.path),
        "source": model.source,
        "bytes": model.bytes,
        "parts": metadata.parts,
        "verified": model.verified,
        "title": metadata.name,
        "architecture": metadata.architecture,
        "quantization": model.quantization,
        "licence": metadata.licence,
        **asdict(metadata.dimensions),
        "tokenizer": metadata.tokenizer,
        "chat_template": f"{len(metadata.template):,} characters" if metadata.template else "none",
        "prompt_format": _prompt_format(model) if model.kind == "chat" else "none: an embedding model",
        "window": settings.context.size,
        "memory_needed": {**asdict(needed), "total": needed.total},
    }


def describe_catalog_entry(entry: CatalogEntry, library: Library, settings: Settings) -> dict[str, Any]:
    """What the catalog says about a model that is not installed."""
    from mistral_chat.models.memory_fit import AvailableMemory, size_entry

    row = size_entry(entry, AvailableMemory(ram=0), settings.context.size, settings.engine.kv_type)
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
        "bytes": row.bytes if row.exact else None,
        "sha256": entry.sha256,
        "prompt_format": entry.prompt_format,
        "memory_needed": {**asdict(row.memory), "total": row.memory.total} if row.memory else None,
    }


def details_table(details: Mapping[str, Any]) -> str:
    """Format details, one per line."""
    lines = []
    for key, value in details.items():
        if isinstance(value, dict):
            model, cache, buffers, total = (format_size(value[part]) for part in ("weights", "kv", "compute", "total"))
            text = f"{total} ({model} model + {cache} context + {buffers} buffers)"
        elif value is None:
            text = {"path": "not downloaded", "verified": "not verified"}.get(key, "unknown")
        elif isinstance(value, bool):
            text = "yes" if value else "NO"
        else:
            text = f"{value:,}" if isinstance(value, int) else one_line(str(value), 4096)
        lines.append(f"{key.replace('_', ' ') + ':':<18}{text}")
    return "\n".join(lines)


def _prompt_format(model: ModelFile) -> str:
    """The prompt format that the engine will use, or why it cannot choose one."""
    from mistral_chat.engine.encoding.choose import choose_format
    from mistral_chat.engine.llama.model import open_vocabulary
    from mistral_chat.errors import MistralChatError

    try:
        with open_vocabulary(model.path) as vocabulary:
            return choose_format(vocabulary, model.metadata.template or None, model.metadata.name, model.prompt_format).name
    except MistralChatError as error:
        return clean(f"none: {error}")


def _columns(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    shown = [heads, *(tuple(("  " if cell.startswith("  ") else "") + one_line(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
