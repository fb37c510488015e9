"""The list of weights: what is recommended, what is on this disk, and what can be fetched, model by model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import events, message, on
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mistral_chat.formatting import format_size
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mistral_chat.ui.shelf import Fit, ShownWeights, Stock

FITS: Final[dict[Fit, tuple[str, str]]] = {
    "fits": ("fits", "$text-success"),
    "tight": ("tight", "$text-warning"),
    "too large": ("too large", "$text-error"),
    "unknown": ("", "$foreground 65%"),
}
"""What is said of the memory, and its colour."""

_QUIET: Final = "$foreground 65%"
_DOUBLE: Final = 2


class WeightsList(OptionList):
    """Lists weights. Enter or a double click takes them; a single click only shows what is known of them."""

    DEFAULT_CSS = """
    WeightsList {
        height: 1fr;
        padding: 0;
        border: none;
        background: transparent;
        scrollbar-size-vertical: 1;
        scrollbar-background: $background;
        scrollbar-color: $panel;

        &:focus { border: none; background-tint: transparent; }
        & > .option-list--option { padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
        & > .option-list--option-disabled { color: $text-muted; text-style: none; }
        & > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: bold; }
        &:focus > .option-list--option-highlighted { background: $primary 35%; color: $text; text-style: bold; }
    }
    """

    HELP = """\
    ## Models

    The arrow keys go through the models, and the text beside or below says what each needs. **Enter** takes the one under the
    cursor: it is used at once when it is on this disk, and fetched when it is not. The mouse takes it with a double click.
    """

    BINDINGS: ClassVar = []

    class Marked(message.Message):
        """The cursor moved to other weights."""

        def __init__(self, spec: str) -> None:
            """Carry what names them."""
            super().__init__()
            self.spec = spec

    class Taken(message.Message):
        """Weights are to be used, or fetched."""

        def __init__(self, spec: str) -> None:
            """Carry what names them."""
            super().__init__()
            self.spec = spec

    def __init__(self) -> None:
        """Make an empty list."""
        super().__init__(id="weights", markup=False)

    @property
    def marked(self) -> str | None:
        """What names the weights under the cursor."""
        option = self.highlighted_option
        return option.id if option is not None else None

    def show(self, stock: Stock, marked: str | None = None) -> None:
        """List `stock`, with the cursor on `marked`, or on what is to be chosen first."""
        self.set_options(_options(stock))
        places = {option.id: place for place, option in enumerate(self.options) if option.id is not None}
        wanted = next((spec for spec in (marked, stock.chosen, *places) if spec in places), None)
        self.highlighted = places[wanted] if wanted is not None else None
        self.call_after_refresh(self._show_heading)

    def update(self, weights: ShownWeights, stock: Stock) -> None:
        """Show what has changed about `weights`, which are listed."""
        place = next((place for place, option in enumerate(self.options) if option.id == weights.spec), None)
        if place is not None:
            tall = weights.place or _stands_out(weights, stock)
            option = _tall(weights, in_use=weights.spec == stock.in_use) if tall else _row(weights)
            self.replace_option_prompt_at_index(place, option.prompt)

    def on_click(self, event: events.Click) -> None:
        """Move the cursor; a click alone must not begin a download of gigabytes."""
        event.prevent_default()
        place = event.style.meta.get("option")
        if place is None or self.options[place].disabled:
            return
        self.highlighted = place
        if event.chain >= _DOUBLE:
            self.action_select()

    def on_resize(self) -> None:
        """Keep the cursor in view when a notice takes room away."""
        self.call_after_refresh(self.scroll_to_highlight)

    def _show_heading(self) -> None:
        """Show the heading above the first weights, which the cursor never reaches."""
        if self.highlighted is not None and self.highlighted <= 1:
            self.scroll_home(animate=False)

    @on(OptionList.OptionHighlighted)
    def _mark(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option_id is not None:
            self.post_message(self.Marked(event.option_id))

    @on(OptionList.OptionSelected)
    def _take(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id is not None:
            self.post_message(self.Taken(event.option_id))


def _options(stock: Stock) -> list[Option]:
    here = [weights for weights in stock.weights if weights.place]
    away = [weights for weights in stock.weights if not weights.place]
    first = [weights for weights in away if _stands_out(weights, stock)]
    first.sort(key=lambda weights: weights.spec != stock.chosen)
    options: list[Option] = []
    for weights in first:
        _section(options, _heading(weights), [_tall(weights)])
    for place, group in _groups(here, lambda weights: f"On this disk · {weights.place}"):
        _section(options, place, [_tall(weights, in_use=weights.spec == stock.in_use) for weights in group])
    for heading, group in _groups((weights for weights in away if weights not in first), _model):
        _section(options, heading, [_row(weights) for weights in group])
    _section(options, "Not usable", [_unusable(name, reason) for name, reason in stock.unusable])
    return options


def _stands_out(weights: ShownWeights, stock: Stock) -> bool:
    return weights.recommended or bool(weights.under_way or weights.arrived) or weights.spec == stock.chosen


def _heading(weights: ShownWeights) -> str:
    if weights.under_way:
        return "Being fetched"
    return _best(weights) if weights.recommended else "Begun" if weights.arrived else "Asked for"


def _section(options: list[Option], heading: str, rows: Sequence[Option]) -> None:
    if rows:
        if options:
            options.append(Option("", disabled=True))
        options += [Option(Content(one_line(heading)), disabled=True), *rows]


def _groups(weights: Iterable[ShownWeights], heading: Callable[[ShownWeights], str]) -> Iterable[tuple[str, list[ShownWeights]]]:
    groups: dict[str, list[ShownWeights]] = {}
    for each in weights:
        groups.setdefault(heading(each), []).append(each)
    return groups.items()


def _best(weights: ShownWeights) -> str:
    """Why one of them stands out: where nothing fits, what needs least is no recommendation."""
    return "Needs the least" if weights.fit == "too large" else "Recommended"


def _model(weights: ShownWeights) -> str:
    return f"{weights.title} · {weights.licence}" if weights.licence else weights.title


def _tall(weights: ShownWeights, *, in_use: bool = False) -> Option:
    """Two lines: the name, and what it takes."""
    best = _best(weights).lower() if weights.recommended and weights.place else ""
    tags = [tag for tag in ("in use" if in_use else "", best) if tag]
    name = Content.assemble(
        one_line(weights.title, 80),
        "  " if weights.quantization else "",
        (one_line(weights.quantization, 16), _QUIET),
        *((f"  {tag}", "$text-accent") for tag in tags),
    )
    parts = [
        Content.styled(_size(weights), _QUIET),
        Content.styled(f"needs {_needs(weights)}", _QUIET),
        Content.styled(*FITS[weights.fit]),
        Content.styled(_begun(weights), "$text-accent"),
    ]
    line = Content(" · ").join([part for part in parts if part])
    return Option(Content("\n  ").join([name, line]), id=weights.spec)


def _row(weights: ShownWeights) -> Option:
    """One line, in columns, below the model's name."""
    quantization = one_line(weights.quantization, 10) or "file"
    return Option(
        Content.assemble(
            quantization.ljust(10),
            (f"{_size(weights):>10}   needs {_needs(weights):>7}   ", _QUIET),
            FITS[weights.fit],
            (f"   {_begun(weights)}", "$text-accent"),
        ),
        id=weights.spec,
    )


def _unusable(name: str, reason: str) -> Option:
    return Option(Content(f"{one_line(name.rpartition('/')[2], 40)}: {one_line(reason)}"), disabled=True)


def _size(weights: ShownWeights) -> str:
    if weights.size is None:
        return "size ?"
    return f"{'' if weights.exact else '≈ '}{format_size(weights.size)}"


def _needs(weights: ShownWeights) -> str:
    return f"{sum(weights.needs) / 1e9:.1f} GB" if weights.needs else "?"


def _begun(weights: ShownWeights) -> str:
    return one_line(weights.under_way, 40) or (f"{format_size(weights.arrived)} here" if weights.arrived else "")
