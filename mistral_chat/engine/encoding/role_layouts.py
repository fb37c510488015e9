"""The layouts to try with a template that is strict about roles and their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_chat.conversation import Message, Role
from mistral_chat.engine.encoding.merge import MergedMessage, join, merge_consecutive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class RoleLayout:
    """Messages as blocks, with the position of each message."""

    blocks: tuple[MergedMessage, ...]
    _parts: dict[int, tuple[int, int, int]]

    def part(self, message: int) -> tuple[int, int, int]:
        """The block that contains a message, and where in the block its text starts and ends; block -1 if it is in none."""
        return self._parts.get(message, (-1, 0, 0))

    def same_block(self, first: int, second: int) -> bool:
        """Whether two messages were merged."""
        return self.part(first)[0] == self.part(second)[0] >= 0


def role_layouts(messages: Sequence[Message], *, takes_system: bool) -> Iterator[RoleLayout]:
    """Yield the messages unchanged; then with alternating roles; then with the system prompt in the first question.

    Without `takes_system`, the first layout already has the system messages in a question, because the template would drop them.
    """
    system = [(place, each.content) for place, each in enumerate(messages) if each.role is Role.SYSTEM]
    if takes_system or not system:
        yield _arrange([join(each.role, [(place, each.content)]) for place, each in enumerate(messages)])
    alternating = merge_consecutive((place, each) for place, each in enumerate(messages) if each.role is not Role.SYSTEM)
    if not alternating or alternating[0].role is not Role.USER:
        alternating.insert(0, MergedMessage(Role.USER, ""))
    if system and takes_system:
        yield _arrange([join(Role.SYSTEM, system), *alternating])
    yield _arrange([alternating[0].with_prefix(system), *alternating[1:]])


def _arrange(blocks: Sequence[MergedMessage]) -> RoleLayout:
    parts = {part.message: (place, part.start, part.end) for place, block in enumerate(blocks) for part in block.parts}
    return RoleLayout(tuple(blocks), parts)
