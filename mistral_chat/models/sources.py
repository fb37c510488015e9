"""Where other programs keep GGUF files, read and never written.

* The Hugging Face cache: ``models--OWNER--NAME/snapshots/COMMIT/FILE``, links to ``blobs/SHA256``.
* LM Studio: ``PUBLISHER/REPOSITORY/FILE.gguf`` under its models folder.
* Ollama: manifests in JSON that name blobs by their SHA-256.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Source = Literal["ours", "demo", "hub cache", "lm studio", "ollama", "folder", "path"]

SPLIT = re.compile(r"(?i)^(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf$")
"""How llama.cpp names the parts of a file that was split."""

MOST_FILES = 4096
"""No more files than this are looked at in one store."""

MOST_FOLDERS = 20_000
"""No more folders than this are walked through in one store."""

_MANIFEST_LIMIT = 1 << 20
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_OLLAMA_MODEL = "application/vnd.ollama.image.model"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file that a store holds; nothing of it has been read yet."""

    path: Path
    source: Source
    name: str
    """What the store calls it."""
    repository: str = ""
    """OWNER/NAME on the hub, where the store says so."""
    file: str = ""
    """The path in that repository."""
    sha256: str = ""
    """What the store says that the file's SHA-256 is; nobody has checked it."""


def hub_cache_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Where huggingface_hub keeps what it has fetched."""
    if folder := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(folder, home)
    return hub_home(environ, home) / "hub"


def hub_home(environ: Mapping[str, str], home: Path) -> Path:
    """Where huggingface_hub keeps its token and its cache."""
    if folder := environ.get("HF_HOME"):
        return _expanded(folder, home)
    cache = environ.get("XDG_CACHE_HOME")
    return (_expanded(cache, home) if cache else home / ".cache") / "huggingface"


def lm_studio_folders(home: Path) -> list[Path]:
    """Where LM Studio may keep models; those that do not exist are left out."""
    homes = [home / ".lmstudio", home / ".cache" / "lm-studio"]
    pointer = _small_text(home / ".lmstudio-home-pointer").strip()
    if pointer and "\0" not in pointer:
        homes.insert(0, Path(pointer))
    folders = []
    for place in homes:
        chosen = _json(place / "settings.json").get("downloadsFolder")
        if isinstance(chosen, str) and chosen and "\0" not in chosen:
            folders.append(_expanded(chosen, home))
        folders.append(place / "models")
    return _existing(folders)


def ollama_folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Where Ollama may keep models; those that do not exist are left out."""
    if folder := environ.get("OLLAMA_MODELS"):
        return _existing([_expanded(folder, home)])
    return _existing([home / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")])


def in_hub_cache(root: Path) -> Iterator[FoundFile]:
    """GGUF files in the Hugging Face cache at `root`."""
    for repository in _folders(root):
        kind, _, name = repository.name.partition("--")
        if kind != "models" or "--" not in name:
            continue
        owner_and_name = name.replace("--", "/", 1)
        for snapshot in _newest_first(_folders(repository / "snapshots")):
            for path in files_under(snapshot):
                file = path.relative_to(snapshot).as_posix()
                yield FoundFile(
                    path=path,
                    source="hub cache",
                    name=f"hf:{owner_and_name}/{file}",
                    repository=owner_and_name,
                    file=file,
                    sha256=_blob_name(path),
                )


def in_publisher_folders(root: Path, source: Source) -> Iterator[FoundFile]:
    """GGUF files in folders named PUBLISHER/REPOSITORY, as LM Studio and this program lay them out."""
    for path in files_under(root):
        relative = path.relative_to(root)
        parts = relative.parts
        placed = len(parts) >= 3  # noqa: PLR2004 (publisher, repository, file)
        yield FoundFile(
            path=path,
            source=source,
            name=relative.as_posix(),
            repository="/".join(parts[:2]) if placed else "",
            file="/".join(parts[2:]) if placed else relative.as_posix(),
        )


def in_ollama(root: Path) -> Iterator[FoundFile]:
    """Models in Ollama's store at `root`, under the names that Ollama gives them."""
    manifests = root / "manifests"
    for path in sorted(_walk(manifests, depth=8)):
        parts = path.relative_to(manifests).parts
        if len(parts) < 3:  # noqa: PLR2004 (host, model, tag)
            continue
        digest = _model_digest(_json(path))
        blob = root / "blobs" / f"sha256-{digest}"
        if digest and blob.is_file():
            yield FoundFile(path=blob, source="ollama", name=_ollama_name(parts), sha256=digest)


def files_under(root: Path, depth: int = 6) -> Iterator[Path]:
    """Whole GGUF files and first parts of split ones under `root`, ordered by name; linked folders are not followed."""
    for path in sorted(_walk(root, depth)):
        if path.suffix.lower() != ".gguf" or not path.is_file():
            continue
        split = SPLIT.match(path.name)
        if split is None or int(split["part"]) == 1:
            yield path


def parts_of(path: Path) -> list[Path]:
    """Every file that belongs to the weights at `path`: one, or all parts of a split file, whether they are there or not."""
    split = SPLIT.match(path.name)
    if split is None or int(split["parts"]) < 1:
        return [path]
    count = int(split["parts"])
    return [path.with_name(f"{split['stem']}-{part:05d}-of-{count:05d}{path.suffix}") for part in range(1, count + 1)]


def stated_sha256(path: Path) -> str | None:
    """The SHA-256 that a content-addressed store gives a file by its name; None elsewhere."""
    found = _DIGEST.fullmatch(path.name)
    return (found[1] if found else _blob_name(path)) or None


def _walk(root: Path, depth: int) -> Iterator[Path]:
    files = 0
    base = len(root.parts)
    for folders, (folder, below, names) in enumerate(os.walk(root, onerror=None, followlinks=False)):
        if len(Path(folder).parts) - base >= depth or folders > MOST_FOLDERS:
            below.clear()
        for name in names:
            files += 1
            if files > MOST_FILES:
                return
            yield Path(folder, name)


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return []


def _newest_first(folders: list[Path]) -> list[Path]:
    return sorted(folders, key=lambda folder: folder.stat().st_mtime_ns, reverse=True)


def _existing(folders: list[Path]) -> list[Path]:
    return [folder for folder in dict.fromkeys(folders) if os.access(folder, os.R_OK)]


def _expanded(folder: str, home: Path) -> Path:
    return home / folder[2:] if folder.startswith("~/") else Path(folder)


def _blob_name(path: Path) -> str:
    """The SHA-256 in the name of the blob that a file of the Hugging Face cache links to."""
    try:
        name = path.readlink().name
    except OSError:
        return ""
    return name if re.fullmatch("[0-9a-f]{64}", name) else ""


def _ollama_name(parts: tuple[str, ...]) -> str:
    host, *names, tag = parts
    if host == "registry.ollama.ai" and names[0] == "library":
        names = names[1:]
    elif host != "registry.ollama.ai":
        names = [host, *names]
    return f"{'/'.join(names)}:{tag}"


def _model_digest(manifest: Mapping[str, Any]) -> str:
    layers = manifest.get("layers")
    for layer in layers if isinstance(layers, list) else []:
        if isinstance(layer, dict) and layer.get("mediaType") == _OLLAMA_MODEL:
            found = _DIGEST.fullmatch(str(layer.get("digest")))
            if found:
                return found[1]
    return ""


def _small_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MANIFEST_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_small_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
