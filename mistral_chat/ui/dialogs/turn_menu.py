"""The menu of actions on one turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.message_form import split_message
from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mistral_chat.session.events import TranscriptTurn


def turn_menu(shown: TranscriptTurn, actions: Iterable[tuple[str, str, str]], *, tokens: int | None) -> ChoiceDialog:
    """Return the menu for the turn `shown`; its result is the id of the command to run.

    Args:
        shown: the turn; its text may be anything.
        actions: the id of each command, its label for this turn, and its key while the turn is selected.
        tokens: how many tokens it takes; None while that is not known.
    """
    choices = [Choice(name, label, key=key) for name, label, key in actions]
    return ChoiceDialog(split_message(shown.turn.user).question.strip() or "Message", choices, text=_summary(shown, tokens))


def _summary(shown: TranscriptTurn, tokens: int | None) -> str:
    turn = shown.turn
    parts = [f"{tokens:,} tokens in context" if tokens is not None else "tokens not counted yet"]
    if turn.pinned:
        parts.append("pinned")
    if turn.excluded:
        parts.append("excluded")
    if shown.siblings > 1:
        parts.append(f"version {shown.sibling} of {shown.siblings}")
    return " · ".join(parts)
