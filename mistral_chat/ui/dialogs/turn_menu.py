"""The menu of actions on one turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_chat.ui.shown import ShownTurn


def turn_menu(shown: ShownTurn, *, tokens: int | None, code: int, keys: Mapping[str, str]) -> ChoiceDialog:
    """Return the menu for the turn `shown`; its result is the action to run.

    Args:
        shown: the turn; its text may be anything.
        tokens: how many tokens it takes; None while that is not known.
        code: how many code blocks its reply has.
        keys: the key of each action that has one.
    """
    actions = _actions(shown, code)
    choices = [Choice(action, label, key=keys.get(action, "")) for action, label in actions]
    return ChoiceDialog(shown.turn.user.strip() or "Message", choices, text=_summary(shown, tokens))


def _summary(shown: ShownTurn, tokens: int | None) -> str:
    turn = shown.turn
    parts = [f"{tokens:,} tokens in context" if tokens is not None else "tokens not counted yet"]
    if turn.pinned:
        parts.append("pinned")
    if turn.excluded:
        parts.append("excluded")
    if shown.siblings > 1:
        parts.append(f"version {shown.sibling} of {shown.siblings}")
    return " · ".join(parts)


def _actions(shown: ShownTurn, code: int) -> list[tuple[str, str]]:
    turn = shown.turn
    actions = [("copy_message", "Copy message")]
    if turn.reply:
        actions.append(("copy_reply", "Copy reply"))
    if code:
        block = "code block" if code == 1 else f"code block (1 of {code})"
        actions += [("copy_code", f"Copy {block}"), ("save_code", "Save code block…")]
    actions.append(("pin_turn", "Unpin from context" if turn.pinned else "Pin in context"))
    actions.append(("exclude_turn", "Include in context" if turn.excluded else "Exclude from context"))
    actions += [("regenerate", "Regenerate reply"), ("edit", "Edit message"), ("fork", "Fork from here")]
    if shown.siblings > 1:
        actions += [("branch(-1)", "Previous version"), ("branch(1)", "Next version")]
    actions.append(("details", "Reply statistics"))
    return actions
