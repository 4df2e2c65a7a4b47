"""A WebSocket connection as a byte stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CancelScope, ClosedResourceError, EndOfStream
from anyio.abc import ObjectStream

from .streams import endpoint_lost

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection

# Of one message; it is in memory as a whole.
MESSAGE_BYTES = 64 * 1024 * 1024
CLOSE_S = 2.0


class WebsocketStream(ObjectStream[bytes]):
    """Messages as pieces of a byte stream; text arrives as UTF-8.

    A WebSocket has no half close: only closing tells the other side, and ends both directions.
    """

    def __init__(self, connection: Connection, address: str) -> None:
        from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

        self._connection = connection
        self._address = address
        self._closed, self._closed_in_order = ConnectionClosed, ConnectionClosedOK
        self._eof_sent = False

    async def receive(self) -> bytes:
        """The next message; EndOfStream when the other side closed in order, EndpointLost when it did not."""
        try:
            return await self._connection.recv(decode=False)
        except self._closed_in_order:
            raise EndOfStream from None
        except self._closed as error:
            raise endpoint_lost(self._address, error) from error

    async def send(self, item: bytes) -> None:
        """Send one binary message; EndpointLost when the other side is gone."""
        if self._eof_sent:
            raise ClosedResourceError
        try:
            await self._connection.send(item)
        except self._closed as error:
            raise endpoint_lost(self._address, error) from error

    async def send_eof(self) -> None:
        """End sending on this side; the other one hears of it when the stream is closed."""
        self._eof_sent = True

    async def aclose(self) -> None:
        with CancelScope(shield=True):  # takes no longer than the connection's close_timeout
            await self._connection.close()
