"""Downloads of one file from the test's own hub, which succeed or fail quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.hub_server import HubServer
from support.tiny_files import FILE, REPOSITORY, SPEC

from mistral_chat.errors import ModelError
from mistral_chat.models.library import Library
from mistral_chat.models.operations import download
from mistral_chat.models.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mistral_chat.model_listing import DownloadProgress

SIZE = 3_000_000
"""Bytes of the file."""

QUICK = RetryPolicy(stall=5.0, connect=5.0, first_wait=0.01, max_wait=0.05, max_attempts=4, progress_bytes=50_000)
"""Retries at once, and calls nothing a stall that a busy machine may cause."""


def run_download(library: Library, spec: str = SPEC, policy: RetryPolicy = QUICK) -> list[DownloadProgress]:
    """Every value of progress until the download is done."""
    return list(download(library, spec, policy=policy).follow())


def failure(library: Library, spec: str = SPEC, policy: RetryPolicy = QUICK) -> ModelError:
    """The error in which the download ends."""
    with pytest.raises(ModelError) as caught:
        run_download(library, spec, policy)
    return caught.value


def target(library: Library) -> Path:
    """The path of the complete file."""
    return library.models_dir / REPOSITORY / FILE


def ranges(hub: HubServer) -> list[int]:
    """Where each request for bytes began."""
    return [int(seen.headers.get("range", "bytes=0-")[6:-1]) for seen in hub.requests("GET", "store")]


def with_environ(library: Library, names: Mapping[str, str]) -> Library:
    """The same library with more variables in its environment."""
    return Library(
        models_dir=library.models_dir,
        folders=(),
        catalog=library.catalog,
        environ={**library.environ, **names},
        home=library.home,
    )
