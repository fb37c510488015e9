"""Completes typed paths, and parses paths that terminals paste when a file is dropped."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from mistral_chat.text import clean

_LONGEST: Final = 4096
"""Characters of a path."""

_WHOLE: Final = re.compile(r"""(['"]?)(/|~/)|file://""")
_WHOLE_ON_WINDOWS: Final = re.compile(r"""(['"]?)([A-Za-z]:[\\/]|\\\\|~[\\/])|file://""")
"""How an absolute path starts."""


def path_from_input(text: str) -> Path:
    """The path in `text`: plain, quoted, escaped for a shell, with ``~``, or as a ``file:`` address."""
    import shlex

    text = text.strip()
    windows = sys.platform == "win32"
    if text.startswith("file://"):
        path = unquote(urlsplit(text).path)
        return Path(path.lstrip("/") if windows else path)
    plain = Path(text).expanduser()
    if plain.exists():
        return plain
    if windows:  # where the shell's escape is the separator of folders
        return Path(text.strip("\"'")).expanduser()
    try:
        words = shlex.split(text)
    except ValueError:
        return plain
    return Path(words[0]).expanduser() if len(words) == 1 else plain


def path_from_paste(text: str) -> Path | None:
    """The file whose absolute path `text` is; None for anything else. A bare name is a word, not a path."""
    text = text.strip()
    whole = _WHOLE_ON_WINDOWS if sys.platform == "win32" else _WHOLE
    if not whole.match(text) or "\n" in text or "\0" in text or len(text) > _LONGEST:
        return None
    try:
        path = path_from_input(text)
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, no such home, no such address
        return None


def complete_path(typed: str) -> tuple[str, list[str]]:
    """Complete a path as far as it is unambiguous, and return the names it may continue with; folders end with a slash.

    Names with characters that act on a terminal are left out.
    """
    last = max(typed.rfind("/"), typed.rfind("\\") if sys.platform == "win32" else -1)
    folder, slash, begin = typed[: max(last, 0)], typed[last : last + 1] if last >= 0 else "", typed[last + 1 :]
    try:
        with os.scandir(Path(folder + slash).expanduser() if slash else ".") as entries:
            names = [entry.name + ("/" if entry.is_dir() else "") for entry in entries if entry.name.startswith(begin)]
    except (OSError, RuntimeError, ValueError):
        return typed, []
    found = sorted(name for name in names if clean(name) == name and (begin or not name.startswith(".")))
    return (folder + slash + common_beginning(found) if found else typed), found


def common_beginning(names: list[str]) -> str:
    """The common beginning of `names`, which are sorted: that of the first and the last."""
    first, last = names[0], names[-1]
    same = next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:same]
