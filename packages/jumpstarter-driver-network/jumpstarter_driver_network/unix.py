"""Unix sockets."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio.abc import ObjectStream
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.streams.sockets import ConnectedSocket

from .interface import NetworkInterface, require_text
from .streams import cannot_connect, endpoint_stream


@dataclass(kw_only=True)
class UnixNetwork(NetworkInterface, Driver):
    """A Unix stream socket on the exporter.

    `path`: where the socket is.
    """

    path: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require_text(self, "path", self.path)

    @export
    async def probe(self) -> None:
        """Connect, and disconnect again: whether anything listens there."""
        async with self.connect():
            pass

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        """A new connection, with half close both ways."""
        async with unix_stream(self.path) as stream:
            yield stream


@asynccontextmanager
async def unix_stream(path: str) -> AsyncGenerator[ObjectStream[bytes]]:
    """A connection to the socket at `path`; an abstract one where it starts with a zero byte."""
    address = f"unix:{path.replace(chr(0), '@')}"
    with socket.socket(socket.AF_UNIX) as raw:
        raw.setblocking(False)
        try:
            raw.connect(path)
        except BlockingIOError as error:
            raise ConnectionRefusedError(f"cannot connect to {address}: its queue of connections is full") from error
        except OSError as error:
            raise cannot_connect(address, error) from error
        async with ConnectedSocket(raw) as stream:
            yield endpoint_stream(stream, address)
