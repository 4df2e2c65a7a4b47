"""Connecting to an exporter: a channel, its report, a tree of clients."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.empty_pb2 import Empty

from jumpstarter.common.exceptions import ConnectionError
from jumpstarter.rpc.channel import open_channel, warn_of_open_passphrase
from jumpstarter.rpc.stub import ExporterStub

from .base import DriverClient
from .tree import build_tree

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from jumpstarter.rpc.tls import ClientTls

# For a connection to come about, and for an exporter to answer with its report, in seconds.
CONNECT_SECONDS = 10.0
REPORT_SECONDS = 30.0


@asynccontextmanager
async def open_stub(
    path: str,
    *,
    tls: ClientTls | None = None,
    grpc_options: dict[str, Any] | None = None,
    insecure: bool = False,
    passphrase: str | None = None,
    connect_timeout: float | None = None,
) -> AsyncGenerator[tuple[ExporterStub, Any]]:
    """The stub and the report of the exporter at `path`, a Unix socket or host:port.

    `connect_timeout`: seconds, None for CONNECT_SECONDS. ConnectionError names the address and the cause.
    """
    seconds = CONNECT_SECONDS if connect_timeout is None else connect_timeout

    async def unreachable(error: grpc.RpcError | OSError) -> ConnectionError:
        from jumpstarter.rpc.diagnosis import explain

        return ConnectionError(await explain(error, path, insecure=insecure, tls=tls, passphrase=passphrase))

    try:
        channel = await open_channel(path, insecure=insecure, tls=tls, options=grpc_options)
    except OSError as error:
        raise await unreachable(error) from None
    async with channel:
        stub = ExporterStub(channel, passphrase=passphrase)
        try:
            report = await _report(channel, stub, seconds)
        except (grpc.RpcError, OSError) as error:
            raise await unreachable(error) from None
        stub.announce(report.features)
        yield stub, report


@asynccontextmanager
async def client_from_path(
    path: str,
    portal: BlockingPortal,
    stack: ExitStack,
    allow: list[str],
    unsafe: bool,
    *,
    tls_config: Any = None,
    tls: ClientTls | None = None,
    grpc_options: dict[str, Any] | None = None,
    insecure: bool = False,
    passphrase: str | None = None,
    connect_timeout: float | None = None,
) -> AsyncGenerator[DriverClient]:
    """The root client of the exporter at `path`, a Unix socket or host:port; client classes are imported in this
    thread.

    `tls_config`: the `tls` section of a client's file, in place of `tls`.
    """
    warn_of_open_passphrase(path, insecure=insecure, passphrase=passphrase)
    connection = open_stub(
        path,
        tls=tls if tls_config is None else _tls_of(tls_config),
        grpc_options=grpc_options,
        insecure=insecure,
        passphrase=passphrase,
        connect_timeout=connect_timeout,
    )
    async with connection as (stub, report):
        yield build_tree(report, stub, portal, stack, allow, unsafe)


async def _report(channel: grpc.aio.Channel, stub: ExporterStub, seconds: float) -> Any:
    """The exporter's report, which may take longer than the connection; TimeoutError where that takes too long."""
    call = asyncio.ensure_future(stub.GetReport(Empty(), timeout=REPORT_SECONDS))
    try:
        done, _ = await asyncio.wait({call}, timeout=seconds)
        if not done and channel.get_state() is not grpc.ChannelConnectivity.READY:
            raise TimeoutError(f"no connection within {seconds:g} s")
        return await call
    finally:
        call.cancel()


def _tls_of(config: Any) -> ClientTls:
    """The `tls` section of a client's file."""
    from jumpstarter.rpc.tls import ClientTls

    return ClientTls(ca=base64.b64decode(config.ca) if config.ca else None, trust_server=config.insecure)
