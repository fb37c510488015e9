"""Models that can be downloaded: those in `catalog.yaml`, and those added in the settings.

A name is ``MODEL`` or ``MODEL:QUANTIZATION``, in any case: ``mistral-7b-instruct-v0.3``, ``mistral-7b-instruct-v0.3:Q5_K_M``.
Any other file on the hub is ``hf:OWNER/REPOSITORY/FILE.gguf``, or ``hf:OWNER/REPOSITORY@REVISION/FILE.gguf``.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import yaml

from mistral_chat.errors import ConfigError, ModelNotFound
from mistral_chat.memory_estimate import ModelDimensions
from mistral_chat.paths import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_chat.config import CatalogSource

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""libyaml's is ten times as fast, and is part of most builds of PyYAML."""

QUANTIZATION = re.compile(
    r"(?i)(?:^|[-._])((?:UD-)?(?:I?Q[1-8]_(?:K_XL|K_[SML]|K|XXS|XS|NL|[SM]|[01])|BF16|F16|F32|MXFP4|TQ[12]_0))(?=[-._]|$)"
)
"""A quantization in a file name."""

_HUB_ADDRESS = re.compile(
    r"(https?://[^/]+/)?(?P<where>[^/@:]+/[^/@:]+)/((resolve|blob)/(?P<revision>[^/]+)/)?(?P<file>[^?#]+\.gguf)([?#].*)?"
)
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

ModelKind = Literal["chat", "embedding"]
"""Whether a model generates replies or embeds text for search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingTraits:
    """How an embedding model is used, from its model card."""

    dimensions: int
    """The length of its vectors."""
    pooling: Literal["mean", "cls", "last"]
    context: int
    """The maximum number of tokens of one text."""
    query_prefix: str = ""
    """Placed before a question."""
    document_prefix: str = ""
    """Placed before a passage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One file that can be downloaded."""

    name: str
    """The name on the command line; unique in its catalog."""
    model: str
    """The name without the quantization."""
    title: str
    quantization: str
    """Such as Q4_K_M; empty if the file name states none."""
    repository: str
    """OWNER/NAME on the hub; empty for a model in a Python package."""
    revision: str
    """A commit, or a branch where no commit is pinned."""
    file: str
    """The path in the repository."""
    bytes: int | None = None
    """The published size; None if it is not known before the hub is asked."""
    about_bytes: int | None = None
    """The rounded size, if only that is known."""
    sha256: str | None = None
    """The published SHA-256; None if it is not known before the hub is asked."""
    licence: str = ""
    prompt_format: str | None = None
    dimensions: ModelDimensions | None = None
    package: str = ""
    """The Python package that contains the file."""
    kind: ModelKind = "chat"
    embedding: EmbeddingTraits | None = None
    """Set for an embedding model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogModel:
    """One model with the files it comes in."""

    about: str = ""
    """One sentence that helps to choose."""
    entries: tuple[CatalogEntry, ...]
    """From the largest to the smallest; never empty."""
    default: CatalogEntry
    extra: str = ""
    """The extra of mistral-chat that installs the package."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every model that can be downloaded, by name."""

    models: Mapping[str, CatalogModel] = field(default_factory=dict)

    @classmethod
    def load_bundled(cls, sources: Mapping[str, CatalogSource] | None = None) -> Catalog:
        """Read the bundled catalog and add `sources`, which replace models of the same name.

        Raises:
            ConfigError: one of the `sources` is not a GGUF file on the hub.
        """
        text = resources.files("mistral_chat.models").joinpath("catalog.yaml").read_text("utf-8")
        models = {name: _model(name, fields) for name, fields in yaml.load(text, _LOADER).items()}  # noqa: S506 (both are safe)
        for name, source in (sources or {}).items():
            models[name.lower()] = _added(name.lower(), source)
        return cls(models)

    def entries(self, kind: ModelKind | None = None) -> list[CatalogEntry]:
        """Every file, or those of one kind, in the catalog's order."""
        return [entry for model in self.models.values() for entry in model.entries if kind in {None, entry.kind}]

    def embedding_traits(self, spec: str, file: str) -> EmbeddingTraits | None:
        """How the embedding model that `spec` names, or that has the file name `file`, is used; None if it is not known."""
        known = self.models.get(spec.lower().partition(":")[0])
        if known is not None and known.default.embedding is not None:
            return known.default.embedding
        entries = self.entries("embedding")
        return next((each.embedding for each in entries if each.file.rpartition("/")[2].lower() == file.lower()), None)

    def find(self, spec: str) -> CatalogEntry | None:
        """The entry that `spec` names; None if it names no model of this catalog.

        Raises:
            ModelNotFound: the model has no such quantization, or an ``hf:`` name is malformed.
        """
        if spec.lower().startswith("hf:"):
            return parse_hub_spec(spec)
        name, _, quantization = spec.lower().partition(":")
        if spec.lower() in self.models:
            return self.models[spec.lower()].default
        model = self.models.get(name)
        if model is None:
            return None
        for entry in model.entries:
            if entry.quantization.lower() == quantization:
                return entry
        available = ", ".join(entry.quantization for entry in model.entries if entry.quantization)
        raise ModelNotFound(f"{name} has no quantization {quantization.upper()!r}. Available: {available}.")

    def similar(self, spec: str) -> list[str]:
        """Names that `spec` may have meant, the most likely first: models, or the hub file at that address."""
        if (on_the_hub := _as_hub_spec(spec)) is not None:
            return [on_the_hub]
        name = spec.lower().partition(":")[0]
        inside = [known for known in self.models if name and name in known]
        return inside or difflib.get_close_matches(name, list(self.models), n=3, cutoff=0.5)


