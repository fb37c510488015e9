"""Partial downloads on disk: ``NAME.part``, and ``NAME.part.json`` with the identity of the file it belongs to.

A partial file only grows. A later process resumes it if the hub still serves the same content: the same SHA-256, or the same
entity tag if no SHA-256 is published.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from mistral_chat import system
from mistral_chat.models import sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME: Final = re.compile(r"(?i)(?P<target>.+\.gguf)\.part(?P<metadata>\.json(?P<rest>\.new|\.[0-9a-f]{8})?)?")
"""The name of a part, of its metadata, or of metadata that was not written to the end."""
_BLOCK: Final = 4 << 20
"""Bytes per read of the existing part."""
_SYNC_EVERY: Final = 256 << 20
"""Bytes written between two calls of fsync: few calls, and little left to flush at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file on the hub, as the hub described it. Of a partial file, ``NAME.part.json`` keeps all but `url` and `token`."""

    name: str = ""
    """The name that the model is downloaded as; empty in the metadata of earlier versions."""
    repository: str
    file: str
    commit: str
    """The commit that the requested revision resolved to."""
    url: str = ""
    """The hub's address of the file. It redirects to the content and contains no secret."""
    bytes: int
    etag: str
    sha256: str | None
    """From the catalog, else from the hub; None if neither publishes it."""
    token: str | None = None
    """Sent to the hub's own origin only."""

    def has_content_of(self, other: RemoteFile) -> bool:
        """Whether `other` has the same content, whatever its commit is called."""
        if self.bytes != other.bytes:
            return False
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return bool(self.etag) and self.etag == other.etag


class PartialFile:
    """The growing file of a download, until it is complete and takes its final name."""

    def __init__(self, target: Path) -> None:
        """Address the part of `target`. Nothing is opened or created."""
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.metadata_path = target.with_name(target.name + ".part.json")

    def metadata(self) -> RemoteFile | None:
        """The file that the part belongs to, without `url` and `token`; None if that is missing or unreadable."""
        try:
            return RemoteFile(**json.loads(self.metadata_path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def size(self) -> int:
        """Bytes on disk; 0 without a part."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    @property
    def begun(self) -> bool:
        """Whether there is something to resume. A damaged target that it will replace may still exist."""
        return self.size() > 0 and self.metadata() is not None

    def resume_or_reset(self, remote: RemoteFile) -> int:
        """Keep the part if it belongs to `remote`, else delete it. Returns the bytes kept."""
        metadata, identity = self.metadata(), replace(remote, url="", token=None)
        if metadata is None or not metadata.has_content_of(remote) or self.size() > remote.bytes:
            self.drop()
        if metadata != identity:
            kept = {key: value for key, value in asdict(identity).items() if key not in {"url", "token"}}
            system.write_private(self.metadata_path, json.dumps(kept, indent=1).encode())
        return self.size()

    @contextlib.contextmanager
    def opened(self) -> Iterator[PartialWriter]:
        """Open the part for appending. The data is on the disk when the block ends without an error."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        descriptor = os.open(self.path, flags, 0o600)
        try:
            yield PartialWriter(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def finish(self) -> None:
        """Rename the part to its target in one step and make it read-only: models in use are never written to."""
        self.path.chmod(0o400)
        system.replace(self.path, self.target)
        system.delete(self.metadata_path)
        _sync_folder(self.target.parent)

    def drop(self) -> None:
        """Delete the part and its metadata."""
        system.delete(self.path)
        system.delete(self.metadata_path)


class PartialWriter:
    """An open part."""

    def __init__(self, descriptor: int) -> None:
        """Append to the file behind `descriptor`, which was opened for reading too."""
        self._descriptor = descriptor
        self._unsynced = 0

    def blocks(self) -> Iterator[bytes]:
        """The bytes on disk, from the start."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        while block := os.read(self._descriptor, _BLOCK):
            yield block

    def append(self, block: bytes) -> None:
        """Write all of `block`, and sync the file now and then.

        Raises:
            OSError: the disk refused it; a piece of the block may have been written.
        """
        written = 0
        while written < len(block):
            written += os.write(self._descriptor, block[written:] if written else block)
        self._unsynced += len(block)
        if self._unsynced >= _SYNC_EVERY:
            self._unsynced = 0
            os.fsync(self._descriptor)

    def truncate(self) -> None:
        """Delete the content."""
        os.ftruncate(self._descriptor, 0)


def abandoned_parts(folder: Path, before: float) -> list[Path]:
    """Metadata in `folder` without a part, or not written to the end, last changed before the time `before`."""
    abandoned = []
    for path in sorted(sources.walk(folder, sources.OWN_DEPTH)):
        if (name := _NAME.fullmatch(path.name)) is None:
            continue
        part = PartialFile(path.with_name(name["target"]))
        with contextlib.suppress(OSError):  # another download may have just finished or dropped it
            useless = name["rest"] or (name["metadata"] and not part.path.exists())
            if useless and path.stat().st_mtime < before:
                abandoned.append(path)
    return abandoned


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
