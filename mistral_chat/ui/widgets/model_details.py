"""Details of the selected model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mistral_chat.formatting import format_progress, format_size
from mistral_chat.text import one_line
from mistral_chat.ui.widgets.model_list import FITS, SOURCES

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mistral_chat.model_listing import ModelListing, ModelRow

_QUIET: Final = "$text-quiet"
_WIDEST: Final = 400


class ModelDetails(VerticalScroll):
    """Shows the selected model, the memory it needs first; scrolls where there is little room."""

    HELP = "## Details\n\nThe arrow keys scroll. **Tab** moves on to the buttons.\n"

    def __init__(self) -> None:
        """Create an empty view."""
        super().__init__()
        self._spec = ""
        """The model shown. Progress updates must not scroll the text."""

    def compose(self) -> ComposeResult:
        """The name, and one text."""
        yield Static(id="details-name", markup=False)
        yield Static(id="details", markup=False)

    def allow_focus(self) -> bool:
        """Take the focus only where there is something to scroll."""
        return super().allow_focus() and self.max_scroll_y > 0

    def show(self, row: ModelRow, listing: ModelListing) -> None:
        """Show the model of `row`."""
        self.query_one("#details-name", Static).update(Content.styled(one_line(row.label, _WIDEST), "bold"))
        lines = [
            Content.styled(one_line(row.reason, _WIDEST), FITS[row.fit][1]),
            *_warnings(row, listing),
            *(_fact(name, text) for name, text in _facts(row, listing) if text),
        ]
        self.query_one("#details", Static).update(Content("\n").join([line for line in lines if line]))
        if row.spec != self._spec:
            self._spec = row.spec
            self.scroll_home(animate=False)


def missing_disk(row: ModelRow, listing: ModelListing) -> int:
    """The bytes missing on the disk for the rest of a download; 0 if there is enough space or the space is unknown."""
    if row.installed or row.bytes is None or listing.disk is None:
        return 0
    return max(0, row.bytes - row.downloaded - listing.disk)


def _warnings(row: ModelRow, listing: ModelListing) -> list[Content]:
    found = []
    if row.obstacle:
        found.append(Content.styled(one_line(row.obstacle, _WIDEST), "$text-warning"))
    if lacking := missing_disk(row, listing):
        found.append(Content.styled(f"Not enough disk space: {format_size(lacking)} more needed.", "$text-error"))
    if row.activity:
        found.append(Content.styled(f"Now {one_line(row.activity)}", "$text-accent"))
    elif row.downloaded:
        amount = format_progress(row.downloaded, row.bytes) if row.bytes and row.exact else format_size(row.downloaded)
        found.append(Content.styled(f"Download paused: {amount}.", "$text-accent"))
    if row.verified is False:
        found.append(Content.styled("Wrong SHA-256: the file is damaged. Remove it and download it again.", "$text-error"))
    return found


def _facts(row: ModelRow, listing: ModelListing) -> list[tuple[str, str]]:
    size = "unknown until it starts" if row.bytes is None else f"{'' if row.exact else 'about '}{format_size(row.bytes)}"
    memory = ""
    if row.memory:
        model, cache, buffers = (f"{amount / 1e9:.1f} GB" for amount in (row.memory.weights, row.memory.kv, row.memory.compute))
        memory = f"{model} model + {cache} context ({listing.context_size:,} tokens) + {buffers} buffers"
    return [
        ("Size" if row.installed else "Download", size),
        ("Licence", row.licence),
        ("Source", f"{SOURCES[row.source]} (used in place)" if row.source not in {None, "ours"} else ""),
        ("", row.about),
        ("Memory", memory),
        ("File", row.path or row.address),
        ("Checksum", {True: "verified", False: "wrong", None: ""}[row.verified]),
        ("Prompt format", row.prompt_format),
    ]


def _fact(name: str, text: str) -> Content:
    return Content.assemble((f"{name}: " if name else "", _QUIET), one_line(text, _WIDEST))
