"""A hub on 127.0.0.1 that behaves like the Hugging Face hub, and misbehaves on demand. Standard library only.

In a test::

    with HubServer() as hub:
        hub.add("acme/tiny-GGUF", "tiny.gguf", content)
        hub.misbehave(Fault(cut_after=1_000_000, times=1))
        environ = {"HF_ENDPOINT": hub.endpoint}
        ...
        assert hub.bytes_sent() < 1.01 * len(content)

By hand, as a process of its own: ``serve_hub.py``.

As on the real hub, ``/OWNER/NAME/resolve/REVISION/FILE`` answers with the file's facts in headers and sends the reader on to a
second origin, whose address carries a signature. Commits stay as they are; a branch moves when a file is replaced.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self, cast
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK = 1 << 18


@dataclass(kw_only=True)
class Fault:
    """One way to misbehave, for requests of the method `on`; `times` counts down and -1 means always."""

    on: str = "GET"
    times: int = -1
    cut_after: int | None = None
    """Close the connection after so many bytes of the body."""
    stall_after: int | None = None
    """Send no more after so many bytes of the body, and keep the connection."""
    flip: int | None = None
    """Spoil the byte at this place in the file."""
    status: int | None = None
    """Answer with this status and no body."""
    retry_after: int | None = None
    ignore_range: bool = False
    """Answer with the whole file whatever was asked for."""
    shorter: int = 0
    """Leave out so many bytes at the file's end, and say so in the lengths."""
    claim_size: int | None = None
    claim_etag: str | None = None
    web_page: bool = False
    """Answer with a log-in page, as a hotel's network does."""
    rate: float | None = None
    """Bytes a second."""


@dataclass
class Seen:
    """One request. It is noted before its answer begins: a client that has an answer finds the request noted."""

    method: str
    path: str
    origin: str
    """``hub``, or ``store`` for the second origin."""
    headers: Mapping[str, str]
    """With lower-case names."""
    sent: int = 0
    """Bytes of the answer's body."""


@dataclass
class Content:
    """One version of one file."""

    source: bytes | Path
    size: int
    sha256: str

    @classmethod
    def of(cls, source: bytes | Path) -> Content:
        """Measure and hash `source`."""
        with cls.opened(source) as file:
            digest = hashlib.file_digest(cast("io.BytesIO", file), "sha256").hexdigest()
            return cls(source, file.seek(0, io.SEEK_END), digest)

    @staticmethod
    def opened(source: bytes | Path) -> IO[bytes]:
        """A reader of `source`."""
        return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


@dataclass
class Repository:
    """One repository: its files in every commit, and who may read it."""

    commits: dict[str, dict[str, Content]] = field(default_factory=dict)
    main: str = ""
    token: str = ""
    """The token that is needed to read."""
    gated: bool = False
    """Without a token, a client learns that the repository exists."""


