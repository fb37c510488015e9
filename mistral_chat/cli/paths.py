"""`mistral-chat paths`: every file and folder that is written, with its size."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mistral_chat.cli.wiring import Program
    from mistral_chat.paths import Paths


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder that the program may write."""

    purpose: str
    path: Path


@dataclass(frozen=True, slots=True)
class Written:
    """A file or folder that is there."""

    path: str
    kind: str
    bytes: int
    """A file's size; a folder's, with all in it."""
    purpose: str


@click.command(short_help="List every file and folder that is written.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_obj
def paths(program: Program, *, as_json: bool) -> None:
    """List every file and folder that is written, with sizes in bytes."""
    from mistral_chat.text import one_line

    places = list_places(program.paths)
    if as_json:
        click.echo(json.dumps([asdict(written) for place in places for written in survey(place, places)], ensure_ascii=False))
        return
    for place in places:
        click.echo(f"{place.purpose}")
        found = list(survey(place, places))
        if not found:
            click.echo(f"{'not there':>16}  {one_line(str(place.path))}")
        for written in found:
            click.echo(f"{written.bytes:>16,}  {one_line(written.path)}{'/' if written.kind == 'folder' else ''}")


def list_places(known: Paths) -> list[Place]:
    """Where the program may write."""
    return [
        Place("The settings, as you write or choose them:", known.config_file),
        Place("What was said, and what belongs to it:", known.data_dir),
        Place("Weights:", known.models_dir),
        Place("KV states; they hold what was said, as tokens:", known.snapshots_dir),
        Place("What can be made again:", known.cache_dir),
        Place("The log; it never holds what was said:", known.log_dir),
    ]


def survey(place: Place, places: list[Place]) -> Iterator[Written]:
    """What is there: the folder with its size, then all in it but the other places, which have lines of their own."""
    if place.path.is_file():
        yield Written(str(place.path), "file", place.path.stat().st_size, place.purpose)
        return
    if not place.path.is_dir():
        return
    apart = {other.path for other in places} - {place.path}
    inside = [Written(str(path), "file", size, place.purpose) for path, size in _files(place.path, apart)]
    yield Written(str(place.path), "folder", sum(each.bytes for each in inside), place.purpose)
    yield from inside


def _files(folder: Path, apart: set[Path]) -> Iterator[tuple[Path, int]]:
    for path in sorted(folder.iterdir()):
        if path in apart:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, apart)
        else:
            yield path, path.lstat().st_size
