"""Wires the parts of the program together for one run."""

from __future__ import annotations

import os
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mistral_chat.config import Settings
    from mistral_chat.config.configuration import CommandLineOverride, Configuration
    from mistral_chat.config.settings_file import SettingsFile
    from mistral_chat.engine.llama.embedding import EmbeddingModel
    from mistral_chat.engine.snapshots import SnapshotFolder
    from mistral_chat.engine.thread import EngineThread, LoadProgress
    from mistral_chat.generation import Engine
    from mistral_chat.models.library import Library, ModelFile
    from mistral_chat.models.service import ModelService
    from mistral_chat.paths import Paths
    from mistral_chat.session.retriever import Retriever
    from mistral_chat.store.store import ConversationStore


def utc_now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Program:
    """One run: its inputs, and the parts made from them.

    Nothing is read or opened before it is needed, so that `--help` and `config path` work with a broken configuration.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    now: Callable[[], datetime] = utc_now
    options: Mapping[str, CommandLineOverride] = field(default_factory=dict)
    """The settings given as options, by dotted key."""
    formats: dict[str, str] = field(default_factory=dict)
    """Prompt formats by model name, chosen in the app; they override the settings."""
    warn: Callable[[str], None] | None = None
    """Receives warnings about unknown keys in the settings file, once; None makes them errors."""
    load: Callable[[Program, ModelFile, str | None, LoadProgress], Engine] | None = None
    """Makes the engine of a model, with a prompt format that overrides the file's own; None uses llama.cpp."""

    def with_options(self, overrides: Mapping[str, CommandLineOverride]) -> Program:
        """A copy of this run with more settings given as options."""
        return replace(self, options={**self.options, **overrides})

    @cached_property
    def settings_file(self) -> SettingsFile:
        """The settings file, with what overrides it in this run."""
        from mistral_chat.config.settings_file import SettingsFile
        from mistral_chat.paths import Paths

        path = Paths.from_environment(self.environ).config_file
        return SettingsFile(path, self.environ, self.options, on_entry=self._entry_written)

    def _entry_written(self, section: str, name: str) -> None:
        """Let a prompt format that was written to the file replace one chosen earlier in this run."""
        if section == "models.formats":
            for chosen in [each for each in self.formats if each.lower() == name.lower()]:
                del self.formats[chosen]

    @cached_property
    def configuration(self) -> Configuration:
        """The settings at the start, each with its source. Raises as `SettingsFile.read` does."""
        configuration = self.settings_file.read(skip_unknown=self.warn is not None)
        for warning in configuration.warnings:
            if self.warn is not None:
                self.warn(warning)
        return configuration

    @property
    def settings(self) -> Settings:
        """The settings. Raises as `configuration` does."""
        return self.configuration.settings

    @cached_property
    def paths(self) -> Paths:
        """The folders and files. Raises as `configuration` does, because a setting moves a folder."""
        from mistral_chat.paths import Paths

        return Paths.from_environment(self.environ, self.settings.models.folder)

    def open_store(self, *, saved: bool = True) -> ConversationStore:
        """Open the conversations, and close the replies that a process left unfinished when it died.

        Args:
            saved: False keeps everything in memory and creates no file.

        Raises:
            StoreError: the database cannot be used.
        """
        from mistral_chat.errors import StoreError
        from mistral_chat.paths import private_folder
        from mistral_chat.store.database import open_database
        from mistral_chat.store.store import ConversationStore

        if saved:
            try:
                private_folder(self.paths.data_dir)
            except OSError as error:
                raise StoreError(
                    f"Cannot create the data folder {self.paths.data_dir}: {error.strerror}. "
                    "Set MISTRAL_CHAT_DATA_DIR to a writable folder, or use --no-save."
                ) from error
        store = ConversationStore(open_database(self.paths.database if saved else None), now=self.now)
        if saved:
            store.recover()
        return store

    def purge_old_trash(self, store: ConversationStore) -> None:
        """Delete permanently what is in the trash for longer than the settings allow, and attached files that nothing uses.

        May take seconds in a large store. A failure is logged, and the next run tries again.
        """
        import logging

        from mistral_chat.errors import StoreError

        try:
            if self.settings.trash_days:
                store.empty_trash(timedelta(days=self.settings.trash_days), forget=self.forget_snapshots)
            store.documents.delete_unused(timedelta(days=1))
            store.purge()
        except StoreError as error:
            log = logging.getLogger("mistral_chat.app")
            log.warning("old trash and unused files could not be deleted: %s", type(error).__name__)

    def library(self) -> Library:
        """The models on this disk, and the catalog of those that can be downloaded.

        Its settings are those of the file as it is now, if that can be read, with the formats chosen in the app.

        Raises:
            ConfigError: the settings' catalog cannot be used.
        """
        from pathlib import Path

        from mistral_chat.errors import MistralChatError
        from mistral_chat.models.catalog import Catalog
        from mistral_chat.models.library import Library

        models = self.settings.models
        with suppress(MistralChatError):
            models = self.settings_file.read(skip_unknown=self.warn is not None).settings.models
        return Library(
            models_dir=self.paths.models_dir,
            folders=[Path(folder) for folder in models.folders],
            catalog=Catalog.load_bundled(models.catalog),
            environ=self.environ,
            home=Path.home(),
            formats={**models.formats, **self.formats},
        )

    def model_service(self, *, saved: bool = True) -> ModelService:
        """The models of this run; `saved` is whether settings may be written."""
        from mistral_chat.cli import machine
        from mistral_chat.models.service import ModelService

        def formats() -> Sequence[str]:
            from mistral_chat.engine.encoding.choose import FORMATS

            return tuple(FORMATS)

        return ModelService(
            library=self.library,
            configuration=lambda: self.configuration,
            settings_file=self.settings_file,
            chosen_formats=self.formats,
            memory=machine.available_memory,
            formats=formats,
            saved=saved,
        )

    def embedding_model(self) -> AbstractContextManager[EmbeddingModel | None]:
        """The embedding model for as long as the context lasts, as `open_embedding_model` opens it."""
        model = self.open_embedding_model()
        return nullcontext() if model is None else closing(model)

    def open_embedding_model(self, *, saved: bool = True, chosen: Callable[[], str] | None = None) -> EmbeddingModel | None:
        """Load the configured embedding model on the CPU; None if it is not installed and is only the default.

        A file is tried in a child process first, once.

        Args:
            saved: whether a note of that, and vectors of texts that never change, are kept on the disk.
            chosen: returns the `embedding_model` setting in force; None takes that of the start.

        Raises:
            ModelError: the model of the options or the settings is not installed.
            EngineLoadFailed: it cannot be loaded, or is not an embedding model.
        """
        spec = chosen() if chosen is not None else self.settings.embedding_model
        path = self._embedding_file(spec)
        if path is None:
            return None
        from mistral_chat.engine.llama.embedding import EmbeddingModel, Prefixes, sensible_threads
        from mistral_chat.engine.llama.probe import Probe

        with Probe(path, None, self.paths.data_dir / "tried", note=saved and self.paths.data_dir.is_dir()) as probe:
            probe.wait_decoded()
        kept = self.paths.cache_dir / "vectors" if saved else None
        traits = self.library().catalog.embedding_traits(spec, path.name)
        if traits is None:
            return EmbeddingModel(path, threads=sensible_threads(), kept=kept)
        prefixes = Prefixes(traits.query_prefix, traits.document_prefix)
        return EmbeddingModel(path, threads=sensible_threads(), prefixes=prefixes, pooling=traits.pooling, kept=kept)

    def retriever(
        self, store: ConversationStore | None = None, *, saved: bool = True, chosen: Callable[[], str] | None = None
    ) -> Retriever:
        """The retriever, which finds recalled exchanges and passages for messages.

        Args:
            store: the documents, on a connection of its own; None opens the store.
            saved: where it is opened: False finds no documents, and opens no file.
            chosen: as in `open_embedding_model`.

        Raises:
            StoreError: the store cannot be opened.
        """
        from mistral_chat.session.retriever import Retriever

        return Retriever(store or self.open_store(saved=saved), partial(self.open_embedding_model, saved=saved, chosen=chosen))

    def _embedding_file(self, spec: str) -> Path | None:
        from mistral_chat.errors import ModelError
        from mistral_chat.paths import expanded

        if not spec.strip():
            return None
        if (path := expanded(spec)).is_file():
            return path
        try:
            return self.library().find(spec, any_kind=True).path
        except ModelError:
            if "embedding_model" in self.configuration.sources:
                raise
            return None

    def snapshots(self) -> SnapshotFolder | None:
        """The context snapshots on disk; None if the settings disable them."""
        from mistral_chat.engine.snapshots import SnapshotFolder

        settings = self.settings.snapshots
        if not settings.enabled:
            return None
        return SnapshotFolder(self.paths.snapshots_dir, budget=settings.budget, still_there=self._has_conversation)

    def _has_conversation(self, conversation_id: str) -> bool:
        """Whether a conversation is known to exist. Opens the store each time, because any thread may ask."""
        from mistral_chat.errors import StoreError
        from mistral_chat.store.database import open_database
        from mistral_chat.store.store import ConversationStore

        if not self.paths.database.exists():
            return False  # opening would create it
        try:
            with closing(ConversationStore(open_database(self.paths.database), now=self.now)) as store:
                store.conversation(conversation_id)
        except StoreError:
            return False
        return True

    def forget_snapshots(self, conversations: Iterable[str]) -> None:
        """Delete the snapshots of deleted conversations, even if snapshots are disabled."""
        gone = list(conversations)
        if gone and self.paths.snapshots_dir.is_dir():
            from mistral_chat.engine.snapshots import SnapshotFolder

            folder = SnapshotFolder(self.paths.snapshots_dir, budget=self.settings.snapshots.budget)
            for conversation in gone:
                folder.forget(conversation)

    def engine_loader(
        self,
        spec: str | None = None,
        *,
        prompt_format: str | None = None,
        saved: bool = True,
        snapshots: SnapshotFolder | None = None,
    ) -> Callable[[LoadProgress], Engine]:
        """A function that loads the model `spec`, or the configured model, for an `EngineThread`.

        Args:
            spec: as ``-m`` takes it.
            prompt_format: overrides the catalog, the settings and the file; a format chosen in the app overrides it.
            saved: False leaves no record on the disk of which models were tried.
            snapshots: the context snapshots; None for none.

        Raises:
            ModelError: there is no such model. Errors while loading are raised by the function.
        """
        model = self.library().find(spec or self.settings.model)
        chosen = model.prompt_format if model.name in self.formats else prompt_format or model.prompt_format

        def load(on_progress: LoadProgress) -> Engine:
            if self.load is not None:
                return self.load(self, model, chosen, on_progress)
            from mistral_chat.engine.llama.probe import Probe

            record, settings = self.paths.data_dir / "tried", self.settings
            with nullcontext() if model.verified else Probe(model.path, settings.engine, record, note=saved) as probe:
                from mistral_chat.engine.llama.engine import open_engine
                from mistral_chat.engine.tuning import TuningFile

                return open_engine(
                    model.path,
                    name=model.name,
                    settings=settings.engine,
                    context=settings.context,
                    prompt_format=chosen,
                    shape=model.metadata.dimensions,
                    explicit_size="context.size" in self.configuration.sources,
                    snapshots=snapshots,
                    tuning=TuningFile(self.paths.tuning_file, frozen=not saved),
                    on_progress=on_progress,
                    probe=probe,
                )

        return load

    def runner(self, spec: str | None = None, *, prompt_format: str | None = None, saved: bool = True) -> EngineThread:
        """An engine's thread for the model `spec`, with context snapshots where `saved` and the settings allow; not started.

        Takes and raises what `engine_loader` does.
        """
        from mistral_chat.engine.thread import EngineThread

        snapshots = self.snapshots() if saved else None
        load = self.engine_loader(spec, prompt_format=prompt_format, saved=saved, snapshots=snapshots)
        return EngineThread(load, snapshots=snapshots)
