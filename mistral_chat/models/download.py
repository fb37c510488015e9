"""One download from beginning to end: the lock, the hub, the parts, and where it stands at least four times a second."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from mistral_chat.errors import DownloadFailed
from mistral_chat.models.http_transfer import HTTPTransfer, RevisionChanged
from mistral_chat.models.partial import PartialFile, RemoteFile, abandoned_parts
from mistral_chat.models.progress import Progress, Speedometer, Stage
from mistral_chat.models.retry import DownloadPaused, RetryBudget
from mistral_chat.paths import private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mistral_chat.models.catalog import CatalogEntry
    from mistral_chat.models.hub import Hub

_TICK: Final = 0.2
"""Seconds between two values of progress."""
_DAY: Final = 86_400.0
_PATIENCE_WITH_REVISIONS: Final = 3


class Download:
    """A download in a thread of its own; `progress` follows it."""

    def __init__(
        self,
        entry: CatalogEntry,
        targets: Sequence[Path],
        *,
        folder: Path,
        hub: Hub,
        stop: threading.Event,
        finished: Callable[[Path, RemoteFile, str], None],
    ) -> None:
        """Fetch the file of `entry`, with all its parts, to `targets` below `folder`.

        Args:
            entry: what is downloaded.
            targets: where it goes; several, in order, for a split file.
            folder: where all weights of ours lie.
            hub: who is asked.
            stop: set it to pause; what has arrived is kept.
            finished: is told each file that has its name, what the hub said of it, and its SHA-256; called in the thread.
        """
        self._offer = entry
        self._targets = list(targets)
        self._folder = folder
        self._hub = hub
        self._stop = stop
        self._finished = finished
        self._stage: Stage = "asking"
        self._note = ""
        self._total: int | None = None
        self._before = 0
        self._transfer: HTTPTransfer | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="download", daemon=True)

    def progress(self) -> Iterator[Progress]:
        """Begin, and say where it stands every 200 ms until it is done or paused.

        Raises:
            WeightsError: it ended otherwise; what has arrived is kept.
        """
        speedometer = Speedometer()
        self._thread.start()
        try:
            while self._thread.is_alive() and not self._stop.is_set():
                yield self._now(speedometer)
                self._thread.join(_TICK)
        finally:
            if self._thread.is_alive():
                self._stop.set()
                self._interrupt()
        if self._error is not None:
            raise self._error
        if self._thread.is_alive():
            self._tell("paused", "")
        yield self._now(speedometer)

    def _now(self, speedometer: Speedometer) -> Progress:
        transfer, total = self._transfer, self._total
        here = self._before + (transfer.here if transfer is not None else 0)
        if self._stage == "waiting":
            here = sum(target.stat().st_size if target.exists() else PartialFile(target).size() for target in self._targets)
        speed = speedometer.speed(time.monotonic(), here)
        moving = self._stage in {"downloading", "waiting"} and speed > 0 and total is not None
        return Progress(
            stage=self._stage,
            bytes=here,
            total=total,
            speed=speed,
            seconds_left=(total - here) / speed if moving and total is not None else None,
            note=self._note,
        )

    def _interrupt(self) -> None:
        transfer = self._transfer
        if transfer is not None:
            transfer.interrupt()
        self._thread.join(0.5)

    def _run(self) -> None:
        try:
            self._fetch_alone()
            self._tell("done", "")
        except DownloadPaused:
            self._tell("paused", "")
        except OSError as error:
            self._error = DownloadFailed(f"{self._folder} cannot be written ({error.strerror or error}).")
            self._error.__cause__ = error
        except Exception as error:  # noqa: BLE001 (whatever it is, `progress` raises it where somebody waits)
            self._error = error

    def _fetch_alone(self) -> None:
        first = self._targets[0]
        private_folder(first.parent)
        lock = FileLock(first.with_name(f".{first.name}.lock"), mode=0o600, thread_local=False)
        self._acquire(lock)
        try:
            for path in abandoned_parts(self._folder, time.time() - _DAY):
                path.unlink(missing_ok=True)
            if all(target.exists() for target in self._targets):
                self._before = self._total = sum(target.stat().st_size for target in self._targets)
            else:
                self._fetch_all()
        finally:
            lock.release()

    def _acquire(self, lock: FileLock) -> None:
        while True:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                metadata = PartialFile(self._targets[0]).metadata()
                self._total = metadata.bytes if metadata is not None and len(self._targets) == 1 else None
                self._tell("waiting", "Another mistral-chat is fetching this file.")
                if self._stop.wait(_TICK):
                    raise DownloadPaused from None
            else:
                return

    def _fetch_all(self) -> None:
        files = [self._offer.file] if len(self._targets) == 1 else self._part_names()
        remotes = [self._ask(file) for file in files]
        self._total = sum(remote.bytes for remote in remotes)
        for remote, target in zip(remotes, self._targets, strict=True):
            if not target.exists():
                self._fetch_one(remote, target)
            self._transfer = None
            self._before += target.stat().st_size

    def _part_names(self) -> list[str]:
        parent = self._offer.file.rpartition("/")[0]
        return [f"{parent}/{target.name}" if parent else target.name for target in self._targets]

    def _fetch_one(self, remote: RemoteFile, target: Path) -> None:
        for _ in range(_PATIENCE_WITH_REVISIONS):
            part = PartialFile(target)
            transfer = HTTPTransfer(remote, part, stop=self._stop, policy=self._hub.policy, tell=self._tell)
            self._transfer = transfer
            try:
                digest = transfer.run()
            except RevisionChanged:
                remote = self._ask_again(remote, part)
                self._total = remote.bytes if len(self._targets) == 1 else self._total
            else:
                self._finished(target, remote, digest)
                return
        raise DownloadFailed(
            f"The hub and the place that it leads to do not agree about {remote.file}. Nothing that arrived can be trusted; "
            "try again later, or without HF_ENDPOINT."
        )

    def _ask_again(self, remote: RemoteFile, part: PartialFile) -> RemoteFile:
        """The file changed on the hub meanwhile, or its answers contradict each other."""
        fresh = self._ask(remote.file)
        if fresh == remote:
            part.drop()
        return fresh

    def _ask(self, file: str) -> RemoteFile:
        self._tell("asking", "")
        budget = RetryBudget(self._hub.policy, self._stop, lambda note: self._tell("retrying", note))
        return self._hub.look_up(self._offer, budget, file)

    def _tell(self, stage: Stage, note: str) -> None:
        self._stage, self._note = stage, note
