"""Sockets between a virtual machine and its host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import fail_after
from anyio.abc import ObjectStream
from jumpstarter.driver import Driver, exportstream
from jumpstarter.streams.sockets import ConnectedSocket

from .interface import NetworkInterface
from .streams import cannot_connect, endpoint_stream
from .tcp import CONNECT_S


@dataclass(kw_only=True)
class VsockNetwork(NetworkInterface, Driver):
    """A port of a virtual machine, or of its host, reached through AF_VSOCK.

    `cid`: context identifier of the machine; 2 is the host.
    `port`: what listens there.
    """

    cid: int
    port: int

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        """A new connection, with half close both ways. NotImplementedError where the system has no AF_VSOCK."""
        address = f"vsock://{self.cid}:{self.port}"
        family = getattr(socket, "AF_VSOCK", None)
        if family is None:
            raise NotImplementedError(f"cannot connect to {address}: the exporter's system has no AF_VSOCK")
        try:
            raw = socket.socket(family)
        except OSError as error:
            raise cannot_connect(address, error) from error
        with raw:
            raw.setblocking(False)
            try:
                with fail_after(CONNECT_S):
                    await asyncio.get_running_loop().sock_connect(raw, (self.cid, self.port))
            except TimeoutError:
                raise TimeoutError(f"{address} does not answer within {CONNECT_S:g} s") from None
            except OSError as error:
                raise cannot_connect(address, error) from error
            async with ConnectedSocket(raw) as stream:
                yield endpoint_stream(stream, address)
