"""Every folder and file that the program reads or writes; no other module names one.

Folders are created 0700 and files 0600 when first needed, never by asking for their path.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from mistral_chat.errors import UsageError
from mistral_chat.system import name_problem

APPLICATION = "mistral-chat"

RESTORE = "close mistral-chat, delete conversations.db-wal and conversations.db-shm if they exist, then replace conversations.db"
"""How to restore a backup, which replaces the database. A log that a crash left would be written into it."""

FOLDER_MODE = 0o700
FILE_MODE = 0o600

SPLIT = re.compile(r"(?i)^(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf$")
"""The name of a part of a split model, as llama.cpp writes it."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The program's folders and files."""

    config_file: Path
    """The settings."""
    data_dir: Path
    """Data that cannot be recreated: the conversations and, unless another folder is set, the models."""
    cache_dir: Path
    """Data that can be recreated."""
    log_dir: Path
    models_dir: Path
    """The folder for downloads."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], models_folder: str | None = None) -> Paths:
        """The platform's folders, or those that environment variables name.

        `MISTRAL_CHAT_CONFIG` is the settings file. `MISTRAL_CHAT_DATA_DIR` is the data folder, which then contains the cache and
        the logs too. `MISTRAL_CHAT_MODELS_DIR` overrides `models_folder`, which overrides the data folder. On Linux the XDG
        variables are honoured, read from the process's own environment.

        Raises:
            UsageError: a folder is in a home folder that does not exist.
        """
        from platformdirs import PlatformDirs

        platform = PlatformDirs(APPLICATION, appauthor=False)
        config = environ.get("MISTRAL_CHAT_CONFIG")
        data = environ.get("MISTRAL_CHAT_DATA_DIR")
        models = environ.get("MISTRAL_CHAT_MODELS_DIR") or models_folder
        data_dir = _absolute(data) if data else platform.user_data_path
        return cls(
            config_file=_absolute(config) if config else platform.user_config_path / "config.yaml",
            data_dir=data_dir,
            cache_dir=data_dir / "cache" if data else platform.user_cache_path,
            log_dir=data_dir / "log" if data else platform.user_log_path,
            models_dir=_absolute(models) if models else data_dir / "models",
        )

    @property
    def database(self) -> Path:
        """The database of conversations."""
        return self.data_dir / "conversations.db"

    @property
    def snapshots_dir(self) -> Path:
        """The context snapshots."""
        return self.cache_dir / "snapshots"

    @property
    def tuning_file(self) -> Path:
        """The measured speed of each model on this machine."""
        return self.cache_dir / "tuning.json"

    @property
    def log_file(self) -> Path:
        """The log of the program and llama.cpp, without conversation text."""
        return self.log_dir / "mistral-chat.log"


def parts_of(path: Path) -> list[Path]:
    """Every file of the model at `path`: one, or all parts of a split file, whether they exist or not."""
    split = SPLIT.match(path.name)
    if split is None or int(split["parts"]) < 1:
        return [path]
    count = int(split["parts"])
    return [path.with_name(f"{split['stem']}-{part:05d}-of-{count:05d}{path.suffix}") for part in range(1, count + 1)]


def private_folder(path: Path) -> Path:
    """Create `path` and the missing folders above it, readable by their owner only, and return it.

    An existing folder keeps its mode: its owner may share it on purpose.
    """
    missing = list(takewhile(lambda folder: not folder.exists(), (path, *path.parents)))
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return path


def private_opener(path: str, flags: int) -> int:
    """Open a file that only its owner can read: the ``opener`` of `open`."""
    return os.open(path, flags, FILE_MODE)


def output_path(text: str) -> Path:
    """Expand the file name `text` given by the user; ``~`` is the home folder.

    Raises:
        UsageError: there is no such home folder, or Windows would lose the file.
    """
    path = _absolute(text)
    if sys.platform == "win32" and (problem := name_problem(path.name)):
        raise UsageError(f"{problem}. Choose another name.")
    return path


def write_new(name: str, text: str) -> Path:
    """Write a new file, named by the user, that only its owner can read, and return its path.

    Raises:
        UsageError: it exists already, or cannot be written. Nothing is left of it.
    """
    path, opened = output_path(name), False
    try:
        with open(path, "x", encoding="utf-8", errors="replace", newline="", opener=private_opener) as file:
            opened = True
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{name} exists already. Choose another name.") from error
    except (OSError, ValueError) as error:
        if opened:  # else a file of that name is not this one
            with suppress(OSError):
                path.unlink()
        why = error.strerror if isinstance(error, OSError) else "not a file name"
        raise UsageError(f"Cannot write {name}: {why}. Choose another name.") from error
    return path


def expanded(path: str | Path) -> Path:
    """`path` with the home folder for ``~``; unchanged if there is no such home folder."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (that of Path raises an error for one)


def _absolute(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{path}: no such home folder.") from error
