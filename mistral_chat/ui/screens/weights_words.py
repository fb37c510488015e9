"""The sentences of the screen for weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.ui.amounts import size
from mistral_chat.ui.text import one_line
from mistral_chat.ui.widgets.weights_facts import missing_room

if TYPE_CHECKING:
    from mistral_chat.ui.shelf import ShownWeights, Stock


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
    if weights.place:
        return "Keep using it" if weights.spec == stock.in_use else f"Use it{anyway}"
    if weights.arrived:
        return f"Go on fetching{anyway}"
    about = "" if weights.exact else "about "
    return f"Fetch{anyway}" if weights.size is None else f"Fetch {about}{size(weights.size)}{anyway}"


def free(stock: Stock) -> str:
    """What this machine has free, in a few words."""
    parts = [
        f"{stock.memory / 1e9:.1f} GB RAM" if stock.memory is not None else "",
        f"{stock.card / 1e9:.1f} GB graphics" if stock.card else "",
        f"{stock.disk / 1e9:,.0f} GB disk" if stock.disk is not None else "",
    ]
    return ", ".join(part for part in parts if part) + " free" if any(parts) else ""
