"""What is read from each kind of document: its text, its headings, and their places."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import documents

from mistral_chat.documents.blocks import Block
from mistral_chat.documents.reader import DocumentReader
from mistral_chat.documents.text_files import decode, markdown, plain_text, python_code, source_code
from mistral_chat.documents.worker import MOST_TEXT, read_blocks, serve
from mistral_chat.errors import DocumentUnreadable


def headed_texts(blocks: list[Block]) -> list[tuple[str, str]]:
    """Each block's headings and text."""
    return [(" > ".join(each.headings), each.text) for each in blocks if each.text]


def read(folder: Path, name: str, content: bytes | str) -> list[Block]:
    """Read a document in the process that is made for it; what comes through the pipe is what was read."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with DocumentReader() as reader:
        found = list(reader.read(path))
    assert list(read_blocks(path, path.suffix.removeprefix("."))) == found
    return found


def answers_about(path: Path, kind: str) -> list[dict[str, Any]]:
    """What the process that reads documents would answer."""
    replies = io.BytesIO()
    serve(io.BytesIO(json.dumps({"path": str(path), "kind": kind}).encode() + b"\n"), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


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


def test_a_paragraph_that_is_taken_for_a_heading_is_kept_whole(tmp_path: Path) -> None:
    long = " ".join(f"word{number}" for number in range(40))
    for name, content in (("a.markdown", f"{long}\n---\n\nbelow\n"), ("a.html", f"<h1>{long}<p>below")):
        assert [block.text for block in read(tmp_path, name, content)] == [long, "below"]


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
        "<title>T</title><style>p{}</style><h1>Big &amp; small</h1><svg><title>icon</title></svg>"
        "<p>One\n two<br>three<ul><li>a<li>b</ul>"
        "<script>alert(1)</script><table><tr><td>x<td>y</table><pre>  keep\n  this</pre><nav>menu</nav><p>&#x1b;[31m end"
    )
    assert headed_texts(read(tmp_path, "a.html", page)) == [
        ("Big & small", "One two\nthree"),
        ("Big & small", "- a\n- b"),
        ("Big & small", "x | y"),
        ("Big & small", "  keep\n  this"),
        ("Big & small", "[31m end"),
    ]


@pytest.mark.parametrize(
    "page",
    [
        "<svg><title>x</svg><p>kept",
        "<nav><select><option>x</nav>kept",
        "<title>x<body>kept",
        "<nav>x<nav>x<main><p>kept",
        "<nav><h2>x</h2><nav>x</nav>x</nav><p>kept",
        "<nav>x</nav><nav>x<article><p>kept",
        "<main><nav>x<article>kept</article></main>",
        "<nav>x<article><p>kept</article><nav>x</nav>",
        "<script>'<nav></nav>'</script><nav>x<h1></h1>kept",
    ],
)
def test_html_after_a_missing_end_tag_is_read(tmp_path: Path, page: str) -> None:
    assert headed_texts(read(tmp_path, "a.html", page)) == [("", "kept")]


@pytest.mark.parametrize("declaration", ["<![foo]>", "<![1]>", "<![", "<![if IE]>", "<![endif]-->", "<!x"])
def test_html_with_a_malformed_declaration_is_read(tmp_path: Path, declaration: str) -> None:
    found = headed_texts(read(tmp_path, "a.html", f"<p>before<p>{declaration}<p>after"))
    assert (found[0], found[-1]) == (("", "before"), ("", "after"))


@pytest.mark.parametrize(
    "page",
    [
        "<noscript><h1>Enable JavaScript</h1>x</noscript><p>kept",
        "<nav><h1>My Site</h1><ul><li>Home</ul></NAV\n><p>kept",
        "<template><article>x</article></template><p>kept",
    ],
)
def test_html_that_is_not_shown_is_not_read_if_it_has_a_heading(tmp_path: Path, page: str) -> None:
    assert headed_texts(read(tmp_path, "a.html", page)) == [("", "kept")]


def test_a_word_document_has_headings_in_any_language_and_tables(tmp_path: Path) -> None:
    content = documents.docx([("Heading1", "Lease"), ("", "One."), ("berschrift2", "Mängel"), ("", "Zwei.")], rows=[["a", "b"]])
    assert headed_texts(read(tmp_path, "a.docx", content)) == [
        ("Lease", "One."),
        ("Lease > Mängel", "Zwei."),
        ("Lease > Mängel", "a | b"),
    ]


@pytest.mark.parametrize(
    ("inside", "read_as"),
    [
        ("<w:p><w:pPr><w:tabs><w:tab/><w:tab/></w:tabs></w:pPr>{}</w:p>", [("", "text")]),
        (
            "<w:p><mc:AlternateContent><mc:Choice>{}</mc:Choice><mc:Fallback>{}</mc:Fallback></mc:AlternateContent></w:p>",
            [("", "text")],
        ),
        (
            '<w:p>{}<mc:Choice><w:symEx w:char="1F60A"/><w:symEx w:char="-1"/></mc:Choice><mc:Fallback>{}</mc:Fallback></w:p>',
            [("", "text\U0001f60a")],
        ),
        ("<w:p><w:moveFrom>{}</w:moveFrom></w:p><w:p><w:moveTo>{}</w:moveTo></w:p>", [("", "text")]),
        (
            '<w:p><w:pPr><w:pStyle w:val="Heading1"/><w:pPrChange><w:pStyle/></w:pPrChange></w:pPr>{}</w:p><w:p>{}</w:p>',
            [("text", "text")],
        ),
        (
            '<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr>{}<w:txbxContent><w:p>{}</w:p></w:txbxContent>{}</w:p><w:p>{}</w:p>',
            [("", "text"), ("texttext", "text")],
        ),
    ],
    ids=["tab stops", "fallback", "emoji", "moved", "changed style", "text box"],
)
def test_a_word_document_has_its_text_once_and_as_it_is_now(tmp_path: Path, inside: str, read_as: list[tuple[str, str]]) -> None:
    body = inside.replace("{}", "<w:r><w:t>text</w:t></w:r>")
    content = f'<w:document xmlns:w="{documents.W}" xmlns:mc="mc"><w:body>{body}</w:body></w:document>'
    assert headed_texts(read(tmp_path, "a.docx", documents.archive({"word/document.xml": content}))) == read_as


def test_notes_and_comments_of_an_opendocument_text_leave_its_paragraphs_whole(tmp_path: Path) -> None:
    note = (
        "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>note</text:p></text:note-body></text:note>"
    )
    inside = (
        f'<text:h text:outline-level="1">Ti{note}tle</text:h><text:p>o{note}ne</text:p>'
        "<office:annotation><text:p>secret</text:p></office:annotation><office:binary-data>AAAA</office:binary-data>"
        "<text:p>two<office:annotation><text:h>secret</text:h></office:annotation></text:p>"
    )
    assert headed_texts(read(tmp_path, "a.odt", documents.odt(inside))) == [
        ("", "note"),
        ("Title", "note"),
        ("Title", "one"),
        ("Title", "two"),
    ]


def test_an_opendocument_text_is_read_without_its_comments(tmp_path: Path) -> None:
    inside = (
        '<text:h text:outline-level="1">Plan</text:h><text:p>a<text:s text:c="2"/>b<office:annotation><text:p>secret</text:p>'
        "</office:annotation>c</text:p><table:table-row><text:p>x</text:p><text:p>y</text:p></table:table-row>"
    )
    assert headed_texts(read(tmp_path, "a.odt", documents.odt(inside))) == [("Plan", "a  bc"), ("Plan", "x | y")]


def test_a_table_inside_a_cell_takes_no_text_from_the_row_around_it(tmp_path: Path) -> None:
    inside = "<table:table-row>{}<text:p>b</text:p></table:table-row>"
    outer = inside.format("<text:p>a</text:p>" + inside.format(""))
    assert [block.text for block in read(tmp_path, "a.odt", documents.odt(outer))] == ["a", "b", "b"]


def test_epub_chapters_come_in_reading_order(tmp_path: Path) -> None:
    content = documents.epub(["<!DOCTYPE html><h1>One</h1><p>First.", "<h1>Two</h1><h2>Inner</h2><p>Second."])
    blocks = read(tmp_path, "a.epub", content)
    assert headed_texts(blocks) == [("One", "First."), ("Two > Inner", "Second.")]
    assert [block.line for block in blocks] == [2, 5]


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
    assert blocks[1].text == ""
    answers = answers_about(tmp_path / "lease.pdf", "pdf")
    assert [len(each["blocks"]) for each in answers[:-1]] == [2, 1], "an empty page is answered at once: it shows progress"


def test_a_suffix_does_not_make_a_document(tmp_path: Path) -> None:
    for name in ("a.pdf", "a.docx", "a.odt", "a.epub"):
        with pytest.raises(DocumentUnreadable, match="damaged"):
            read(tmp_path, name, b"plain words")


@pytest.mark.parametrize("kind", ["pdf", "docx", "odt", "epub"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "damaged"),
        (b"plain words", "damaged"),
        (documents.archive({"other.xml": "<a/>"}), "damaged"),
        (documents.pdf([["x"]])[:-200], "damaged"),
    ],
    ids=["empty", "text", "another archive", "half a PDF"],
)
def test_what_is_no_such_document_has_one_answer_that_says_so(tmp_path: Path, kind: str, content: bytes, problem: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    *before, last = answers_about(path, kind)
    assert all(not answer.get("blocks") for answer in before)
    assert problem in last.get("problem", "")


def test_a_long_text_comes_in_several_answers_and_an_endless_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    paragraph = "word " * 200 + "\n\n"
    path.write_text(paragraph * 100)
    *batches, last = answers_about(path, "text")
    assert last == {"end": True}
    assert len(batches) > 2
    assert sum(len(batch["blocks"]) for batch in batches) == 100
    path.write_text(paragraph * (MOST_TEXT // len(paragraph) + 100))
    assert "16 million characters" in answers_about(path, "text")[-1]["problem"]
    assert answers_about(tmp_path / "missing", "text") == [{"problem": "No such file or directory"}]


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
