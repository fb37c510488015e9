"""Reads DOCX, ODT and EPUB, which are ZIP archives of XML, as blocks, under limits.

Nothing is unpacked to disk, no entity is expanded, and nothing outside the archive is accessed.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import unquote
from xml.parsers import expat

from mistral_chat.documents.blocks import Outline
from mistral_chat.documents.markup import html
from mistral_chat.documents.text_files import decode
from mistral_chat.errors import DocumentUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mistral_chat.documents.blocks import Block

LARGEST_PART: Final = 64 * 1024**2
"""Maximum bytes of one unpacked file in an archive."""
LARGEST_WHOLE: Final = 128 * 1024**2
"""Maximum bytes of all unpacked files of an archive."""
MOST_PARTS: Final = 10_000
"""Maximum number of files in an archive."""

_DEEPEST: Final = 500


class Archive:
    """The files inside a ZIP archive."""

    def __init__(self, file: IO[bytes]) -> None:
        """Open the archive in `file`.

        Raises:
            DocumentUnreadable: it is not a ZIP archive, or has too many files.
        """
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError) as error:
            raise DocumentUnreadable("it is damaged: its ZIP archive cannot be opened") from error
        if len(self._zip.infolist()) > MOST_PARTS:
            raise DocumentUnreadable(f"its ZIP archive contains more than {MOST_PARTS:,} files")
        self.names = frozenset(self._zip.namelist())
        self._left = LARGEST_WHOLE

    def read(self, name: str) -> bytes:
        """Unpack the file `name`.

        Raises:
            DocumentUnreadable: there is none, it is encrypted or damaged, or it is larger than the limits.
        """
        limit = min(LARGEST_PART, self._left)
        try:
            with self._zip.open(name) as part:
                content = part.read(limit + 1)
        except KeyError as error:
            raise DocumentUnreadable(f"it is damaged: its part {name} is missing") from error
        except RuntimeError as error:  # zipfile's error for an encrypted file
            raise DocumentUnreadable("it is protected by a password") from error
        except Exception as error:
            raise DocumentUnreadable(f"it is damaged: its part {name} cannot be unpacked") from error
        if len(content) > limit:
            exceeded = LARGEST_PART if limit == LARGEST_PART else LARGEST_WHOLE
            raise DocumentUnreadable(f"it unpacks to more than {exceeded // 1024**2} MB")
        self._left -= len(content)
        return content


def parse_xml(
    content: bytes,
    *,
    start: Callable[[str, Mapping[str, str]], None],
    end: Callable[[str], None] = lambda _: None,
    text: Callable[[str], None] = lambda _: None,
    skipped: frozenset[str] = frozenset(),
) -> None:
    """Parse XML and report each element by its local name, except those `skipped` and what is in them.

    Raises:
        DocumentUnreadable: it is not well-formed, declares entities, or nests too deeply.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    depth = skipping = 0

    def opened(name: str, attributes: Mapping[str, str]) -> None:
        nonlocal depth, skipping
        depth += 1
        if depth > _DEEPEST:
            raise DocumentUnreadable("it is damaged: its XML nests too deeply")
        if skipping or _local(name) in skipped:
            skipping += 1
        else:
            start(_local(name), {_local(key): value for key, value in attributes.items()})

    def closed(name: str) -> None:
        nonlocal depth, skipping
        depth -= 1
        if skipping:
            skipping -= 1
        else:
            end(_local(name))

    def said(data: str) -> None:
        if not skipping:
            text(data)

    def refuse(*_: Any) -> None:
        raise DocumentUnreadable("its XML declares entities, which no word processor writes")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = opened, closed, said
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)  # noqa: FBT003 (a C function)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DocumentUnreadable("it is damaged: its XML is not well-formed") from error


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


class _Paragraphs:
    """Collects text into paragraphs and table rows."""

    def __init__(self) -> None:
        self.outline = Outline()
        self.found: list[Block] = []
        self.level = 0
        """The level of the current heading; 0 in a paragraph."""
        self.inside: list[tuple[list[str], int]] = []
        """The beginnings of the paragraphs and headings around the current one, as around a footnote, and of itself."""
        self._text: list[str] = []
        self._row: list[str] | None = None

    def add(self, text: str) -> None:
        self._text.append(text)

    def begin_paragraph(self, level: int = 0) -> None:
        """Begin a paragraph, or a heading of `level`."""
        self.inside.append((self._text, self.level))
        self._text, self.level = [], level

    def end_paragraph(self) -> None:
        text, level = "".join(self._text), self.level
        self._text, self.level = self.inside.pop()
        if self._row is not None:
            self._row.append(" ".join(text.split()))
        elif level:
            self.found.extend(self.outline.heading(level, text))
        else:
            self.found.extend(self.outline.block(text))

    def begin_row(self) -> None:
        """Begin a row; a table inside a cell ends the row around it."""
        self.end_row()
        self._row = []

    def end_row(self) -> None:
        cells, self._row = self._row or [], None
        self.found.extend(self.outline.block(" | ".join(filter(None, cells))))


