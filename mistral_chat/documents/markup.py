"""Reads HTML as blocks."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final

from mistral_chat.documents.blocks import Outline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_chat.documents.blocks import Block

_SKIPPED: Final = {"script", "style", "template", "noscript", "svg", "math", "iframe", "object", "select", "nav", "title"}
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_BLOCK_TAGS: Final = (
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure footer form "
    "header hr html legend main menu ol p pre section summary table tbody tfoot thead ul"
)
_BREAKS: Final = frozenset({*_BLOCK_TAGS.split(), *_HEADINGS})
_LINES: Final = frozenset({"br", "li", "tr"})
_CONTENT: Final = frozenset({"body", "main"})
"""What is never skipped: before it, an end tag is missing."""
_BEGINNINGS: Final = frozenset({"article", "h1"})
"""What is not skipped if the rest has no end tag for what is skipped, apart from those of what begins in the rest."""
_SKIPPED_TAG: Final = re.compile(rf"<(/?)({'|'.join(_SKIPPED)})\b", re.IGNORECASE)
_CELLS: Final = frozenset({"td", "th"})
_SPACE: Final = re.compile(r"\s+")


class HtmlBlocks(HTMLParser):
    """Collects the blocks of an HTML page, however malformed it is."""

    def __init__(self, outline: Outline, ends: Counter[str]) -> None:
        """Collect blocks below the headings of `outline`; `ends` counts by tag how many more end than begin what is skipped."""
        super().__init__(convert_charrefs=True)
        self.found: list[Block] = []
        self._outline = outline
        self._ends = ends
        self._text: list[str] = []
        self._skipping: list[str] = []
        self._heading = 0
        self._preformatted = 0

    def parse_html_declaration(self, i: int) -> int:
        """Skip a malformed declaration, at which Python 3.11 raises `AssertionError`."""
        try:
            return super().parse_html_declaration(i)
        except AssertionError:
            return self.parse_bogus_comment(i)

    def handle_starttag(self, tag: str, _attributes: list[tuple[str, str | None]]) -> None:
        """Start a block, a line, a cell or skipped content."""
        self._ends[tag] += 1
        if tag in _CONTENT or (tag in _BEGINNINGS and self._skipping and self._ends[self._skipping[0]] <= 0):
            self._skipping.clear()
        if tag in _SKIPPED:
            self._skipping.append(tag)
        elif tag in _BREAKS:
            self._end_block()
            self._heading = _HEADINGS.get(tag, 0)
            self._preformatted += tag == "pre"
        elif tag in _LINES:
            self._text.append("\n- " if tag == "li" else "\n")
        elif tag in _CELLS:
            self._text.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        """End what `handle_starttag` started."""
        self._ends[tag] -= 1
        if self._skipping:
            if tag in self._skipping:
                while self._skipping.pop() != tag:
                    pass
        elif tag in _BREAKS:
            self._end_block()
            self._preformatted = max(0, self._preformatted - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        """Take visible text."""
        if not self._skipping:
            self._text.append(data if self._preformatted else _SPACE.sub(" ", data))

    def close(self) -> None:
        """Yield what is left."""
        super().close()
        self._skipping.clear()
        self._end_block()
        self.found.extend(self._outline.rest())

    def _end_block(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        level, self._heading = self._heading, 0
        if level:
            self.found.extend(self._outline.heading(level, text))
        elif self._preformatted:
            self.found.extend(self._outline.block(text, code=True))
        else:
            lines = (" ".join(line.split()).removeprefix("| ") for line in text.split("\n"))
            self.found.extend(self._outline.block("\n".join(line for line in lines if line not in ("", "-"))))


def html(text: str, outline: Outline | None = None) -> Iterator[Block]:
    """Read an HTML page as paragraphs, lists, table rows and preformatted text below its headings."""
    ends = Counter[str]()
    for end, tag in _SKIPPED_TAG.findall(text):
        ends[tag.lower()] += 1 if end else -1
    page = HtmlBlocks(outline or Outline(), ends)
    page.feed(text)
    page.close()
    yield from page.found
