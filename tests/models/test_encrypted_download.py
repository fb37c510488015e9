"""Downloads over TLS: the body comes from the encrypted layer, and a pause leaves nothing that is not the file's."""

from __future__ import annotations

import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

from mistral_chat.models.http_transfer import HTTPTransfer
from mistral_chat.models.operations import download
from mistral_chat.models.partial import PartialFile, RemoteFile
from mistral_chat.models.retry import DownloadPaused, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hub_server import HubServer

    from mistral_chat.models.library import Library

SIZE = 9_000_000


class Store(BaseHTTPRequestHandler):
    """Gives the rest of `content` from where it is asked for."""

    content = b""
    pace = threading.Event()
    """Never set: waiting for it makes the download long enough for pauses."""
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Say nothing."""

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{SIZE - 1}/{SIZE}")
        self.send_header("Content-Length", str(SIZE - start))
        self.end_headers()
        while start < SIZE and not self.pace.wait(0.001):
            start += self.wfile.write(self.content[start : start + 30_000])


@pytest.fixture
def encrypted_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, bytes]]:
    """The address of a store with its own certificate, which this process trusts, and its content."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -keyout {key} -out {certificate}"
    )
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run([*command.split(), *subject], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl makes no certificate here: {error}")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    content = gguf_bytes(SIZE, seed=4)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneStore", (Store,), {"content": content}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # readers that leave are part of the test
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}", content
    server.shutdown()
    server.server_close()


def test_pausing_an_encrypted_download_keeps_only_file_bytes(
    library: Library, hub: HubServer, encrypted_store: tuple[str, bytes]
) -> None:
    hub.store, content = encrypted_store
    hub.add(REPOSITORY, FILE, content)
    part = PartialFile(library.models_dir / REPOSITORY / FILE)
    pauses = 0
    while True:
        task = download(library, SPEC)
        for progress in task.follow():
            if progress.stage == "downloading" and progress.bytes:
                task.cancel()
        if progress.stage == "done":
            break
        pauses += 1
        assert content.startswith(part.path.read_bytes()), "the part holds bytes that are not the file's"
    assert pauses > 0
    assert part.target.read_bytes() == content


class LateStop(threading.Event):
    """Is set in the moment after it was looked at, when half of the file is here."""

    transfer: HTTPTransfer

    def is_set(self) -> bool:
        before = super().is_set()
        if not before and self.transfer.bytes > SIZE // 2:
            self.set()
            self.transfer.interrupt()
        return before


def test_a_download_that_was_paused_while_the_hub_was_asked_requests_no_content(tmp_path: Path, hub: HubServer) -> None:
    url = f"{hub.endpoint}/{REPOSITORY}/resolve/main/{FILE}"
    remote = RemoteFile(repository=REPOSITORY, file=FILE, commit="0", url=url, bytes=SIZE, etag="1", sha256=None)
    stop = threading.Event()
    stop.set()
    with pytest.raises(DownloadPaused):
        HTTPTransfer(remote, PartialFile(tmp_path / FILE), stop=stop, policy=RetryPolicy(), notify=lambda *_: None).run()
    assert hub.seen == []


def test_a_late_pause_does_not_drop_the_encryption(tmp_path: Path, encrypted_store: tuple[str, bytes]) -> None:
    address, content = encrypted_store
    remote = RemoteFile(repository=REPOSITORY, file=FILE, commit="0", url=f"{address}/{FILE}", bytes=SIZE, etag="1", sha256=None)
    part, stop = PartialFile(tmp_path / FILE), LateStop()
    stop.transfer = HTTPTransfer(remote, part, stop=stop, policy=RetryPolicy(), notify=lambda *_: None)
    with pytest.raises(DownloadPaused):
        stop.transfer.run()
    assert content.startswith(part.path.read_bytes()), "the part holds bytes that are not the file's"
    assert part.size() > SIZE // 2
