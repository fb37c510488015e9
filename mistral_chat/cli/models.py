"""`mistral-chat models`: list, fetch, check, take in and remove weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program
    from mistral_chat.models.library import Library, ModelFile
    from mistral_chat.models.memory_fit import AvailableMemory

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


@click.group(short_help="List, fetch, check and remove weights.")
def models() -> None:
    """List, fetch, check and remove weights.

    NAME is a name that `models list` shows, a catalog name with or without a quantization
    (mistral-7b-instruct-v0.3:Q5_K_M), a path, or hf:OWNER/REPOSITORY/FILE.gguf.
    """


@models.command("list", short_help="List what is on this disk, and what can be fetched.")
@click.option("--available", is_flag=True, help="List what the catalog offers instead.")
@_JSON
@click.pass_obj
def list_models(program: Program, *, available: bool, as_json: bool) -> None:
    """List the weights on this disk, wherever they lie; nothing is copied.

    `fits` says whether the model fits into the memory that is free now, with the window and the cache that are set.
    """
    from mistral_chat.cli.machine import free_memory
    from mistral_chat.cli.models_format import offers_table, weights_table

    library, memory = program.library(), free_memory()
    if available:
        rows = _offer_rows(program, library, memory)
        click.echo(json.dumps(rows, ensure_ascii=False) if as_json else offers_table(rows))
        return
    usable, unusable = library.scan()
    rows = [_weights_row(program, weights, memory) for weights in usable]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    begun = library.partials()
    click.echo(weights_table(rows, unusable, begun, program.settings.model))


@models.command(short_help="Fetch weights, going on with what is here.")
@click.argument("name")
@click.pass_obj
def pull(program: Program, name: str) -> None:
    """Fetch weights from the hub and print where they are.

    A download that was stopped goes on where it stopped. Ctrl+C pauses it. What is on this disk already is used in place.
    """
    from mistral_chat.cli.download_progress import show_progress
    from mistral_chat.errors import ModelNotFound
    from mistral_chat.models import operations

    library = program.library()
    try:
        weights = library.find(name)
    except ModelNotFound:
        entry = operations.find_entry(library, name)
        _warn_of_size(program, library, entry.name)
        show_progress(operations.download(library, entry.name).follow(), entry.name)
        weights = library.find(entry.name)
    else:
        _say(f"{weights.name} is on this disk already ({weights.source}).")
    click.echo(_shown(weights.path))


@models.command(short_help="Remove weights of ours.")
@click.argument("name")
@click.pass_obj
def rm(program: Program, name: str) -> None:
    """Remove weights that were fetched or imported, or what has arrived of them. Files of other programs are left alone."""
    from mistral_chat.cli.models_format import size
    from mistral_chat.models import operations

    freed = operations.remove(program.library(), name)
    _say(f"Removed {name}: {size(freed)} are free again." if freed else f"Removed {name}, which took no room of its own.")


@models.command(short_help="Hash weights and hold them against what they should be.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_JSON
@click.pass_obj
def verify(program: Program, names: tuple[str, ...], *, as_json: bool) -> None:
    """Hash the weights called NAME, or all of ours, and hold them against the SHA-256 that the catalog or the hub states.

    Exits with 1 when one of them is not what it should be.
    """
    from mistral_chat.cli.download_progress import show_verification
    from mistral_chat.models.operations import Verification

    library = program.library()
    chosen = [library.find(name, even_damaged=True) for name in names] or [
        weights for weights in library.list() if weights.source == "ours"
    ]
    if not chosen:
        _say("There are no weights of ours to check. Name what models list shows to check others.")
    rows: list[dict[str, Any]] = []
    for weights in chosen:
        verification = Verification(library, weights)
        show_verification(verification)
        for verdict in verification.results:
            row = {"name": weights.name, "path": str(verdict.path), "sha256": verdict.sha256}
            rows.append({**row, "expected": verdict.expected, "verified": verdict.right})
            if not as_json:
                wrong, unknown = f"IS WRONG: it should be {verdict.expected}", "was read; nobody states what it should be"
                words = {True: "is right", False: wrong, None: unknown}[verdict.right]
                click.echo(f"{_shown(weights.name)}: SHA-256 {verdict.sha256} {words}")
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
    if any(row["verified"] is False for row in rows):
        _say("Remove what is wrong with: mistral-chat models rm NAME, and fetch it again; what is not ours, where it is from.")
        click.get_current_context().exit(1)


@models.command(short_help="Print where weights are.")
@click.argument("name")
@click.pass_obj
def path(program: Program, name: str) -> None:
    """Print the path of the GGUF file, or of the first part of a split one."""
    click.echo(_shown(program.library().find(name).path))


@models.command("import", short_help="Bring a GGUF file into our folder.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--link", "way", flag_value="link", help="By a hard link: at once, without room, on the same disk.")
@click.option("--move", "way", flag_value="move", help="By moving it.")
@click.option("--copy", "way", flag_value="copy", help="By copying it.")
@click.pass_obj
def import_file(program: Program, file: Path, way: str | None) -> None:
    """Bring a GGUF file into our folder, so that it has a short name and `rm` may remove it.

    A file need not be imported: -m FILE uses it where it lies.
    """
    from mistral_chat.models import operations

    ways: dict[str, operations.ImportMode] = {"link": "link", "move": "move", "copy": "copy"}
    if way not in ways:
        raise click.UsageError("Say how: --link, --move or --copy.")
    weights = operations.import_file(program.library(), file.absolute(), ways[way])
    _say(f"It is called {weights.name} now.")
    click.echo(_shown(weights.path))


@models.command(short_help="Show what a GGUF file says of itself and what it needs.")
@click.argument("name")
@_JSON
@click.pass_obj
def show(program: Program, name: str, *, as_json: bool) -> None:
    """Show the facts of weights on this disk, or of those that can be fetched."""
    from mistral_chat.cli.models_format import facts_of_offer, facts_of_weights, facts_table
    from mistral_chat.errors import ModelNotFound

    library = program.library()
    try:
        facts = facts_of_weights(library.find(name), program.settings)
    except ModelNotFound:
        entry = library.catalog.find(name)
        if entry is None:
            raise
        facts = facts_of_offer(entry, library, program.settings)
    click.echo(json.dumps(facts, ensure_ascii=False) if as_json else facts_table(facts))


def _weights_row(program: Program, weights: ModelFile, memory: AvailableMemory | None) -> dict[str, Any]:
    from mistral_chat.models.memory_fit import estimate_for, fit_verdict
    from mistral_chat.models.metadata import read_metadata

    context, kv_type = program.settings.context.size, program.settings.engine.kv_type
    found = (
        fit_verdict(estimate_for(read_metadata(weights.path), window=context, kv_type=kv_type), memory) if memory else "unknown"
    )
    return {
        "name": weights.name,
        "path": str(weights.path),
        "bytes": weights.bytes,
        "quantization": weights.quantization,
        "source": weights.source,
        "verified": weights.verified,
        "fits": None if found == "unknown" else found != "too large",
    }


def _offer_rows(program: Program, library: Library, memory: AvailableMemory | None) -> list[dict[str, Any]]:
    from mistral_chat.models.memory_fit import AvailableMemory, recommend

    settings = program.settings
    known = memory or AvailableMemory(ram=0)
    choices = recommend(
        library.catalog, known, preferred=settings.model, window=settings.context.size, kv_type=settings.engine.kv_type
    )
    return [
        {
            "name": choice.entry.name,
            "title": choice.entry.title,
            "quantization": choice.entry.quantization,
            "bytes": choice.bytes,
            "exact": choice.exact,
            "needs": choice.need.total if choice.need else None,
            "fits": None if memory is None or choice.verdict == "unknown" else choice.verdict != "too large",
            "recommended": choice.recommended and memory is not None,
            "reason": choice.reason,
            "licence": choice.entry.licence,
        }
        for choice in choices
    ]


def _warn_of_size(program: Program, library: Library, name: str) -> None:
    """Say before a download what will not fit into memory; nothing is refused."""
    from mistral_chat.cli.machine import free_memory

    row = next((row for row in _offer_rows(program, library, free_memory()) if row["name"] == name), None)
    if row is not None and row["fits"] is False:
        _say(f"Warning: {row['reason']} A smaller quantization may fit: see mistral-chat models list --available.")


def _say(text: str) -> None:
    click.echo(_shown(text), err=True)


def _shown(value: object) -> str:
    from mistral_chat.text import clean

    return clean(str(value))
