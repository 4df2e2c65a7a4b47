"""A driver stream behind a local TCP port or Unix socket."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio.abc import SocketStream
from jumpstarter.client import DriverClient
from jumpstarter.client.adapters import blocking
from jumpstarter.common import TemporaryTcpListener, TemporaryUnixListener

from .bridge import bridge


@asynccontextmanager
async def tcp_portforward_async(
    *, client: DriverClient, method: str = "connect", local_host: str = "127.0.0.1", local_port: int = 0
) -> AsyncGenerator[tuple[str, int]]:
    """Listen on a local TCP port and yield its (host, port); each connection opens a driver stream of its own.

    A connection whose stream fails is reset, and the cause logged; the others go on. OSError when the port is taken.
    """

    async def handle(connection: SocketStream) -> None:
        await bridge(connection, client, method)

    async with TemporaryTcpListener(handle, local_host, local_port, reuse_port=False) as address:
        yield address


@asynccontextmanager
async def unix_portforward_async(
    *, client: DriverClient, method: str = "connect", path: str | os.PathLike[str] | None = None
) -> AsyncGenerator[Path]:
    """Listen on a Unix socket and yield its path, without `path` in a directory only this user can enter.

    Otherwise as `tcp_portforward_async`; a connection whose stream fails is closed.
    """

    async def handle(connection: SocketStream) -> None:
        await bridge(connection, client, method)

    async with TemporaryUnixListener(handle, path) as socket_path:
        yield socket_path


TcpPortforwardAdapter = blocking(tcp_portforward_async)
UnixPortforwardAdapter = blocking(unix_portforward_async)
