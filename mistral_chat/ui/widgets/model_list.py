"""The model list: recommended models, installed models, and one row for each other model, with its sizes behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Self

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.widgets.option_list import Option

from mistral_chat.formatting import format_size
from mistral_chat.model_listing import ModelListing
from mistral_chat.text import one_line
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.widgets.plain_list import PlainList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_chat.model_listing import FitVerdict, ModelRow, Source

FITS: Final[dict[FitVerdict, tuple[str, str]]] = {
    "fits": ("fits", "$text-success"),
    "tight": ("tight", "$text-warning"),
    "too large": ("too large", "$text-error"),
    "unknown": ("", "$text-quiet"),
}
"""The verdict on the memory, and its colour."""

SOURCES: Final[dict[Source | None, str]] = {
    None: "",
    "ours": "downloaded",
    "demo": "demo package",
    "hub cache": "Hugging Face cache",
    "lm studio": "LM Studio",
    "ollama": "Ollama",
    "folder": "your folder",
    "path": "your file",
}
"""The source of a model file, for display."""

_QUIET: Final = "$text-quiet"
_DOUBLE_CLICK: Final = 2


class ModelList(PlainList):
    """Lists models. Enter or a double click selects one; a single click only moves the cursor."""

    DEFAULT_CSS = """
    ModelList {
        height: 1fr;
        scrollbar-background: $background;
        scrollbar-color: $scrollbar;

        & > .option-list--option { padding: 0 1; }
    }
    """

    HELP = """\
    ## Models

    The arrow keys move through the models; **Right** shows the other sizes of a model, **Left** hides them. **Enter** uses an
    installed model at once and offers to download any other. A double click does the same.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("weights.expand", "right", "show_sizes(True)", "Show sizes", "Show the other sizes of the model"),
        key_binding("weights.collapse", "left", "show_sizes(False)", "Hide sizes", "Hide the other sizes of the model"),
    ]

    def __init__(self) -> None:
        """Create an empty list."""
        super().__init__(id="models")
        self._listing = ModelListing()
        self._arrangement = _Arrangement.of(self._listing)
        self._expanded: set[str] = set()
        """The families whose sizes are shown."""

    @property
    def selected(self) -> str:
        """The spec under the cursor; empty in an empty list."""
        option = self.highlighted_option
        return (option.id or "") if option is not None else ""

    def show(self, listing: ModelListing, selected: str = "") -> None:
        """Show `listing`, with the cursor on `selected`, or on what the listing selects."""
        self._arrange(listing)
        row = listing.find(selected) or listing.find(listing.selected)
        if row is not None and self._arrangement.hides(row):
            self._expanded.add(row.family)
        self._fill(selected)
        self.call_after_refresh(self._show_heading)

    def update(self, row: ModelRow, listing: ModelListing) -> None:
        """Show what has changed in one listed row."""
        self._arrange(listing)
        index = next((index for index, option in enumerate(self.options) if option.id == row.spec), None)
        if index is not None:
            self.replace_option_prompt_at_index(index, self._prompt(row))

    def action_show_sizes(self, shown: bool) -> None:  # noqa: FBT001 (a key's action has no names)
        """Show or hide the other sizes of the model under the cursor."""
        row = self._listing.find(self.selected)
        if row is None or (row.family in self._expanded) == shown:
            return
        self._expanded ^= {row.family}
        lead = next((lead for lead in self._arrangement.leads if lead.family == row.family), row)
        self._fill(row.spec if shown or row.installed else lead.spec)

    def on_click(self, event: events.Click) -> None:
        """Move the cursor only: a single click must not start anything."""
        event.prevent_default()
        index = event.style.meta.get("option")
        if index is None or self.options[index].disabled:
            return
        self.highlighted = index
        if event.chain >= _DOUBLE_CLICK:
            self.action_select()

    def on_resize(self) -> None:
        """Keep the cursor in view when a notice takes room away."""
        self.call_after_refresh(self.scroll_to_highlight)

    def _arrange(self, listing: ModelListing) -> None:
        self._listing, self._arrangement = listing, _Arrangement.of(listing)

    def _fill(self, selected: str) -> None:
        self.set_options(self._build_options())
        indices = {option.id: index for index, option in enumerate(self.options) if option.id is not None}
        spec = next((spec for spec in (selected, self._listing.selected, *indices) if spec in indices), None)
        self.highlighted = indices[spec] if spec is not None else None

    def _build_options(self) -> list[Option]:
        listing = self._listing
        arrangement = self._arrangement
        options: list[Option] = []
        for row in arrangement.featured:
            _add_section(options, _heading(row), self._with_sizes([row]))
        installed: dict[str, list[ModelRow]] = {}
        for row in listing.rows:
            if row.installed:
                installed.setdefault(SOURCES[row.source], []).append(row)
        for source, rows in installed.items():
            _add_section(options, f"Installed · {source}", [self._row_option(row) for row in rows])
        _add_section(
            options, "More models", self._with_sizes([row for row in arrangement.leads if row not in arrangement.featured])
        )
        _add_section(options, "Not usable", [_unusable(name, reason) for name, reason in listing.unusable])
        return options

    def _with_sizes(self, rows: Sequence[ModelRow]) -> list[Option]:
        options = []
        for row in rows:
            options.append(self._row_option(row))
            if row.family in self._expanded:
                options += [self._row_option(size) for size in self._arrangement.sizes.get(row.spec, ())]
        return options

    def _row_option(self, row: ModelRow) -> Option:
        return Option(self._prompt(row), id=row.spec)

    def _prompt(self, row: ModelRow) -> Content:
        if self._arrangement.hides(row):
            return _size_line(row)
        more = len(self._arrangement.sizes.get(row.spec, ()))
        return _two_lines(row, in_use=row.spec == self._listing.in_use, more=more, expanded=row.family in self._expanded)

    def _show_heading(self) -> None:
        """Scroll to the heading above the first row, which the cursor never reaches."""
        if self.highlighted is not None and self.highlighted <= 1:
            self.scroll_home(animate=False)


