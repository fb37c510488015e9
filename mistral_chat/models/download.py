"""One download from start to finish: the lock, the hub, every part of the file, the final name."""

from __future__ import annotations

import errno
import shutil
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn

from filelock import AcquireReturnProxy, FileLock, Timeout

from mistral_chat import system
from mistral_chat.errors import DownloadFailed, ModelError, NotEnoughDisk
from mistral_chat.model_listing import DownloadProgress, Stage
from mistral_chat.models.checksums import sha256_of
from mistral_chat.models.http_transfer import HTTPTransfer, RevisionChanged
from mistral_chat.models.partial import PartialFile, RemoteFile, abandoned_parts
from mistral_chat.models.retry import DownloadPaused, RetryBudget
from mistral_chat.models.task import TICK, ModelTask
from mistral_chat.paths import parts_of, private_folder

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.models.catalog import CatalogEntry
    from mistral_chat.models.hub import Hub
    from mistral_chat.models.library import Library

_DAY: Final = 86_400.0
_MAX_REVISIONS: Final = 3
_SPARE_DISK: Final = 64 << 20
"""Bytes that a large download leaves free on the disk."""
_SPEED_SPAN: Final = 5.0
"""Seconds over which the speed is averaged."""


def download_lock(first: Path) -> FileLock:
    """The lock of the process that downloads a model whose file, or first part, will be `first`."""
    return FileLock(first.with_name(f".{first.name}.lock"), mode=0o600, thread_local=False)


class Speedometer:
    """Bytes per second over the last five seconds."""

    def __init__(self) -> None:
        """Create a speedometer without samples."""
        self._samples: deque[tuple[float, int]] = deque()

    def speed(self, now: float, position: int) -> float:
        """Record that `position` (bytes) was reached at `now` (monotonic seconds), and return the speed."""
        if self._samples and position < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, position))
        while len(self._samples) > 2 and now - self._samples[0][0] > _SPEED_SPAN:  # noqa: PLR2004 (two samples make a speed)
            self._samples.popleft()
        first, start = self._samples[0]
        return (position - start) / (now - first) if now > first else 0.0


