"""Finds the files in a folder that can be read as documents."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import Final, TypeAlias

from pathspec import GitIgnoreSpec

from mistral_chat.documents.kinds import kind_of
from mistral_chat.documents.text_files import PROBED, looks_binary

LARGEST_IN_FOLDER: Final = 8 * 1024**2
"""Maximum bytes of a text file found in a folder; larger ones are probably data, and have to be named."""
_LARGEST_RULES: Final = 1 << 20
_LONGEST_RULE: Final = 4096
_FAST_RULE: Final = re.compile(r"[^*]*(?:\*++[^*]*){,4}")
"""Matching one name with a rule of more wildcards may take minutes, except where each matches in one way only."""
_ONE_WILDCARD: Final = re.compile(r"(?:^!?|(?<=/))[^*/\[]*\*[^*/\[]*(?![^/])")
"""A part of a rule that matches a part of a path in one way at most."""
_TEXT_KINDS: Final = frozenset({"text", "code", "python", "markdown", "html"})


_Rules: TypeAlias = tuple[Path, GitIgnoreSpec]
"""A folder and its ``.gitignore``."""


def documents_in(path: Path) -> Iterator[Path]:
    """Yield `path` itself if it is a file, otherwise the documents in it and in its subfolders, sorted by name.

    A folder that cannot be opened is yielded itself.

    Left out are hidden files and folders, links, what a ``.gitignore`` in the folder or above it in the same repository leaves
    out, and files of unknown kinds. A file that was named is never left out.
    """
    if not path.is_dir():
        yield path
        return
    yield from _below(path.absolute(), _rules_above(path.absolute()))


def _rules_above(folder: Path) -> list[_Rules]:
    """The rules between the root of the repository and `folder`; none outside a repository."""
    chain = [folder, *folder.parents]
    root = next((index for index, each in enumerate(chain) if (each / ".git").exists()), 0)
    return [rules for each in reversed(chain[1 : root + 1]) for rules in _rules_in(each)]


def _rules_in(folder: Path) -> list[_Rules]:
    path = folder / ".gitignore"
    try:
        if not path.is_file():
            return []
        with path.open("rb") as file:
            text = file.read(_LARGEST_RULES).decode("utf-8", "replace")
    except OSError:
        return []
    return [(folder, GitIgnoreSpec.from_lines(filter(_is_usable, text.splitlines())))]


def _is_usable(line: str) -> bool:
    """Whether a rule is fast and valid; git ignores invalid ones, too."""
    if len(line) > _LONGEST_RULE or not _FAST_RULE.fullmatch(_ONE_WILDCARD.sub("", line)):
        return False
    try:
        return bool(GitIgnoreSpec.from_lines([line]))
    except ValueError:
        return False


def _below(folder: Path, above: list[_Rules]) -> Iterator[Path]:
    waiting = [(folder, True, above)]
    while waiting:
        path, is_folder, rules = waiting.pop()
        if not is_folder:
            if _wanted(path):
                yield path
            continue
        rules = [*rules, *_rules_in(path)]
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                yield path
            continue
        for entry in entries:
            inner, is_folder = Path(entry.path), entry.is_dir()
            if not (entry.name.startswith(".") or entry.is_symlink() or _ignored(inner, rules, folder=is_folder)):
                waiting.append((inner, is_folder, rules))


def _ignored(path: Path, rules: list[_Rules], *, folder: bool) -> bool:
    """Whether the innermost rules that match `path` ignore it."""
    for place, spec in reversed(rules):
        verdict = spec.check_file(path.relative_to(place).as_posix() + ("/" if folder else "")).include
        if verdict is not None:
            return verdict
    return False


def _wanted(path: Path) -> bool:
    kind = kind_of(path)
    try:
        status = path.stat()
        if kind is None or not S_ISREG(status.st_mode) or status.st_size == 0:
            return False
        if kind in _TEXT_KINDS and status.st_size > LARGEST_IN_FOLDER:
            return False
        if path.suffix:
            return True
        with path.open("rb") as file:  # as in LICENSE or Makefile, only the content distinguishes text from binaries
            return not looks_binary(file.read(PROBED))
    except OSError:  # it may have been deleted meanwhile, or its folder may not be entered
        return False
