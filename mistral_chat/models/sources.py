"""Folders in which other programs store GGUF files. They are only read.

* The Hugging Face cache: ``models--OWNER--NAME/snapshots/COMMIT/FILE``, symbolic links to ``blobs/SHA256``.
* LM Studio: ``PUBLISHER/REPOSITORY/FILE.gguf`` under its models folder.
* Ollama: JSON manifests that name blobs by their SHA-256.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mistral_chat.paths import SPLIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mistral_chat.model_listing import Source

MAX_FILES: Final = 4096
"""Files looked at below one folder."""

MAX_FOLDERS: Final = 20_000
"""Folders looked at below one folder."""

OWN_DEPTH: Final = 32
"""Levels of folders looked at below the folder of this program: those of a repository are kept."""

_MANIFEST_LIMIT = 1 << 20
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_OLLAMA_MODEL = "application/vnd.ollama.image.model"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file in one of the folders, not opened yet."""

    path: Path
    source: Source
    name: str
    """The name in the other program."""
    repository: str = ""
    """OWNER/NAME on the hub, if the folder states it."""
    file: str = ""
    """The path in that repository."""
    sha256: str = ""
    """The SHA-256 that the folder states, not verified."""

    def is_called(self, spec: str) -> bool:
        """Whether `spec` names the file: by its name, file name or stem, or without Ollama's default tag."""
        wanted = spec.lower()
        names = {self.name.lower(), self.path.name.lower(), self.path.stem.lower()}
        return wanted in names or (self.source == "ollama" and f"{wanted}:latest" == self.name.lower())


def hub_cache_folder(environ: Mapping[str, str], home: Path) -> Path:
    """The folder of huggingface_hub's downloads."""
    if folder := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(folder, home)
    return hub_home(environ, home) / "hub"


def hub_home(environ: Mapping[str, str], home: Path) -> Path:
    """The folder of huggingface_hub's token and cache."""
    if folder := environ.get("HF_HOME"):
        return _expanded(folder, home)
    cache = environ.get("XDG_CACHE_HOME")
    return (_expanded(cache, home) if cache else home / ".cache") / "huggingface"


def lm_studio_folders(home: Path) -> list[Path]:
    """The folders of LM Studio's models, whether they exist or not."""
    homes = [home / ".lmstudio", home / ".cache" / "lm-studio"]
    if pointer := _small_text(home / ".lmstudio-home-pointer").strip():
        homes.insert(0, Path(pointer))
    folders = []
    for base in homes:
        chosen = _json(base / "settings.json").get("downloadsFolder")
        if isinstance(chosen, str) and chosen:
            folders.append(_expanded(chosen, home))
        folders.append(base / "models")
    return list(dict.fromkeys(folders))


def ollama_folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    """The folders of Ollama's models, whether they exist or not."""
    if folder := environ.get("OLLAMA_MODELS"):
        return [_expanded(folder, home)]
    return [home / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]


def in_hub_cache(root: Path) -> Iterator[FoundFile]:
    """GGUF files in the Hugging Face cache at `root`."""
    for repository in _folders(root):
        kind, _, name = repository.name.partition("--")
        if kind != "models" or "--" not in name:
            continue
        owner_and_name = name.replace("--", "/", 1)
        for snapshot in _folders(repository / "snapshots", newest_first=True):
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


def in_publisher_folders(root: Path, source: Source, depth: int = 6) -> Iterator[FoundFile]:
    """GGUF files in folders named PUBLISHER/REPOSITORY, as LM Studio and this program name them."""
    for path in files_under(root, depth, follow_links=True):
        relative = path.relative_to(root)
        parts = relative.parts
        complete = len(parts) >= 3  # noqa: PLR2004 (publisher, repository, file)
        yield FoundFile(
            path=path,
            source=source,
            name=relative.as_posix(),
            repository="/".join(parts[:2]) if complete else "",
            file="/".join(parts[2:]) if complete else relative.as_posix(),
        )


def in_ollama(root: Path) -> Iterator[FoundFile]:
    """Models in Ollama's folder `root`, one for each tag."""
    manifests = root / "manifests"
    for path in sorted(walk(manifests, depth=8)):
        parts = path.relative_to(manifests).parts
        if len(parts) < 3:  # noqa: PLR2004 (host, model, tag)
            continue
        digest = _model_digest(_json(path))
        blob = root / "blobs" / f"sha256-{digest}"
        if digest and os.path.isfile(blob):  # noqa: PTH113 (that of Path raises an error for an odd link)
            yield FoundFile(path=blob, source="ollama", name=_ollama_name(parts), sha256=digest)


def files_under(root: Path, depth: int = 6, *, follow_links: bool = False) -> Iterator[Path]:
    """Whole GGUF files and first parts of split ones below `root`, sorted by path; in linked folders too with `follow_links`."""
    for path in sorted(walk(root, depth, follow_links=follow_links)):
        if path.suffix.lower() != ".gguf" or not os.path.isfile(path):  # noqa: PTH113 (as above)
            continue
        split = SPLIT.match(path.name)
        if split is None or int(split["part"]) == 1:
            yield path


def stated_sha256(path: Path) -> str | None:
    """The SHA-256 in the name of a file in Ollama's folder or the Hugging Face cache; None elsewhere."""
    found = _DIGEST.fullmatch(path.name)
    return (found[1] if found else _blob_name(path)) or None


def walk(root: Path, depth: int, *, follow_links: bool = False) -> Iterator[Path]:
    """The files below `root`. Each folder is visited once, so that linked folders make no loops."""
    files = 0
    base = len(root.parts)
    visited: set[tuple[int, int]] = set()
    if not os.path.isdir(root):  # noqa: PTH112 (also false for a name that no folder can have)
        return
    for folder, below, names in os.walk(root, onerror=None, followlinks=follow_links):
        inode = _inode(folder)
        if inode is None or inode in visited:
            below.clear()
            continue
        visited.add(inode)
        if len(Path(folder).parts) - base >= depth or len(visited) > MAX_FOLDERS:
            below.clear()
        for name in names:
            files += 1
            if files > MAX_FILES:
                return
            yield Path(folder, name)


def _inode(folder: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(folder)  # noqa: PTH116 (os.walk gives texts)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _folders(root: Path, *, newest_first: bool = False) -> list[Path]:
    try:
        folders = sorted(path for path in root.iterdir() if os.path.isdir(path))  # noqa: PTH112 (as above)
        return sorted(folders, key=lambda folder: folder.stat().st_mtime_ns, reverse=True) if newest_first else folders
    except OSError:
        return []


def _expanded(folder: str, home: Path) -> Path:
    return home / folder[2:] if folder.startswith("~/") else Path(folder)


def _blob_name(path: Path) -> str:
    """The SHA-256 in the name of the blob that a file in the Hugging Face cache links to."""
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
    except (OSError, ValueError):  # or no file has such a name
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_small_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