@dataclass(frozen=True, slots=True)
class _Arrangement:
    """Which rows of a listing are shown at first, and which only behind another."""

    featured: tuple[ModelRow, ...]
    """Listed first: recommended, downloading, partly downloaded, or asked for; the selected one first."""
    leads: tuple[ModelRow, ...]
    """One row for each family that can be downloaded: a featured one, else the suggested, else the first."""
    sizes: Mapping[str, tuple[ModelRow, ...]]
    """By the spec of a lead, the other sizes of its family."""

    @classmethod
    def of(cls, listing: ModelListing) -> Self:
        """Arrange a listing."""
        families: dict[str, list[ModelRow]] = {}
        for row in listing.rows:
            if not row.installed:
                families.setdefault(row.family, []).append(row)
        away = [row for rows in families.values() for row in rows]
        featured = [row for row in away if row.recommended or row.activity or row.downloaded or row.spec == listing.selected]
        featured.sort(key=lambda row: row.spec != listing.selected)
        leads, sizes = [], {}
        for rows in families.values():
            lead = next((row for row in (*featured, *rows) if row in rows and (row in featured or row.suggested)), rows[0])
            leads.append(lead)
            sizes[lead.spec] = tuple(row for row in rows if row is not lead and row not in featured)
        return cls(tuple(featured), tuple(leads), sizes)

    def hides(self, row: ModelRow) -> bool:
        """Whether `row` is only shown behind its lead."""
        return not row.installed and row not in self.featured and row not in self.leads


def _heading(row: ModelRow) -> str:
    if row.activity:
        return "Downloading"
    if row.recommended:
        return _recommendation(row)
    return "Download paused" if row.downloaded else "Asked for"


def _recommendation(row: ModelRow) -> str:
    """Why a row is recommended: if nothing fits, because it needs the least memory."""
    return "Needs the least memory" if row.fit == "too large" else "Recommended"


def _add_section(options: list[Option], heading: str, rows: Sequence[Option]) -> None:
    if rows:
        if options:
            options.append(Option("", disabled=True))
        options += [Option(Content(one_line(heading)), disabled=True), *rows]


def _two_lines(row: ModelRow, *, in_use: bool, more: int, expanded: bool) -> Content:
    """The name; below it the size, the memory and the verdict."""
    best = _recommendation(row).lower() if row.recommended and row.installed else ""
    sizes = f"{'▾' if expanded else '▸'} {more} more size{'' if more == 1 else 's'}" if more else ""
    name = Content.assemble(
        one_line(row.title, 80),
        "  " if row.quantization else "",
        (one_line(row.quantization, 16), _QUIET),
        *((f"  {tag}", "$text-accent") for tag in ("in use" if in_use else "", best) if tag),
        (f"  {sizes}" if sizes else "", _QUIET),
    )
    activity = _activity(row)
    parts = [
        Content.styled(_size(row) if activity else _costs(row), _QUIET),
        Content.styled(*FITS[row.fit]),
        Content.styled(activity, "$text-accent"),
    ]
    return Content("\n  ").join([name, Content(" · ").join([part for part in parts if part])])


def _costs(row: ModelRow) -> str:
    """The download or the file, and the memory it needs."""
    size = _size(row) + ("" if row.installed or row.bytes is None else " download")
    return f"{size}, needs {_memory(row)} memory" if row.memory else size


def _size_line(row: ModelRow) -> Content:
    """One line in columns, below the row of its family."""
    return Content.assemble(
        "  ",
        (one_line(row.quantization, 8) or "file").ljust(8),
        (f"{_size(row):>9}  needs {_memory(row):>7}  ", _QUIET),
        FITS[row.fit],
        (f"  {_activity(row)}", "$text-accent"),
    )


def _unusable(name: str, reason: str) -> Option:
    return Option(Content(f"{one_line(name.rpartition('/')[2], 40)}: {one_line(reason)}"), disabled=True)


def _size(row: ModelRow) -> str:
    if row.bytes is None:
        return "size unknown"
    return f"{'' if row.exact else '≈ '}{format_size(row.bytes)}"


def _memory(row: ModelRow) -> str:
    return f"{row.memory.total / 1e9:.1f} GB" if row.memory else "?"


def _activity(row: ModelRow) -> str:
    return one_line(row.activity, 40) or (f"{format_size(row.downloaded)} downloaded" if row.downloaded else "")
