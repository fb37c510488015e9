"""Transfers one file from the hub into its partial file, over as many connections as needed.

Every attempt starts at the hub's own address, because the address it redirects to is signed and expires. The token goes to the
hub's origin only.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
from typing import TYPE_CHECKING, Final

import httpx2

from mistral_chat import network
from mistral_chat.errors import DownloadFailed
from mistral_chat.models.partial import PartialFile, RemoteFile
from mistral_chat.models.retry import DownloadPaused, RetryableError, RetryBudget, RetryPolicy

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from mistral_chat.model_listing import Stage
    from mistral_chat.models.partial import PartialWriter

_MAX_REDIRECTS: Final = 8
BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which a request is tried again."""
_RANGE_NOT_SATISFIABLE: Final = 416


class RevisionChanged(Exception):
    """The server has a different file than the hub described."""


class HTTPTransfer:
    """The transfer of one file. It runs in one thread; another may read `bytes` and call `interrupt`."""

    def __init__(
        self,
        remote: RemoteFile,
        part: PartialFile,
        *,
        stop: threading.Event,
        policy: RetryPolicy,
        notify: Callable[[Stage, str], None],
    ) -> None:
        """Create a transfer of `remote` into `part` that ends when `stop` is set; `notify` receives stage and reason."""
        self.bytes = part.size()
        """Bytes downloaded so far."""
        self._remote = remote
        self._part = part
        self._stop = stop
        self._policy = policy
        self._notify = notify
        self._budget = RetryBudget(policy, stop, lambda reason: notify("retrying", reason))
        self._digest = hashlib.sha256()
        self._best = 0
        """The most bytes at the last progress: a server that ignores ranges and breaks off makes none."""
        self._socket: socket.socket | None = None

    def interrupt(self) -> None:
        """Wake a thread that waits for the network. Call it after `stop` was set."""
        waiting = self._socket
        if waiting is not None:
            with contextlib.suppress(OSError):
                # SSLSocket.shutdown would also drop the TLS layer, and ciphertext would be read as content.
                socket.socket.shutdown(waiting, socket.SHUT_RDWR)

    def run(self) -> str:
        """Download what is missing, verify the whole file, and give it its final name. Returns its SHA-256.

        Raises:
            DownloadFailed: the network or the server failed, or the content is wrong. Sound bytes are kept.
            OSError: the disk is full, or refuses the file.
            RevisionChanged: the hub must be asked again.
            DownloadPaused: `stop` was set.
        """
        self.bytes = self._best = self._part.resume_or_reset(self._remote)
        with self._part.opened() as writer:
            self._hash_existing(writer)
            self._download(writer)
            self._notify("verifying", "")
        if self._part.size() != self._remote.bytes:
            self._part.drop()
            raise DownloadFailed(
                f"{self._part.path} was changed while it was downloaded, so it was deleted. Start the download again."
            )
        digest = self._digest.hexdigest()
        if self._remote.sha256 and digest != self._remote.sha256:
            self._part.drop()
            raise DownloadFailed(
                f"The content of {self._remote.file} is wrong: its SHA-256 is {digest}, expected {self._remote.sha256}. "
                "It was deleted. Start the download again; if this repeats, do not trust the source."
            )
        self._part.finish()
        return digest

    def _hash_existing(self, writer: PartialWriter) -> None:
        if self.bytes:
            self._notify("verifying", "")
        for block in writer.blocks():
            self._digest.update(block)
            if self._stop.is_set():
                raise DownloadPaused

    def _download(self, writer: PartialWriter) -> None:
        with network.allowed(), self._client() as client:
            while self.bytes < self._remote.bytes:
                try:
                    self._notify("downloading", "")
                    self._stream(client, writer)
                except RetryableError as error:
                    self._budget.spend(error)
                except httpx2.TransportError as error:
                    if self._stop.is_set():
                        raise DownloadPaused from error
                    self._budget.spend(RetryableError(describe(error, self._remote.url)))

    def _stream(self, client: httpx2.Client, writer: PartialWriter) -> None:
        """Make one attempt: request the missing bytes, then write and hash what arrives until the end or an error."""
        if self._stop.is_set():  # perhaps while the hub was asked, which nothing interrupts
            raise DownloadPaused
        with self._response(client) as response:
            self._check(response, writer)
            stream = response.extensions.get("network_stream")
            self._socket = stream.get_extra_info("socket") if stream is not None else None
            try:
                for block in response.iter_raw():
                    if self.bytes + len(block) > self._remote.bytes:
                        raise DownloadFailed(
                            f"The server sent more than the {self._remote.bytes:,} bytes of {self._remote.file}."
                        )
                    writer.append(block)
                    self._digest.update(block)
                    self.bytes += len(block)
                    if self.bytes - self._best >= self._policy.progress_bytes:
                        self._best = self.bytes
                        self._budget.reset()
                    if self._stop.is_set():
                        raise DownloadPaused
            finally:
                self._socket = None
        if self.bytes < self._remote.bytes:
            raise RetryableError("The connection ended early.")

    @contextlib.contextmanager
    def _response(self, client: httpx2.Client) -> Iterator[httpx2.Response]:
        """The response after all redirects. The token stays with the first origin."""
        hub = httpx2.URL(self._remote.url)
        url = hub
        for _ in range(_MAX_REDIRECTS):
            headers = {"Accept-Encoding": "identity"}
            if self.bytes:
                headers["Range"] = f"bytes={self.bytes}-"
            if self._remote.token and _origin(url) == _origin(hub):
                headers["Authorization"] = f"Bearer {self._remote.token}"
            with client.stream("GET", url, headers=headers) as response:
                self._check_unchanged(response)
                location = response.headers.get("location") if response.is_redirect else None
                if location is None:
                    yield response
                    return
            try:
                url = url.join(location)
            except httpx2.InvalidURL as error:
                raise DownloadFailed(f"{hub.host} redirects to an invalid address.") from error
            if url.scheme not in {"http", "https"} or (hub.scheme == "https" and url.scheme != "https"):
                raise DownloadFailed(f"{hub.host} redirects to an unsafe address ({url.scheme}://{url.host}).")
        raise DownloadFailed(f"{hub.host} redirects in a loop.")

    def _check_unchanged(self, response: httpx2.Response) -> None:
        """Raise if the hub now describes a different file."""
        linked = response.headers.get("x-linked-etag", "").removeprefix("W/").strip('"')
        if linked and self._remote.etag and linked != self._remote.etag:
            raise RevisionChanged

    def _check(self, response: httpx2.Response, writer: PartialWriter) -> None:
        """Check that the response is the missing part of the file, or all of it."""
        status, host = response.status_code, response.url.host
        if status in BUSY:
            raise RetryableError(f"{host} is busy (HTTP {status})", retry_after(response.headers.get("retry-after", "")))
        if status == _RANGE_NOT_SATISFIABLE:
            raise RevisionChanged
        if response.headers.get("content-type", "").startswith("text/html"):
            raise DownloadFailed(
                f"{host} answered with a web page instead of {self._remote.file}. If this network has a login page, "
                "log in with a browser and start the download again. Downloaded data is kept."
            )
        if status == httpx2.codes.PARTIAL_CONTENT:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("content-range", ""))
            if span is None or int(span[1]) != self.bytes or int(span[2]) != self._remote.bytes:
                raise RevisionChanged
            return
        if status != httpx2.codes.OK:
            raise DownloadFailed(f"{host} refused {self._remote.file} (HTTP {status}).")
        if int(response.headers.get("content-length", self._remote.bytes)) != self._remote.bytes:
            raise RevisionChanged
        if self.bytes:  # the server ignores ranges
            writer.truncate()
            self._digest = hashlib.sha256()
            self.bytes = 0

    def _client(self) -> httpx2.Client:
        timeout = httpx2.Timeout(self._policy.stall, connect=self._policy.connect)
        try:
            return httpx2.Client(timeout=timeout, follow_redirects=False, headers={"User-Agent": "mistral-chat"})
        except (ImportError, ValueError) as error:
            raise DownloadFailed(f"The proxy set in the environment cannot be used: {error}.") from error


def describe(error: Exception, url: str) -> str:
    """Describe a network failure, without a full stop and without the signature in `url`.

    Raises:
        DownloadFailed: the certificate is not trusted; retrying does not help.
    """
    host = httpx2.URL(url).host
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        raise DownloadFailed(
            f"The certificate of {host} is not trusted. If this network inspects TLS connections, "
            "set SSL_CERT_FILE to its certificate."
        ) from error
    if isinstance(error, httpx2.ProxyError):
        return f"The proxy could not connect to {host}"
    if isinstance(error, httpx2.TimeoutException):
        return f"{host} stopped responding"
    if isinstance(error, httpx2.ConnectError):
        return f"Could not reach {host}"
    return f"The connection to {host} was lost"


def retry_after(value: str) -> float | None:
    """The seconds in a Retry-After header; None unless it is a number."""
    return float(value) if re.fullmatch(r"\d{1,6}", value) else None


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
