"""A reply's Markdown as blocks of plain values, each drawn by one widget.

Textual's own Markdown widget mounts a widget for every paragraph, list item and table cell, which costs more than the model on a
small machine. Here a top-level block is one value: prose as lines with hanging indents, code, a table, or a rule. HTML is text,
links show where they lead, and nothing can be clicked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Final, Literal

from textual.content import Content

from mistral_chat.text import clean, one_line, unfinished_flag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.tree import SyntaxTreeNode

LARGEST_SOURCE: Final = 32 * 1024
"""Maximum characters of Markdown that are parsed; a longer text is shown as plain text."""

LARGEST_PARAGRAPH: Final = 8 * 1024
"""Maximum characters of one line that are parsed; some patterns take quadratic time."""

_MOST_NESTED: Final = 20
"""Levels of lists, items and quotes in each other; the parser drops what is deeper, so that block is shown as plain text."""

_BULLETS: Final = ("•", "◦", "▪")
_NESTED_BRACKETS: Final = re.compile(r"[\[*_`~<]{64}")
_FORMULA: Final = re.compile(
    r"""\\\((?:[^\\]|\\[^)]){0,1000}?\\\)        # \( ... \)
      | \\\[(?:[^\\]|\\[^\]]){0,1000}?\\\]       # \[ ... \]
      | \$\$(?:[^$\\]|\\.){1,1000}?\$\$          # $$ ... $$
      | \$(?![\s$])(?:[^$\\\n]|\\.){1,1000}?(?<!\s)\$(?!\d)  # $ ... $ on one line; amounts of money are none""",
    re.VERBOSE | re.DOTALL,
)
"""A TeX formula with its delimiters."""
_EMPTY: Final = Content("")
_STYLES: Final = {
    "strong": ".prose--strong",
    "em": ".prose--emphasis",
    "s": ".prose--struck",
    "link": ".prose--link",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was written, however many rows of the screen it takes."""

    text: Content
    first: Content = _EMPTY
    """Precedes the first row: a bullet, or a quote's bar."""
    rest: Content = _EMPTY
    """Precedes the other rows when the line wraps; as wide as `first`."""
    source: str = ""
    """The original text if it contains tabs; `text` has spaces for them."""


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs, headings, lists and quotes."""

    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """A block of code; also one inside a list item or a quote."""

    language: str
    """The word after the fence, safe to draw; empty when there was none."""
    text: str
    first: Content = _EMPTY
    """Precedes the first row: the bullet or bar of the containing list or quote."""
    rest: Content = _EMPTY
    """Precedes all other rows; as wide as `first`."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; every row has as many cells as the header."""

    header: tuple[Content, ...]
    rows: tuple[tuple[Content, ...], ...]
    align: tuple[Literal["left", "center", "right"], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal rule."""


Block = Prose | Code | Table | Rule


class MarkdownParser:
    """Parses Markdown as it arrives. What is finished is not parsed again.

    A top-level block is finished when a later one has begun on a line that is complete: nothing that follows can change it.
    """

    def __init__(self) -> None:
        """Start with nothing read."""
        self.finished: list[Block] = []
        """The blocks that will not change."""
        self.open: list[Block] = []
        """The blocks at the end that what follows may still change."""
        self._tail = ""
        self._held_back = ""

    def write(self, text: str) -> None:
        """Parse more text."""
        text = self._held_back + text
        end = unfinished_flag(text)
        self._held_back = text[end:]
        self._parse(clean(text[:end]))

    def close(self) -> None:
        """Parse the end of the text: nothing follows."""
        if self._held_back:
            self._parse(clean(self._held_back))
            self._held_back = ""

    def _parse(self, text: str) -> None:
        self._tail += text
        found = _parts(self._tail)
        complete = self._tail.count("\n")
        start = max((line for _, line in found if line < complete), default=0)
        # A list with code in it gives several blocks that start on one line: they are finished together.
        last = next((number for number, (_, line) in enumerate(found) if line == start), 0)
        self.finished += [block for block, _ in found[:last]]
        self.open = [block for block, _ in found[last:]]
        if last:
            self._tail = self._tail.split("\n", found[last][1])[-1]


def blocks(source: str) -> list[Block]:
    """Parse a whole text into its blocks."""
    reader = MarkdownParser()
    for start in range(0, len(source), LARGEST_SOURCE // 2):
        reader.write(source[start : start + LARGEST_SOURCE // 2])
    reader.close()
    return reader.finished + reader.open


def code_blocks(source: str) -> list[Code]:
    """Return every code block of a text, also those inside lists and quotes, in order."""
    if not any(mark in source for mark in ("```", "~~~", "    ", "\t")):
        return []  # without parsing it
    return [block for block in blocks(source) if isinstance(block, Code)]


def is_chunk_independent(source: str) -> bool:
    """Whether `source` is parsed, and gives the same blocks however it is cut: it has no size or pattern that takes too long."""
    fits = len(source) <= LARGEST_SOURCE and max(map(len, source.split("\n"))) <= LARGEST_PARAGRAPH
    return fits and _NESTED_BRACKETS.search(source) is None


def _parts(source: str) -> list[tuple[Block, int]]:
    """Parse `source` into its top-level blocks, each with the number of the line it starts on.

    A text too large or too twisted to parse quickly comes back as one block of prose, as it stands.
    """
    if not is_chunk_independent(source):
        return [(plain(source), 0)]
    from markdown_it.tree import SyntaxTreeNode

    root = SyntaxTreeNode(_parser().parse(source))
    lines = source.split("\n")
    parts: list[tuple[Block, int]] = []
    for node in root.children:
        start, end = node.map or (0, 0)
        deep = any(inner.level >= _MOST_NESTED - 1 for inner in node.walk())
        parts += [(block, start) for block in ([plain("\n".join(lines[start:end]))] if deep else _block(node))]
    return parts


def plain(source: str) -> Prose:
    """Return a text as one block, without parsing it."""
    return Prose(tuple(map(_plain_line, clean(source).strip("\n").split("\n"))))


def _plain_line(text: str) -> Line:
    return Line(Content(text.expandtabs(4)), source=text if "\t" in text else "")


@cache
def _parser() -> MarkdownIt:
    """Make the parser: CommonMark with tables, strikethrough and formulas, without what hides text (HTML, link definitions)."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _MOST_NESTED})
    parser.inline.ruler.before("escape", "formula", _formula)
    return parser.enable(["table", "strikethrough"]).disable("reference")


def _formula(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 (markdown-it's own signature)
    """Keep a TeX formula unchanged: its backslashes, underscores and asterisks are not Markdown."""
    closing = {"\\(": "\\)", "\\[": "\\]"}.get(state.src[state.pos : state.pos + 2], "")
    near = closing in state.src[state.pos : state.pos + 2 * 1000]  # else the pattern looks for it again from each opening one
    found = _FORMULA.match(state.src, state.pos, state.posMax) if near else None
    if found is None:
        return False
    if not silent:
        state.push("text", "", 0).content = found.group()
    state.pos = found.end()
    return True


def _block(node: SyntaxTreeNode) -> Iterator[Block]:
    match node.type:
        case "table":
            yield _table(node)
        case "hr":
            yield Rule()
        case "heading":
            style = ".prose--title" if node.tag in {"h1", "h2"} else ".prose--heading"
            yield Prose(tuple(Line(line.stylize(style)) for line in _inline(node.children)))
        case _:
            yield from _grouped(_lines(node))


def _grouped(parts: Iterator[Line | Code]) -> Iterator[Block]:
    """Gather lines that follow each other into blocks of prose; code between them stays a block of its own."""
    for is_code, group in groupby(parts, lambda part: isinstance(part, Code)):
        if is_code:
            yield from (part for part in group if isinstance(part, Code))
            continue
        lines = [part for part in group if isinstance(part, Line)]
        if filled := [y for y, line in enumerate(lines) if not _is_blank(line)]:
            yield Prose(tuple(lines[filled[0] : filled[-1] + 1]))


def _is_blank(line: Line) -> bool:
    return not f"{line.first.plain}{line.text.plain}".strip(" ▎")


def _lines(node: SyntaxTreeNode, depth: int = 0) -> Iterator[Line | Code]:
    """Flatten a block that may contain others into lines with hanging indents, and code."""
    match node.type:
        case "bullet_list" | "ordered_list":
            yield from _list(node, depth)
        case "blockquote":
            bar = Content.styled("▎ ", ".prose--bar")
            for part in _spaced(node.children, depth):
                inner = part if isinstance(part, Code) else replace(part, text=part.text.stylize_before(".prose--quote"))
                yield replace(inner, first=bar + part.first, rest=bar + part.rest)
        case "fence" | "code_block":
            yield Code(_language(node.info), clean(node.content).rstrip("\n"))
        case "table":
            table = _table(node)
            yield from (Line(Content(" │ ").join(row)) for row in (table.header, *table.rows))
        case "hr":
            yield Line(Content("───"))
        case _:
            style = ".prose--heading" if node.type == "heading" else ""
            yield from (Line(text.stylize(style)) for text in _inline(node.children))


def _list(node: SyntaxTreeNode, depth: int) -> Iterator[Line | Code]:
    start = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else 0
    last = start + len(node.children) - 1
    loose = any(child.type == "paragraph" and not child.hidden for item in node.children for child in item.children)
    for number, item in enumerate(node.children, start):
        mark = f"{number:>{len(str(last))}}. " if node.type == "ordered_list" else f"{_BULLETS[depth % len(_BULLETS)]} "
        hang = Content(" " * len(mark))
        if loose and number > start:
            yield Line(_EMPTY)
        first = Content.styled(mark, ".prose--mark")
        for part in _spaced(item.children, depth + 1, loose=loose) or [Line(_EMPTY)]:
            yield replace(part, first=first + part.first, rest=hang + part.rest)
            first = hang


def _spaced(nodes: Sequence[SyntaxTreeNode], depth: int, *, loose: bool = True) -> list[Line | Code]:
    """Flatten blocks that follow each other, with an empty line between them where they are `loose`."""
    lines: list[Line | Code] = []
    for node in nodes:
        if lines and loose:
            lines.append(Line(_EMPTY))
        lines.extend(_lines(node, depth))
    return lines


def _table(node: SyntaxTreeNode) -> Table:
    rows = [
        [(Content(" ").join(_inline(cell.children)), str(cell.attrs.get("style", ""))) for cell in row.children]
        for part in node.children
        for row in part.children
    ]
    header, *body = rows
    sides: dict[str, Literal["left", "center", "right"]] = {"text-align:center": "center", "text-align:right": "right"}
    return Table(
        tuple(text for text, _ in header),
        tuple(tuple(text for text, _ in row) for row in body),
        tuple(sides.get(style, "left") for _, style in header),
    )


def _language(info: str) -> str:
    """The language after a fence; empty if it does not look like one."""
    word = one_line(info, 30).split(" ")[0]
    return word if re.fullmatch(r"[\w+#.-]+", word) else ""


def _inline(nodes: Sequence[SyntaxTreeNode]) -> list[Content]:
    """Turn inline nodes into one content for each line. A single line break in a reply is kept: models mean it."""
    return _joined(nodes).split("\n", allow_blank=True)


def _joined(nodes: Sequence[SyntaxTreeNode]) -> Content:
    return _text(nodes[0]) if len(nodes) == 1 else _EMPTY.join(map(_text, nodes))


def _text(node: SyntaxTreeNode) -> Content:
    """Turn one inline node, with everything in it, into text and styles."""
    match node.type:
        case "text":
            return Content(clean(node.content).replace("\t", "    "))
        case "softbreak" | "hardbreak":
            return Content("\n")
        case "code_inline":
            return Content.styled(clean(node.content).expandtabs(4), ".prose--code")
        case "image":
            return Content(f"[image: {one_line(node.content) or 'without a name'}]") + _target(node.attrs.get("src", ""), "")
        case _:
            text = _joined(node.children).stylize(_STYLES.get(node.type, ""))
            return text + _target(node.attrs.get("href", ""), text.plain) if node.type == "link" else text


def _target(address: object, label: str) -> Content:
    """A link's target, as it stands after its label; empty if that is the label."""
    shown = one_line(str(address), 300)
    if not shown or shown.rstrip("/") == label.strip().rstrip("/"):
        return _EMPTY
    return Content.styled(f" ({shown})", ".prose--target")
