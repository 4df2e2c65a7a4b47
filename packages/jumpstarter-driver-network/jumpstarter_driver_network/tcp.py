"""TCP endpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import connect_tcp, fail_after
from anyio.abc import ObjectStream
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver, export, exportstream

from .interface import NetworkInterface, published, require_port, require_text, url
from .streams import cannot_connect, endpoint_stream

CONNECT_S = 30.0


@dataclass(kw_only=True)
class TcpNetwork(NetworkInterface, Driver):
    """A TCP endpoint that the exporter can reach.

    `host`: a name or an address.
    `port`: 1 to 65535.
    `enable_address`: whether clients may learn the address, to connect to it without the exporter.
    `connect_timeout`: seconds that connecting may take, name resolution included.
    """

    host: str
    port: int
    enable_address: bool = True
    connect_timeout: float = CONNECT_S

    def __post_init__(self) -> None:
        super().__post_init__()
        require_text(self, "host", self.host)
        require_port(self, self.port)
        if not self.connect_timeout > 0:
            name = type(self).__name__
            raise ConfigurationError(f"{name}: connect_timeout must be above 0 seconds, not {self.connect_timeout}")

    @export
    def address(self) -> str:
        """`tcp://host:port`; ValueError where `enable_address` is not true."""
        return published(url("tcp", self.host, self.port), self.enable_address)

    @export
    async def probe(self) -> None:
        """Connect, and disconnect again: whether anything listens there."""
        async with self.connect():
            pass

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        """A new connection, with half close both ways."""
        async with tcp_stream(self.host, self.port, self.connect_timeout) as stream:
            yield stream


@asynccontextmanager
async def tcp_stream(host: str, port: int, timeout: float) -> AsyncGenerator[ObjectStream[bytes]]:
    """A connection to `host`; connecting, name resolution included, may take `timeout` seconds."""
    address = url("tcp", host, port)
    try:
        with fail_after(timeout):
            stream = await connect_tcp(host, port)
    except TimeoutError:
        raise TimeoutError(f"{address} does not answer within {timeout:g} s") from None
    except OSError as error:
        raise cannot_connect(address, error) from error
    async with stream:
        yield endpoint_stream(stream, address)
