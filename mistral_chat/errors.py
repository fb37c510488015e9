"""The errors of the program, as one tree.

Cancelling is not an error but the finish reason ``"cancelled"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path


class MistralChatError(Exception):
    """An error with a sentence for the user: what happened, where, and what to do next.

    The message is the whole sentence. It is plain text, may quote untrusted names, and never quotes a conversation.
    """

    title: ClassVar[str] = "Error"
    """The heading above the message, where one is shown."""

    exit_code: ClassVar[int] = 1
    """The exit code of the command line."""


class ConfigError(MistralChatError):
    """The settings file, an environment variable or an option cannot be used."""

    title = "Invalid settings"

    def __init__(self, source: str, line: int | None, problem: str) -> None:
        """Create an error about `problem` in `source` (a path or the name of a variable), on `line` if there is one."""
        self.source = source
        self.line = line
        self.problem = problem
        place = source if line is None else f"{source}:{line}"
        super().__init__(f"{place}: {problem}")


class UsageError(MistralChatError):
    """Something was asked for that does not exist, or options that cannot be used together."""

    title = "Not possible"
    exit_code = 2


class InvalidText(MistralChatError):
    """The text cannot be saved or encoded."""

    title = "Invalid text"


class DocumentUnreadable(MistralChatError):
    """A document cannot be read."""

    title = "Cannot read the document"

    def __init__(self, problem: str, path: Path | None = None) -> None:
        """Say that the document at `path`, where that is known, has `problem`."""
        self.problem = problem
        super().__init__(f"{path or 'The document'} cannot be read: {problem}.")


class ModelError(MistralChatError):
    """A model file cannot be found, used or downloaded."""

    title = "Cannot use the model"


class ModelNotFound(ModelError):
    """No such model, file or catalog entry."""

    title = "No such model"

    def __init__(self, problem: str, remedy: str = "") -> None:
        """Create an error about a `problem`; the `remedy` is what to do on the command line."""
        self.problem = problem
        super().__init__(f"{problem} {remedy}".rstrip())


class ModelUnusable(ModelError):
    """The file is damaged, incomplete, hostile or not a chat model."""

    def __init__(self, path: Path, problem: str) -> None:
        """Create an error about the file at `path`; `problem` is a sentence without a capital letter."""
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class DownloadFailed(ModelError):
    """The file could not be downloaded. Downloaded data is kept."""

    title = "Download failed"


class NotEnoughDisk(ModelError):
    """The disk is too small for a model file."""

    title = "Not enough disk space"

    def __init__(self, folder: Path, needed: int, free: int) -> None:
        """Create an error about a file of `needed` bytes for `folder`, whose disk has `free` bytes."""
        self.needed = needed
        self.free = free
        super().__init__(
            f"{folder} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are needed. "
            "Free some space, or set models.folder to a folder on another disk."
        )


class EngineError(MistralChatError):
    """The engine failed to load or to run a model."""

    title = "The model stopped"


class EngineLoadFailed(EngineError):
    """llama.cpp could not load the model."""

    title = "Could not load the model"

    def __init__(self, path: Path, reason: str) -> None:
        """Create an error about the model at `path`; `reason` is what llama.cpp said."""
        self.path = path
        self.reason = reason
        super().__init__(f"{path} could not be loaded: {reason.rstrip('.')}.")


class NotEnoughMemory(EngineError):
    """The model and its context do not fit in the free memory."""

    title = "Not enough memory"

    def __init__(self, path: Path, needed: int, free: int) -> None:
        """Create an error about the model at `path`, which needs `needed` bytes of memory while `free` are free."""
        self.needed = needed
        self.free = free
        super().__init__(
            f"{path.name} needs about {needed / 1e9:.1f} GB of memory but only {free / 1e9:.1f} GB is free. "
            "Close other programs, choose a smaller quantization, or reduce context.size (--ctx-size)."
        )


class MessageTooLong(EngineError):
    """A message, with what must stay in the context, is larger than the context window. Nothing was sent."""

    title = "Message too long"

    def __init__(self, tokens: int, available: int, window: int, *, replied: bool = False) -> None:
        """Create an error about a message of `tokens`, where `available` tokens of a `window` are left.

        If it is `replied` to, its reply is counted with it, and cannot be continued.
        """
        self.tokens = tokens
        self.available = available
        self.window = window
        message, remedy = ("The message and its reply take", "Unpin") if replied else ("The message takes", "Shorten it, unpin")
        super().__init__(
            f"{message} {tokens:,} tokens, but only {available:,} of the context's {window:,} are available. "
            f"{remedy} messages, or increase context.size (--ctx-size)."
        )


class SystemPromptTooLong(MessageTooLong):
    """The system prompt leaves no room for any message. Nothing was sent."""

    title = "System prompt too long"

    def __init__(self, tokens: int, window: int) -> None:
        """Create an error about a system prompt of `tokens` that fills a `window`."""
        super().__init__(tokens, 0, window)
        message = f"The system prompt takes {tokens:,} of the context's {window:,} tokens, which leaves none for messages. "
        self.args = (message + "Shorten it, or increase context.size (--ctx-size).",)


class PromptFormatError(EngineError):
    """The prompt cannot be built from the messages."""

    title = "Could not build the prompt"


class EngineFailed(EngineError):
    """llama.cpp failed while it was running. The conversation is saved, and the next turn processes its prompt again."""


class StoreError(MistralChatError):
    """The database of conversations cannot be used."""

    title = "Conversations unavailable"


class StoreTooNew(StoreError):
    """The database was written by a newer version. It was left as it is."""

    title = "Newer database version"


class StoreDamaged(StoreError):
    """The database is damaged and cannot be read."""

    title = "Damaged database"


class StoreBusy(StoreError):
    """Another program is writing to the database."""

    title = "Database in use"


class StoreFull(StoreError):
    """The disk is full. What was saved before is safe."""

    title = "Disk full"


class StoreReadOnly(StoreError):
    """The file, its folder or its file system may not be written, or not even read."""

    title = "Cannot save conversations"


class StoreMissing(StoreError):
    """The file or its folder was deleted or moved while it was in use."""

    title = "Database missing"


class ConversationNotFound(StoreError):
    """No such conversation or turn, or a shortened id that fits several."""

    title = "No such conversation"


class DocumentNotFound(StoreError):
    """No such collection, document or passage."""

    title = "No such document"


class ImportFailed(StoreError):
    """The file to import cannot be used. Nothing was changed."""

    title = "Import failed"
