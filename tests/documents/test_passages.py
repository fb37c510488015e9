"""How documents are cut into the pieces that a model is given."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics

import mistral_common
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from mistral_chat.documents.blocks import Block
from mistral_chat.documents.passages import LONGEST, cut, estimate_tokens
from mistral_chat.documents.text_files import markdown, plain_text


def words(text: str) -> int:
    return len(re.findall(r"\S+", text))


def test_a_passage_begins_with_its_headings_and_knows_its_place() -> None:
    (passage,) = cut(markdown("# Lease\n\n## Repairs\n\nThe landlord repairs\nthe roof.\n"))
    assert passage.text == "Lease \u203a Repairs\n\nThe landlord repairs\nthe roof."
    assert (passage.headings, passage.first_line, passage.last_line, passage.page) == (("Lease", "Repairs"), 5, 6, None)
    assert passage.tokens == estimate_tokens(passage.text)


def test_short_sections_share_a_passage_and_keep_their_headings() -> None:
    (passage,) = cut(markdown("# A\n\n## B\n\none\n\n## C\n\ntwo\n"))
    assert passage.text == "A \u203a B\n\none\n\nC\n\ntwo"


def test_a_long_section_ends_its_passage_at_the_next_heading() -> None:
    text = "# A\n\n" + "word " * 140 + "\n\n# B\n\nshort\n"
    assert [passage.headings for passage in cut(markdown(text), words)] == [("A",), ("B",)]


def test_a_long_paragraph_is_cut_between_sentences_that_overlap_by_one() -> None:
    sentences = [f"Sentence number {n} says something about the roof." for n in range(60)]
    passages = list(cut(plain_text(" ".join(sentences)), words))
    assert len(passages) > 1
    for before, after in pairwise(passages):
        assert before.text.endswith(".")
        assert after.text.startswith(before.text[before.text.rindex("Sentence") :])


def test_code_is_cut_between_lines_without_overlap() -> None:
    lines = [f"    step_{n}(argument)" for n in range(300)]
    passages = list(cut([Block("\n".join(lines), ("def f",), code=True)], words, longest=64))
    bodies = [passage.text.removeprefix("def f\n\n") for passage in passages]
    assert "\n".join(bodies) == "\n".join(lines)
    assert [passage.first_line for passage in passages[1:]] == [passage.last_line + 1 for passage in passages[:-1]]


TEXTS = st.text("abc .!?\n#1äß中", max_size=600)


@given(st.lists(st.tuples(TEXTS, st.lists(st.text("abc", min_size=1, max_size=200), max_size=3), st.booleans()), max_size=8))
def test_every_passage_fits_and_nothing_is_left_out(given_blocks: list[tuple[str, list[str], bool]]) -> None:
    line, blocks = 1, []
    for given_text, headings, code in given_blocks:
        text = given_text.strip("\n").rstrip()
        if text.strip():
            blocks.append(Block(text, tuple(headings), line, code=code))
            line = blocks[-1].last_line + 2
    passages = list(cut(blocks, longest=64))
    for passage in passages:
        assert passage.tokens <= 64 + 12, passage
        assert 1 <= passage.first_line <= passage.last_line <= line
    for block in blocks:
        inside = [each for each in passages if each.first_line <= block.last_line and block.line <= each.last_line]
        assert set(re.findall(r"\w", block.text)) <= set("".join(each.text for each in inside))


def test_headings_of_many_tokens_leave_room_for_the_text() -> None:
    blocks = [Block("ข" * 1000, ("ก" * 120, "ค" * 120))]
    passages = list(cut(blocks, lambda text: len(text.encode())))  # as a vocabulary without Thai counts
    assert all(passage.tokens <= LONGEST for passage in passages)
    assert len(passages) < 50


def test_a_heading_of_many_tokens_is_in_a_passage_from_its_beginning() -> None:
    heading = "".join(f"{chr(0xE01 + n)}{n:02d}" for n in range(40))
    outer = "Chapter " + "x" * 110
    blocks = [Block("one", ("A",)), Block("two", (outer, heading), 5, page=2), Block("z" * 300, (outer, heading), 6, page=2)]
    passages = [each for each in cut(blocks, lambda text: len(text.encode())) if each.page == 2]
    assert [(heading in each.text, outer in each.text) for each in passages[:2]] == [(False, True), (True, False)]
    assert all(each.headings == (outer, heading) and each.tokens <= LONGEST for each in passages)
    assert sum(heading in each.text for each in passages) == 1, "a heading is repeated in full"


def test_a_long_run_of_spaces_makes_no_empty_passages() -> None:
    passages = list(cut([Block("start" + " " * 60_000 + "end", ("Title",))], len))
    assert [passage.text.split() for passage in passages] == [["Title", "start"], ["Title", "end"]]


@given(st.integers(1, 3000))
def test_an_endless_word_is_cut_too(length: int) -> None:
    passages = list(cut([Block("x" * length)]))
    assert all(passage.tokens <= LONGEST for passage in passages)
    assert "".join(passage.text.replace("\n", "") for passage in passages) == "x" * length


def test_the_estimate_is_near_the_tokens_of_the_real_vocabulary() -> None:
    files = sorted((Path(mistral_common.__file__).parent / "data").glob("*.model*"))
    if not files:
        pytest.skip("mistral-common carries no SentencePiece vocabulary here")
    vocabulary = SentencePieceProcessor(str(files[0]))
    for text in (topics["with"], topics["class"], topics["strings"]):
        assert 0.9 <= estimate_tokens(text) / len(vocabulary.encode(text)) <= 1.35
