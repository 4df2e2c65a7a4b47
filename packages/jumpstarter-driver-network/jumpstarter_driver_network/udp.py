"""UDP endpoints."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import ClosedResourceError, fail_after, getaddrinfo, notify_closing, wait_readable, wait_writable
from anyio.abc import ObjectStream
from anyio.lowlevel import checkpoint
from jumpstarter.driver import Driver, export, exportstream

from .interface import NetworkInterface, published, require_port, require_text, url
from .streams import cannot_connect, endpoint_lost
from .tcp import CONNECT_S

_DATAGRAM_BYTES = 65535


class DatagramStream(ObjectStream[bytes]):
    """A connected UDP socket, non-blocking: one item is one datagram, an empty one too. It has no end of stream."""

    def __init__(self, raw: socket.socket, address: str) -> None:
        self._raw = raw
        self._address = address
        self._eof_sent = False

    async def receive(self) -> bytes:
        """The next datagram; EndpointLost when the other side has answered that nothing listens."""
        await checkpoint()
        while True:
            self._require_open()
            try:
                return self._raw.recv(_DATAGRAM_BYTES)
            except BlockingIOError:
                await wait_readable(self._raw)
            except OSError as error:
                raise endpoint_lost(self._address, error) from error

    async def send(self, item: bytes) -> None:
        """Send one datagram; EndpointLost as in `receive`, or when it is too long for a datagram."""
        await checkpoint()
        while True:
            self._require_open()
            if self._eof_sent:
                raise ClosedResourceError
            try:
                self._raw.send(item)
                return
            except BlockingIOError:
                await wait_writable(self._raw)
            except OSError as error:
                raise endpoint_lost(f"{self._address}: a datagram of {len(item)} bytes", error) from error

    async def send_eof(self) -> None:
        """End sending on this side; UDP has nothing to tell the other one."""
        self._eof_sent = True

    async def aclose(self) -> None:
        if self._raw.fileno() >= 0:
            notify_closing(self._raw)
            self._raw.close()
        await checkpoint()

    def _require_open(self) -> None:
        if self._raw.fileno() < 0:
            raise ClosedResourceError


@dataclass(kw_only=True)
class UdpNetwork(NetworkInterface, Driver):
    """A UDP endpoint that the exporter can reach.

    `host`: a name or an address.
    `port`: 1 to 65535.
    `enable_address`: whether clients may learn the address, to send to it without the exporter.
    """

    host: str
    port: int
    enable_address: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_text(self, "host", self.host)
        require_port(self, self.port)

    @export
    def address(self) -> str:
        """`udp://host:port`; ValueError where `enable_address` is not true."""
        return published(url("udp", self.host, self.port), self.enable_address)

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        """A new socket; each item of the stream is one datagram."""
        address = url("udp", self.host, self.port)
        try:
            raw = await _connected_socket(self.host, self.port)
        except TimeoutError:
            raise TimeoutError(f"{address}: the name was not resolved within {CONNECT_S:g} s") from None
        except OSError as error:
            raise cannot_connect(address, error) from error
        async with DatagramStream(raw, address) as stream:
            yield stream


async def _connected_socket(host: str, port: int) -> socket.socket:
    """A socket for the first of the host's addresses that there is a route to."""
    with fail_after(CONNECT_S):
        candidates = await getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, target in candidates:
        raw = socket.socket(family, kind, protocol)
        raw.setblocking(False)
        try:
            raw.connect(target)
        except OSError as error:
            raw.close()
            failure = error
        else:
            return raw
    raise failure
