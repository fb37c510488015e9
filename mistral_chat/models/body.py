"""The body of an answer, received into memory that is used again."""

from __future__ import annotations

import socket
import ssl

import httpx2


class Body:
    """The bytes of one answer.

    What httpx2 does to each 64 kB of a body costs more than hashing them, so once its parser has handed on what it holds, the
    rest of a body of stated length comes from its socket, as large as it comes.
    """

    def __init__(self, response: httpx2.Response, stall: float) -> None:
        """Read the body of `response`, which was asked for as a stream; `stall` seconds are the longest silence."""
        self._parsed = response.iter_raw()
        self._pending = memoryview(next(self._parsed, b""))
        self._socket = _plain_socket(response)
        self._missing = int(response.headers.get("content-length", 0)) - len(self._pending)
        if self._socket is not None:
            self._socket.settimeout(stall)

    def read_into(self, space: memoryview) -> int:
        """Put the next bytes at the beginning of `space`; gives how many, and 0 at the body's end.

        Raises:
            httpx2.TransportError: the connection failed, or fell silent.
        """
        if not self._pending and self._socket is None:
            self._pending = memoryview(next(self._parsed, b""))
        if self._pending or self._socket is None:
            count = min(len(self._pending), len(space))
            space[:count] = self._pending[:count]
            self._pending = self._pending[count:]
            return count
        return self._receive(self._socket, space[: self._missing]) if self._missing else 0

    def _receive(self, stream: socket.socket, space: memoryview) -> int:
        try:
            count = stream.recv_into(space)
        except TimeoutError as error:
            raise httpx2.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpx2.ReadError(str(error)) from error
        if not count:
            raise httpx2.ReadError("the connection was closed early")
        self._missing -= count
        return count


def _plain_socket(response: httpx2.Response) -> socket.socket | None:
    """The socket that gives the body and nothing else; None where the body is in chunks, or a layer lies over the socket."""
    stream = response.extensions.get("network_stream")
    stated = "content-length" in response.headers and "transfer-encoding" not in response.headers
    if stream is None or not stated or response.http_version != "HTTP/1.1":
        return None
    if isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject):
        return None
    found = stream.get_extra_info("socket")
    return found if isinstance(found, socket.socket) else None
