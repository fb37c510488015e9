"""Texts of the chat screen that depend on its state."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from mistral_chat.errors import MistralChatError, ModelNotFound, StoreFull

if TYPE_CHECKING:
    from mistral_chat.session.attachments import Attachment
    from mistral_chat.session.context import ContextUsage
    from mistral_chat.session.events import PassagesGiven, SavingFailed
    from mistral_chat.session.reply import PendingReply

Keys = tuple[tuple[str, str], ...]
"""Ids of commands, or plain keys, each with what it does."""


class Welcome(NamedTuple):
    """The text of an empty conversation."""

    heading: str
    lines: tuple[str, ...]
    keys: Keys
    trouble: bool = False


def welcome(error: MistralChatError | None, *, downloading: str, saved: bool) -> Welcome:
    """How to start, or what is missing."""
    keys: Keys
    if isinstance(error, ModelNotFound) and downloading:
        keys = (
            ("chat.models", "show the progress, or switch model"),
            ("chat.cancel_background", "pause"),
            ("app.help", "help"),
            ("app.quit", "quit"),
        )
        return Welcome(f"Downloading {downloading}…", ("You can start typing while it downloads.",), keys)
    if isinstance(error, ModelNotFound):
        keys = (("chat.models", "choose a model"), ("chat.retry", "retry"), ("app.help", "help"), ("app.quit", "quit"))
        return Welcome("No model loaded", (error.problem, "Choose one to download, or one that is installed."), keys)
    if error is not None:
        keys = (("chat.models", "choose another model"), ("chat.retry", "retry"), ("app.help", "help"), ("app.quit", "quit"))
        return Welcome(error.title, (str(error),), keys, trouble=True)
    keys = (
        ("composer.send", "send"),
        ("composer.newline", "new line"),
        ("chat.focus_list", "conversations"),
        ("app.palette", "all commands"),
    )
    if saved:
        return Welcome("New conversation", ("Write a message below. Nothing leaves this computer.",), keys)
    return Welcome("Temporary chat", ("Nothing here is saved. Nothing leaves this computer.",), keys)


class Focus(StrEnum):
    """The part of the screen that keys go to."""

    MESSAGE = "message"
    MENU = "menu"
    TRANSCRIPT = "transcript"
    LIST = "list"
    FILTER = "filter"
    FILES = "files"


_KEYS_BY_FOCUS: Final[dict[Focus, Keys]] = {
    Focus.MENU: (("↑↓", "choose"), ("Enter", "run"), ("Esc", "close"), ("Tab", "complete")),
    Focus.TRANSCRIPT: (("Enter", "actions"), ("Esc", "back"), ("↑↓", "select"), ("c", "copy code"), ("e", "edit"), ("f", "fork")),
    Focus.LIST: (("Enter", "open"), ("Esc", "back"), ("/", "filter"), ("d", "delete"), ("r", "rename"), ("p", "pin")),
    Focus.FILES: (("Enter", "show"), ("d", "remove"), ("Esc", "back")),
    Focus.FILTER: (("↓", "results"), ("Esc", "show all")),
}


def hints(
    focus: Focus,
    *,
    replying: bool,
    failed: bool,
    editing: bool,
    stopped: bool,
    empty: bool,
    messages: bool,
    command: bool,
    files: bool,
) -> Keys:
    """The most useful keys now, best first.

    Args:
        focus: where keys go.
        replying: whether a reply is generated.
        failed: whether there is no model.
        editing: whether an earlier message is edited.
        stopped: whether the last reply was stopped.
        empty: whether the message box is empty.
        messages: whether there are messages to select.
        command: whether the message box holds a command.
        files: whether the draft has attachments.
    """
    if replying:
        return ("chat.stop", "stop"), ("app.palette", "commands")
    if focus in _KEYS_BY_FOCUS:
        return _KEYS_BY_FOCUS[focus]
    if editing:
        return ("composer.send", "resend"), ("chat.stop", "cancel")
    if not empty:
        send: Keys = (("composer.send", "run"),) if command else (("composer.send", "send"), ("composer.newline", "new line"))
        return *send, ("Tab", "files") if files else ("app.palette", "commands")
    if failed:
        return ("chat.models", "choose a model"), ("chat.retry", "retry"), ("?", "help")
    again: Keys = (("chat.continue", "continue"), ("chat.regenerate", "regenerate")) if stopped else ()
    select: Keys = (("Shift+Tab", "messages"),) if messages else ()
    return *again, ("/", "commands"), ("?", "help"), *select, ("chat.focus_list", "chats")


def model_state(error: MistralChatError) -> str:
    """The state shown while no model is available."""
    return "no model" if isinstance(error, ModelNotFound) else "model not loaded"


def reply_state(pending: PendingReply) -> str:
    """What the model is doing for a reply."""
    if pending.reply is not None and pending.reply.pieces:
        speed = pending.reply.speed
        return f"writing {speed:.1f} tok/s" if speed is not None else "writing"
    done, total = pending.prefill
    return f"processing prompt {done / total:.0%}" if total else "waiting for the model"


def draft_tokens(usage: ContextUsage) -> str:
    """The token count on the frame of the message box."""
    if not usage.draft:
        return ""
    if not usage.fits:
        return f"{usage.draft:,} / {usage.max_message_tokens:,} tokens"
    tokens = f"{usage.draft:,} token{'s' if usage.draft != 1 else ''}"
    return f"{tokens} · oldest messages will drop out" if usage.evicts else tokens


def too_long(usage: ContextUsage, files: int) -> str:
    """The warning about a draft that does not fit."""
    with_files = f" with {files} attachment{'s' if files != 1 else ''}" if files else ""
    return (
        f"Too long{with_files}: {usage.draft:,} tokens, {usage.max_message_tokens:,} available. "
        f"Remove {usage.draft - usage.max_message_tokens:,} tokens to send."
    )


def context_full(turns: int) -> str:
    """The notice when messages drop out of the context for the first time."""
    dropped = "the oldest turn" if turns == 1 else f"the {turns} oldest turns"
    left = "It stays" if turns == 1 else "They stay"
    return f"Context full: {dropped} dropped out. {left} in the chat and in search."


def saving_failed(event: SavingFailed) -> str:
    """The warning when nothing can be saved."""
    free = ""
    if event.bytes_free is not None and not isinstance(event.error, StoreFull):  # which already states the free space
        free = f" The disk has {event.bytes_free / 1e6:,.0f} MB free."
    return f"Not saved yet: {event.error}{free} Your text is kept in memory and saved as soon as possible."


WHOLE: Final = "Passages cannot answer a question about a whole document. Ask about a part of it."
NOTHING_FOUND: Final = "Nothing found in your documents. The reply does not use them."


def passages_notice(event: PassagesGiven) -> str:
    """The notice about the passages of a message; empty if there is nothing to add."""
    if event.whole:
        return WHOLE
    return NOTHING_FOUND if event.nothing_found else ""


def attached(file: Attachment) -> str:
    """The notice about an attached file: whether the model is given all of it."""
    if not file.collection:
        return f"Attached {file.name} in full." if not file.pasted else f"Attached {file.name}."
    size = f"{file.tokens:,} tokens" if file.tokens else "long"
    return f"Attached {file.name} ({size}). Each message uses matching passages of it. /docs detaches it."


BY_WORDS: Final = (
    "Searching by words only. To search by meaning too, download an embedding model (25 MB): "
    "mistral-chat models pull all-minilm-l6-v2"
)