class HubServer:
    """The hub and its second origin, each with a thread of its own, until the context ends."""

    def __init__(self, port: int = 0) -> None:
        """Take `port`, or any free one."""
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.silent_about_hashes = False
        """Whether redirects say nothing of the file that they lead to, as some mirrors do."""
        self.seen: list[Seen] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        """Silent connections are cut when it is set."""
        self._servers = [_Server(self, "hub", port), _Server(self, "store", 0)]
        self.endpoint, self.store = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(self, repository: str, file: str, source: bytes | Path) -> str:
        """Commit `source` as `file`, replacing what was there; gives the commit that ``main`` now points to."""
        known = self.repositories.setdefault(repository, Repository())
        content = Content.of(source)
        commit = hashlib.sha1(f"{len(known.commits)}{repository}{content.sha256}".encode(), usedforsecurity=False).hexdigest()
        known.commits[commit] = {**known.commits.get(known.main, {}), file: content}
        known.main = commit
        return commit

    def misbehave(self, fault: Fault) -> None:
        """Answer with `fault` from now on, before those given later."""
        with self._lock:
            self._faults.append(fault)

    def behave(self) -> None:
        """Forget all faults and all requests."""
        with self._lock:
            self._faults.clear()
            self.seen.clear()

    def bytes_sent(self) -> int:
        """Bytes of bodies that left the second origin."""
        with self._lock:
            return sum(seen.sent for seen in self.seen if seen.origin == "store")

    def requests(self, method: str, origin: str) -> list[Seen]:
        """What was asked of one origin."""
        with self._lock:
            return [seen for seen in self.seen if (seen.method, seen.origin) == (method, origin)]

    def fault_for(self, method: str) -> Fault:
        """The fault that the next answer to `method` shows; one without any where there is none."""
        with self._lock:
            for fault in self._faults:
                if fault.on == method and fault.times != 0:
                    fault.times -= fault.times > 0
                    return dataclasses.replace(fault)
        return Fault()

    def note(self, seen: Seen) -> None:
        """Remember a request."""
        with self._lock:
            self.seen.append(seen)

    def wait_for_the_end(self) -> None:
        """Keep a connection silent until it is cut or the server ends."""
        self._ended.wait(120)

    def close_stalled(self) -> None:
        """Cut the connections that stall now; later ones stall again."""
        ended, self._ended = self._ended, threading.Event()
        ended.set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: HubServer, origin: str, port: int) -> None:
        self.hub, self.origin = hub, origin
        super().__init__(("127.0.0.1", port), _Exchange)

    def handle_error(self, request: object, client_address: object) -> None:
        """Readers that leave are part of the tests."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        pattern = r"/(?:store/)?(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)"
        asked = re.fullmatch(pattern, path)
        repository = asked["repository"] if asked else ""
        known = self.server.hub.repositories.get(repository, Repository())
        commit = known.main if asked and asked["revision"] == "main" else asked["revision"] if asked else ""
        content = known.commits.get(commit, {}).get(asked["file"] if asked else "")
        if new := self.server.hub.renamed.get(repository):
            self._status(307, {"Location": path.replace(repository, new, 1)})
        elif refusal := self._refusal(known, commit):
            self._status(401, {"X-Error-Code": refusal, "X-Error-Message": "Access is restricted"})
        elif content is None:
            self._status(404, {"X-Error-Code": "EntryNotFound" if commit in known.commits else "RevisionNotFound"})
        else:
            self._answer_with(content, commit)

    def _refusal(self, known: Repository, commit: str) -> str:
        """The hub's refusal; it does not reveal to strangers which repositories exist."""
        if not known.commits or not commit:
            return "RepoNotFound"
        shown = self.headers.get("Authorization")
        if self.server.origin == "hub" and known.token and shown != f"Bearer {known.token}":
            return "GatedRepo" if known.gated else "RepoNotFound"
        return ""

    def _answer_with(self, content: Content, commit: str) -> None:
        on_hub = self.server.origin == "hub"
        fault = self.server.hub.fault_for(self.command) if on_hub == (self.command == "HEAD") else Fault()
        if fault.status is not None:
            later = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return self._status(fault.status, later)
        if fault.web_page:
            return self._page(b"<!DOCTYPE html><title>Welcome to the hotel</title>")
        etag = fault.claim_etag or content.sha256
        size = content.size if fault.claim_size is None else fault.claim_size
        facts = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(size), "ETag": f'"{etag}"'}
        if self.server.hub.silent_about_hashes and self.command == "GET":
            facts = {}
        if on_hub:
            place = f"{self.server.hub.store}/store{urlsplit(self.path).path}?signature=secret"
            facts |= {"X-Xet-Hash": content.sha256, "Location": place}
            return self._status(302, facts)
        return self._body(content, fault, facts)

    def _body(self, content: Content, fault: Fault, facts: dict[str, str]) -> None:
        total = content.size - fault.shorter
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and not fault.ignore_range else 0
        if start >= total > 0:
            return self._status(416, {"Content-Range": f"bytes */{total}"})
        if start:
            facts["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        self._begin(206 if start else 200, facts | {"Content-Length": str(total - start), "Accept-Ranges": "bytes"})
        with Content.opened(content.source) as file:
            self._send(file, start, total - start, fault)
        if self._seen.sent < total - start:
            if fault.stall_after is not None:
                self.server.hub.wait_for_the_end()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        return None

    def _send(self, file: IO[bytes], start: int, count: int, fault: Fault) -> None:
        limits = [limit for limit in (fault.cut_after, fault.stall_after) if limit is not None]
        count = min([count, *limits])
        plain = not isinstance(file, io.BytesIO) and fault.flip is None and fault.rate is None
        file.seek(start)
        while (sent := self._seen.sent) < count:
            if plain:
                self._seen.sent += self.connection.sendfile(file, start + sent, min(count - sent, 8 << 20))
                continue
            block = bytearray(file.read(min(BLOCK, count - sent)))
            place = -1 if fault.flip is None else fault.flip - start - sent
            if 0 <= place < len(block):
                block[place] ^= 0xFF
            self._send_block(block)
            if fault.rate and self._seen.sent < count:
                time.sleep(len(block) / fault.rate)

    def _send_block(self, block: bytes | bytearray) -> None:
        """Send a piece of the body. It is counted first, because the reader may finish with it before this thread continues."""
        self._seen.sent += len(block)
        try:
            self.connection.sendall(block)
        except OSError:
            self._seen.sent -= len(block)
            raise

    def _status(self, status: int, headers: dict[str, str]) -> None:
        self._begin(status, headers | {"Content-Length": "0"})

    def _page(self, page: bytes) -> None:
        self._begin(200, {"Content-Type": "text/html", "Content-Length": str(len(page))})
        if self.command == "GET":
            self._send_block(page)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        """Note the request, and send the answer's head."""
        shown = {name.lower(): value for name, value in self.headers.items()}
        self._seen = Seen(self.command, self.path, self.server.origin, shown)
        self.server.hub.note(self._seen)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
