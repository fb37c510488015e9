"""Syntax highlighting."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from textual.content import Content

if TYPE_CHECKING:
    from textual.highlight import HighlightTheme

LARGEST_CODE: Final = 20 * 1024
"""Maximum characters of highlighted code; more would block the screen."""


def highlight_lines(code: str, language: str) -> list[Content]:
    """Return `code`, which is safe to draw, line by line; coloured when its `language` is known and it is not too large."""
    spaced = code.expandtabs(4)
    if language and len(spaced) <= LARGEST_CODE:
        from textual.highlight import highlight

        return highlight(spaced, language=language, theme=_theme()).split("\n", allow_blank=True)
    return [Content(line) for line in spaced.split("\n")]


@cache
def _theme() -> type[HighlightTheme]:
    """A few colours for what matters when reading: names stay plain."""
    from textual.highlight import HighlightTheme

    class Calm(HighlightTheme):
        STYLES = {  # noqa: RUF012 (Textual's own declaration)
            ("Comment",): "$code-comment italic",
            ("Keyword",): "$code-keyword",
            ("Operator", "Word"): "$code-keyword",
            ("Literal", "String"): "$code-string",
            ("Literal", "Number"): "$code-number",
            ("Name", "Builtin"): "$code-name",
            ("Name", "Class"): "$code-name bold",
            ("Name", "Function"): "$code-name bold",
            ("Name", "Decorator"): "$code-keyword",
            ("Name", "Tag"): "$code-keyword",
            ("Name", "Attribute"): "$code-name",
            ("Generic", "Deleted"): "$text-error",
            ("Generic", "Inserted"): "$text-success",
            ("Generic", "Heading"): "bold",
        }

    return Calm
