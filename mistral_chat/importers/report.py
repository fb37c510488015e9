"""What an import found in a file, and what it left out and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from mistral_chat.errors import ImportFailed

if TYPE_CHECKING:
    from mistral_chat.export.exported_conversation import ExportedConversation

_MOST_DETAILS: Final = 20

EMPTY: Final = "conversations without text"
BROKEN: Final = "damaged conversations"
UNKNOWN: Final = "content of unknown kinds"
FILES: Final = "pictures, recordings and other files"
TOOLS: Final = "tool calls and their results"
REASONING: Final = "reasoning"
HIDDEN: Final = "hidden messages"


class NotConversations(ImportFailed):
    """The file is readable and contains something else."""


@dataclass(slots=True)
class LeftOut:
    """Something that was not imported."""

    what: str
    """Its kind, such as ``hidden messages``."""
    count: int = 0
    details: list[str] = field(default_factory=list)
    """Locations and reasons, at most 20; untrusted text."""


@dataclass(slots=True)
class ImportSource:
    """One file, or one file in a ZIP archive."""

    name: str
    format: str
    """The program that wrote the file; empty if it contains no conversations."""
    changed: datetime
    """When the file was modified; replaces times that are missing in it."""
    conversations: list[ExportedConversation] = field(default_factory=list)
    left_out: dict[str, LeftOut] = field(default_factory=dict)

    @property
    def turns(self) -> int:
        """The turns of its conversations."""
        return sum(len(conversation.turns) for conversation in self.conversations)

    def leave_out(self, what: str, detail: str = "", *, count: int = 1) -> None:
        """Record that something is not imported."""
        if count:
            entry = self.left_out.setdefault(what, LeftOut(what))
            entry.count += count
            if detail and len(entry.details) < _MOST_DETAILS and detail not in entry.details:
                entry.details.append(detail)

    def add(self, conversation: ExportedConversation) -> None:
        """Add a conversation, unless it has no text."""
        if any(turn.turn.user.strip() or turn.turn.reply.strip() for turn in conversation.turns):
            self.conversations.append(conversation)
        else:
            self.leave_out(EMPTY, conversation.title)


def all_conversations(sources: list[ImportSource]) -> Iterator[ExportedConversation]:
    """The conversations of all sources."""
    for source in sources:
        yield from source.conversations
