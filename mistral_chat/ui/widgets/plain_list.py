"""A list without a frame, as used in the app's screens."""

from __future__ import annotations

from textual.widgets import OptionList


class PlainList(OptionList):
    """A list on the background around it. Its rows are plain text, truncated if too long."""

    DEFAULT_CSS = """
    PlainList {
        padding: 0;
        border: none;
        background: transparent;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        scrollbar-size-vertical: 1;

        &:focus { border: none; background-tint: transparent; }
        & > .option-list--option-disabled { color: $text-muted; text-style: none; }
        & > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: bold; }
        &:focus > .option-list--option-highlighted {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
            text-style: bold;
        }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's own name)
        """Make an empty list."""
        super().__init__(id=id, markup=False)
