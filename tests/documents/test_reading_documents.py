"""What is read from each kind of document: its text, its headings, and their places."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import documents

from mistral_chat.documents.blocks import Block, EmptyPage
from mistral_chat.documents.reader import DocumentReader
from mistral_chat.documents.text_files import decode, markdown, plain_text, python_code, source_code
from mistral_chat.documents.worker import read_blocks
from mistral_chat.errors import DocumentUnreadable


def headed_texts(blocks: list[Block | EmptyPage]) -> list[tuple[str, str]]:
    """Each block's headings and text."""
    return [(" > ".join(each.headings), each.text) for each in blocks if isinstance(each, Block)]


def read(folder: Path, name: str, content: bytes | str) -> list[Block | EmptyPage]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with DocumentReader() as reader:
        return list(reader.read(path))


def test_markdown_keeps_its_headings_and_its_code_whole() -> None:
    text = "---\ntitle: x\n---\n# Lease\n\nIntro.\n\n## Repairs\nThe landlord\nrepairs.\n\n```sh\n# no heading\n\nls\n```\n"
    text += "Rent\n====\nMonthly.\n"
    blocks = list(markdown(text))
    assert headed_texts([*blocks]) == [
        ("Lease", "Intro."),
        ("Lease > Repairs", "The landlord\nrepairs."),
        ("Lease > Repairs", "```sh\n# no heading\n\nls\n```"),
        ("Rent", "Monthly."),
    ]
    assert [(block.line, block.last_line) for block in blocks] == [(6, 6), (9, 10), (12, 16), (19, 19)]


def test_a_heading_with_nothing_below_it_is_not_lost() -> None:
    assert headed_texts([*markdown("# A\n## B\n# C\n")]) == [("A", "B"), ("", "C")]


def test_plain_text_headings_are_recognised() -> None:
    text = "TERMS AND CONDITIONS\n\n1. Scope\n\nAll of it.\n\n1.1 More\n\nText.\n\nNotes\n*****\n\nLast words.\n"
    assert headed_texts([*plain_text(text)]) == [
        ("TERMS AND CONDITIONS > Scope".replace("Scope", "1. Scope"), "All of it."),
        ("TERMS AND CONDITIONS > 1. Scope > 1.1 More", "Text."),
        ("TERMS AND CONDITIONS > Notes", "Last words."),
    ]


def test_python_is_cut_at_functions_and_methods() -> None:
    text = "import os\n\n# why\n@cache\ndef f():\n    return 1\n\nclass A:\n    x = 1\n\n    def m(self):\n        pass\n\nA()\n"
    blocks = list(python_code(text))
    assert headed_texts([*blocks]) == [
        ("", "import os"),
        ("def f", "# why\n@cache\ndef f():\n    return 1"),
        ("class A", "class A:\n    x = 1"),
        ("class A > def m", "    def m(self):\n        pass"),
        ("", "A()"),
    ]
    assert [block.line for block in blocks] == [1, 3, 8, 11, 14]


def test_other_source_code_is_cut_where_something_begins() -> None:
    text = "#include <x.h>\n\nint main(int n)\n{\n  return 0;\n\n}\n\nstruct point {\n  int x;\n};\n"
    assert headed_texts([*source_code(text)]) == [
        ("", "#include <x.h>"),
        ("main", "int main(int n)\n{\n  return 0;\n\n}"),
        ("struct point", "struct point {\n  int x;\n};"),
    ]


@given(st.text())
def test_every_line_of_a_text_is_in_a_block_at_its_own_number(text: str) -> None:
    for parse in (plain_text, markdown, source_code, python_code):
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for block in parse(text):
            assert 1 <= block.line <= block.last_line <= len(lines)
            assert block.text.strip()
            block.text.encode()


@given(st.lists(st.text("abc \n#-=*1.", max_size=30)).map("\n".join))
def test_no_word_of_a_text_is_lost(text: str) -> None:
    for parse in (plain_text, markdown):
        kept = " ".join(" ".join((*block.headings, block.text)) for block in parse(text))
        assert {letter for letter in text if letter.isalnum()} <= set(kept)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_is_read_in_common_encodings(encoding: str) -> None:
    assert decode("Grüße, café".encode(encoding)) == "Grüße, café"


