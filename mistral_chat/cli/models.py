"""`mistral-chat models`: list, download, verify, import and remove models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.cli.options import as_json_option, complete_models
from mistral_chat.cli.printing import print_json
from mistral_chat.cli.tune import tune
from mistral_chat.errors import ModelNotFound, ModelUnusable
from mistral_chat.formatting import format_size
from mistral_chat.paths import parts_of
from mistral_chat.text import clean

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program
    from mistral_chat.model_listing import ModelRow
    from mistral_chat.models.checksums import ChecksumCache
    from mistral_chat.models.operations import ImportMode
    from mistral_chat.models.service import ModelService

_NAME = click.argument("name", shell_complete=complete_models)


@click.group(short_help="List, download, verify and remove models.")
def models() -> None:
    """List, download, verify and remove models.

    NAME is a name from `models list`, a catalog name with or without a quantization (mistral-7b-instruct-v0.3:Q5_K_M), a path,
    or hf:OWNER/REPOSITORY/FILE.gguf.
    """


@models.command("list", short_help="List installed models, or models to download.")
@click.option("--available", is_flag=True, help="List models to download.")
@as_json_option
@click.pass_obj
def list_models(program: Program, *, available: bool, as_json: bool) -> None:
    """List installed models, including those of other programs, which are used in place.

    FITS says whether a model fits in the available memory with the configured context size and KV cache type.
    """
    from mistral_chat.cli.models_format import available_table, installed_table

    service = program.model_service()
    if available:
        rows = service.available()
        if as_json:
            names = ("name", "title", "quantization", "bytes", "exact", "recommended", "reason", "licence")
            print_json([{**_row_json(row, *names), "needs": row.memory.total if row.memory else None} for row in rows])
        else:
            click.echo(available_table(rows))
        return
    rows, embedding, unusable = service.installed()
    if as_json:
        print_json([_row_json(row, "name", "path", "bytes", "quantization", "source", "verified") for row in rows])
    else:
        partials = service.library().partials()
        click.echo(installed_table(rows, embedding, unusable, partials, default=program.settings.model))


@models.command(short_help="Download a model (resumes).")
@_NAME
@click.pass_obj
def pull(program: Program, name: str) -> None:
    """Download a model from the Hugging Face hub and print its path.

    Interrupted downloads resume; Ctrl+C pauses. Installed models are not downloaded again; damaged files are replaced.
    """
    from mistral_chat.cli.download_progress import show_progress

    service = program.model_service()
    library = service.library()
    try:
        model = library.find(name, any_kind=True)
    except (ModelNotFound, ModelUnusable) as error:
        if isinstance(error, ModelUnusable) and not (library.catalog.find(name) and library.is_ours(error.path)):
            raise
        download = service.download(name)
        _warn_of_memory(service, download.spec)
        show_progress(download.follow(), download.spec)
        model = library.find(download.spec, any_kind=True)
    else:
        _tell(f"{model.name} is already installed ({model.source}).")
    click.echo(clean(str(model.path)))


@models.command(short_help="Remove a downloaded model.")
@_NAME
@click.pass_obj
def rm(program: Program, name: str) -> None:
    """Remove a downloaded or imported model, or a partial download. Other programs' files are not removed."""
    freed = program.model_service().remove(name)
    result = f" ({format_size(freed)} freed)." if freed else ". No disk space was freed: the file was empty or a link."
    _tell(f"Removed {name}{result}")


