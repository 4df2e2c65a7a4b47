"""One connection to an open port, as a stream."""

from __future__ import annotations

import asyncio

from anyio import ResourceGuard
from anyio.abc import ObjectStream
from anyio.lowlevel import checkpoint

from .port import Port


class Connection(ObjectStream[bytes]):
    """Receives all that arrives at the port; sends if no other connection does.

    Once the port is gone both raise ConnectionError with its name and the cause, `receive` after the last byte.
    `receive` raises TimeoutError after being disconnected for holding up others.
    """

    def __init__(self, port: Port) -> None:
        self._port = port
        self._reader = port.audience.join()
        self._receiving = ResourceGuard("receiving from")

    @property
    def missed(self) -> int:
        """How many bytes were dropped before this connection because nobody was there to read them."""
        return self._reader.missed

    async def receive(self) -> bytes:
        await checkpoint()
        with self._receiving:
            while not isinstance(taken := self._port.audience.take(self._reader), bytes):
                await asyncio.wrap_future(taken)
            return taken

    async def send(self, item: bytes) -> None:
        """Return when the port has accepted all of `item`. OSError (EBUSY) while another connection is the writer.

        When this is cancelled, what it was sending still goes out.
        """
        await checkpoint()
        await asyncio.shield(asyncio.wrap_future(self._port.sender.send(self._reader, item)))

    async def send_eof(self) -> None:
        """A serial line has no half-close: nothing is sent, and another connection may write from now on."""
        self._port.sender.release(self._reader)

    async def aclose(self) -> None:
        self._port.sender.release(self._reader)
        self._port.audience.leave(self._reader)
