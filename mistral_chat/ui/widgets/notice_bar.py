"""One line above the composer for what just happened, with a way back where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import message
from textual.content import Content
from textual.widgets import Static

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events
    from textual.timer import Timer

_SECONDS: Final = 12.0
"""How long a notice stays."""


class NoticeBar(Static):
    """Shows one notice at a time and goes away by itself. It never covers what is being read."""

    LONGEST: ClassVar = 400
    """Characters of a notice."""

    class ActionTaken(message.Message):
        """The notice was clicked, and what it offers is to be done."""

    def __init__(self) -> None:
        """Make an empty bar, which takes no room."""
        super().__init__(id="notice", markup=False)
        self._timer: Timer | None = None
        self._offers = False
        self._act: Callable[[], object] | None = None
        self.text = ""
        """What is shown, without the offer."""

    def tell(
        self,
        text: str,
        *,
        offer: str = "",
        act: Callable[[], object] | None = None,
        trouble: bool = False,
        stay: bool = False,
    ) -> None:
        """Show a notice.

        Args:
            text: what happened; may quote anything.
            offer: what a click does, such as ``"F8 takes it back"``.
            act: does it; None posts `ActionTaken`.
            trouble: whether it is something to look at.
            stay: keep it until the next notice.
        """
        self.text = one_line(text, self.LONGEST)
        self._offers = bool(offer)
        self._act = act
        self.set_class(trouble, "-trouble")
        parts = [self.text, "   ", (offer, "bold $text-accent")] if offer else [self.text]
        self.update(Content.assemble(*parts))
        self.add_class("-shown")
        if self._timer is not None:
            self._timer.stop()
        self._timer = None if stay else self.set_timer(_SECONDS, self.clear)

    def clear(self) -> None:
        """Take the notice away."""
        self.text = ""
        self._offers, self._act = False, None
        self.remove_class("-shown")

    def on_click(self, event: events.Click) -> None:
        """Do what is offered, or take the notice away."""
        event.stop()
        if self._act is not None:
            self._act()
        elif self._offers:
            self.post_message(self.ActionTaken())
        self.clear()
