"""SHA-256 checksums of model files, and a cache of them, so that gigabytes are not hashed at every start."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from mistral_chat import system
from mistral_chat.paths import private_folder

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

_BLOCK: Final = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """The SHA-256 of one file. It is valid while the file keeps its size and its modification time.

    The field names are keys of the cache file.
    """

    bytes: int
    changed: int
    """The file's modification time, in nanoseconds."""
    sha256: str
    expected: str | None
    """The published SHA-256; None without one."""
    origin: str = ""
    """The catalog name that a downloaded file was downloaded as."""

    @classmethod
    def of(cls, path: Path, sha256: str, expected: str | None, origin: str = "") -> Self:
        """The checksum of the file at `path` in its present state.

        Raises:
            OSError: the file does not exist.
        """
        stat = path.stat()
        return cls(bytes=stat.st_size, changed=stat.st_mtime_ns, sha256=sha256, expected=expected, origin=origin)

    @property
    def right(self) -> bool | None:
        """Whether the SHA-256 is the published one; None without one."""
        return None if self.expected is None else self.sha256 == self.expected


class ChecksumCache:
    """Checksums by path, in one JSON file."""

    def __init__(self, path: Path) -> None:
        """Use the cache file at `path`. Nothing is read yet; an unreadable file counts as empty."""
        self._path = path

    def of(self, path: Path) -> Checksum | None:
        """The checksum of the file at `path`; None without one, or if the file has changed since."""
        entry = self._entries().get(str(path))
        try:
            checksum, stat = Checksum(**entry) if entry else None, path.stat()
        except (TypeError, OSError):
            return None
        return checksum if checksum and (checksum.bytes, checksum.changed) == (stat.st_size, stat.st_mtime_ns) else None

    def add(self, path: Path, checksum: Checksum) -> None:
        """Save the `checksum` of the file at `path`.

        Raises:
            OSError: the cache file cannot be written.
        """
        private_folder(self._path.parent)
        self._write({**self._entries(), str(path): asdict(checksum)})

    def forget(self, path: Path) -> None:
        """Delete the checksum of the file at `path`."""
        entries = self._entries()
        if entries.pop(str(path), None):
            self._write(entries)

    def _entries(self) -> dict[str, dict[str, Any]]:
        try:
            value = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return {key: entry for key, entry in value.items() if isinstance(entry, dict)} if isinstance(value, dict) else {}

    def _write(self, entries: dict[str, dict[str, Any]]) -> None:
        system.write_private(self._path, json.dumps(entries, indent=1).encode())


def sha256_of(path: Path, *, stop: threading.Event | None = None, notify: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file in hexadecimal; `notify` receives the size of each block. An empty text if `stop` was set.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    block = bytearray(_BLOCK)
    view = memoryview(block)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(block):
            if stop is not None and stop.is_set():
                return ""
            digest.update(view[:size])
            if notify is not None:
                notify(size)
    return digest.hexdigest()
