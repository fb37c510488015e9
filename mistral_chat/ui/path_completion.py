"""Completes typed paths, and parses paths that terminals paste when a file is dropped."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from mistral_chat.text import clean

_LONGEST: Final = 4096
"""Characters of a path."""

_WHOLE: Final = re.compile(r"""(['"]?)(/|~/)|file://""")
_WHOLE_ON_WINDOWS: Final = re.compile(r"""(['"]?)([A-Za-z]:[\\/]|\\\\|~[\\/])|file://""")
"""How an absolute path starts."""


def path_from_input(text: str) -> Path:
    """The path in `text`: plain, quoted, escaped for a shell, with ``~``, or as a ``file:`` address. It may be no file at all."""
    import shlex

    text = text.strip()
    windows = sys.platform == "win32"
    if text.startswith("file://"):
        path = unquote(text.removeprefix("file://").partition("/")[2])
        return Path(path if windows else f"/{path}")
    plain = os.path.expanduser(text)
    if os.path.exists(plain):
        return Path(plain)
    if windows:  # where the shell's escape is the separator of folders
        return Path(os.path.expanduser(text.strip("\"'")))
    try:
        words = shlex.split(text)
    except ValueError:
        return Path(plain)
    return Path(os.path.expanduser(words[0]) if len(words) == 1 else plain)


def path_from_paste(text: str) -> Path | None:
    """The file whose absolute path `text` is; None for anything else. A bare name is a word, not a path."""
    text = text.strip()
    whole = _WHOLE_ON_WINDOWS if sys.platform == "win32" else _WHOLE
    if not whole.match(text) or "\n" in text or "\0" in text or len(text) > _LONGEST:
        return None
    path = path_from_input(text)
    return path if os.path.isfile(path) else None


def split_typed(typed: str) -> tuple[str, str]:
    """The folder of a path that is being typed, up to and with its last slash, and the beginning of the name after it."""
    last = max(typed.rfind("/"), typed.rfind("\\") if sys.platform == "win32" else -1) + 1
    return typed[:last], typed[last:]


def complete_path(typed: str) -> tuple[str, list[str]]:
    """Complete a path as far as it is unambiguous, and return the names it may continue with; folders end with a slash.

    Names with characters that act on a terminal are left out.
    """
    folder, begun = split_typed(typed)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            names = [entry.name + ("/" if entry.is_dir() else "") for entry in entries if entry.name.startswith(begun)]
    except (OSError, ValueError):
        return typed, []
    found = sorted(name for name in names if clean(name) == name and (begun or not name.startswith(".")))
    return (folder + common_beginning(found) if found else typed), found


def common_beginning(names: list[str]) -> str:
    """The common beginning of `names`, which are sorted: that of the first and the last."""
    first, last = names[0], names[-1]
    same = next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:same]
