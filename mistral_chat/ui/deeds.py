"""What a person did last, and how each of it is taken back."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_KEPT: Final = 50
"""How many deeds can be taken back, one after the other."""


class Deed(NamedTuple):
    """One thing that was done."""

    name: str
    """What it is called after "Undone:"."""
    take_back: Callable[[], Awaitable[None]]
    """Makes it as it was. Raises `StoreError` where that cannot be, because what it was done to is gone."""


class Deeds:
    """The last things that were done, newest on top."""

    def __init__(self) -> None:
        """Nothing has been done yet."""
        self._done: deque[Deed] = deque(maxlen=_KEPT)

    def did(self, name: str, take_back: Callable[[], Awaitable[None]]) -> None:
        """Note one more; see `Deed`."""
        self._done.append(Deed(name, take_back))

    def pop(self) -> Deed | None:
        """Give the last one, and forget it; None when there is none."""
        return self._done.pop() if self._done else None

    def clear(self) -> None:
        """Forget all of them: what they were done to is out of reach."""
        self._done.clear()
