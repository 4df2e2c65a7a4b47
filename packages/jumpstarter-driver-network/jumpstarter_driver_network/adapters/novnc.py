"""A driver stream to a VNC server as a page in a browser."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from anyio import ClosedResourceError, EndOfStream
from jumpstarter.client import DriverClient
from jumpstarter.client.adapters import blocking

from ..extras import require
from ..websocket_stream import CLOSE_S, MESSAGE_BYTES, WebsocketStream
from .bridge import bridge

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.typing import Subprotocol

_PAGE = "https://novnc.com"
# Any page the user has open could connect to the local port; only noVNC's may, and programs, which name no origin.
_ORIGINS = (None, _PAGE)


@asynccontextmanager
async def novnc_async(*, client: DriverClient, method: str = "connect", encrypt: bool = True) -> AsyncGenerator[str]:
    """Listen for WebSockets on a local port and yield the URL of a noVNC page that connects to it.

    `encrypt`: let the page use wss://, for a proxy that ends TLS in front of the port; the port itself speaks ws://.
    Needs the extra `websocket`.
    """
    server = require("websockets.asyncio.server", "websocket")

    async def handle(connection: ServerConnection) -> None:
        try:
            await bridge(_Viewer(connection, "the viewer"), client, method)
        except Exception as error:
            client.logger.warning("a noVNC connection ended: %s", error)
            await connection.close(code=1011, reason=str(error)[:100].encode("ascii", "replace").decode())

    async with server.serve(
        handle,
        "127.0.0.1",
        0,
        origins=_ORIGINS,
        select_subprotocol=_binary_if_offered,
        compression=None,
        max_size=MESSAGE_BYTES,
        close_timeout=CLOSE_S,
    ) as listening:
        host, port = listening.sockets[0].getsockname()[:2]
        query = {"encrypt": int(encrypt), "autoconnect": 1, "reconnect": 1, "host": host, "port": port}
        yield f"{_PAGE}/noVNC/vnc.html?{urlencode(query)}"


class _Viewer(WebsocketStream):
    """The browser's end, which has gone for good when it ends, and is closed when the VNC server ends."""

    async def receive(self) -> bytes:
        try:
            return await super().receive()
        except EndOfStream:
            raise ClosedResourceError from None

    async def send_eof(self) -> None:
        await self.aclose()


def _binary_if_offered(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return next((one for one in offered if one == "binary"), None)


NovncAdapter = blocking(novnc_async)
