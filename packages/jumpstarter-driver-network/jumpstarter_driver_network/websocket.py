"""WebSocket endpoints, through the library `websockets`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from anyio.abc import ObjectStream
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver, export, exportstream

from .extras import require
from .interface import NetworkInterface, published
from .streams import cannot_connect
from .tcp import CONNECT_S
from .websocket_stream import CLOSE_S, MESSAGE_BYTES, WebsocketStream


@dataclass(kw_only=True)
class WebsocketNetwork(NetworkInterface, Driver):
    """A WebSocket server that the exporter can reach. Needs the extra `websocket`.

    `url`: ws:// or wss://.
    `enable_address`: whether clients may learn the URL.
    """

    url: str
    enable_address: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if urlsplit(str(self.url)).scheme not in ("ws", "wss"):
            raise ConfigurationError(f"{type(self).__name__}: url must start with ws:// or wss://, not {self.url!r}")

    @export
    def address(self) -> str:
        """The URL; ValueError where `enable_address` is not true."""
        return published(self.url, self.enable_address)

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        """A new connection; each item of the stream is one message."""
        client = require("websockets.asyncio.client", "websocket")
        address = _without_secrets(self.url)
        from websockets.exceptions import InvalidHandshake, InvalidURI

        connecting = client.connect(
            self.url, max_size=MESSAGE_BYTES, compression=None, open_timeout=CONNECT_S, close_timeout=CLOSE_S
        )
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(connecting)
            except TimeoutError:
                raise TimeoutError(f"{address} does not answer within {CONNECT_S:g} s") from None
            except OSError as error:
                raise cannot_connect(address, error) from error
            except (InvalidHandshake, InvalidURI) as error:
                raise ConnectionError(f"cannot connect to {address}: {error}") from error
            yield await stack.enter_async_context(WebsocketStream(connection, address))


def _without_secrets(url: str) -> str:
    """`url` for an error message: without user, password and query, where tokens are."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
