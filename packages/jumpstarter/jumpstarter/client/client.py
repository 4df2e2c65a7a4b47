"""Connecting to an exporter: a channel, its report, a tree of clients."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import grpc
from anyio.from_thread import BlockingPortal
from google.protobuf.empty_pb2 import Empty

from jumpstarter.common.exceptions import ConnectionError
from jumpstarter.rpc.channel import open_channel
from jumpstarter.rpc.stub import ExporterStub

from .base import DriverClient
from .tree import build_tree

# For an exporter to answer with its report, in seconds.
REPORT_SECONDS = 30.0


@asynccontextmanager
async def open_stub(
    path: str,
    *,
    tls_config: Any = None,
    grpc_options: dict[str, Any] | None = None,
    insecure: bool = False,
    passphrase: str | None = None,
) -> AsyncGenerator[tuple[ExporterStub, Any]]:
    """The stub and the report of the exporter at `path`, a Unix socket or host:port.

    ConnectionError names the address and the cause.
    """
    ca = base64.b64decode(tls_config.ca) if tls_config is not None and tls_config.ca else None
    trust_server = tls_config is not None and tls_config.insecure
    try:
        channel = await open_channel(path, insecure=insecure, ca=ca, trust_server=trust_server, options=grpc_options)
    except (OSError, TimeoutError) as error:
        raise ConnectionError(f"cannot reach the exporter at {path}: {error}") from error
    async with channel:
        stub = ExporterStub(channel, passphrase=passphrase)
        try:
            report = await stub.GetReport(Empty(), timeout=REPORT_SECONDS)
        except grpc.RpcError as error:
            raise ConnectionError(
                f"no report from the exporter at {path}: {error.code().name}: {error.details()}"
            ) from None
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
    grpc_options: dict[str, Any] | None = None,
    insecure: bool = False,
    passphrase: str | None = None,
) -> AsyncGenerator[DriverClient]:
    """The root client of the exporter at `path`, a Unix socket or host:port; client classes are imported in this
    thread.
    """
    connection = open_stub(
        path, tls_config=tls_config, grpc_options=grpc_options, insecure=insecure, passphrase=passphrase
    )
    async with connection as (stub, report):
        yield build_tree(report, stub, portal, stack, allow, unsafe)
