"""What can be done with one turn, as a list to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.ui.content import literal_line
from mistral_chat.ui.screens.choice import ChoiceScreen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.app import ComposeResult

    from mistral_chat.ui.shown import ShownTurn

_WIDEST: Final = 38
"""Cells for what can be done, before its key."""


class DeedList(OptionList):
    """What can be done."""

    HELP = "## What to do\n\n**Enter** does what is marked. **Escape** goes back.\n"


class TurnScreen(ChoiceScreen):
    """Shows what can be done with a turn; ends with the action that was chosen, or None."""

    DEFAULT_CSS = """
    TurnScreen {
        .cost { color: $foreground 65%; margin-bottom: 1; height: auto; }
        OptionList { max-height: 100%; }
    }
    """
    HELP = "## A turn\n\n**Enter** does what is marked, **Escape** goes back.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Do nothing", id="turn.cancel"),
    ]

    def __init__(self, turn: ShownTurn, *, tokens: int | None, code: int, keys: Mapping[str, str]) -> None:
        """Offer what can be done with `turn`.

        Args:
            turn: the turn; its text may be anything.
            tokens: what it takes; None while nobody knows.
            code: how many code blocks its reply has.
            keys: the key of each action, where it has one.
        """
        super().__init__()
        self._turn = turn
        self._tokens = tokens
        self._code = code
        self._keys = keys

    def above(self) -> ComposeResult:
        """The turn, and what it takes."""
        yield Static(literal_line(self._turn.turn.user, 56), classes="heading")
        yield Static(self._cost(), classes="cost", markup=False)

    def choices(self) -> OptionList:
        """What can be done with it, each with its key."""
        options = [Option(self._line(text, action), id=action) for action, text in self._deeds()]
        return DeedList(*options, markup=False, compact=True)

    def _cost(self) -> str:
        turn = self._turn.turn
        parts = [f"{self._tokens:,} tokens of the window" if self._tokens is not None else "its tokens are not counted yet"]
        if turn.pinned:
            parts.append("pinned")
        if turn.excluded:
            parts.append("excluded")
        if self._turn.siblings > 1:
            parts.append(f"branch {self._turn.sibling} of {self._turn.siblings}")
        return " · ".join(parts)

    def _deeds(self) -> list[tuple[str, str]]:
        turn = self._turn.turn
        deeds = [("copy_message", "Copy the message")]
        if turn.reply:
            deeds.append(("copy_reply", "Copy the reply"))
        if self._code:
            blocks = "the code block" if self._code == 1 else f"one of {self._code} code blocks"
            deeds += [("copy_code", f"Copy {blocks}"), ("save_code", f"Save {blocks} to a file")]
        deeds.append(("pin_turn", "Unpin" if turn.pinned else "Pin: keep it in the window"))
        deeds.append(("exclude_turn", "Restore: let the model see it" if turn.excluded else "Exclude: hide it from the model"))
        deeds += [("regenerate", "Regenerate the reply"), ("edit", "Edit the message"), ("fork", "Fork the conversation here")]
        if self._turn.siblings > 1:
            deeds += [("branch(-1)", "Branch before"), ("branch(1)", "Branch after")]
        deeds.append(("details", "Details under replies"))
        return deeds

    def _line(self, text: str, action: str) -> Content:
        return Content.assemble(text.ljust(_WIDEST), (self._keys.get(action, ""), "$text-accent"))
