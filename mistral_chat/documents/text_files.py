"""Reads plain text, Markdown and source code as blocks."""

from __future__ import annotations

import ast
import re
from itertools import groupby
from typing import TYPE_CHECKING, Final

from mistral_chat.documents.blocks import Outline
from mistral_chat.errors import DocumentUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mistral_chat.documents.blocks import Block

PROBED: Final = 8192
"""Bytes at the start of a file that are checked for binary data."""
_LONGEST_TITLE_LINE: Final = 90
_BYTE_ORDER_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))

_NUMBERED: Final = re.compile(r"\s{0,8}(?P<number>\d{1,3}(?:\.\d{1,3}){0,5})[.)]?\s+(?=\S*[^\W\d_])[^.;,]{2,}\.?")
_NAMED: Final = re.compile(r"\s{0,8}(?:chapter|part|article|section|appendix)\s+[\dIVXLC]+\b.*", re.IGNORECASE)
_SHOUTED: Final = re.compile(r"^(?=.*[A-Z]{3})[^a-z]*$")
_UNDERLINE: Final = re.compile(r"([=\-*~^+#\"'`])\1{2,}\s*")
_ATX: Final = re.compile(r" {0,3}(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*")
_SETEXT: Final = re.compile(r" {0,3}(=+|-{2,})\s*")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_DEFINITION: Final = re.compile(
    r"(?:(?:export|default|pub(?:\([^)]*\))?|public|private|protected|internal|static|final|abstract|sealed|open|async|unsafe|"
    r"inline|extern|const|data|virtual|override)\s+)*"
    r"(?P<kind>def|class|func|fn|fun|function|interface|struct|enum|impl|trait|type|module|namespace|package|object|record|"
    r"protocol|extension|sub|proc|macro_rules!|CREATE TABLE)\s+(?P<name>[\w.$:<>*]{1,80})"
)
_C_FUNCTION: Final = re.compile(r"[A-Za-z_][\w\s*&:<>,]{0,160}?\b(?P<name>[A-Za-z_]\w{1,60})\s*\([^;]*")
_CONTINUES: Final = re.compile(r"[\s})\]#]|end\b|else\b|elif\b|except\b|catch\b|finally\b")


def decode(content: bytes) -> str:
    """Decode `content`: Unicode by its byte order mark, UTF-8, or Windows-1252 if the bytes are not UTF-8.

    Raises:
        DocumentUnreadable: the bytes are no text.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if looks_binary(content[:PROBED]):
        raise DocumentUnreadable("it is not text")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def looks_binary(head: bytes) -> bool:
    """Whether the start of a file is binary: it contains NUL, or many other control characters."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    controls = sum(byte < 9 or 13 < byte < 27 for byte in head)  # noqa: PLR2004 (all but tabs, line ends and escapes)
    return b"\0" in head or controls > len(head) / 50


def lines_of(text: str) -> list[str]:
    """Split `text` into lines, as an editor counts them."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def paragraphs(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The runs of lines that are not blank: start and end index of each."""
    end = 0
    for filled, run in groupby(lines, lambda line: bool(line.strip())):
        start, end = end, end + len(list(run))
        if filled:
            yield start, end


def plain_text(text: str) -> Iterator[Block]:
    """Read plain text as paragraphs below headings that are recognised by number, name, underline or capitals."""
    outline, lines, underlines = Outline(), lines_of(text), dict[str, int]()
    for start, end in paragraphs(lines):
        begin = start
        title = _title_above(lines, start, end)
        if title is not None:
            level, begin = title
            if level == 0:
                level = underlines.setdefault(lines[begin - 1].strip()[0], 2 + len(underlines))
            yield from outline.heading(
                level, next(line for line in lines[start:begin] if not _UNDERLINE.fullmatch(line)), start + 1
            )
        yield from outline.block("\n".join(lines[begin:end]), line=begin + 1)
    yield from outline.rest()


def _title_above(lines: Sequence[str], start: int, end: int) -> tuple[int, int] | None:
    """The level of the heading that the paragraph starts with, 0 for an underlined one, and where the text below it starts."""
    first = lines[start].strip()
    if len(first) > _LONGEST_TITLE_LINE:
        return None
    lined = [bool(_UNDERLINE.fullmatch(line.strip())) for line in lines[start : min(end, start + 3)]]
    if lined == [True, False, True]:
        return 0, start + 3
    if lined[:2] == [False, True]:
        return 0, start + 2
    numbered = _NUMBERED.fullmatch(lines[start])
    if numbered and end - start == 1:
        return 10 + numbered["number"].count("."), end
    if end - start == 1 and (_NAMED.fullmatch(lines[start]) or _SHOUTED.search(first)) and not lined[0]:
        return 1, end
    return None