class _Docx(_Paragraphs):
    """The body of a Word document."""

    SKIPPED: Final = frozenset({"Fallback", "moveFrom", "pPrChange", "tabs"})

    def __init__(self, levels: Mapping[str, int]) -> None:
        """Read headings by `levels`: what each style's id means."""
        super().__init__()
        self._levels = levels
        self._in_text = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        match name:
            case "p":
                self.begin_paragraph()
            case "pStyle":
                self.level = self._levels.get(attributes.get("val", ""), 0)
            case "outlineLvl":
                self.level = _level(attributes.get("val", ""), 1) or self.level
            case "t":
                self._in_text = True
            case "tab":
                self.add("\t")
            case "br" | "cr":
                self.add("\n")
            case "symEx" if re.fullmatch(r"0*[\da-fA-F]{1,5}", code := attributes.get("char", ""), re.ASCII):  # an emoji
                self.add(chr(int(code, 16)))
            case "tr":
                self.begin_row()

    def end(self, name: str) -> None:
        if name == "t":
            self._in_text = False
        elif name == "p":
            self.end_paragraph()
        elif name == "tr":
            self.end_row()

    def text(self, text: str) -> None:
        if self._in_text:
            self.add(text)


def docx(file: IO[bytes]) -> Iterator[Block]:
    """Read a Word document as paragraphs and table rows below its headings. Deleted text and comments are left out."""
    archive = Archive(file)
    body = _Docx(_docx_levels(archive))
    parse_xml(archive.read("word/document.xml"), start=body.start, end=body.end, text=body.text, skipped=body.SKIPPED)
    for notes in ("word/footnotes.xml", "word/endnotes.xml"):
        if notes in archive.names:
            body.outline.leave(0)
            parse_xml(archive.read(notes), start=body.start, end=body.end, text=body.text, skipped=body.SKIPPED)
    yield from body.found
    yield from body.outline.rest()


def _docx_levels(archive: Archive) -> dict[str, int]:
    """The heading level of each style id. Styles have English names in every language."""
    levels = {f"Heading{level}": level for level in range(1, 10)} | {"Title": 1}
    style = ""

    def start(name: str, attributes: Mapping[str, str]) -> None:
        nonlocal style
        if name == "style":
            style = attributes.get("styleId", "")
        elif name == "name" and style:
            found = re.fullmatch(r"heading ([1-9])|title", attributes.get("val", "").lower())
            if found:
                levels[style] = int(found[1] or 1)

    if "word/styles.xml" in archive.names:
        parse_xml(archive.read("word/styles.xml"), start=start)
    return levels


class _Odt(_Paragraphs):
    """The body of an OpenDocument text."""

    SKIPPED: Final = frozenset(
        {"annotation", "automatic-styles", "binary-data", "font-face-decls", "note-citation", "scripts", "tracked-changes"}
    )

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "h":
            self.begin_paragraph(_level(attributes.get("outline-level", "1"), 0) or 1)
        elif name == "p":
            self.begin_paragraph()
        elif name == "s":
            self.add(" " * min(_level(attributes.get("c", "1"), 0) or 1, 80))
        elif name == "tab":
            self.add("\t")
        elif name == "line-break":
            self.add("\n")
        elif name == "table-row":
            self.begin_row()

    def end(self, name: str) -> None:
        if name in ("h", "p"):
            self.end_paragraph()
        elif name == "table-row":
            self.end_row()

    def text(self, text: str) -> None:
        if self.inside:
            self.add(text)


def _level(text: str, offset: int) -> int:
    """A small number plus `offset`; 0 for anything else."""
    return int(text) + offset if re.fullmatch(r"\d{1,2}", text, re.ASCII) else 0


def odt(file: IO[bytes]) -> Iterator[Block]:
    """Read an OpenDocument text as paragraphs and table rows below its headings. Comments and deleted text are left out."""
    body = _Odt()
    parse_xml(Archive(file).read("content.xml"), start=body.start, end=body.end, text=body.text, skipped=body.SKIPPED)
    yield from body.found
    yield from body.outline.rest()


def epub(file: IO[bytes]) -> Iterator[Block]:
    """Read an EPUB's chapters in reading order, as HTML."""
    archive = Archive(file)
    package: list[str] = []

    def container(name: str, attributes: Mapping[str, str]) -> None:
        if name == "rootfile":
            package.append(attributes.get("full-path", ""))

    parse_xml(archive.read("META-INF/container.xml"), start=container)
    if not package:
        raise DocumentUnreadable("it is damaged: it does not list its contents")
    manifest: dict[str, str] = {}
    spine: list[str] = []

    def contents(name: str, attributes: Mapping[str, str]) -> None:
        if name == "item" and "html" in attributes.get("media-type", ""):
            manifest[attributes.get("id", "")] = attributes.get("href", "")
        elif name == "itemref":
            spine.append(attributes.get("idref", ""))

    parse_xml(archive.read(package[0]), start=contents)
    outline = Outline()
    for item in dict.fromkeys(spine):
        if item in manifest:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(package[0]), unquote(manifest[item])))
            outline.leave(0)
            yield from html(decode(archive.read(path)), outline)
