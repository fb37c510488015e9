"""What is done to weights beside the chat: fetching and checking. It goes on when the screen for weights is left."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from mistral_chat.errors import MistralChatError
from mistral_chat.formatting import format_duration, format_progress, format_size
from mistral_chat.ui.shelf import Arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mistral_chat.ui.background import Background
    from mistral_chat.ui.shelf import Shelf, ShownWeights

_KEPT: Final = "What has arrived is kept, and the list of models goes on with it."
_PATIENCE: Final = 0.8
"""Seconds that leaving waits for downloads to pause. What has arrived is on the disk anyway."""


class Download:
    """One download, as long as the app runs."""

    def __init__(self, weights: ShownWeights) -> None:
        """Speak of the download of `weights`, which has not begun."""
        self.spec = weights.spec
        self.name = f"{weights.title} {weights.quantization}".strip()
        """The model's name; may hold anything."""
        self.arrival = Arrival(stage="asking", here=weights.arrived, total=weights.size if weights.exact else None)
        """Where it stands."""
        self.state: Literal["running", "paused", "failed", "done"] = "running"
        self.problem = ("", "")
        """Why it failed: a title and sentences."""
        self.stop = threading.Event()
        """Set it to pause."""
        self.ended = asyncio.Event()

    @property
    def share(self) -> float | None:
        """How much is here, 0.0 to 1.0; None while nobody knows."""
        return min(1.0, self.arrival.here / self.arrival.total) if self.arrival.total else None

    @property
    def detail(self) -> str:
        """How much is here and how fast it comes, in words."""
        arrival = self.arrival
        parts = [format_progress(arrival.here, arrival.total) if arrival.total else ""]
        if arrival.stage == "downloading" and arrival.speed > 0:
            parts.append(f"{format_size(arrival.speed)}/s")
            parts.append(f"{format_duration(arrival.seconds_left)} left" if arrival.seconds_left is not None else "")
        return ", ".join(part for part in (*parts, arrival.note) if part)

    def note(self, arrival: Arrival) -> None:
        """Take in where it stands. Until the hub has answered, what was known before holds."""
        if arrival.total is None:
            arrival = replace(arrival, here=max(arrival.here, self.arrival.here), total=self.arrival.total)
        self.arrival = arrival


class Check:
    """Hashing one model's file."""

    def __init__(self, weights: ShownWeights) -> None:
        """Speak of the check of `weights`."""
        self.spec = weights.spec
        self.name = f"{weights.title} {weights.quantization}".strip()
        self.size = weights.size
        self.share = 0.0
        self.right: bool | None = None
        """Whether the SHA-256 is what it should be; None where nobody says what that is."""
        self.problem = ""
        """Why it could not be hashed."""
        self.stop = threading.Event()
        """Set it to stop."""
        self.ended = asyncio.Event()


class Errands:
    """Does what is to be done to weights, and remembers how it ended."""

    def __init__(
        self,
        shelf: Shelf,
        background: Background,
        begin: Callable[[Coroutine[None, None, None]], object],
        ended: Callable[[Download | Check], object],
    ) -> None:
        """Know of nothing to do.

        Args:
            shelf: the doors to the weights.
            background: is told what goes on.
            begin: lets a coroutine run beside everything else.
            ended: hears what came to its end, when nobody watches.
        """
        self._shelf = shelf
        self._background = background
        self._begin = begin
        self._ended = ended
        self.downloads: dict[str, Download] = {}
        """By spec: those that run, and those that ended and were not looked at since."""
        self.checks: dict[str, Check] = {}
        """By spec: those that run."""
        self.watch: Callable[[Download | Check], object] | None = None
        """Hears of every change, and of every end in place of `ended`; None while nobody watches."""

    def running(self, spec: str) -> Download | None:
        """The download of `spec`, if it runs."""
        download = self.downloads.get(spec)
        return download if download is not None and download.state == "running" else None

    @property
    def last(self) -> str:
        """What a person comes to see: the spec of the newest download that is not done; empty without one."""
        return next((spec for spec, each in reversed(self.downloads.items()) if each.state != "done"), "")

    def fetch(self, weights: ShownWeights) -> Download:
        """Fetch `weights`, going on with what is here; the download that runs already, if one does."""
        running = self.running(weights.spec)
        if running is not None:
            return running
        download = self.downloads[weights.spec] = Download(weights)
        self._begin(self._fetch(download))
        return download

    def resume(self, download: Download) -> None:
        """Go on with a download that was paused or has failed."""
        if download.state != "running":
            download.state, download.stop, download.ended = "running", threading.Event(), asyncio.Event()
            self.downloads[download.spec] = download
            self._begin(self._fetch(download))

    def check(self, weights: ShownWeights) -> None:
        """Hash the file of `weights`, unless that is being done."""
        if weights.spec not in self.checks:
            check = self.checks[weights.spec] = Check(weights)
            self._begin(self._check(check))

    async def leave(self) -> None:
        """Pause and stop everything; what has arrived is kept."""
        running: list[Download | Check] = [each for each in self.downloads.values() if each.state == "running"]
        running += self.checks.values()
        self.watch = None
        for errand in running:
            errand.stop.set()
        ends = [asyncio.ensure_future(errand.ended.wait()) for errand in running]
        if ends:
            _, late = await asyncio.wait(ends, timeout=_PATIENCE)
            for end in late:
                end.cancel()

    async def _fetch(self, download: Download) -> None:
        arrivals = self._shelf.fetch(download.spec, download.stop)
        stopping = download.stop
        try:
            with self._background.doing("fetching", download.name, cancel=download.stop.set, kept=_KEPT) as job:
                while (arrival := await asyncio.to_thread(next, arrivals, None)) is not None:
                    download.note(arrival)
                    job.tell(download.share, download.detail)
                    if arrival.stage not in {"done", "paused"}:
                        self._tell(download)
            download.state = "done" if download.arrival.stage == "done" else "paused"
        except MistralChatError as error:
            download.state, download.problem = "failed", (error.title, str(error))
        except asyncio.CancelledError:
            download.state = "paused"
            raise
        finally:
            stopping.set()
            if download.state == "running":
                download.state = "failed"
                download.problem = ("Something went wrong inside the program", "What has arrived is kept.")
            download.ended.set()
            self._tell(download, ended=True)

    async def _check(self, check: Check) -> None:
        whole = check.size or 0
        loop = asyncio.get_running_loop()
        try:
            with self._background.doing("checking", check.name, cancel=check.stop.set) as job:

                def read(done: int) -> None:
                    share = min(1.0, done / whole) if whole else 0.0
                    if int(share * 100) != int(check.share * 100):
                        check.share = share
                        job.tell(share, format_progress(done, whole))
                        self._tell(check)

                def tell(done: int) -> None:
                    loop.call_soon_threadsafe(read, done)

                check.right = await asyncio.to_thread(self._shelf.check, check.spec, check.stop, tell)
        except MistralChatError as error:
            check.problem = str(error)
        except asyncio.CancelledError:
            check.stop.set()  # the thread would go on hashing
            raise
        finally:
            self.checks.pop(check.spec, None)
            check.ended.set()
            self._tell(check, ended=True)

    def _tell(self, errand: Download | Check, *, ended: bool = False) -> None:
        if self.watch is not None:
            self.watch(errand)
        elif ended:
            self._ended(errand)
