"""Rows read straight from a database's pages, when the tables that lead to them are broken.

After "Database File Format" of SQLite's documentation, sections 1.5 and 1.6 (b-tree pages and the cells on them) and 2.1
(records). Only leaves of tables are read; freed pages hold nothing, because they were overwritten.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Row = dict[str, Any]

PAGE: Final = 4096
"""Bytes of a page: SQLite's default, which the database is made with."""

_LEAF: Final = 0x0D
_HEADER: Final = 8
_MOST_LOCAL: Final = PAGE - 35
_LEAST_LOCAL: Final = (PAGE - 12) * 32 // 255 - 23
_LARGEST: Final = 64 * 1024**2
_NUMBERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_FIRST_TEXT: Final = 12


def rows_on_pages(path: Path, columns: tuple[str, ...], fewest: int) -> dict[int, Row]:
    """The rows by number that look like those of a table with these `columns`, whose first one is the row's number.

    Rows that were written before a column was added hold fewer, `fewest` at least; the rest is left out.
    """
    content = path.read_bytes()
    rows: dict[int, Row] = {}
    for start in range(0, len(content) - PAGE + 1, PAGE):
        for number, values in _leaf(content, start):
            if fewest <= len(values) <= len(columns) and values[0] is None and number > 0:
                rows[number] = dict(zip(columns, values, strict=False)) | {columns[0]: number}
    return rows


def _leaf(content: bytes, start: int) -> Iterator[tuple[int, list[Any]]]:
    """The rows on the page that begins at `start`; those that make no sense are left out."""
    if content[start] != _LEAF:
        return
    (cells,) = struct.unpack_from(">H", content, start + 3)
    for place in range(min(cells, (PAGE - _HEADER) // 2)):
        (offset,) = struct.unpack_from(">H", content, start + _HEADER + 2 * place)
        try:
            yield _cell(content, start, offset)
        except (IndexError, ValueError, struct.error):
            continue


def _cell(content: bytes, start: int, offset: int) -> tuple[int, list[Any]]:
    """The row in a cell: its number and its values."""
    at = start + offset
    size, at = _varint(content, at)
    number, at = _varint(content, at)
    local = size
    if size > _MOST_LOCAL:
        local = _LEAST_LOCAL + (size - _LEAST_LOCAL) % (PAGE - 4)
        local = local if local <= _MOST_LOCAL else _LEAST_LOCAL
    if size > _LARGEST or at + local > start + PAGE:
        raise ValueError("the cell leaves its page")
    payload = bytearray(content[at : at + local])
    following = struct.unpack_from(">I", content, at + local)[0] if local < size else 0
    while len(payload) < size:
        if not 0 < following <= len(content) // PAGE:
            raise ValueError("a page is missing")
        page = (following - 1) * PAGE
        (following,) = struct.unpack_from(">I", content, page)
        payload += content[page + 4 : page + 4 + min(PAGE - 4, size - len(payload))]
    return number, _record(bytes(payload))


def _record(payload: bytes) -> list[Any]:
    """The values of a record. Fractions do not occur in our tables."""
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        value, size = _value(payload, at, kind)
        if at + size > len(payload):
            raise ValueError("the record is cut")
        values.append(value)
        at += size
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    """A value of this kind and how many bytes it takes."""
    if kind == 0:
        return None, 0
    if kind in {8, 9}:
        return kind - 8, 0
    if kind in _NUMBERS:
        size = _NUMBERS[kind]
        return int.from_bytes(payload[at : at + size], "big", signed=True), size
    if kind > _FIRST_TEXT and kind % 2:
        size = (kind - _FIRST_TEXT - 1) // 2
        return payload[at : at + size].decode("utf-8", "replace"), size
    raise ValueError("a kind of value that our tables do not have")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    number = 0
    for step in range(8):
        byte = content[at + step]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follow
            return number, at + step + 1
    return number << 8 | content[at + 8], at + 9
