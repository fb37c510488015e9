"""A document as a sequence of blocks, each under the headings above it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

LONGEST_HEADING: Final = 120
"""Characters of a heading that are repeated with the text below it."""

_DROPPED: Final = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list, table row or function: text that is split only if it is too long for one passage."""

    text: str
    """Empty for a page without text, such as a scanned one."""
    headings: tuple[str, ...] = ()
    """The headings above it, outermost first."""
    line: int = 1
    """The number of its first line, from 1: in the file for text and code, otherwise in the extracted text."""
    page: int | None = None
    """The number of the page it starts on, from 1; None if the format has no pages."""
    code: bool = False
    """Whether it is split between lines instead of sentences."""

    @property
    def last_line(self) -> int:
        """The number of its last line."""
        return self.line + self.text.count("\n")


def legible(text: str) -> str:
    """Remove control characters and lone surrogates, which neither an index nor a model can take."""
    return (
        text.replace("\r\n", "\n")
        .replace("\r", "\n")
        .translate(_DROPPED)
        .encode("utf-16", "surrogatepass")
        .decode("utf-16", "replace")
    )


class Outline:
    """Tracks the headings above the current position, and numbers the lines of the text."""

    def __init__(self) -> None:
        """Start without headings, at the first line."""
        self._levels: list[tuple[int, str]] = []
        self._unused: tuple[tuple[str, ...], int] | None = None
        self.line = 1
        """The line that the next block starts on."""
        self.page: int | None = None

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings above the current position, outermost first."""
        return tuple(text for _, text in self._levels)

    def heading(self, level: int, text: str, line: int | None = None) -> Iterator[Block]:
        """Enter a heading of `level`, 1 being the outermost.

        Yields the previous heading if nothing was below it, and this one if it is shortened.
        """
        folded = " ".join(legible(text).split())
        if not folded:
            return
        shortened = len(folded) > LONGEST_HEADING
        kept = list(takewhile(lambda each: each[0] < level, self._levels))
        if self._unused is not None and len(kept) < len(self._levels):
            yield from self.rest()
        self._levels = [*kept, (level, folded[: LONGEST_HEADING - 1].rstrip() + "…" if shortened else folded)]
        self._unused = (self.headings, self.line if line is None else line)
        if shortened:
            yield from self.block(folded, line=line)
        elif line is None:
            self.line += 1

    def leave(self, level: int) -> None:
        """Leave the headings of `level` and deeper."""
        self._levels = list(takewhile(lambda each: each[0] < level, self._levels))
        self._unused = None

    def block(self, text: str, *, line: int | None = None, code: bool = False) -> Iterator[Block]:
        """Yield `text` as a block, unless it is blank. Without `line`, it takes the next line of the extracted text."""
        text = legible(text).strip("\n").rstrip()
        if not text.strip():
            return
        self._unused = None
        yield Block(text, self.headings, self.line if line is None else line, self.page, code)
        if line is None:
            self.line += text.count("\n") + 1

    def rest(self) -> Iterator[Block]:
        """Yield the last heading as a block if nothing was below it."""
        if self._unused is not None:
            headings, line = self._unused
            yield Block(headings[-1], headings[:-1], line, self.page)
        self._unused = None