def parse_hub_spec(spec: str) -> CatalogEntry:
    """Parse ``hf:OWNER/REPOSITORY[@REVISION]/FILE.gguf``; the file may be in folders. Any part of a split file means all of it.

    Raises:
        ModelNotFound: `spec` is not of that form, or its file would end outside the repository's folder.
    """
    owner, _, rest = spec[3:].partition("/")
    repository, _, file = rest.partition("/")
    repository, _, revision = repository.partition("@")
    parts = PurePosixPath(file).parts
    valid = (
        _HUB_NAME.fullmatch(owner)
        and _HUB_NAME.fullmatch(repository)
        and (not revision or _REVISION.fullmatch(revision))
        and file.lower().endswith(".gguf")
        and all(_HUB_NAME.fullmatch(part) for part in parts)
        and "/".join(parts) == file
    )
    if not valid:
        raise ModelNotFound(f"{spec!r} does not name a file on the hub. Write hf:OWNER/REPOSITORY/FILE.gguf.")
    where, file = f"{owner}/{repository}", parts_of(Path(file))[0].as_posix()
    name = f"hf:{where}@{revision}/{file}" if revision else f"hf:{where}/{file}"
    return CatalogEntry(
        name=name,
        model=name,
        title=PurePosixPath(file).stem,
        quantization=quantization_in(file),
        repository=where,
        revision=revision or "main",
        file=file,
    )


def _as_hub_spec(text: str) -> str | None:
    """The ``hf:`` name of a file, given the URL of its page or download, or OWNER/REPOSITORY/FILE."""
    found = _HUB_ADDRESS.fullmatch(text)
    if found is None:
        return None
    revision = found["revision"] or "main"
    try:
        return parse_hub_spec(f"hf:{found['where']}{'' if revision == 'main' else '@' + revision}/{found['file']}").name
    except ModelNotFound:
        return None


def quantization_in(file: str) -> str:
    """The quantization in a file name, or an empty text."""
    found = QUANTIZATION.findall(PurePosixPath(file).stem)
    return found[-1].upper() if found else ""


def _model(name: str, fields: Mapping[str, Any]) -> CatalogModel:
    dimensions = ModelDimensions(**fields["dimensions"]) if "dimensions" in fields else None
    embedding = EmbeddingTraits(**fields["embedding"]) if "embedding" in fields else None
    entries = tuple(
        CatalogEntry(
            name=name if quantization == fields["default"] else f"{name}:{quantization}",
            model=name,
            title=fields["title"],
            quantization=quantization,
            repository=fields.get("repository", ""),
            revision=fields.get("revision", ""),
            licence=fields["licence"],
            prompt_format=fields.get("prompt_format"),
            dimensions=dimensions,
            package=fields.get("package", ""),
            kind="embedding" if embedding else "chat",
            embedding=embedding,
            **file,
        )
        for quantization, file in fields["files"].items()
    )
    return CatalogModel(
        about=fields["about"],
        entries=entries,
        default=next(entry for entry in entries if entry.quantization == fields["default"]),
        extra=fields.get("extra", ""),
    )


def _added(name: str, source: CatalogSource) -> CatalogModel:
    try:
        on_the_hub = parse_hub_spec(f"hf:{source.repository}@{source.revision}/{source.file}")
    except ModelNotFound as error:
        problem = f"{source.repository}/{source.file} is not a GGUF file on the hub; write OWNER/NAME and FILE.gguf"
        raise ConfigError(f"models.catalog.{name}", None, problem) from error
    entry = replace(
        on_the_hub,
        name=name,
        model=name,
        title=name,
        bytes=source.bytes,
        sha256=source.sha256.lower() if source.sha256 else None,
        prompt_format=source.prompt_format,
    )
    return CatalogModel(about="Added in the settings.", entries=(entry,), default=entry)
