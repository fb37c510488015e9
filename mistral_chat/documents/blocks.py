"""A document as a sequence of blocks, each under the headings above it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_HEADING: Final = 120
"""Characters of a heading that are kept."""

_DROPPED: Final = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list, table row or function: text that is cut only when it is too long for one passage."""

    text: str
    headings: tuple[str, ...] = ()
    """The headings above it, outermost first."""
    line: int = 1
    """Its first line, counted from 1: the file's own line for text and code, else the line of the extracted text."""
    page: int | None = None
    """The page it begins on, counted from 1; None where the format has no pages."""
    code: bool = False
    """Cut between lines instead of sentences."""

    @property
    def last_line(self) -> int:
        """Its last line."""
        return self.line + self.text.count("\n")


@dataclass(frozen=True, slots=True)
class EmptyPage:
    """A page without text, such as a scanned one."""

    page: int


def legible(text: str) -> str:
    """`text` without control characters and lone surrogates, which no index and no model can be given."""
    return (
        text.replace("\r\n", "\n")
        .replace("\r", "\n")
        .translate(_DROPPED)
        .encode("utf-16", "surrogatepass")
        .decode("utf-16", "replace")
    )


def heading_text(text: str) -> str:
    """A heading on one line, cut to `LONGEST_HEADING` characters."""
    folded = " ".join(legible(text[: 4 * LONGEST_HEADING]).split())
    return folded if len(folded) <= LONGEST_HEADING else folded[: LONGEST_HEADING - 1].rstrip() + "…"


class Outline:
    """Keeps the headings above the place that is being read, and numbers the lines of the text that was read."""

    def __init__(self, *, base: tuple[str, ...] = ()) -> None:
        """Begin under the headings `base`, which stay."""
        self._base = base
        self._levels: list[tuple[int, str]] = []
        self._unused: tuple[tuple[str, ...], int] | None = None
        self.line = 1
        """The line that the next block begins on."""
        self.page: int | None = None

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings above this place, outermost first."""
        return (*self._base, *(text for _, text in self._levels))

    def heading(self, level: int, text: str, line: int | None = None) -> Iterator[Block]:
        """Go below a heading of `level`, 1 being the outermost. Yields the heading before it if nothing stood below that."""
        folded = heading_text(text)
        if not folded:
            return
        kept = list(takewhile(lambda each: each[0] < level, self._levels))
        if self._unused is not None and len(kept) < len(self._levels):
            yield from self.rest()
        self._levels = [*kept, (level, folded)]
        self._unused = (self.headings, self.line if line is None else line)
        if line is None:
            self.line += 1

    def leave(self, level: int) -> None:
        """Go out of the headings of `level` and those below it."""
        self._levels = list(takewhile(lambda each: each[0] < level, self._levels))
        self._unused = None

    def block(self, text: str, *, line: int | None = None, code: bool = False) -> Iterator[Block]:
        """Yield `text` as a block, unless it is blank. Without `line` it takes the next line of the extracted text."""
        text = legible(text).strip("\n").rstrip()
        if not text.strip():
            return
        self._unused = None
        yield Block(text, self.headings, self.line if line is None else line, self.page, code)
        if line is None:
            self.line += text.count("\n") + 1

    def rest(self) -> Iterator[Block]:
        """Yield the last heading as a block if nothing stood below it."""
        if self._unused is not None:
            headings, line = self._unused
            yield Block(headings[-1], headings[:-1], line, self.page)
        self._unused = None
