"""`mistral-chat paths`: every file and folder that the program writes, with its size."""

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
class DataPath:
    """A file or folder that the program may write."""

    purpose: str
    path: Path


@dataclass(frozen=True, slots=True)
class ExistingPath:
    """A file or folder that exists."""

    path: str
    kind: str
    bytes: int
    """The size of a file, or of everything in a folder."""
    purpose: str


@click.command(short_help="List every file and folder of the program.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON only.")
@click.pass_obj
def paths(program: Program, *, as_json: bool) -> None:
    """List every file and folder that the program writes, with sizes in bytes."""
    from mistral_chat.text import one_line

    places = list_places(program.paths)
    if as_json:
        click.echo(json.dumps([asdict(written) for place in places for written in existing(place, places)], ensure_ascii=False))
        return
    for place in places:
        click.echo(f"{place.purpose}")
        found = list(existing(place, places))
        if not found:
            click.echo(f"{'missing':>16}  {one_line(str(place.path))}")
        for written in found:
            click.echo(f"{written.bytes:>16,}  {one_line(written.path)}{'/' if written.kind == 'folder' else ''}")


def list_places(known: Paths) -> list[DataPath]:
    """Every place that the program may write to."""
    return [
        DataPath("Settings:", known.config_file),
        DataPath("Conversations:", known.data_dir),
        DataPath("Models:", known.models_dir),
        DataPath("Context snapshots; they contain conversations, as tokens:", known.snapshots_dir),
        DataPath("Cache (safe to delete):", known.cache_dir),
        DataPath("Log; it contains no text of conversations:", known.log_dir),
    ]


def existing(place: DataPath, places: list[DataPath]) -> Iterator[ExistingPath]:
    """The folder with its size, then every file in it, except in the other `places`, which are listed separately."""
    if place.path.is_file():
        yield ExistingPath(str(place.path), "file", place.path.stat().st_size, place.purpose)
        return
    if not place.path.is_dir():
        return
    apart = {other.path for other in places} - {place.path}
    inside = [ExistingPath(str(path), "file", size, place.purpose) for path, size in _files(place.path, apart)]
    yield ExistingPath(str(place.path), "folder", sum(each.bytes for each in inside), place.purpose)
    yield from inside


def _files(folder: Path, apart: set[Path]) -> Iterator[tuple[Path, int]]:
    for path in sorted(folder.iterdir()):
        if path in apart:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, apart)
        else:
            yield path, path.lstat().st_size
