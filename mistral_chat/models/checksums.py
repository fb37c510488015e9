"""SHA-256 checksums of model files, and a cache of them, so that gigabytes are not hashed at every start."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from mistral_chat import system
from mistral_chat.paths import private_folder

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable
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

    @property
    def right(self) -> bool | None:
        """Whether the SHA-256 is the published one; None without one."""
        return None if self.expected is None else self.sha256 == self.expected


def all_right(checksums: Iterable[Checksum | None]) -> bool | None:
    """Whether the SHA-256 of every file is the published one; None if that is unknown."""
    answers = {checksum and checksum.right for checksum in checksums}
    return False if False in answers else None if None in answers else True


class ChecksumCache:
    """Checksums by path, in one JSON file that several processes write."""

    def __init__(self, path: Path) -> None:
        """Use the cache file at `path`. Nothing is read yet; an unreadable file counts as empty."""
        self._path = path

    def of(self, path: Path, *, even_changed: bool = False) -> Checksum | None:
        """The checksum of the file at `path`; None without one, or if the file has changed since, unless `even_changed`."""
        try:
            entry, stat = self._entries()[str(path)], path.stat()
            checksum = Checksum(**{each.name: entry[each.name] for each in fields(Checksum)})
        except (LookupError, OSError):
            return None
        same = (checksum.bytes, checksum.changed) == (stat.st_size, stat.st_mtime_ns)
        return checksum if same or even_changed else None

    def add(self, path: Path, sha256: str, expected: str | None) -> Checksum:
        """The checksum of the file at `path` in its present state, saved if the cache file can be read and written.

        Raises:
            OSError: the file does not exist.
        """
        stat = path.stat()
        checksum = Checksum(bytes=stat.st_size, changed=stat.st_mtime_ns, sha256=sha256, expected=expected)
        self._save(path, asdict(checksum))
        return checksum

    def forget(self, path: Path) -> None:
        """Delete the checksum of the file at `path`."""
        self._save(path, None)

    def _entries(self) -> dict[str, dict[str, Any]]:
        try:
            value = json.loads(self._path.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return {key: entry for key, entry in value.items() if isinstance(entry, dict)} if isinstance(value, dict) else {}

    def _save(self, path: Path, entry: dict[str, Any] | None) -> None:
        from filelock import FileLock

        with contextlib.suppress(OSError):
            lock = private_folder(self._path.parent) / f".{self._path.name}.lock"
            with FileLock(lock, timeout=10, mode=0o600):
                entries = {key: each for key, each in {**self._entries(), str(path): entry}.items() if each}
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
