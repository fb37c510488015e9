"""Every folder and file the program reads or writes; nothing else spells one.

Folders are made 0700 and files 0600 when they are first needed, never by asking where they are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

APPLICATION = "mistral-chat"

FOLDER_MODE = 0o700
FILE_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Paths:
    """Where everything is."""

    config_file: Path
    """The settings, written by a person."""
    data_dir: Path
    """What cannot be had again: the conversations; and downloaded weights."""
    cache_dir: Path
    """What can be made again."""
    log_dir: Path
    models_dir: Path
    """Where downloads go."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], models_folder: str | None = None) -> Paths:
        """Find the platform's folders, or those that the environment names.

        `MISTRAL_CHAT_CONFIG` names the settings' file. `MISTRAL_CHAT_DATA_DIR` names the data folder, and then the cache and the
        logs lie in it. `MISTRAL_CHAT_MODELS_DIR` wins over `models_folder`, which wins over the data folder. On Linux the XDG
        variables are honoured, read from the process's own environment.
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
        """The conversations."""
        return self.data_dir / "conversations.db"

    @property
    def snapshots_dir(self) -> Path:
        """KV states."""
        return self.cache_dir / "snapshots"

    @property
    def log_file(self) -> Path:
        """What the program and llama.cpp report; never what was said."""
        return self.log_dir / "mistral-chat.log"


def private_folder(path: Path) -> Path:
    """Make `path` and what is missing above it, readable by its owner only, and return it.

    A folder that is there keeps its mode: a person who shares it has said so.
    """
    missing = []
    folder = path
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return path


def private_opener(path: str, flags: int) -> int:
    """Open a file that only its owner can read: the ``opener`` of `open`."""
    return os.open(path, flags, FILE_MODE)


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()
