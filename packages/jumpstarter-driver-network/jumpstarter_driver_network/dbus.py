"""The message bus of the exporter's system or user."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from anyio.abc import ObjectStream
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver, exportstream

from .bus import KIND_LABEL, VARIABLES
from .interface import NetworkInterface
from .tcp import CONNECT_S, tcp_stream
from .unix import unix_stream


@dataclass(kw_only=True)
class DbusNetwork(NetworkInterface, Driver):
    """The D-Bus message bus that the exporter used itself when it started.

    `kind`: system or session.
    """

    kind: Literal["system", "session"]
    _address: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in VARIABLES:
            raise ConfigurationError(f"{type(self).__name__}: kind must be system or session, not {self.kind!r}")
        # Now, for a client in this same process may point the variable at itself.
        self._address = os.environ.get(VARIABLES[self.kind]) or _default_address(self.kind)

    @classmethod
    def client(cls) -> str:
        return "jumpstarter_driver_network.client.DbusNetworkClient"

    def extra_labels(self) -> dict[str, str]:
        return {KIND_LABEL: self.kind}

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        """A new connection to the bus, at the first of its addresses that is of a known kind."""
        transport, options = _reachable(self._address)
        if transport == "tcp":
            async with tcp_stream(options["host"], int(options["port"]), CONNECT_S) as stream:
                yield stream
        else:
            path = options["path"] if "path" in options else f"\0{options['abstract']}"
            async with unix_stream(path) as stream:
                yield stream


def _default_address(kind: str) -> str:
    if kind == "system":
        return "unix:path=/var/run/dbus/system_bus_socket"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return f"unix:path={runtime}/bus" if runtime else ""


def _reachable(address: str) -> tuple[str, dict[str, str]]:
    """The first address of a D-Bus address list that can be connected to from here."""
    if not address:
        raise ConnectionError("there is no session bus: the exporter runs without DBUS_SESSION_BUS_ADDRESS")
    for transport, options in _parse(address):
        if (transport == "unix" and options.keys() & {"path", "abstract"}) or (
            transport == "tcp" and options.keys() >= {"host", "port"}
        ):
            return transport, options
    raise ConnectionError(f"the bus address {address!r} names neither a Unix socket nor a TCP port")


def _parse(address: str) -> Iterator[tuple[str, dict[str, str]]]:
    for one in filter(None, address.split(";")):
        transport, _, options = one.partition(":")
        pairs = (pair.partition("=") for pair in options.split(",") if pair)
        yield transport, {key: unquote(value) for key, _, value in pairs}
