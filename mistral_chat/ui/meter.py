"""The context window in parts: what fills it, what is kept free, and whether a draft fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.generation import ContextState
    from mistral_chat.ui.shown import ShownTurn


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowParts:
    """How many tokens each part of the window takes."""

    window: int
    system: int = 0
    """The system prompt and the format's head."""
    pinned: int = 0
    """Turns that never leave."""
    conversation: int = 0
    """The other turns that the model sees."""
    seen: int = 0
    """How many turns that are, pinned ones included."""
    draft: int = 0
    """What is being typed."""
    reserve: int = 0
    """What is kept free for the reply."""

    @property
    def used(self) -> int:
        """What is in the window now."""
        return self.system + self.pinned + self.conversation

    @property
    def free(self) -> int:
        """What is left beside everything else."""
        return max(0, self.window - self.used - self.draft - self.reserve)

    @property
    def room(self) -> int:
        """The longest message there can be, when every turn leaves that may."""
        return max(0, self.window - self.reserve - self.system - self.pinned)

    @property
    def fits(self) -> bool:
        """Whether the draft can be sent."""
        return self.draft <= self.room

    @property
    def pushes(self) -> bool:
        """Whether turns leave when the draft is sent."""
        return self.fits and self.draft > 0 and self.used + self.draft + self.reserve > self.window


def parts_of(ledger: ContextState, turns: Sequence[ShownTurn], *, system: int = 0, draft: int = 0) -> WindowParts:
    """Tell what fills the window, for the conversation on the screen.

    Args:
        ledger: what the model has in its cache. Another conversation's turns count as nothing: they go when this one is read.
        turns: the turns on the screen.
        system: tokens of the system prompt, for a conversation that the model has not read yet.
        draft: tokens of what is being typed.
    """
    known = {turn.turn_id: turn.turn for turn in turns}
    ours = any(held.key in known for held in ledger.turns)
    pinned = conversation = seen = 0
    for held in ledger.turns if ours else ():
        turn = known.get(held.key)
        # A key that begins with a null byte is the engine's own: a draft that was read ahead.
        if held.key.startswith("\0") or (turn is not None and turn.excluded):
            continue
        seen += 1
        if turn.pinned if turn is not None else held.pinned:
            pinned += held.tokens
        else:
            conversation += held.tokens
    return WindowParts(
        window=ledger.window,
        system=ledger.system_tokens if ours else system,
        pinned=pinned,
        conversation=conversation,
        seen=seen,
        draft=draft,
        reserve=ledger.reserve,
    )
