"""Which files were found to have the SHA-256 that they should have, so that nobody hashes gigabytes at every start."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from mistral_chat.paths import private_folder

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

_BLOCK = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """One file, hashed once. It stands as long as the file keeps its size and its time."""

    bytes: int
    changed: int
    """The file's modification time, in nanoseconds."""
    sha256: str
    expected: str | None
    """What it should have been; None where nobody states it."""
    origin: str = ""
    """Which offer it was fetched as, for files of ours."""

    @classmethod
    def of(cls, path: Path, sha256: str, expected: str | None, origin: str = "") -> Self:
        """The check of `path` as it stands.

        Raises:
            OSError: it is not there.
        """
        stat = path.stat()
        return cls(bytes=stat.st_size, changed=stat.st_mtime_ns, sha256=sha256, expected=expected, origin=origin)

    def holds_for(self, path: Path) -> bool:
        """Whether `path` still is what was checked, as far as size and time tell."""
        try:
            stat = path.stat()
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (self.bytes, self.changed)


class ChecksumCache:
    """The checks that were made, in one JSON file of ours."""

    def __init__(self, path: Path) -> None:
        """Keep the record at `path`. Nothing is read yet; a file that cannot be read counts as empty."""
        self._path = path

    def of(self, path: Path) -> Checksum | None:
        """The check of the file at `path`; None without one, or when the file has changed since."""
        entry = self._entries().get(str(path))
        try:
            checksum = Checksum(**entry) if entry else None
        except TypeError:
            return None
        return checksum if checksum and checksum.holds_for(path) else None

    def add(self, path: Path, checksum: Checksum) -> None:
        """Remember `checksum` of the file at `path`.

        Raises:
            OSError: the record cannot be written.
        """
        private_folder(self._path.parent)
        self._write({**self._entries(), str(path): asdict(checksum)})

    def forget(self, path: Path) -> None:
        """Remember nothing of the file at `path`."""
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
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_text(json.dumps(entries, indent=1), "utf-8")
        fresh.chmod(0o600)
        fresh.replace(self._path)


def sha256_of(path: Path, *, stop: threading.Event | None = None, tell: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file, as hexadecimal digits; `tell` hears how many bytes are read. An empty text when `stop` was set.

    Raises:
        OSError: it cannot be read.
    """
    digest, read = hashlib.sha256(), 0
    block = bytearray(_BLOCK)
    view = memoryview(block)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(block):
            if stop is not None and stop.is_set():
                return ""
            digest.update(view[:size])
            read += size
            if tell is not None:
                tell(read)
    return digest.hexdigest()
