"""Documents of every kind that is read, made as small as they can be."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def archive(parts: Mapping[str, str | bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return made.getvalue()


def docx(paragraphs: Sequence[tuple[str, str]], *, rows: Sequence[Sequence[str]] = ()) -> bytes:
    """A Word document: paragraphs, each a style's id (or "") and a text, and a table."""

    def paragraph(style: str, text: str) -> str:
        properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
        return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'

    cells = "".join("<w:tr>" + "".join(f"<w:tc>{paragraph('', cell)}</w:tc>" for cell in row) + "</w:tr>" for row in rows)
    body = "".join(paragraph(style, text) for style, text in paragraphs) + (f"<w:tbl>{cells}</w:tbl>" if rows else "")
    styles = '<w:style w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>'
    return archive(
        {
            "word/document.xml": f'<?xml version="1.0"?><w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>',
            "word/styles.xml": f'<w:styles xmlns:w="{W}">{styles}</w:styles>',
        }
    )


def odt(inside: str) -> bytes:
    """An OpenDocument text with `inside` as the XML of its body."""
    names = 'xmlns:office="o" xmlns:text="t" xmlns:table="b"'
    return archive(
        {
            "content.xml": f"<office:document-content {names}><office:body><office:text>{inside}</office:text></office:body>"
            "</office:document-content>"
        }
    )


def epub(chapters: Sequence[str]) -> bytes:
    """An EPUB of these pages of HTML."""
    items = "".join(
        f'<item id="c{n}" href="text/c%20{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    return archive(
        {
            "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
            "OEBPS/book.opf": f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>",
            **{f"OEBPS/text/c {n}.xhtml": chapter for n, chapter in enumerate(chapters)},
        }
    )


def pdf(pages: Sequence[Sequence[str]], *, bookmarks: Sequence[tuple[str, int]] = ()) -> bytes:
    """A PDF whose pages contain these lines, with bookmarks: each a title and the index of its page."""
    first = 4
    count = len(pages)
    objects = {
        1: f"<</Type/Catalog/Pages 2 0 R{f'/Outlines {first + 2 * count} 0 R' if bookmarks else ''}>>".encode(),
        2: f"<</Type/Pages/Count {count}/Kids[{' '.join(f'{first + 2 * n} 0 R' for n in range(count))}]>>".encode(),
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    }
    for number, lines in enumerate(pages):
        drawn = "BT /F1 11 Tf 14 TL 60 760 Td " + " ".join(f"({_escaped(line)}) Tj T*" for line in lines) + " ET"
        content = zlib.compress(drawn.encode("latin-1"))
        at = first + 2 * number
        objects[at] = (
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>/Contents {at + 1} 0 R>>".encode()
        )
        objects[at + 1] = b"<</Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (len(content), content)
    root = first + 2 * count
    for index, (title, page) in enumerate(bookmarks):
        beside = f"/Next {root + index + 2} 0 R" if index + 1 < len(bookmarks) else ""
        objects[root + index + 1] = (
            f"<</Title({_escaped(title)})/Parent {root} 0 R/Dest[{first + 2 * page} 0 R/Fit]{beside}>>".encode()
        )
    if bookmarks:
        objects[root] = f"<</First {root + 1} 0 R/Last {root + len(bookmarks)} 0 R/Count {len(bookmarks)}>>".encode()
    return _file(objects)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _file(objects: Mapping[int, bytes]) -> bytes:
    made, places = bytearray(b"%PDF-1.5\n"), {}
    for number in sorted(objects):
        places[number] = len(made)
        made += b"%d 0 obj\n%s\nendobj\n" % (number, objects[number])
    start = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for number in sorted(objects):
        made += b"%010d 00000 n \n" % places[number]
    made += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(made)
