"""A connected socket as a byte stream that reads nothing before it is asked to.

Those of anyio that wrap an accepted or given socket read ahead without bound when data comes faster than it is taken.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, notify_closing, wait_readable, wait_writable
from anyio.abc import SocketStream
from anyio.lowlevel import checkpoint


class ConnectedSocket(SocketStream):
    """Takes over `raw`, a connected stream socket of any family."""

    def __init__(self, raw: socket.socket) -> None:
        raw.setblocking(False)
        self._raw = raw

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """What has arrived. EndOfStream after the half close of the peer, BrokenResourceError from its reset."""
        await checkpoint()
        while True:
            self._require_open()
            try:
                data = self._raw.recv(max_bytes)
            except BlockingIOError:
                await wait_readable(self._raw)
            except OSError as error:
                raise BrokenResourceError from error
            else:
                if not data:
                    raise EndOfStream
                return data

    async def send(self, item: bytes) -> None:
        """Send all of `item`; BrokenResourceError from what the system says when the peer is gone."""
        await checkpoint()
        rest = memoryview(item)
        while rest:
            self._require_open()
            try:
                rest = rest[self._raw.send(rest) :]
            except BlockingIOError:
                await wait_writable(self._raw)
            except OSError as error:
                raise BrokenResourceError from error

    async def send_eof(self) -> None:
        self._require_open()
        with suppress(OSError):  # a peer that is gone by now is noticed by the next receive
            self._raw.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        if self._raw.fileno() >= 0:
            notify_closing(self._raw)
            self._raw.close()
        await checkpoint()

    @property
    def _raw_socket(self) -> socket.socket:
        return self._raw

    def _require_open(self) -> None:
        if self._raw.fileno() < 0:
            raise ClosedResourceError
