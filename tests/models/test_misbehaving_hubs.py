"""A hub that misbehaves: each download ends with the exact file or with a sentence, and keeps what had arrived."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from support.hub_downloads import QUICK, SIZE, failure, ranges, run_download, target
from support.hub_server import Fault, HubServer

from mistral_chat.errors import DownloadFailed
from mistral_chat.models.library import Library
from mistral_chat.models.partial import PartialFile
from mistral_chat.models.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_twenty_random_disconnects_lose_nothing(library: Library, hub: HubServer, content: bytes) -> None:
    draw = random.Random(5)
    for _ in range(20):
        hub.misbehave(Fault(cut_after=draw.randrange(1, SIZE // 12), times=1))
    run_download(library, policy=RetryPolicy(first_wait=0.0, max_attempts=30))
    assert target(library).read_bytes() == content
    assert hub.bytes_sent() <= SIZE * 1.01
    assert ranges(hub) == sorted(ranges(hub))


def test_a_stalled_connection_is_closed_and_resumed(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(stall_after=1_000_000, times=1))
    values = run_download(library, policy=RetryPolicy(stall=0.6, first_wait=0.5))
    assert target(library).read_bytes() == content
    assert ranges(hub) == [0, 1_000_000]
    assert any(value.stage == "retrying" and "stopped responding" in value.note for value in values)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_retried(library: Library, hub: HubServer, content: bytes, status: int) -> None:
    hub.misbehave(Fault(status=status, times=2))
    hub.misbehave(Fault(on="HEAD", status=status, times=2))
    run_download(library)
    assert target(library).read_bytes() == content


def test_a_wait_that_the_hub_asks_for_is_respected(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(status=429, retry_after=1, times=1))
    began = time.monotonic()
    values = run_download(library)
    assert time.monotonic() - began >= 1
    assert any("retrying in 1 s" in value.note for value in values)


def test_a_wait_that_is_too_long_is_reported(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(on="HEAD", status=429, retry_after=3600))
    assert "try again in 60 minutes" in str(failure(library))


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(cut_after=1000), Fault(stall_after=10), Fault(on="HEAD", status=503)])
def test_endless_faults_end_in_an_error(library: Library, hub: HubServer, content: bytes, fault: Fault) -> None:
    hub.misbehave(fault)
    error = failure(library, policy=QUICK if fault.stall_after is None else replace(QUICK, stall=0.5))
    assert "Downloaded data is kept" in str(error)
    assert not target(library).exists()


def test_a_server_without_ranges_that_breaks_off_is_given_up(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(ignore_range=True, cut_after=200_000))
    assert isinstance(failure(library), DownloadFailed)
    assert len(ranges(hub)) <= 2 * QUICK.max_attempts


def test_a_server_that_ignores_ranges_is_read_from_the_start(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(cut_after=1_000_000, times=1))
    hub.misbehave(Fault(ignore_range=True))
    run_download(library)
    assert target(library).read_bytes() == content


def test_corrupt_bytes_never_get_the_files_name(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(flip=2_000_000))
    error = failure(library)
    assert "SHA-256" in str(error)
    assert not target(library).exists()
    assert PartialFile(target(library)).size() == 0
    hub.behave()
    run_download(library)
    assert target(library).read_bytes() == content


@pytest.mark.parametrize(
    "fault", [Fault(shorter=1000), Fault(on="HEAD", claim_size=SIZE + 5), Fault(on="HEAD", claim_size=SIZE - 5)]
)
def test_a_wrong_size_is_an_error(library: Library, hub: HubServer, content: bytes, fault: Fault) -> None:
    hub.misbehave(fault)
    assert "disagree" in str(failure(library))
    assert not target(library).exists()


@pytest.mark.parametrize("on", ["GET", "HEAD"])
def test_a_login_page_is_not_taken_for_a_model(library: Library, hub: HubServer, content: bytes, on: str) -> None:
    hub.misbehave(Fault(on=on, web_page=True))
    assert "log in with a browser" in str(failure(library))
    assert not target(library).exists()


def test_a_login_page_in_between_keeps_what_was_downloaded(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(cut_after=1_000_000, times=1))
    hub.misbehave(Fault(web_page=True, times=1))
    failure(library)
    assert PartialFile(target(library)).size() == 1_000_000
    hub.behave()
    run_download(library)
    assert ranges(hub) == [1_000_000]


class Wayward(BaseHTTPRequestHandler):
    """A file server that does not behave as the hub's own does."""

    content = b""
    way = ""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Say nothing."""

    def do_GET(self) -> None:
        self.send_response(302 if "/" in self.way else 200)
        if "/" in self.way:
            self.send_header("Location", self.way)
        self.end_headers()
        if self.way in {"without length", "too long"}:
            self.wfile.write(self.content + (b"more" if self.way == "too long" else b""))


@pytest.fixture
def wayward(content: bytes) -> Iterator[tuple[str, type[Wayward]]]:
    handler = type("OneWayward", (Wayward,), {"content": content})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("without length", ""),
        ("too long", "sent more than"),
        ("/round", "in a loop"),
        ("ftp://127.0.0.1/x", "unsafe address (ftp://127.0.0.1)"),
        ("http://[::1", "invalid address"),
    ],
)
def test_a_misbehaving_server_gives_the_file_or_an_error(
    library: Library, hub: HubServer, wayward: tuple[str, type[Wayward]], way: str, words: str
) -> None:
    hub.store, wayward[1].way = wayward[0], way
    if words:
        assert words in str(failure(library))
        assert not target(library).exists()
    else:
        run_download(library)
        assert target(library).read_bytes() == wayward[1].content
