"""Models on the disk as other programs store them, and a library that looks there."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from support.small_gguf import small_model
from support.tiny_files import FILE, REPOSITORY

from mistral_chat.config import CatalogSource
from mistral_chat.models.catalog import Catalog
from mistral_chat.models.library import Library

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT = small_model().encoded()
DIGEST = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def library_of(
    home: Path,
    models_dir: Path,
    *,
    folders: tuple[Path, ...] = (),
    sources: Mapping[str, CatalogSource] | None = None,
    **names: str,
) -> Library:
    """A library of `models_dir` for the user whose home folder is `home`; `names` are variables of the environment."""
    return Library(
        models_dir=models_dir,
        folders=folders,
        catalog=Catalog.load_bundled(sources),
        environ={**os.environ, **names},
        home=home,
        formats={"named": "mistral-v7", "by-hash": "automatic"},
    )


def put(path: Path, content: bytes = CONTENT) -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def hub_cache(root: Path, content: bytes = CONTENT, repository: str = REPOSITORY, file: str = FILE) -> Path:
    """The cache of huggingface_hub, with one file."""
    store = root / f"models--{repository.replace('/', '--')}"
    blob = put(store / "blobs" / hashlib.sha256(content).hexdigest(), content)
    link = store / "snapshots" / COMMIT / file
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    put(store / "refs" / "main", COMMIT.encode())
    return link


def ollama_store(root: Path, name: str = "registry.ollama.ai/library/mistral/7b", content: bytes = CONTENT) -> Path:
    """Ollama's store, with one model."""
    digest = hashlib.sha256(content).hexdigest()
    blob = put(root / "blobs" / f"sha256-{digest}", content)
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "0" * 64, "size": 3},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(content)},
    ]
    put(root / "manifests" / name, json.dumps({"schemaVersion": 2, "layers": layers}).encode())
    return blob
