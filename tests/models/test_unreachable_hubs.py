"""A hub that cannot be reached: no network, a proxy that does not answer, an address that is none."""

from __future__ import annotations

import time

import httpx2
import pytest
from support.hub_downloads import failure, with_environ
from support.hub_server import HubServer

from mistral_chat.errors import DownloadFailed
from mistral_chat.models.http_transfer import describe
from mistral_chat.models.library import Library


def test_offline_mode_is_reported_at_once(library: Library, hub: HubServer, content: bytes) -> None:
    began = time.monotonic()
    assert "HF_HUB_OFFLINE" in str(failure(with_environ(library, {"HF_HUB_OFFLINE": "1"})))
    assert "Could not reach" in str(failure(with_environ(library, {"HF_ENDPOINT": "http://127.0.0.1:9"})))
    assert time.monotonic() - began < 5
    assert hub.seen == []


def test_a_proxy_that_does_not_answer_is_named(
    library: Library, hub: HubServer, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    from huggingface_hub import close_session

    close_session()
    try:
        error = failure(with_environ(library, {"HTTP_PROXY": "http://127.0.0.1:9"}))
    finally:
        close_session()
    assert "HTTP_PROXY" in str(error)
    assert hub.seen == []


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://hub.example", "https://", "https://hub example", "http://[::1"])
def test_an_invalid_endpoint_is_named(library: Library, endpoint: str) -> None:
    assert "not a valid address" in str(failure(with_environ(library, {"HF_ENDPOINT": endpoint})))


def test_network_failures_are_described() -> None:
    url = "https://hub.example/x?signature=secret"
    assert describe(httpx2.ProxyError("x"), url) == "The proxy could not connect to hub.example"
    assert describe(httpx2.ConnectError("x"), url) == "Could not reach hub.example"
    with pytest.raises(DownloadFailed, match="SSL_CERT_FILE"):
        describe(httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] x"), url)
