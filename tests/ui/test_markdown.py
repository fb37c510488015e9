"""Replies as blocks: their content, that streaming changes nothing, and that nothing is lost or slow."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile import STRINGS, dangerous
from textual.geometry import Offset
from textual.selection import SELECT_ALL, Selection

from mistral_chat.ui.block_layout import BlockLayout, CodeBlock, LineBlock, RuleBlock, TableBlock
from mistral_chat.ui.highlight import highlight_lines
from mistral_chat.ui.markdown import Block, Code, MarkdownParser, Prose, Rule, Table, blocks, code_blocks, plain

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
    kinds = [type(block).__name__ for block in found]
    assert kinds == ["Prose", "Prose", "Prose", "Prose", "Prose", "Code", "Code", "Table", "Rule", "Prose"]
    assert text_of(found[0]) == "Title"
    assert text_of(found[1]).startswith(
        "A paragraph with bold, soft, struck and code, and a link (https://example.org).\nA second"
    )
    assert text_of(found[2]) == "• one\n  ◦ nested\n    \n    with a paragraph\n• two"
    assert text_of(found[3]) == "3. three\n4. four"
    assert text_of(found[4]) == "▎ quoted\n▎ \n▎ • in a list"
    assert found[5] == Code("python", "def f():\n    return 1")
    assert text_of(found[7]) == "a|b\n1|2"


@given(st.lists(st.integers(1, 40), max_size=60))
def test_streaming_ends_with_the_blocks_of_the_whole_text(cuts: list[int]) -> None:
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
        ("> " * 17 + "quoted", "▎ " * 17 + "quoted"),
        ("> " * 300 + "hidden", "> " * 300 + "hidden"),
        ("*a*\n\n" + "- " * 10 + "*hidden*", "a\n" + "- " * 10 + "*hidden*"),
    ],
)
def test_no_written_text_is_hidden(source: str, shown: str) -> None:
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
        "[" * 10000,
        "[a](" * 5000,
        "*a" * 10000,
        "a\n" * 10000,
        "![" * 5000,
        "`a" * 10000,
        "> " * 5000,
        "x" * 1_000_000,
        "<a" * 10000,
        "\\(\n" * 10_000,
        "\\[\n" * 10_000,
        "$x " * 10_000,
    ],
    ids=lambda source: f"{source[:4]!r}",
)
def test_parsing_time_is_not_quadratic(source: str) -> None:
    """A hostile reply must not block the screen, as quadratic time would."""

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
@pytest.mark.parametrize("block", blocks(DOCUMENT + "\n\n|abc|def|\n|-|-|\n"), ids=lambda block: type(block).__name__)
def test_every_row_fits_its_width_and_nothing_is_lost(block: Block, width: int) -> None:
    rows = rows_of(block)
    fitted = rows.fit(width)
    if width >= 5:
        assert all(row.prefix.cell_length + row.text.cell_length <= width for row in fitted)
    assert rows.fit(width) is fitted
    letters = "".join(row.prefix.plain + row.text.plain for row in fitted)
    if not isinstance(block, Rule):
        assert {letter for letter in text_of(block) if letter.isalpha()} <= set(letters)


def rows_of(block: Block) -> LineBlock:
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


STEPS = """\
1. Install it:

   ```bash
   pip install x
   ```

2. Write
   ```python
   def f():
   \tpass
   ```
   and save.

   - Or run

     ```
     make
     ```

> Quoted
> ```c
> int x;
> ```
"""


def test_code_in_lists_and_quotes_can_be_copied_and_has_a_frame() -> None:
    found = code_blocks(STEPS)
    assert [(code.language, code.text) for code in found] == [
        ("bash", "pip install x"),
        ("python", "def f():\n\tpass"),
        ("", "make"),
        ("c", "int x;"),
    ]
    rows = CodeBlock(found[0], coloured=True).fit(30)
    assert rows[0].prefix.plain.startswith("   ╭─ bash")
    assert all(row.prefix.cell_length + row.text.cell_length <= 30 for row in rows)
    texts = [text_of(block) for block in blocks(STEPS)]
    assert texts[0] == "1. Install it:"
    assert "   and save." in texts[4]


@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_code_in_lists_is_the_same_however_it_arrives(size: int) -> None:
    parser = MarkdownParser()
    for start in range(0, len(STEPS), size):
        parser.write(STEPS[start : start + size])
    parser.close()
    assert [text_of(block) for block in parser.finished + parser.open] == [text_of(block) for block in blocks(STEPS)]


@pytest.mark.parametrize(
    "formula",
    [
        r"\(a_1 * b_2 * c\)",
        r"\[ \frac{a}{b} \\ c \]",
        "$x * y * z$",
        "$$a*b*c$$",
        "$\\alpha_1$ and $\\beta_1$",
    ],
)
def test_a_formula_is_shown_as_written(formula: str) -> None:
    (block,) = blocks(f"Take {formula} *now*.")
    assert text_of(block) == f"Take {formula} now."


@pytest.mark.parametrize("text", ["It costs $5 to $10, *not* $3.", "$ and *then* $", r"\(open *end*"])
def test_prices_and_open_delimiters_are_not_formulas(text: str) -> None:
    (block,) = blocks(text)
    assert "*" not in text_of(block)


def test_a_flag_that_arrives_in_pieces_is_shown_whole() -> None:
    flag = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbsct") + "\U000e007f"
    parser = MarkdownParser()
    for letter in f"Hello {flag}":
        parser.write(letter)
    parser.close()
    assert [text_of(block) for block in parser.open] == [f"Hello {flag}"]


def test_tabs_survive_a_selection() -> None:
    layout = BlockLayout()
    for number, block in enumerate(blocks("Words\n\n```make\nall:\n\tgcc\tx.c\n```")):
        layout.put(number, block)
    layout.fit(40)
    assert "all:\n    gcc x.c" in layout.plain
    assert layout.extract(SELECT_ALL) == "Words\n\nall:\n\tgcc\tx.c"
    assert layout.extract(Selection(Offset(0, 2), Offset(7, 3))) == "all:\n\tgcc"
    assert layout.extract(Selection(Offset(4, 3), Offset(11, 3))) == "gcc\tx.c"
    message = BlockLayout(0)
    message.put(0, plain("if x:\n\tpass"))
    assert message.extract(SELECT_ALL) == "if x:\n\tpass"
