"""Where a session can be reached: a private Unix socket, or a TCP port."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import grpc
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2_grpc import add_ExporterServiceServicer_to_server
from jumpstarter_protocol.jumpstarter.v1.router_pb2_grpc import add_RouterServiceServicer_to_server

from jumpstarter.common.directories import in_thread, private_directory
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.rpc.channel import keep_grpc_running, unix_target
from jumpstarter.rpc.limits import Limits, message_size_options
from jumpstarter.streams.background import background_portal
from jumpstarter.streams.portal import Entered

# Calls still open when a server ends get this long, in seconds, to notice that they are cancelled.
_STOP_SECONDS = 1.0

_SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
)
# A client that vanishes without a word: after so long without a sign it is asked for one, and given as long again.
_KEEPALIVE_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)


@asynccontextmanager
async def serve_unix(session: Any, limits: Limits, *, interceptors: Sequence[Any] = ()) -> AsyncGenerator[str]:
    """Serve `session` on a Unix socket in a private directory; gives the socket's path."""
    async with in_thread(private_directory()) as directory:
        path = str(directory / "socket")
        server = _server(session, limits, interceptors)
        try:
            server.add_insecure_port(unix_target(path))
        except RuntimeError as error:
            reason = _try_to_listen(socket.AF_UNIX, path)
            why = reason.strerror if reason is not None else error
            raise ConfigurationError(f"cannot listen on the Unix socket {path}: {why}") from None
        async with _running(server):
            yield path


@asynccontextmanager
async def serve_tcp(
    session: Any,
    limits: Limits,
    host: str,
    port: int,
    *,
    tls_credentials: grpc.ServerCredentials | None = None,
    interceptors: Sequence[Any] = (),
) -> AsyncGenerator[int]:
    """Serve `session` on `host`:`port` (0: any free one), plain without `tls_credentials`; gives the port.

    ConfigurationError where it cannot listen there.
    """
    await check_address(host, port)
    server = _server(session, limits, interceptors, _KEEPALIVE_OPTIONS)
    address = tcp_address(host, port)
    try:
        if tls_credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, tls_credentials)
    except RuntimeError as error:
        raise ConfigurationError(f"cannot listen on {address}: {error}") from None
    async with _running(server):
        yield bound


def tcp_address(host: str, port: int) -> str:
    """`host`:`port` as one text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def check_address(host: str, port: int) -> None:
    """ConfigurationError, with the cause that gRPC keeps to itself, where nobody can listen on `host`:`port` now."""
    address = tcp_address(host, port)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror:
        raise ConfigurationError(f"cannot listen on {address}: no host {host!r} is known here") from None
    failures = [failure for family, _, _, _, target in found if (failure := _try_to_listen(family, target))]
    # One of several addresses, as those of localhost are, may be absent; what is taken stays an error.
    if failures and (len(failures) == len(found) or any(one.errno != errno.EADDRNOTAVAIL for one in failures)):
        raise ConfigurationError(f"cannot listen on {address}: {_why_not(failures[0], port)}")


def _try_to_listen(family: int, target: object) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)  # type: ignore[arg-type]
    except OSError as error:
        return error
    return None


def _why_not(error: OSError, port: int) -> str:
    hints = {
        errno.EADDRINUSE: f"another program listens on port {port}",
        errno.EACCES: f"port {port} is for privileged programs; choose one from 1024 on",
        errno.EADDRNOTAVAIL: "this machine has no such address",
    }
    return hints.get(error.errno or 0, error.strerror or str(error))


@contextmanager
def serve_unix_in_background(session: Any) -> Generator[str]:
    """Serve `session` from an event loop in a thread of its own; gives the socket's path."""
    with background_portal() as portal, Entered(portal, "serve_unix", serve_unix(session, session.limits)) as path:
        yield path


def _server(
    session: Any, limits: Limits, interceptors: Sequence[Any], more: Sequence[tuple[str, int]] = ()
) -> grpc.aio.Server:
    keep_grpc_running()
    options = [*_SERVER_OPTIONS, *more, *message_size_options(limits.message_bytes)]
    server = grpc.aio.server(options=options, interceptors=list(interceptors))
    add_ExporterServiceServicer_to_server(session, server)
    add_RouterServiceServicer_to_server(session, server)
    return server


@asynccontextmanager
async def _running(server: grpc.aio.Server) -> AsyncGenerator[None]:
    await server.start()
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop(_STOP_SECONDS)
