"""What is known of one choice of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mistral_chat.formatting import format_progress, format_size
from mistral_chat.text import one_line
from mistral_chat.ui.widgets.weights_list import FITS

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mistral_chat.ui.shelf import ShownWeights, Stock

_QUIET: Final = "$foreground 65%"
_LONGEST: Final = 400


class WeightsFacts(VerticalScroll):
    """Shows the facts of the weights under the cursor, what decides first; scrolls where there is little room."""

    HELP = "## About a model\n\nThe arrow keys scroll. **Tab** goes on to the buttons.\n"

    def compose(self) -> ComposeResult:
        """The name, and one text."""
        yield Static(id="facts-name", markup=False)
        yield Static(id="facts", markup=False)

    _spec = ""
    """What is shown; how far its download is changes under the reader's eyes, and must not scroll."""

    def show(self, weights: ShownWeights, stock: Stock) -> None:
        """Show what is known of `weights`."""
        heading = one_line(f"{weights.title} {weights.quantization}".strip(), _LONGEST)
        self.query_one("#facts-name", Static).update(Content.styled(heading, "bold"))
        lines = [
            Content.styled(one_line(weights.reason, _LONGEST), FITS[weights.fit][1]),
            *_cautions(weights, stock),
            *(_fact(name, text) for name, text in _facts(weights, stock) if text),
        ]
        self.query_one("#facts", Static).update(Content("\n").join([line for line in lines if line]))
        if weights.spec != self._spec:
            self._spec = weights.spec
            self.scroll_home(animate=False)


def missing_room(weights: ShownWeights, stock: Stock) -> int:
    """How many bytes the disk lacks for what is still to come of `weights`; 0 where there is room or nobody knows."""
    if weights.place or weights.size is None or stock.disk is None:
        return 0
    return max(0, weights.size - weights.arrived - stock.disk)


def _cautions(weights: ShownWeights, stock: Stock) -> list[Content]:
    found = []
    if weights.obstacle:
        found.append(Content.styled(one_line(weights.obstacle, _LONGEST), "$text-warning"))
    if lacking := missing_room(weights, stock):
        found.append(Content.styled(f"The disk lacks {format_size(lacking)} for it.", "$text-error"))
    if weights.under_way:
        found.append(Content.styled(f"Now: {one_line(weights.under_way)}", "$text-accent"))
    elif weights.arrived:
        here = format_progress(weights.arrived, weights.size) if weights.size and weights.exact else format_size(weights.arrived)
        found.append(Content.styled(f"A download was begun: {here} are here, and it goes on from there.", "$text-accent"))
    if weights.verified is False:
        found.append(Content.styled("Its SHA-256 is not what it should be. Fetch it again.", "$text-error"))
    return found


def _facts(weights: ShownWeights, stock: Stock) -> list[tuple[str, str]]:
    amount = "not known until the hub is asked" if weights.size is None else f"{weights.size:,} bytes"
    if weights.size is not None and not weights.exact:
        amount = f"about {format_size(weights.size)}, the hub says how much exactly"
    needs = ""
    if weights.needs:
        model, cache, compute = (f"{amount / 1e9:.1f}" for amount in weights.needs)
        needs = f"{model} GB weights + {cache} GB window of {stock.window:,} tokens + {compute} GB to compute"
    checked = {True: "its SHA-256 is right", False: "its SHA-256 is wrong", None: ""}[weights.verified]
    where = f"{weights.place}, used where it lies" if weights.place else ""
    return [
        ("Here" if weights.place else "Download", amount),
        ("Licence", weights.licence),
        ("From", where),
        ("", weights.about),
        ("Memory", needs),
        ("File", weights.source),
        ("Checked", checked),
        ("Prompt format", weights.prompt_format),
    ]


def _fact(name: str, text: str) -> Content:
    return Content.assemble((f"{name}: " if name else "", _QUIET), one_line(text, _LONGEST))
