"""Reads PDF as blocks, page by page."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

from mistral_chat.documents.blocks import Block, Outline
from mistral_chat.errors import DocumentUnreadable

MOST_BOOKMARKS: Final = 2000

HOW_TO_INSTALL: Final = "reading PDF files requires pypdf. Install it with: pip install 'mistral-chat[documents]'"

_ENDS: Final = re.compile(r"[.!?:;\"'\u201d\u2019)\]]\s*$")
_HYPHENATED: Final = re.compile(r"(?<=[^\W\d_])-\n(?=[a-z])")
_SHORT_LINE: Final = 0.75


def pdf(file: IO[bytes]) -> Iterator[Block]:
    """Read a PDF's pages as paragraphs below its bookmarks. A page without text is an empty block.

    Raises:
        DocumentUnreadable: it is damaged or protected, or pypdf is not installed.
    """
    try:
        import pypdf
        from pypdf.errors import DependencyError, PyPdfError
    except ImportError as error:
        raise DocumentUnreadable(HOW_TO_INSTALL) from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(file)
        locked = reader.is_encrypted and not reader.decrypt("")
        pages = 0 if locked else len(reader.pages)
    except DependencyError as error:
        raise DocumentUnreadable("it is encrypted") from error
    except (PyPdfError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        raise DocumentUnreadable("it is damaged: its pages cannot be found") from error
    if locked:
        raise DocumentUnreadable("it is protected by a password")
    bookmarks = _bookmarks(reader)
    outline = Outline()
    for number in range(pages):
        outline.page = number + 1
        for level, title in bookmarks.get(number, ()):
            list(outline.heading(level, title))
        yield from list(_page(reader, number, outline)) or [Block("", page=number + 1)]


def _page(reader: Any, number: int, outline: Outline) -> Iterator[Block]:
    """The paragraphs of one page; none if pypdf cannot read it."""
    try:
        text = reader.pages[number].extract_text()
    except Exception:  # noqa: BLE001 (a damaged page raises anything; the others can still be read)
        return
    lines = [" ".join(line.split()) for line in text.replace("\r", "\n").split("\n")]
    for paragraph in _paragraphs(lines):
        yield from outline.block(_HYPHENATED.sub("", "\n".join(paragraph)))


def _paragraphs(lines: Sequence[str]) -> Iterator[list[str]]:
    """Join lines into paragraphs, which end at a blank line or after a short line that ends a sentence."""
    width = max(map(len, lines), default=0) * _SHORT_LINE
    paragraph: list[str] = []
    for line in lines:
        if line:
            paragraph.append(line)
        if paragraph and (not line or (len(line) < width and _ENDS.search(line))):
            yield paragraph
            paragraph = []
    if paragraph:
        yield paragraph


def _bookmarks(reader: Any) -> dict[int, list[tuple[int, str]]]:
    """The levels and titles of bookmarks by page index; none if they cannot be read."""
    found: dict[int, list[tuple[int, str]]] = {}
    count = 0
    try:
        waiting: list[tuple[int, Any]] = [(1, each) for each in reversed(reader.outline)]
        while waiting and count < MOST_BOOKMARKS:
            level, each = waiting.pop()
            if isinstance(each, list):
                waiting += [(level + 1, inner) for inner in reversed(each)]
                continue
            count += 1
            page = reader.get_destination_page_number(each)
            if page is not None and each.title:
                found.setdefault(page, []).append((level, str(each.title)))
    except Exception:  # noqa: BLE001 (bookmarks are a convenience; damaged ones raise anything)
        return found
    return found
