"""A file on its way: ``NAME.part``, and beside it ``NAME.part.json``, which says what it is a part of.

A part is only ever appended to. What stands in it is taken up by a later process if the file it belongs to is still the same
one, by its SHA-256, or by its entity tag where the hub does not say the SHA-256.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Self

from mistral_chat.paths import FILE_MODE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIECE: Final = 1 << 15
"""Bytes that are written at once. For more the system looks for larger pages, and a virtual machine that gives free memory back
to its host has none of those at hand: on one, pieces of 256 kB cost twice the processor's time."""
_SETTLE: Final = 32 << 20
"""Bytes that may wait to be sent to the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file on the hub, as it stood when the hub was asked."""

    repository: str
    file: str
    commit: str
    """The revision that was asked for, as the commit that it stood for."""
    url: str
    """Where it is asked for; it leads on to the bytes and holds no secret."""
    bytes: int
    etag: str
    sha256: str | None
    """What the catalog or else the hub states; None where neither does."""
    token: str | None = None
    """Shown to the hub's own origin and to no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialMetadata:
    """What a part is a part of."""

    repository: str
    file: str
    commit: str
    bytes: int
    etag: str
    sha256: str | None

    @classmethod
    def of(cls, remote: RemoteFile) -> Self:
        """The claim of a part of `remote`."""
        return cls(
            repository=remote.repository,
            file=remote.file,
            commit=remote.commit,
            bytes=remote.bytes,
            etag=remote.etag,
            sha256=remote.sha256,
        )

    def is_for(self, remote: RemoteFile) -> bool:
        """Whether what was fetched under this claim belongs to `remote`: the same content, whatever the commit is called."""
        if self.bytes != remote.bytes:
            return False
        if self.sha256 and remote.sha256:
            return self.sha256 == remote.sha256
        return bool(self.etag) and self.etag == remote.etag


class PartialFile:
    """The file that a download appends to, until it is whole and gets its name."""

    def __init__(self, target: Path) -> None:
        """Speak of the part of `target`; nothing is opened or made."""
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.metadata_path = target.with_name(target.name + ".part.json")

    def metadata(self) -> PartialMetadata | None:
        """What the part on the disk is a part of; None without one, or when that cannot be read."""
        try:
            return PartialMetadata(**json.loads(self.metadata_path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def size(self) -> int:
        """Bytes that are here; 0 without a part."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def resume_or_reset(self, remote: RemoteFile) -> int:
        """Keep what is here of `remote` and drop what is not; gives the bytes that are kept."""
        metadata = self.metadata()
        if metadata is None or not metadata.is_for(remote) or self.size() > remote.bytes:
            self.drop()
        if metadata != PartialMetadata.of(remote):
            self._write_metadata(PartialMetadata.of(remote))
        return self.size()

    @contextlib.contextmanager
    def opened(self) -> Iterator[PartialWriter]:
        """The part, to append to; what was appended is on the disk when the context ends without an error."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        descriptor = os.open(self.path, flags, 0o600)
        try:
            appending = PartialWriter(descriptor)
            try:
                yield appending
            finally:
                appending.end()
            appending.settle()
        finally:
            os.close(descriptor)

    def finish(self) -> None:
        """Give the part its name, in one step, and make it read-only: nothing writes to weights that are in use."""
        self.path.chmod(0o400)
        self.path.replace(self.target)
        self.metadata_path.unlink(missing_ok=True)
        _sync_folder(self.target.parent)

    def drop(self) -> None:
        """Remove what is here of it."""
        self.path.unlink(missing_ok=True)
        self.metadata_path.unlink(missing_ok=True)

    def _write_metadata(self, metadata: PartialMetadata) -> None:
        fresh = self.metadata_path.with_name(self.metadata_path.name + ".new")
        fresh.write_text(json.dumps(asdict(metadata), indent=1), "utf-8")
        fresh.chmod(FILE_MODE)
        fresh.replace(self.metadata_path)


class PartialWriter:
    """An open part. A second thread sends to the disk what was appended, so that little is left to wait for at the end."""

    def __init__(self, descriptor: int) -> None:
        """Append to the file behind `descriptor`, which stays open until `end` was called."""
        self._descriptor = descriptor
        self._unsettled = 0
        self._ended = False
        self._error: OSError | None = None
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, name="settling", daemon=True)
        self._thread.start()

    def append(self, block: memoryview) -> None:
        """Write all of `block`.

        Raises:
            OSError: it, or something before it, could not be written; a piece of it may stand.
        """
        if self._error is not None:
            raise self._error
        left = block
        while left:
            left = left[os.write(self._descriptor, left[:_PIECE]) :]
        self._unsettled += len(block)
        if self._unsettled >= _SETTLE:
            self._unsettled = 0
            self._due.set()

    def empty(self) -> None:
        """Begin anew."""
        os.ftruncate(self._descriptor, 0)

    def end(self) -> None:
        """Leave the second thread."""
        self._ended = True
        self._due.set()
        self._thread.join()

    def settle(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            OSError: the disk did not take it; a disk says so only once, so this tells what the second thread heard, too.
        """
        if self._error is not None:
            raise self._error
        os.fsync(self._descriptor)

    def _run(self) -> None:
        try:
            while self._due.wait() and not self._ended:
                self._due.clear()
                os.fsync(self._descriptor)
        except OSError as error:
            self._error = error


def abandoned_parts(folder: Path, before: float) -> list[Path]:
    """Files in `folder` that no download will take up again and that were left before the time `before`.

    They are parts of files that are here whole, and claims without a part.
    """
    gone = []
    for path in sorted(folder.rglob("*.part*")):
        stem = path.name.removesuffix(".new").removesuffix(".json").removesuffix(".part")
        part = path.with_name(stem + ".part")
        useless = path.with_name(stem).exists() or (path != part and not part.exists())
        if useless and path.stat().st_mtime < before:
            gone.append(path)
    return gone


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
