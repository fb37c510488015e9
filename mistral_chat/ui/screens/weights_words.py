"""The sentences of the screen for weights."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mistral_chat.formatting import format_size
from mistral_chat.text import one_line
from mistral_chat.ui.widgets.weights_facts import missing_room

if TYPE_CHECKING:
    from mistral_chat.ui.errands import Check
    from mistral_chat.ui.shelf import ShownWeights, Stock


class Step(StrEnum):
    """What the screen shows."""

    LOOKING = "looking"
    CHOOSING = "choosing"
    FETCHING = "fetching"
    PAUSED = "paused"
    FAILED = "failed"


BUTTONS: Final = {
    Step.LOOKING: ("Look again", "", "Back"),
    Step.FETCHING: ("Pause", "Background", "Cancel"),
    Step.PAUSED: ("Go on", "", "Cancel"),
    Step.FAILED: ("Try again", "", "Back to the list"),
}
"""The words on the three buttons; one without a word is hidden."""

KEYS: Final = {
    Step.LOOKING: (("F5", "look again"), ("Esc", "back")),
    Step.CHOOSING: (("Enter", "take it"), ("M", "more"), ("Esc", "back"), ("F5", "look again"), ("F1", "help")),
    Step.FETCHING: (("P", "pause"), ("B", "go on in the background"), ("Esc", "leave"), ("F1", "help")),
    Step.PAUSED: (("P", "go on"), ("Esc", "back to the list"), ("F1", "help")),
    Step.FAILED: (("P", "try again"), ("Esc", "back to the list"), ("F1", "help")),
}
"""The keys that help."""

FORMATS: Final = {
    "automatic": "what the file itself says; right for nearly all",
    "mistral-v1": "Mistral 7B Instruct v0.1 and v0.2",
    "mistral-v3": "Mistral 7B Instruct v0.3",
    "mistral-v3-tekken": "Mistral Nemo, Ministral",
    "mistral-v7": "Mistral's models with a system prompt of their own",
    "mistral-v7-tekken": "the same, with the Tekken vocabulary",
    "chatml": "Qwen, SmolLM and many others: <|im_start|>",
    "template": "the file's chat template, just as it is",
}
"""What each prompt format is for."""


def risky(weights: ShownWeights | None, stock: Stock) -> bool:
    """Whether there is too little memory or room on the disk for `weights`."""
    return weights is not None and (weights.fit == "too large" or missing_room(weights, stock) > 0)


def introduction(stock: Stock, wanted: str, problem: str, *, first: bool) -> tuple[str, bool]:
    """What stands above the list, and whether it is trouble."""
    if stock.memory is not None and stock.weights and not any(weights.fit in {"fits", "tight"} for weights in stock.weights):
        free = f"{stock.memory / 1e9:.1f} GB"
        return f"Nothing here fits into the {free} of memory that are free. Close other programs, then look again with F5.", True
    if not first:
        return "Choose what to go on with. The conversation stays as it is.", False
    fetched = f"What you choose is fetched once, from {one_line(stock.hub)}; what you write never leaves this computer."
    known = stock.find(wanted) or stock.find(wanted.lower())
    if problem and known is None:
        return f"{one_line(problem, 300)} {fetched}", True
    if any(weights.place for weights in stock.weights):
        name = one_line(known.title if known else wanted, 60)
        return f"{name} is not on this computer yet. {fetched}", False
    return f"There is no model on this computer yet. {fetched}", False


def label(weights: ShownWeights | None, stock: Stock) -> str:
    """What the first button does."""
    if weights is None or weights.obstacle:
        return "Not here"
    anyway = " anyway" if risky(weights, stock) else ""
    if weights.under_way and not weights.place:
        return "Show the download"
    if weights.place:
        return "Keep using it" if weights.spec == stock.in_use else f"Use it{anyway}"
    if weights.arrived:
        return f"Go on fetching{anyway}"
    about = "" if weights.exact else "about "
    return f"Fetch{anyway}" if weights.size is None else f"Fetch {about}{format_size(weights.size)}{anyway}"


def free(stock: Stock) -> str:
    """What this machine has free, in a few words."""
    parts = [
        f"{stock.memory / 1e9:.1f} GB RAM" if stock.memory is not None else "",
        f"{stock.card / 1e9:.1f} GB graphics" if stock.card else "",
        f"{stock.disk / 1e9:,.0f} GB disk" if stock.disk is not None else "",
    ]
    return ", ".join(part for part in parts if part) + " free" if any(parts) else ""


def checked(check: Check) -> tuple[str, bool]:
    """What is said of a check that ended, and whether it is trouble; nothing of one that was stopped."""
    name = one_line(check.name, 80)
    if check.problem:
        return f"{name} could not be checked: {check.problem}", True
    if check.stop.is_set():
        return "", False
    if check.right is None:
        return f"{name} was hashed, but nobody states what its SHA-256 should be.", False
    if check.right:
        return f"{name} is what it should be: its SHA-256 is right.", False
    return f"{name} IS DAMAGED: its SHA-256 is wrong. Remove it and fetch it again.", True


def doomed(weights: ShownWeights) -> str:
    """What removing `weights` means."""
    if not weights.place:
        return f"What has arrived of it is deleted. {format_size(weights.frees or 0)} of the disk are free then."
    if not weights.frees:
        return f"{one_line(weights.source)} is deleted. It is a second name of a file that stays, so this frees no room."
    return f"{one_line(weights.source)} is deleted. {format_size(weights.frees)} of the disk are free then."


def not_ours(weights: ShownWeights) -> str:
    """Why `weights` are not removed."""
    if not weights.place:
        return "There is nothing of it here to remove."
    return f"It belongs to: {weights.place}. It is used in place and is not ours to remove. It lies at {one_line(weights.source)}"
