"""Messages as Mistral's formats see them: one block for each run of messages of one role.

The rules are those of mistral-common's ``InstructRequestNormalizer``: contents are joined by an empty line, empty ones are left
out, a system message between two messages of one role keeps them apart, and a prompt starts with the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from mistral_chat.conversation import Message, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BETWEEN = "\n\n"
"""Separates joined contents."""


@dataclass(frozen=True, slots=True)
class Part:
    """The position of a message's content in its block."""

    message: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class MergedMessage:
    """Messages of one role, joined."""

    role: Role
    text: str
    parts: tuple[Part, ...] = ()
    """In order; a message without text has an empty part where its text would start."""

    def with_prefix(self, others: Sequence[tuple[int, str]]) -> MergedMessage:
        """This block with the contents of `others` in front, as a system prompt is placed before a question."""
        lead = join(self.role, others)
        if not lead.text:
            return self
        shift = len(lead.text) + len(BETWEEN)
        moved = tuple(Part(part.message, part.start + shift, part.end + shift) for part in self.parts)
        return MergedMessage(self.role, lead.text + BETWEEN + self.text, lead.parts + moved)


def join(role: Role, contents: Iterable[tuple[int, str]]) -> MergedMessage:
    """Join all `contents`, given with the indices of their messages, in one block."""
    text = ""
    parts = []
    for message, content in contents:
        if content and text:
            text += BETWEEN
        parts.append(Part(message, len(text), len(text) + len(content)))
        text += content
    return MergedMessage(role, text, tuple(parts))


def merge_consecutive(messages: Iterable[tuple[int, Message]]) -> list[MergedMessage]:
    """Merge consecutive messages of one role, given with their indices. Replies without text are skipped.

    Each system message stays a block of its own.
    """
    said = [(i, each) for i, each in messages if each.content or each.role is not Role.ASSISTANT]
    runs = groupby(said, key=lambda pair: (pair[1].role, pair[0] if pair[1].role is Role.SYSTEM else None))
    return [join(role, [(i, each.content) for i, each in run]) for (role, _), run in runs]
