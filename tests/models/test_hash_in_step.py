"""The hash of a file that is still arriving: right however the bytes come, and however far it is behind."""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING

import pytest

from mistral_chat.models.hashing import FollowingHash

if TYPE_CHECKING:
    from pathlib import Path


def arrive(following: FollowingHash, path: Path, content: bytes, draw: random.Random, largest: int) -> None:
    """Append `content` in pieces of at most `largest` bytes, as a download does."""
    with path.open("ab", buffering=0) as file:
        left = memoryview(content)
        while left:
            space = following.space()
            count = min(len(space), len(left), draw.randrange(1, largest + 1))
            space[:count] = left[:count]
            file.write(space[:count])
            following.grown(count)
            left = left[count:]


def finished(following: FollowingHash) -> str:
    following.whole()
    assert following.wait(20)
    return following.hexdigest()


@pytest.mark.parametrize("here", [0, 1, 3_000_000, 40_000_000])
@pytest.mark.parametrize("largest", [20_000, 300_000, 1_000_000])
def test_the_hash_is_right_from_wherever_the_download_goes_on(tmp_path: Path, here: int, largest: int) -> None:
    """With 40 MB to read first the hash is behind and must read what it had no buffer for."""
    path, draw = tmp_path / "part", random.Random(here + largest)
    content = draw.randbytes(here + 9_000_001)
    path.write_bytes(content[:here])
    following = FollowingHash(path, here)
    arrive(following, path, content[here:], draw, largest)
    assert finished(following) == hashlib.sha256(content).hexdigest()
    assert following.position == len(content)
    following.end()


def test_nothing_arrived_and_everything_here_are_hashed_as_well(tmp_path: Path) -> None:
    path = tmp_path / "part"
    for content in (b"", b"whole"):
        path.write_bytes(content)
        assert finished(FollowingHash(path, len(content))) == hashlib.sha256(content).hexdigest()


def test_a_hash_that_is_left_ends_at_once_whatever_waits(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(bytes(1000))
    following = FollowingHash(path, 1000)
    arrive(following, path, bytes(600_000), random.Random(1), 100_000)
    following.end()
    assert following.wait(0)


def test_a_part_that_is_taken_away_is_told(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(bytes(1000))
    following = FollowingHash(path, 10_000_000)
    following.whole()
    with pytest.raises(OSError, match="shorter"):
        following.wait(20)
    os.unlink(path)  # noqa: PTH108 (what another program does)