@pytest.mark.parametrize("content", [b"\x7fELF\0\0", bytes(range(32)) * 20])
def test_a_binary_is_not_taken_for_text(content: bytes) -> None:
    with pytest.raises(DocumentUnreadable, match="not text"):
        decode(content)


def test_html_keeps_visible_text_only(tmp_path: Path) -> None:
    page = (
        "<title>T</title><style>p{}</style><h1>Big &amp; small</h1><p>One\n two<br>three<ul><li>a<li>b</ul>"
        "<script>alert(1)</script><table><tr><td>x<td>y</table><pre>  keep\n  this</pre><nav>menu</nav><p>&#x1b;[31m end"
    )
    assert headed_texts(read(tmp_path, "a.html", page)) == [
        ("Big & small", "One two\nthree"),
        ("Big & small", "- a\n- b"),
        ("Big & small", "x | y"),
        ("Big & small", "  keep\n  this"),
        ("Big & small", "[31m end"),
    ]


def test_a_word_document_has_headings_in_any_language_and_tables(tmp_path: Path) -> None:
    content = documents.docx([("Heading1", "Lease"), ("", "One."), ("berschrift2", "Mängel"), ("", "Zwei.")], rows=[["a", "b"]])
    assert headed_texts(read(tmp_path, "a.docx", content)) == [
        ("Lease", "One."),
        ("Lease > Mängel", "Zwei."),
        ("Lease > Mängel", "a | b"),
    ]


def test_an_opendocument_text_is_read_without_its_comments(tmp_path: Path) -> None:
    inside = (
        '<text:h text:outline-level="1">Plan</text:h><text:p>a<text:s text:c="2"/>b<office:annotation><text:p>secret</text:p>'
        "</office:annotation>c</text:p><table:table-row><text:p>x</text:p><text:p>y</text:p></table:table-row>"
    )
    assert headed_texts(read(tmp_path, "a.odt", documents.odt(inside))) == [("Plan", "a  bc"), ("Plan", "x | y")]


def test_epub_chapters_come_in_reading_order(tmp_path: Path) -> None:
    content = documents.epub(["<!DOCTYPE html><h1>One</h1><p>First.", "<h1>Two</h1><h2>Inner</h2><p>Second."])
    blocks = read(tmp_path, "a.epub", content)
    assert headed_texts(blocks) == [("One", "First."), ("Two > Inner", "Second.")]
    assert [block.line for block in blocks if isinstance(block, Block)] == [2, 5]


def test_a_pdf_has_pages_and_bookmarks_and_reports_empty_pages(tmp_path: Path) -> None:
    content = documents.pdf(
        [["The tenant pays on the", "first day of each month.", "Late rent costs inter-", "est."], [], ["Repairs (small)."]],
        bookmarks=[("Rent", 0), ("Repairs", 2)],
    )
    blocks = read(tmp_path, "lease.pdf", content)
    assert headed_texts(blocks) == [
        ("Rent", "The tenant pays on the\nfirst day of each month.\nLate rent costs interest."),
        ("Repairs", "Repairs (small)."),
    ]
    assert [each.page for each in blocks] == [1, 2, 3]
    assert isinstance(blocks[1], EmptyPage)


def test_a_suffix_does_not_make_a_document(tmp_path: Path) -> None:
    for name in ("a.pdf", "a.docx", "a.odt", "a.epub"):
        with pytest.raises(DocumentUnreadable, match="damaged"):
            read(tmp_path, name, b"plain words")


def test_a_reader_continues_after_an_unreadable_document(tmp_path: Path) -> None:
    (tmp_path / "bad.docx").write_bytes(b"PK")
    (tmp_path / "good.txt").write_text("fine")
    with DocumentReader() as reader:
        with pytest.raises(DocumentUnreadable):
            list(reader.read(tmp_path / "bad.docx"))
        with pytest.raises(DocumentUnreadable, match="no such file"):
            list(reader.read(tmp_path / "missing"))
        with pytest.raises(DocumentUnreadable, match="not a file"):
            list(reader.read(tmp_path))
        assert headed_texts(list(reader.read(tmp_path / "good.txt"))) == [("", "fine")]


def test_without_pypdf_a_pdf_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    (tmp_path / "a.pdf").write_bytes(documents.pdf([["x"]]))
    with pytest.raises(DocumentUnreadable, match=r"mistral-chat\[documents\]"):
        list(read_blocks(tmp_path / "a.pdf", "pdf"))
