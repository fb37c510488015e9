"""The ways in which messages may be put to a template that is particular about roles and their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_chat.conversation import Message, Role
from mistral_chat.engine.encoding.merge import MergedMessage, join, merge_consecutive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class RoleLayout:
    """Messages as blocks, and where each message went."""

    blocks: tuple[MergedMessage, ...]
    _parts: dict[int, tuple[int, int, int]]

    def part(self, message: int) -> tuple[int, int, int]:
        """The block that holds a message, and where in the block's text it begins and ends; block -1 where it went nowhere."""
        return self._parts.get(message, (-1, 0, 0))

    def same_block(self, first: int, second: int) -> bool:
        """Whether two messages were joined."""
        return self.part(first)[0] == self.part(second)[0] >= 0


def role_layouts(messages: Sequence[Message], *, takes_system: bool) -> Iterator[RoleLayout]:
    """The messages as they are; then with roles that alternate; then with the system prompt in the first question.

    What a template would leave out is never offered to it: without `takes_system`, system messages go into a question at once.
    """
    system = [(place, each.content) for place, each in enumerate(messages) if each.role is Role.SYSTEM]
    if takes_system or not system:
        yield _arrange([join(each.role, [(place, each.content)]) for place, each in enumerate(messages)])
    blocks = [block for block in merge_consecutive(messages) if block.role is not Role.SYSTEM]
    alternating: list[MergedMessage] = []
    for block in blocks:
        if alternating and alternating[-1].role is block.role:
            alternating[-1] = _joined(alternating[-1], block)
        else:
            alternating.append(block)
    if not alternating or alternating[0].role is not Role.USER:
        alternating.insert(0, MergedMessage(Role.USER, ""))
    if system and takes_system:
        yield _arrange([join(Role.SYSTEM, system), *alternating])
    yield _arrange([alternating[0].with_prefix(system), *alternating[1:]])


def _joined(first: MergedMessage, second: MergedMessage) -> MergedMessage:
    """Two blocks of one role as one, with the parts of both."""
    contents = [(part.message, block.text[part.start : part.end]) for block in (first, second) for part in block.parts]
    return join(first.role, contents)


def _arrange(blocks: Sequence[MergedMessage]) -> RoleLayout:
    parts = {part.message: (place, part.start, part.end) for place, block in enumerate(blocks) for part in block.parts}
    return RoleLayout(tuple(blocks), parts)
