"""Replies as blocks: what they hold, that streaming changes nothing, and that nothing is lost or slow."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile import STRINGS, dangerous

from mistral_chat.ui.block_layout import CodeBlock, LineBlock, RuleBlock, TableBlock, WrappedBlock
from mistral_chat.ui.highlight import highlight_lines
from mistral_chat.ui.markdown import Block, Code, MarkdownParser, Prose, Rule, Table, blocks, plain

DOCUMENT = """\
# Title

A paragraph with **bold**, *soft*, ~~struck~~ and `code`, and a [link](https://example.org).
A second line of it.

- one
  - nested

    with a paragraph
- two

3. three
4. four

> quoted
> - in a list

```python
def f():
    return 1
```

    indented

| a | b |
|---|--:|
| 1 | 2 |

---
The end."""


def text_of(block: Block) -> str:
    match block:
        case Prose(lines=lines):
            return "\n".join(line.first.plain + line.text.plain for line in lines)
        case Code(text=text):
            return text
        case Table(header=header, rows=rows):
            return "\n".join("|".join(cell.plain for cell in row) for row in (header, *rows))
        case Rule():
            return "---"


def test_a_document_becomes_its_blocks() -> None:
    found = blocks(DOCUMENT)
    kinds = [block.kind if isinstance(block, Prose) else type(block).__name__ for block in found]
    assert kinds == ["heading", "text", "list", "list", "quote", "Code", "Code", "Table", "Rule", "text"]
    assert text_of(found[1]).startswith(
        "A paragraph with bold, soft, struck and code, and a link (https://example.org).\nA second"
    )
    assert text_of(found[3]) == "3. three\n4. four"
    assert text_of(found[4]) == "▎ quoted\n▎ \n▎ • in a list"
    assert found[5] == Code("python", "def f():\n    return 1")
    assert text_of(found[7]) == "a|b\n1|2"


@given(st.lists(st.integers(1, 40), max_size=60))
def test_streaming_ends_with_what_one_reading_gives(cuts: list[int]) -> None:
    reader, place = MarkdownParser(), 0
    for cut in cuts:
        reader.write(DOCUMENT[place : place + cut])
        place += cut
    reader.write(DOCUMENT[place:])
    assert reader.finished + reader.open == blocks(DOCUMENT)


@given(
    st.lists(
        st.sampled_from(["a ", "\n", "\n\n", "- ", "# ", "```", "> ", "|a|b|\n", "|-|-|\n", "1. ", "---", "===", "*", "    "]),
        max_size=40,
    )
)
def test_a_block_called_finished_never_changes(pieces: list[str]) -> None:
    source = "".join(pieces)
    reader = MarkdownParser()
    for piece in pieces:
        known = list(reader.finished)
        reader.write(piece)
        assert reader.finished[: len(known)] == known
    assert reader.finished + reader.open == blocks(source)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("<b>bold</b> <script>x</script>", "<b>bold</b> <script>x</script>"),
        ("List<String> of </s> and <INST>", "List<String> of </s> and <INST>"),
        ("[bank](https://evil.example)", "bank (https://evil.example)"),
        ("<https://example.org>", "https://example.org"),
        ("![cat](https://x.example/c.png)", "[image: cat] (https://x.example/c.png)"),
        ("[a]: https://hidden.example", "[a]: https://hidden.example"),
        ("&lt;b&gt;", "<b>"),
        ("[INST] hi [/INST]", "[INST] hi [/INST]"),
    ],
)
def test_nothing_that_was_written_is_hidden(source: str, shown: str) -> None:
    assert "\n".join(map(text_of, blocks(source))) == shown


@pytest.mark.parametrize("source", STRINGS)
def test_no_block_holds_anything_hostile(source: str) -> None:
    for block in [*blocks(source), plain(source)]:
        assert not dangerous(text_of(block).replace("\t", ""))
        if isinstance(block, Code):
            assert not dangerous(block.language)


@pytest.mark.parametrize(
    "source",
    [
        "[" * 20000,
        "[a](" * 10000,
        "*a" * 20000,
        "a\n" * 30000,
        "![" * 10000,
        "`a" * 20000,
        "> " * 5000,
        "x" * 1_000_000,
        "<a" * 20000,
    ],
    ids=lambda source: f"{source[:4]!r}",
)
def test_four_times_the_text_takes_no_sixteen_times_as_long_to_read(source: str) -> None:
    """A hostile reply must not hold the screen: what grows with the square of its length would."""

    def seconds(text: str) -> float:
        began = time.process_time()
        blocks(text)
        return time.process_time() - began

    # A busy machine, or garbage that is collected meanwhile, disturbs one try or another; a square would show in all of them.
    gc.collect()
    assert any(seconds(source) <= 10 * seconds(source[: len(source) // 4]) + 0.5 for _ in range(5))


def test_a_text_beyond_the_limit_is_shown_in_formatted_pieces() -> None:
    source = DOCUMENT + "\n\n"
    found = blocks(source * 200)
    assert len(found) == len(blocks(source)) * 200


@pytest.mark.parametrize("width", [1, 2, 5, 20, 80])
@pytest.mark.parametrize("block", blocks(DOCUMENT), ids=lambda block: type(block).__name__)
def test_every_row_fits_its_width_and_nothing_is_lost(block: Block, width: int) -> None:
    rows = rows_of(block)
    fitted = rows.fit(width)
    if width >= 5:
        assert all(row.prefix.cell_length + row.text.cell_length <= width for row in fitted)
    assert rows.fit(width) is fitted
    letters = "".join(row.prefix.plain + row.text.plain for row in fitted)
    if not isinstance(block, Rule):
        assert {letter for letter in text_of(block) if letter.isalpha()} <= set(letters)


def rows_of(block: Block) -> WrappedBlock:
    match block:
        case Prose(lines=lines):
            return LineBlock(lines)
        case Code():
            return CodeBlock(block, coloured=False)
        case Table():
            return TableBlock(block)
        case Rule():
            return RuleBlock()


def test_rows_know_which_characters_they_show() -> None:
    rows = LineBlock(plain("some words that wrap here").lines)
    for row in rows.fit(10):
        assert rows.plain[row.x : row.x + len(row.text)] == row.text.plain


def test_code_is_coloured_only_where_it_is_known_and_small() -> None:
    assert highlight_lines("def f(): pass", "python")[0].spans
    assert not highlight_lines("def f(): pass", "")[0].spans
    assert not highlight_lines("x = 1\n" * 10_000, "python")[0].spans
    assert [line.plain for line in highlight_lines("\ta\nb", "nosuchlanguage")] == ["    a", "b"]
