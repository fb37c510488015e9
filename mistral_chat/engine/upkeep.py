"""What the engine does for itself between replies, as the screen is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

_BLOCK: Final = 8 << 20
"""Bytes between two chances to tell and to stop: some 20 ms of a usual disk."""


class Upkeep(NamedTuple):
    """A KV state on its way to the disk or back."""

    what: Literal["saving", "restoring"]
    done: int
    """Bytes."""
    total: int


class GivenUp(Exception):
    """A KV state is not read after all."""


def blocks(pieces: Sequence[bytes | memoryview]) -> Iterator[memoryview]:
    """What `pieces` hold, in blocks that are written quickly; nothing is copied."""
    for piece in pieces:
        view = memoryview(piece).cast("B") if len(piece) else memoryview(b"")
        for start in range(0, len(view), _BLOCK):
            yield view[start : start + _BLOCK]


def block_of(view: memoryview, start: int) -> memoryview:
    """The block of `view` that begins at `start`, to be read into."""
    return view[start : start + _BLOCK]