class Download(ModelTask):
    """The download of one catalog entry, with all parts of a split file."""

    kind = "downloading"

    def __init__(self, entry: CatalogEntry, library: Library, hub: Hub) -> None:
        """Create a download of `entry` from `hub` into the folder of `library`, which keeps the checksums."""
        super().__init__(entry.name, f"{entry.title} {entry.quantization}".strip())
        self.chats = entry.kind == "chat"
        self._entry = entry
        self._targets = parts_of(library.target(entry))
        self._library = library
        self._hub = hub
        self._stage: Stage = "asking"
        self._note = ""
        self._total = entry.bytes
        self._complete = 0
        """Bytes of the parts that are complete."""
        self._transfer: HTTPTransfer | None = None
        self._speedometer = Speedometer()

    @property
    def progress(self) -> DownloadProgress:
        """The progress now. The speed is measured between calls."""
        transfer, total = self._transfer, self._total
        here = self._complete + transfer.bytes if transfer is not None else self._bytes_on_disk()
        speed = self._speedometer.speed(time.monotonic(), here)
        stage: Stage = "paused" if self.state == "paused" else self._stage
        moving = stage in {"downloading", "waiting"} and speed > 0
        return DownloadProgress(
            stage=stage,
            bytes=here,
            total=total,
            speed=speed,
            seconds_left=(total - here) / speed if moving and total is not None else None,
            note=self._note if stage == self._stage else "",
        )

    def cancel(self) -> None:
        """Pause: stop the thread even if it waits for the network. Downloaded data is kept."""
        super().cancel()
        if self._transfer is not None:
            self._transfer.interrupt()

    def _bytes_on_disk(self) -> int:
        parts = map(PartialFile, self._targets)
        return sum(part.size() if part.begun or not part.target.exists() else part.target.stat().st_size for part in parts)

    def _work(self) -> None:
        try:
            self._download_locked()
        except OSError as error:
            self._raise_disk_error(error)
        self._notify("done", "")

    def _download_locked(self) -> None:
        private_folder(self._targets[0].parent)
        with self._locked():
            for path in abandoned_parts(self._library.models_dir, time.time() - _DAY):
                system.delete(path)
            if self._is_installed():
                for part in map(PartialFile, self._targets):
                    part.drop()  # a paused download of what has come in another way
                self._total = self._bytes_on_disk()
            else:
                self._download_all()

    def _is_installed(self) -> bool:
        try:
            self._library.find(self.spec, any_kind=True)
        except ModelError:  # perhaps a damaged file, which is replaced
            return False
        return all(target.exists() for target in self._targets)

    def _locked(self) -> AcquireReturnProxy[FileLock]:
        lock = download_lock(self._targets[0])
        while True:
            try:
                return lock.acquire(timeout=0)
            except Timeout:
                metadata = PartialFile(self._targets[0]).metadata()
                self._total = metadata.bytes if metadata is not None and len(self._targets) == 1 else None
                self._notify("waiting", "Another download of this file is running, perhaps in another window")
                if self._stop.wait(TICK):
                    raise DownloadPaused from None

    def _download_all(self) -> None:
        repository = self._library.models_dir / self._entry.repository
        remotes = {target: self._look_up(target.relative_to(repository).as_posix()) for target in self._targets}
        missing = {target: remote for target, remote in remotes.items() if not self._has(target, remote)}
        if not missing:  # and yet the model cannot be used
            self._notify("verifying", "")
            missing = {
                target: remote
                for target, remote in remotes.items()
                if remote.sha256 is not None and sha256_of(target, stop=self._stop) != remote.sha256
            }
            if self._stop.is_set():
                raise DownloadPaused
        self._total = sum(remote.bytes for remote in remotes.values())
        self._complete = self._total - sum(remote.bytes for remote in missing.values())
        self._check_disk(sum(remote.bytes - PartialFile(target).size() for target, remote in missing.items()))
        for target, remote in missing.items():
            self._download_one(remote, target)
            self._transfer = None
            self._complete += target.stat().st_size

    def _has(self, target: Path, remote: RemoteFile) -> bool:
        """Whether a file is there that is neither damaged nor of another revision, as far as that is known without reading it."""
        known = self._library.checksums.of(target)
        whole = target.exists() and target.stat().st_size == remote.bytes
        return whole and (known is None or remote.sha256 in {None, known.sha256})

    def _check_disk(self, missing: int) -> None:
        folder = self._targets[0].parent
        free = shutil.disk_usage(folder).free
        spare = _SPARE_DISK if (self._total or 0) > _SPARE_DISK else 0
        if missing > 0 and free < missing + spare:
            raise NotEnoughDisk(folder, missing + spare, free)

    def _raise_disk_error(self, error: OSError) -> NoReturn:
        folder = self._targets[0].parent
        missing = (self._total or 0) - self._complete - sum(PartialFile(target).size() for target in self._targets)
        if error.errno in {errno.ENOSPC, errno.EDQUOT} and missing > 0:
            raise NotEnoughDisk(folder, missing, system.free_bytes(folder) or 0) from error
        if error.errno == errno.EFBIG:
            advice = "Set models.folder to another disk. Downloaded data is kept."
            raise DownloadFailed(f"The disk that holds {folder} cannot store a file this large. {advice}") from error
        advice = "If that folder cannot be written, set models.folder to another one."
        raise DownloadFailed(f"Could not write to {folder}: {error.strerror or error}. {advice}") from error

    def _download_one(self, remote: RemoteFile, target: Path) -> None:
        for _ in range(_MAX_REVISIONS):
            part = PartialFile(target)
            self._transfer = HTTPTransfer(remote, part, stop=self._stop, policy=self._hub.policy, notify=self._notify)
            try:
                digest = self._transfer.run()
            except RevisionChanged:
                remote = self._look_up_again(remote, part)
                self._total = remote.bytes if len(self._targets) == 1 else self._total
            else:
                self._library.checksums.add(target, digest, remote.sha256)
                return
        raise DownloadFailed(
            f"The hub and the server it redirects to disagree about {remote.file}. Nothing downloaded from them can be trusted. "
            "Try again later, or without HF_ENDPOINT."
        )

    def _look_up_again(self, remote: RemoteFile, part: PartialFile) -> RemoteFile:
        """Ask again after the file changed on the hub, or after its answers contradicted each other."""
        fresh = self._look_up(remote.file)
        if fresh == remote:
            part.drop()
        return fresh

    def _look_up(self, file: str) -> RemoteFile:
        self._notify("asking", "")
        budget = RetryBudget(self._hub.policy, self._stop, lambda reason: self._notify("retrying", reason))
        return self._hub.look_up(self._entry, budget, file)

    def _notify(self, stage: Stage, note: str) -> None:
        self._stage, self._note = stage, note