@models.command(short_help="Verify SHA-256 checksums.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_models)
@as_json_option
@click.pass_obj
def verify(program: Program, names: tuple[str, ...], *, as_json: bool) -> None:
    """Compute the SHA-256 of the models NAME, or of every downloaded one, and compare it with the published checksum.

    Exits with 1 on a mismatch, and if a file is incomplete or damaged.
    """
    from mistral_chat.cli.download_progress import show_verification
    from mistral_chat.models.operations import Verification

    library = program.library()
    usable, unusable = ([], []) if names else library.scan()
    chosen = [library.find(name, even_damaged=True, any_kind=True) for name in names]
    chosen += [model for model in usable if model.source == "ours"]
    damaged = [file for file in unusable if file.source == "ours" and not _is_whole(file.path, library.checksums)]
    if not chosen and not damaged:
        _tell("No downloaded models. Pass a name from `models list` to verify another.")
    rows: list[dict[str, Any]] = [
        {"name": file.name, "path": file.path, "sha256": None, "expected": None, "verified": False} for file in damaged
    ]
    for file in () if as_json else damaged:
        click.echo(f"{clean(file.name)}: DAMAGED, {clean(file.reason)}")
    for model in chosen:
        verification = Verification(library, model)
        show_verification(verification)
        for path, result in verification.results.items():
            row = {"name": model.name, "path": path, "sha256": result.sha256}
            rows.append({**row, "expected": result.expected, "verified": result.right})
            if not as_json:
                wrong = f"WRONG, expected {result.expected}"
                words = {True: "ok", False: wrong, None: "computed; no published checksum to compare with"}[result.right]
                click.echo(f"{clean(model.name)}: SHA-256 {result.sha256} {words}")
    if as_json:
        print_json(rows)
    if any(row["verified"] is False for row in rows):
        _tell("Download a damaged model again with `mistral-chat models pull NAME`.")
        click.get_current_context().exit(1)


@models.command(short_help="Print the path of a model.")
@_NAME
@click.pass_obj
def path(program: Program, name: str) -> None:
    """Print the path of the GGUF file, or of the first part of a split one."""
    click.echo(clean(str(program.library().find(name, any_kind=True).path)))


@models.command("import", short_help="Import a GGUF file into the models folder.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--link", "mode", flag_value="link", help="Create a hard link: instant, no disk space, same disk only.")
@click.option("--move", "mode", flag_value="move", help="Move the file.")
@click.option("--copy", "mode", flag_value="copy", help="Copy the file.")
@click.pass_obj
def import_file(program: Program, file: Path, mode: ImportMode | None) -> None:
    """Import a GGUF file into the models folder under a short name.

    Importing is optional: -m FILE uses a file in place.
    """
    from mistral_chat.models import operations

    if mode is None:
        raise click.UsageError("Pass one of --link, --move and --copy.")
    model = operations.import_file(program.library(), file.absolute(), mode)
    _tell(f"Imported as {model.name}.")
    click.echo(clean(str(model.path)))


@models.command(short_help="Show the metadata of a model and the memory it needs.")
@_NAME
@as_json_option
@click.pass_obj
def show(program: Program, name: str, *, as_json: bool) -> None:
    """Show the metadata of an installed or available model, and the memory it needs."""
    from mistral_chat.cli.models_format import describe_catalog_entry, describe_model, details_table

    library = program.library()
    try:
        details = describe_model(library.find(name, any_kind=True), program.settings)
    except ModelNotFound:
        entry = library.catalog.find(name)
        if entry is None:
            raise
        details = describe_catalog_entry(entry, library, program.settings)
    if as_json:
        print_json(details)
    else:
        click.echo(details_table(details))


def _row_json(row: ModelRow, *names: str) -> dict[str, Any]:
    """The fields `names` of a row as JSON, and whether the model fits."""
    found = asdict(row)
    return {**{name: found[name] for name in names}, "fits": row.fits}


def _is_whole(path: Path, checksums: ChecksumCache) -> bool:
    """Whether a file that is no usable model is a sound GGUF file, such as an adapter, and has the SHA-256 that was published."""
    from mistral_chat.models.checksums import sha256_of
    from mistral_chat.models.gguf import read_header

    try:
        for part in parts_of(path):
            read_header(part)
            known = checksums.of(part, even_changed=True)
            if known is not None and known.expected and known.expected != sha256_of(part):
                return False
    except (ModelUnusable, OSError):
        return False
    return True


def _warn_of_memory(service: ModelService, name: str) -> None:
    """Warn before downloading a model that does not fit in memory."""
    row = next((row for row in service.available() if row.name == name), None)
    if row is not None and row.fits is False:
        _tell(f"Warning: {row.reason} A smaller quantization may fit: mistral-chat models list --available.")


def _tell(text: str) -> None:
    click.echo(clean(text), err=True)


models.add_command(tune)