def markdown(text: str) -> Iterator[Block]:
    """Read Markdown as paragraphs, lists and fenced code below its headings."""
    outline, lines = Outline(), lines_of(text)
    start = index = _front_matter(lines)
    while index < len(lines):
        line = lines[index]
        fence, atx = _FENCE.match(line), _ATX.fullmatch(line)
        if fence:
            yield from outline.block("\n".join(lines[start:index]), line=start + 1)
            end = _closing(lines, index, fence[1])
            yield from outline.block("\n".join(lines[index:end]), line=index + 1, code=True)
            start = index = end
            continue
        setext = start < index and _SETEXT.fullmatch(line)
        if atx or setext:
            yield from outline.block("\n".join(lines[start : index if atx else index - 1]), line=start + 1)
            title = (atx[2] or "") if atx else lines[index - 1]
            yield from outline.heading(len(atx[1]) if atx else (1 if "=" in line else 2), title, index + bool(atx))
            start = index + 1
        elif not line.strip():
            yield from outline.block("\n".join(lines[start:index]), line=start + 1)
            start = index + 1
        index += 1
    yield from outline.block("\n".join(lines[start:]), line=start + 1)
    yield from outline.rest()


def _front_matter(lines: Sequence[str]) -> int:
    """The line after the YAML block at the top; 0 without one."""
    if lines[0].strip() != "---":
        return 0
    return next((index + 1 for index, line in enumerate(lines[1:200], 1) if line.strip() in ("---", "...")), 0)


def _closing(lines: Sequence[str], start: int, fence: str) -> int:
    """The line after the fenced code that starts at `start`."""
    for index in range(start + 1, len(lines)):
        line = lines[index].strip()
        if line.startswith(fence) and not line.strip(fence[0]):
            return index + 1
    return len(lines)


def python_code(text: str) -> Iterator[Block]:
    """Read Python source as functions, methods and the code between them; as other source code if it does not parse."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield from source_code(text)
        return
    lines = lines_of(text)
    yield from _python_body(Outline(), lines, tree.body, (0, len(lines)))


def _python_body(
    outline: Outline, lines: Sequence[str], body: Sequence[ast.stmt], span: tuple[int, int], level: int = 1
) -> Iterator[Block]:
    """Split the lines of `span`, its start and end, at the definitions in `body`."""
    start, end = span
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in body:
        if not isinstance(node, definitions):
            continue
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
        while first > start and lines[first - 1].lstrip().startswith("#"):
            first -= 1
        yield from _chunks(outline, lines, start, first)
        start = node.end_lineno or first + 1
        word = "class" if isinstance(node, ast.ClassDef) else "def"
        list(outline.heading(level, f"{word} {node.name}", first + 1))
        inner = [each for each in node.body if isinstance(each, definitions)] if isinstance(node, ast.ClassDef) else []
        if inner:
            yield from _python_body(outline, lines, node.body, (first, start), level + 1)
        else:
            yield from outline.block("\n".join(lines[first:start]), line=first + 1, code=True)
        outline.leave(level)
    yield from _chunks(outline, lines, start, end)


def _chunks(outline: Outline, lines: Sequence[str], start: int, end: int) -> Iterator[Block]:
    for first, last in paragraphs(lines[start:end]):
        yield from outline.block("\n".join(lines[start + first : start + last]), line=start + first + 1, code=True)


def source_code(text: str) -> Iterator[Block]:
    """Read source code of any language, split before unindented lines that start a definition."""
    outline, lines = Outline(), lines_of(text)
    start = 0
    for index in range(1, len(lines) + 1):
        if index < len(lines) and (lines[index - 1].strip() or not lines[index].strip() or _CONTINUES.match(lines[index])):
            continue
        chunk = lines[start:index]
        name = _defined(chunk)
        outline.leave(1)
        if name:
            list(outline.heading(1, name, start + 1))
        blank = next((number for number, line in enumerate(chunk) if line.strip()), 0)
        yield from outline.block("\n".join(chunk), line=start + blank + 1, code=True)
        start = index


def _defined(lines: Sequence[str]) -> str:
    """The name that a piece of code defines, with its keyword if it has one; empty if it defines nothing."""
    for line in lines[:30]:
        if len(line) > 400:  # noqa: PLR2004 (no definition is that long)
            continue
        definition = _DEFINITION.match(line)
        if definition:
            return f"{definition['kind']} {definition['name']}"
        function = _C_FUNCTION.fullmatch(line)
        if function and function["name"] not in ("if", "for", "while", "switch", "return"):
            return function["name"]
    return ""
