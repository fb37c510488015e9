"""The SHA-256 of a download, made while it arrives and beside the thread that receives it."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_BUFFER: Final = 1 << 20
"""Bytes that are handed over to be hashed at once: many enough that the two threads seldom wait for each other, and few enough
that they still lie in the processor's cache."""
_BUFFERS: Final = 4
_BEHIND: Final = 4 << 20
"""So many bytes are read back from the file at once, where the hash is behind."""
_PATIENCE: Final = 0.05
"""Seconds that the receiver waits for a hash that is hardly behind, because reading the bytes back would cost more."""


@dataclass(frozen=True, slots=True)
class _Filled:
    """A buffer that holds a piece of the file."""

    start: int
    """Where the piece begins in the file."""
    buffer: memoryview
    used: int

    @property
    def block(self) -> memoryview:
        """The piece."""
        return self.buffer[: self.used]


class FollowingHash:
    """The SHA-256 of a file that is still growing, by a thread that takes each buffer over once it was written.

    It begins with what is already there, which it reads, so a resumed download goes on at once and is hashed in step. A receiver
    that is faster than the hash is not held up: the hash reads back from the file what it had no buffer for. hashlib lets go of
    Python's lock, so both threads run at the same time.
    """

    def __init__(self, path: Path, size: int) -> None:
        """Begin to hash the file at `path`, whose first `size` bytes stand."""
        self._path = path
        self._hash = hashlib.sha256()
        self._available = size
        self._position = 0
        self._free = deque(memoryview(bytearray(_BUFFER)) for _ in range(_BUFFERS))
        self._filled: deque[_Filled] = deque()
        self._spare = memoryview(bytearray(_BUFFER))
        self._buffer, self._used = self._spare, _BUFFER
        self._whole = self._ended = False
        self._error: OSError | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    @property
    def position(self) -> int:
        """Bytes hashed so far."""
        return self._position

    def space(self) -> memoryview:
        """Where to put the next bytes of the file, never empty; `grown` says how many they were, once they are written."""
        if self._used == _BUFFER:
            with self._changed:
                if self._available - self._position <= _BUFFERS * _BUFFER:
                    self._changed.wait_for(lambda: self._free or self._error, _PATIENCE)
                self._buffer, self._used = self._free.popleft() if self._free else self._spare, 0
        return self._buffer[self._used :]

    def grown(self, count: int) -> None:
        """Say that the first `count` bytes of the last `space` stand in the file."""
        self._used += count
        self._available += count
        if self._used == _BUFFER:
            with self._changed:
                self._hand_over()

    def whole(self) -> None:
        """Say that the file will not grow any more."""
        with self._changed:
            self._hand_over()
            self._whole = True

    def wait(self, seconds: float) -> bool:
        """Wait until all of it is hashed, at most so long; gives whether it is.

        Raises:
            OSError: the file could not be read back.
        """
        self._thread.join(seconds)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def hexdigest(self) -> str:
        """The SHA-256 of what was hashed; right once `wait` gave True."""
        return self._hash.hexdigest()

    def end(self) -> None:
        """Stop, whether all is hashed or not."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()

    def _hand_over(self) -> None:
        """Give the buffer in hand to the thread; what stands in the spare one is read back from the file."""
        if self._buffer is not self._spare:
            self._filled.append(_Filled(self._available - self._used, self._buffer, self._used))
        self._buffer, self._used = self._spare, _BUFFER
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            with self._path.open("rb", buffering=0) as file:
                block = memoryview(bytearray(_BEHIND))
                while (following := self._next()) is not None:
                    if isinstance(following, int):
                        file.seek(self._position)
                        read = file.readinto(block[:following])
                        if not read:
                            raise OSError(errno.EIO, "the part became shorter while it was hashed")  # noqa: TRY301 (kept for wait)
                        self._add(block[:read])
                    else:
                        self._add(following.block[max(self._position - following.start, 0) :])
                        self._give_back(following)
        except OSError as error:
            self._error = error

    def _add(self, block: memoryview) -> None:
        self._hash.update(block)
        self._position += len(block)

    def _give_back(self, filled: _Filled) -> None:
        with self._changed:
            self._free.append(filled.buffer)
            self._changed.notify_all()

    def _next(self) -> _Filled | int | None:
        """Wait for what is hashed next: a buffer, or so many bytes that the file must be asked for; None at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or self._whole or self._filled or self._available - self._position >= _BEHIND
            )
            if self._ended:
                return None
            if self._filled and self._filled[0].start <= self._position:
                return self._filled.popleft()
            until = self._filled[0].start if self._filled else self._available
            return min(until - self._position, _BEHIND) or None
