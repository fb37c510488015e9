"""`mistral-chat paths`: every file and folder that the program writes, with its size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mistral_chat.cli.options import as_json_option
from mistral_chat.cli.printing import print_json
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program


class ExistingPath(NamedTuple):
    """A file or folder that exists."""

    path: str
    kind: str
    bytes: int
    """The size of a file, or of everything in a folder."""
    purpose: str


@click.command(short_help="List every file and folder of the program.")
@as_json_option
@click.pass_obj
def paths(program: Program, *, as_json: bool) -> None:
    """List every file and folder that the program writes, with sizes in bytes."""
    known = program.paths
    places = {
        "Settings:": known.config_file,
        "Conversations:": known.data_dir,
        "Models:": known.models_dir,
        "Context snapshots; they contain conversations, as tokens:": known.snapshots_dir,
        "Cache (safe to delete):": known.cache_dir,
        "Log; it contains no text of conversations:": known.log_dir,
    }
    found = {purpose: list(_existing(purpose, place, {*places.values()} - {place})) for purpose, place in places.items()}
    if as_json:
        print_json([each._asdict() for existing in found.values() for each in existing])
        return
    for purpose, place in places.items():
        click.echo(purpose)
        if not found[purpose]:
            click.echo(f"{'missing':>16}  {one_line(str(place))}")
        for each in found[purpose]:
            click.echo(f"{each.bytes:>16,}  {one_line(each.path)}{'/' if each.kind == 'folder' else ''}")


def _existing(purpose: str, place: Path, apart: set[Path]) -> Iterator[ExistingPath]:
    """The folder with its size, then every file in it, except in the places `apart`, which are listed separately."""
    if place.is_file():
        yield ExistingPath(str(place), "file", place.stat().st_size, purpose)
    elif place.is_dir():
        inside = [ExistingPath(str(path), "file", path.lstat().st_size, purpose) for path in _files(place, apart)]
        yield ExistingPath(str(place), "folder", sum(each.bytes for each in inside), purpose)
        yield from inside


def _files(folder: Path, apart: set[Path]) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        click.echo(f"{one_line(str(folder))}: {error.strerror}", err=True)
        return
    for path in entries:
        if path in apart:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, apart)
        else:
            yield path
