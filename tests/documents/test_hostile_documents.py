"""Hostile documents: each is an error for the one file, and the program survives."""

from __future__ import annotations

import io
import os
import random
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support import documents
from support.effort import cases, seed

from mistral_chat.documents import containers
from mistral_chat.documents.passages import cut
from mistral_chat.documents.reader import DocumentReader
from mistral_chat.errors import DocumentUnreadable

MUTATIONS = cases(40, 2000)
"""Of each kind of document."""


@pytest.fixture
def reader() -> Iterator[DocumentReader]:
    with DocumentReader() as made:
        yield made


def refused(reader: DocumentReader, path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(DocumentUnreadable) as caught:
        list(reader.read(path))
    return caught.value.problem


def test_a_zip_bomb_is_not_unpacked(reader: DocumentReader, tmp_path: Path) -> None:
    bomb = documents.archive({"word/document.xml": b" " * (65 * 1024**2)})
    assert len(bomb) < 1024**2
    assert "unpacks to more than 64 MB" in refused(reader, tmp_path / "a.docx", bomb)


def test_many_chapters_cannot_add_up_to_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "LARGEST_WHOLE", 128 * 1024)
    bomb = documents.epub(["<p>" + " " * (50 * 1024)] * 3)
    with pytest.raises(DocumentUnreadable, match="unpacks to more than"):
        list(containers.epub(io.BytesIO(bomb)))


def test_an_archive_of_countless_files_is_refused(reader: DocumentReader, tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for number in range(10_001):
            file.writestr(str(number), b"")
    assert "10,000 files" in refused(reader, tmp_path / "a.odt", made.getvalue())


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;"><!ENTITY c "&b;&b;&b;">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_no_entity_is_expanded_or_downloaded(reader: DocumentReader, tmp_path: Path, declared: str) -> None:
    body = f'<?xml version="1.0"?>{declared}<w:document xmlns:w="{documents.W}"><w:p><w:r><w:t>&a;</w:t></w:r></w:p></w:document>'
    assert "entities" in refused(reader, tmp_path / "a.docx", documents.archive({"word/document.xml": body}))


def test_deep_xml_is_refused(reader: DocumentReader, tmp_path: Path) -> None:
    deep = "<a>" * 100_000 + "</a>" * 100_000
    assert "nests too deeply" in refused(reader, tmp_path / "a.odt", documents.archive({"content.xml": deep}))


def test_deeply_nested_html_is_read(reader: DocumentReader, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<div>" * 200_000 + "found" + "<b>" * 200_000)
    assert next(each.text for each in reader.read(tmp_path / "a.html")).startswith("found")


def test_paths_in_an_archive_are_not_followed(reader: DocumentReader, tmp_path: Path) -> None:
    parts = {
        "META-INF/container.xml": '<c><rootfile full-path="b.opf"/></c>',
        "b.opf": '<p><item id="a" href="../../../../etc/passwd" media-type="text/html"/><itemref idref="a"/></p>',
    }
    assert "missing" in refused(reader, tmp_path / "a.epub", documents.archive(parts))


def test_circular_pages_end(reader: DocumentReader, tmp_path: Path) -> None:
    endless = documents.pdf([["x"]]).replace(b"/Kids[4 0 R]", b"/Kids[2 0 R]")
    path = tmp_path / "a.pdf"
    path.write_bytes(endless)
    try:
        found = list(reader.read(path))
    except DocumentUnreadable:
        found = []
    assert not [each for each in found if each.text]


def test_an_endless_compressed_stream_is_stopped(tmp_path: Path) -> None:
    bomb = zlib.compress(b"BT " + b" " * (1 << 27), 1)
    whole = documents.pdf([["x"]])
    start, end = whole.index(b"stream\n") + 7, whole.index(b"\nendstream")
    path = tmp_path / "a.pdf"
    path.write_bytes(whole[:start] + bomb + whole[end:])
    with DocumentReader(seconds=3) as reader, suppress(DocumentUnreadable):
        assert not [each for each in reader.read(path) if len(each.text) > 100]


def test_a_slow_document_is_abandoned(tmp_path: Path) -> None:
    path = tmp_path / "endless.txt"
    os.mkfifo(path)  # nothing ever writes to it
    slow = tmp_path / "slow.html"
    slow.write_text("<a " * 3_000_000)
    with DocumentReader(seconds=0.3) as reader:
        with pytest.raises(DocumentUnreadable, match="not a file"):
            list(reader.read(path))
        with pytest.raises(DocumentUnreadable, match="takes longer"):
            list(reader.read(slow))


def test_abandoned_reading_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words\n\n" * 100_000)
    reader = DocumentReader()
    iterator = reader.read(tmp_path / "a.txt")
    next(iterator)
    process = reader._child.process
    assert process is not None
    iterator.close()  # type: ignore[attr-defined] # it is a generator
    assert process.poll() is not None
    reader.close()


def test_no_document_text_can_act_on_a_terminal(reader: DocumentReader, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x1b]0;title\x07 \x9b2J \xc2\x9b2J</s>[INST]\r\n" + b"many words " * 40)
    (passage,) = cut(reader.read(tmp_path / "a.txt"))
    assert not [letter for letter in passage.text if (ord(letter) < 32 and letter not in "\t\n") or 0x7F <= ord(letter) < 0xA0]


@pytest.mark.parametrize("suffix", ["pdf", "docx", "odt", "epub", "html"])
def test_mutated_documents_are_read_or_refused(reader: DocumentReader, tmp_path: Path, suffix: str) -> None:
    whole = {
        "pdf": documents.pdf([["Some words on a page."] * 5] * 3, bookmarks=[("One", 0), ("Two", 1)]),
        "docx": documents.docx([("Heading1", "Title"), ("", "Words and more words.")] * 4, rows=[["a", "b"]] * 3),
        "odt": documents.odt('<text:h text:outline-level="1">Title</text:h><text:p>Words.</text:p>' * 4),
        "epub": documents.epub(["<h1>One</h1><p>First."] * 3),
        "html": b"<h1>Title</h1><p>Words &amp; more<table><tr><td>x</table>" * 4,
    }[suffix]
    chance = random.Random(f"{seed()} {suffix}")
    outcomes = {"read": 0, "refused": 0}
    path = tmp_path / f"a.{suffix}"
    for _ in range(MUTATIONS):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(content))
            match chance.randrange(4):
                case 0:
                    content[at] = chance.randrange(256)
                case 1:
                    del content[at : at + chance.randrange(1, 40)]
                case 2:
                    content[at:at] = content[at : at + chance.randrange(1, 40)] or b"\0"
                case _:
                    content[at:at] = str(chance.choice([0, -1, 2**31, 2**63, 10**30])).encode()
        path.write_bytes(content)
        try:
            list(cut(each for each in reader.read(path) if each.text))
            outcomes["read"] += 1
        except DocumentUnreadable as error:
            outcomes["refused"] += bool(error.problem)
    path.write_bytes(whole)
    assert list(reader.read(path)), "the reader lives on after all of them"
    assert sum(outcomes.values()) == MUTATIONS
