"""What the chat screen knows of the conversation it shows, beyond what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_chat.generation import Sampling


class Page:
    """The conversation on the screen; a new one gets its id with its first message."""

    def __init__(self, conversation_id: str | None) -> None:
        """Show `conversation_id`, or a new conversation."""
        self.conversation_id = conversation_id
        self.system: str | None = None
        """A new conversation's own system prompt."""
        self.sampling: Sampling | None = None
        """A new conversation's own way of drawing tokens."""
        self.persona: str | None = None
        """The name of a new conversation's persona, empty for none; None while nobody has chosen."""
        self.told = False
        """Whether it was said that turns leave the window."""
