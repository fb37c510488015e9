"""A library that downloads from the test's own hub, and one file to download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.hub_downloads import SIZE
from support.hub_server import HubServer
from support.tiny_files import FILE, REPOSITORY, gguf_bytes

from mistral_chat.models.catalog import Catalog
from mistral_chat.models.library import Library

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def library(hub: HubServer, models_dir: Path, own_folders: Path) -> Library:
    """A library whose hub is the test's own."""
    return Library(
        models_dir=models_dir,
        folders=(),
        catalog=Catalog.load_bundled(),
        environ={"HF_ENDPOINT": hub.endpoint},
        home=own_folders,
    )


@pytest.fixture
def content(hub: HubServer) -> bytes:
    """What the hub has under `SPEC`."""
    whole = gguf_bytes(SIZE)
    hub.add(REPOSITORY, FILE, whole)
    return whole
