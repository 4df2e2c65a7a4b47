"""An endpoint that needs nothing to talk to."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import create_memory_object_stream
from anyio.abc import ObjectStream
from anyio.streams.stapled import StapledObjectStream
from jumpstarter.driver import Driver, exportstream

from .interface import NetworkInterface

_UNREAD_ITEMS = 32


@dataclass(kw_only=True)
class EchoNetwork(NetworkInterface, Driver):
    """Sends back what it gets, piece by piece, and ends where its client ends."""

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        """A new stream; it takes no more while 32 pieces are unread."""
        send, receive = create_memory_object_stream[bytes](_UNREAD_ITEMS)
        async with StapledObjectStream(send, receive) as stream:
            yield stream
