"""Refuses every connection to another machine that is not part of a download, whatever code makes it.

The two functions that talk to the hub run inside `allowed`. Everything else in the process, including libraries, is refused.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_LOOKUPS: Final = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
_SENDING: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
"""Python's audit events before it resolves a host, connects to one, or sends to one."""


class _Permission(threading.local):
    depth = 0
    """How many `allowed` blocks this thread is in."""


_permission = _Permission()


@contextmanager
def allowed() -> Iterator[None]:
    """Let this thread use the network inside the block."""
    _permission.depth += 1
    try:
        yield
    finally:
        _permission.depth -= 1


def forbid() -> None:
    """From now on, refuse connections outside of `allowed`. This cannot be undone in a process."""
    sys.addaudithook(_check)


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _LOOKUPS:
        host = arguments[0]
    elif event in _SENDING and isinstance(arguments[1], tuple):  # otherwise a Unix socket, or one that is already connected
        host = arguments[1][0]
    else:
        return
    if not _permission.depth and not _is_this_machine(host):
        raise PermissionError("mistral-chat uses the network only for downloads that the user asked for.")


def _is_this_machine(host: object) -> bool:
    from ipaddress import ip_address

    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str) or host in {"", "localhost"}:
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
