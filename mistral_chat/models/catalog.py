"""What can be had: the models that `catalog.yaml` names, and those that the settings add.

A name is ``MODEL`` or ``MODEL:QUANTIZATION``, in any case: ``mistral-7b-instruct-v0.3``, ``mistral-7b-instruct-v0.3:Q5_K_M``.
Any other file on the hub is ``hf:OWNER/REPOSITORY/FILE.gguf``, and ``hf:OWNER/REPOSITORY@REVISION/FILE.gguf`` for one revision.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from importlib import resources
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from mistral_chat.errors import ConfigError, ModelNotFound
from mistral_chat.memory_estimate import ModelDimensions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_chat.config import CatalogSource

QUANTIZATION = re.compile(
    r"(?i)(?:^|[-._])((?:UD-)?(?:I?Q[1-8]_(?:K_XL|K_[SML]|K|XXS|XS|NL|[SM]|[01])|BF16|F16|F32|MXFP4|TQ[12]_0))(?=[-._]|$)"
)
"""How a quantization stands in a file's name."""

_HUB_ADDRESS = re.compile(
    r"(https?://[^/]+/)?(?P<where>[^/@:]+/[^/@:]+)/((resolve|blob)/(?P<revision>[^/]+)/)?(?P<file>[^?#]+\.gguf)([?#].*)?"
)
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One file that can be had."""

    name: str
    """What it is called on the command line; unique in its catalog."""
    model: str
    """The model's name, without the quantization."""
    title: str
    quantization: str
    """As in Q4_K_M; empty where the file's name does not say."""
    repository: str
    """OWNER/NAME on the hub; empty for weights that come with a Python package."""
    revision: str
    """A commit, or a branch where no commit is pinned."""
    file: str
    """The path in the repository."""
    bytes: int | None = None
    """The size, where it is known before the hub was asked."""
    sha256: str | None = None
    """64 hexadecimal digits, where they are known before the hub was asked."""
    licence: str = ""
    prompt_format: str | None = None
    shape: ModelDimensions | None = None
    package: str = ""
    """The Python package that holds the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogModel:
    """One named model with the files it comes in."""

    name: str
    title: str
    about: str = ""
    """One sentence for a person who chooses."""
    licence: str = ""
    entries: tuple[CatalogEntry, ...]
    """From the largest to the smallest; never empty."""
    default: CatalogEntry
    package: str = ""
    extra: str = ""
    """The extra of mistral-chat that installs the package."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every model that can be had, by name."""

    models: Mapping[str, CatalogModel] = field(default_factory=dict)

    @classmethod
    def load_bundled(cls, sources: Mapping[str, CatalogSource] | None = None) -> Catalog:
        """Read the catalog that comes with the program and add `sources`, which win where names are equal.

        Raises:
            ConfigError: one of the `sources` names no GGUF file on the hub.
        """
        text = resources.files("mistral_chat.models").joinpath("catalog.yaml").read_text("utf-8")
        models = {name: _model(name, fields) for name, fields in yaml.safe_load(text).items()}
        for name, source in (sources or {}).items():
            models[name.lower()] = _added(name.lower(), source)
        return cls(models)

    def entries(self) -> list[CatalogEntry]:
        """Every file that can be had, in the catalog's order."""
        return [entry for model in self.models.values() for entry in model.entries]

    def find(self, spec: str) -> CatalogEntry | None:
        """The offer that `spec` names, or None when it names no model of this catalog.

        Raises:
            WeightsNotFound: the model is known and the quantization is not, or an ``hf:`` name is not well formed.
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
        choices = ", ".join(entry.quantization for entry in model.entries if entry.quantization)
        raise ModelNotFound(f"{name} has no quantization {quantization.upper()!r}. It comes in {choices}.")

    def similar(self, spec: str) -> list[str]:
        """What `spec` may have been meant to be, the likeliest first: names of models, or the file whose address it is."""
        if (on_the_hub := _as_hub_spec(spec)) is not None:
            return [on_the_hub]
        name = spec.lower().partition(":")[0]
        inside = [known for known in self.models if name and name in known]
        return inside or difflib.get_close_matches(name, list(self.models), n=3, cutoff=0.5)


def parse_hub_spec(spec: str) -> CatalogEntry:
    """Read ``hf:OWNER/REPOSITORY[@REVISION]/FILE.gguf``; folders may stand before the file.

    Raises:
        WeightsNotFound: `spec` is not of that form, or its file would not stay inside the repository's folder.
    """
    owner, _, rest = spec[3:].partition("/")
    repository, _, file = rest.partition("/")
    repository, _, revision = repository.partition("@")
    parts = PurePosixPath(file).parts
    sound = (
        _HUB_NAME.fullmatch(owner)
        and _HUB_NAME.fullmatch(repository)
        and (not revision or _REVISION.fullmatch(revision))
        and file.lower().endswith(".gguf")
        and all(_HUB_NAME.fullmatch(part) for part in parts)
        and "/".join(parts) == file
    )
    if not sound:
        raise ModelNotFound(f"{spec!r} does not name a file on the hub. Write hf:OWNER/REPOSITORY/FILE.gguf.")
    where = f"{owner}/{repository}"
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
    """The ``hf:`` name of a file that is given as its page's or its download's address, or as OWNER/REPOSITORY/FILE."""
    found = _HUB_ADDRESS.fullmatch(text)
    if found is None:
        return None
    revision = found["revision"] or "main"
    try:
        return parse_hub_spec(f"hf:{found['where']}{'' if revision == 'main' else '@' + revision}/{found['file']}").name
    except ModelNotFound:
        return None


def quantization_in(file: str) -> str:
    """The quantization that a file's name states, or an empty text."""
    found = QUANTIZATION.findall(PurePosixPath(file).stem)
    return found[-1].upper() if found else ""


def _model(name: str, fields: Mapping[str, Any]) -> CatalogModel:
    shape = ModelDimensions(**fields["shape"]) if "shape" in fields else None
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
            shape=shape,
            package=fields.get("package", ""),
            **file,
        )
        for quantization, file in fields["files"].items()
    )
    return CatalogModel(
        name=name,
        title=fields["title"],
        about=fields["about"],
        licence=fields["licence"],
        entries=entries,
        default=next(entry for entry in entries if entry.quantization == fields["default"]),
        package=fields.get("package", ""),
        extra=fields.get("extra", ""),
    )


def _added(name: str, source: CatalogSource) -> CatalogModel:
    try:
        parse_hub_spec(f"hf:{source.repository}@{source.revision}/{source.file}")
    except ModelNotFound as error:
        problem = f"{source.repository}/{source.file} is no GGUF file on the hub; write OWNER/NAME and FILE.gguf"
        raise ConfigError(f"models.catalog.{name}", None, problem) from error
    quantization = quantization_in(source.file)
    entry = CatalogEntry(
        name=name,
        model=name,
        title=name,
        quantization=quantization,
        repository=source.repository,
        revision=source.revision,
        file=source.file,
        bytes=source.bytes,
        sha256=source.sha256.lower() if source.sha256 else None,
        prompt_format=source.prompt_format,
    )
    return CatalogModel(name=name, title=name, about="Added in the settings.", entries=(entry,), default=entry)
