"""Moves the bytes of one file from the hub into its part, in as many pieces as the network makes of it.

Each attempt asks the hub's own address again, because the one it leads on to is signed and expires. The token goes to the hub's
origin and to no other.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import socket
from typing import TYPE_CHECKING, Final, NoReturn

import httpx2

from mistral_chat.errors import DownloadFailed, NotEnoughDisk
from mistral_chat.models.body import Body
from mistral_chat.models.hashing import FollowingHash
from mistral_chat.models.partial import PartialFile, RemoteFile
from mistral_chat.models.retry import DownloadPaused, RetryableError, RetryBudget, RetryPolicy

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from mistral_chat.models.partial import PartialWriter
    from mistral_chat.models.progress import Stage

_MOST_REDIRECTS: Final = 8
_SPARE_DISK: Final = 64 << 20
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_ALREADY_THERE: Final = 416


class RevisionChanged(Exception):
    """The server holds another file than the one that the hub spoke of."""


class HTTPTransfer:
    """One file on its way. It runs in one thread; another may read where it stands, and stop it."""

    def __init__(
        self,
        remote: RemoteFile,
        part: PartialFile,
        *,
        stop: threading.Event,
        policy: RetryPolicy,
        tell: Callable[[Stage, str], None],
    ) -> None:
        """Fetch `remote` into `part` until `stop` is set, and `tell` what happens."""
        self._remote = remote
        self._part = part
        self._stop = stop
        self._patience = policy
        self._tell = tell
        self._attempts = RetryBudget(policy, stop, lambda note: tell("retrying", note))
        self._hash: FollowingHash | None = None
        self._socket: socket.socket | None = None
        self._have = 0

    @property
    def here(self) -> int:
        """Bytes of the file that have arrived."""
        return self._have

    def interrupt(self) -> None:
        """Wake the thread that waits for the network; call it after `stop` was set."""
        waiting = self._socket
        if waiting is not None:
            with contextlib.suppress(OSError):
                # SSLSocket.shutdown would also take the encryption off, and what is still on its way be read as it is.
                socket.socket.shutdown(waiting, socket.SHUT_RDWR)

    def run(self) -> str:
        """Fetch what is missing, check all of it, and give the file its name. Gives its SHA-256.

        Raises:
            DownloadFailed: the network or the hub would not give it, or gave something else; what is good is kept.
            NotEnoughDisk: there is no room.
            RevisionChanged: the hub must be asked again.
            Stopped: a person paused it.
        """
        self._have = self._part.resume_or_reset(self._remote)
        self._check_room()
        try:
            with self._part.opened() as part:
                self._follow()
                self._fetch(part)
            digest = self._digest()
        except OSError as error:
            self._cannot_write(error)
        finally:
            if self._hash is not None:
                self._hash.end()
        if self._remote.sha256 and digest != self._remote.sha256:
            self._part.drop()
            raise DownloadFailed(
                f"What arrived of {self._remote.file} is not the right file: its SHA-256 is {digest} and should be "
                f"{self._remote.sha256}. It was removed; start the download again, and if this repeats, distrust the source."
            )
        self._part.finish()
        return digest

    def _fetch(self, part: PartialWriter) -> None:
        best = self._have
        with self._client() as client:
            while self._have < self._remote.bytes:
                try:
                    self._tell("downloading", "")
                    for _ in self._stream(client, part):
                        if self._have - best >= self._patience.progress:
                            best = self._have
                            self._attempts.succeeded()
                except RetryableError as again:
                    self._attempts.failed(again)
                except httpx2.TransportError as error:
                    if self._stop.is_set():
                        raise DownloadPaused from error
                    self._attempts.failed(RetryableError(describe(error, self._remote.url)))

    def _stream(self, client: httpx2.Client, part: PartialWriter) -> Iterator[None]:
        """One attempt: ask for what is missing and write what comes, to the last byte before a fault; yields after each block."""
        with self._answer(client) as response:
            self._check(response, part)
            stream = response.extensions.get("network_stream")
            self._socket = stream.get_extra_info("socket") if stream is not None else None
            try:
                body = Body(response, self._patience.stall)
                following = self._hash or self._follow()
                while count := body.read_into(space := following.space()):
                    if self._have + count > self._remote.bytes:
                        raise DownloadFailed(
                            f"The server sent more than the {self._remote.bytes:,} bytes of {self._remote.file}."
                        )
                    part.append(space[:count])
                    following.grown(count)
                    self._have += count
                    yield
                    if self._stop.is_set():
                        raise DownloadPaused
            finally:
                self._socket = None
        if self._have < self._remote.bytes:
            raise RetryableError("The connection ended early.")

    @contextlib.contextmanager
    def _answer(self, client: httpx2.Client) -> Iterator[httpx2.Response]:
        """The answer at the end of all redirects; the token stays with the first origin."""
        home = httpx2.URL(self._remote.url)
        url = home
        for _ in range(_MOST_REDIRECTS):
            headers = {"Accept-Encoding": "identity"}
            if self._have:
                headers["Range"] = f"bytes={self._have}-"
            if self._remote.token and _origin(url) == _origin(home):
                headers["Authorization"] = f"Bearer {self._remote.token}"
            with client.stream("GET", url, headers=headers) as response:
                self._check_still_same(response)
                following = response.headers.get("location") if response.is_redirect else None
                if following is None:
                    yield response
                    return
            url = url.join(following)
            if url.scheme not in {"http", "https"} or (home.scheme == "https" and url.scheme != "https"):
                raise DownloadFailed(f"{home.host} leads on to an address that is not safe ({url.scheme}://{url.host}).")
        raise DownloadFailed(f"{home.host} leads on from one address to the next without end.")

    def _check_still_same(self, response: httpx2.Response) -> None:
        """Notice that the hub now speaks of another file than when it was asked."""
        linked = response.headers.get("x-linked-etag", "").removeprefix("W/").strip('"')
        if linked and self._remote.etag and linked != self._remote.etag:
            raise RevisionChanged

    def _check(self, response: httpx2.Response, part: PartialWriter) -> None:
        """Check that the answer is the rest of the file, or all of it."""
        status = response.status_code
        if status in _BUSY:
            raise RetryableError(
                f"{response.url.host} is busy (HTTP {status}).", retry_after(response.headers.get("retry-after", ""))
            )
        if status == _ALREADY_THERE:
            raise RevisionChanged
        if response.headers.get("content-type", "").startswith("text/html"):
            raise DownloadFailed(
                f"{response.url.host} answered with a web page instead of {self._remote.file}. "
                "If this network asks for a log-in, log in with a browser and start the download again; what has arrived is kept."
            )
        if status == httpx2.codes.PARTIAL_CONTENT:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("content-range", ""))
            if span is None or int(span[1]) != self._have or int(span[2]) != self._remote.bytes:
                raise RevisionChanged
            return
        if status != httpx2.codes.OK:
            raise DownloadFailed(f"{response.url.host} refuses {self._remote.file} (HTTP {status}).")
        if int(response.headers.get("content-length", self._remote.bytes)) != self._remote.bytes:
            raise RevisionChanged
        if self._have:
            part.empty()
            self._have = 0
            self._follow()

    def _follow(self) -> FollowingHash:
        """Hash what is here, and what will come, from the beginning."""
        if self._hash is not None:
            self._hash.end()
        self._hash = FollowingHash(self._part.path, self._have)
        return self._hash

    def _digest(self) -> str:
        following = self._hash or self._follow()
        self._tell("verifying", "")
        following.whole()
        while not following.wait(0.1):
            if self._stop.is_set():
                raise DownloadPaused
        return following.hexdigest()

    def _client(self) -> httpx2.Client:
        limits = httpx2.Timeout(self._patience.stall, connect=self._patience.connect)
        try:
            return httpx2.Client(timeout=limits, follow_redirects=False, headers={"User-Agent": "mistral-chat"})
        except (ImportError, ValueError) as error:
            raise DownloadFailed(f"The proxy that the environment names cannot be used: {error}.") from error

    def _check_room(self) -> None:
        folder = self._part.path.parent
        missing = self._remote.bytes - self._have
        free = shutil.disk_usage(folder).free
        spare = _SPARE_DISK if self._remote.bytes > _SPARE_DISK else 0
        if missing and free < missing + spare:
            raise NotEnoughDisk(folder, missing + spare, free)

    def _cannot_write(self, error: OSError) -> NoReturn:
        folder = self._part.path.parent
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NotEnoughDisk(folder, self._remote.bytes - self._part.size(), shutil.disk_usage(folder).free) from error
        if error.errno == errno.EFBIG:
            raise DownloadFailed(
                f"{folder} cannot hold a file of {self._remote.bytes / 1e9:.1f} GB. Set models.folder to another disk; "
                "what has arrived is kept."
            ) from error
        raise DownloadFailed(f"{self._part.path} cannot be written ({error.strerror or error}).") from error


def describe(error: Exception, url: str) -> str:
    """A sentence for a person about a network that failed, without the address's signature."""
    host = httpx2.URL(url).host
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        raise DownloadFailed(
            f"The certificate of {host} cannot be trusted. "
            "If this network looks into connections, set SSL_CERT_FILE to the certificate that it uses."
        ) from error
    if isinstance(error, httpx2.ProxyError):
        return f"The proxy did not connect to {host}."
    if isinstance(error, httpx2.TimeoutException):
        return f"{host} stopped answering."
    if isinstance(error, httpx2.ConnectError):
        return f"{host} cannot be reached."
    return f"The connection to {host} broke off."


def retry_after(value: str) -> float | None:
    """The seconds that a server asks to wait, where it says so as a number."""
    return float(value) if re.fullmatch(r"\d{1,6}", value) else None


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
