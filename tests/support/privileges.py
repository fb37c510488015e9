"""Work done without root's rights: modes mean nothing to root."""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def without_privileges(work: Callable[[], T]) -> T:
    """Do some work without root's right to read and write whatever the modes say, which a thread and those it starts give up."""
    if os.getuid() != 0:
        return work()
    with ThreadPoolExecutor(max_workers=1, initializer=_give_up_rights) as executor:
        return executor.submit(work).result()


def _give_up_rights() -> None:
    """Drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of this thread; they can be neither seen nor got back."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    sets[0] &= ~6  # effective
    sets[1] &= ~6  # permitted
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")
