"""Channels to an exporter: a Unix socket or host:port, plain or TLS."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

import grpc

from .limits import message_size_options

ChannelOptions = Mapping[str, str | int]

_CLIENT_DEFAULTS: dict[str, str | int] = {
    "grpc.lb_policy_name": "round_robin",
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 180_000,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.keepalive_permit_without_calls": 1,
}
_CERTIFICATE_SECONDS = 10.0


def client_options(options: ChannelOptions | None = None) -> list[tuple[str, Any]]:
    """Options of a client channel; `options` override the defaults one by one."""
    return list({**_CLIENT_DEFAULTS, **dict(message_size_options()), **(options or {})}.items())


def tcp_target(address: str) -> tuple[str, int] | None:
    """(host, port) when `address` ends in a port, None when it is a path."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        return None
    return host.strip("[]"), int(port)


def unix_target(path: str) -> str:
    """What gRPC calls the Unix socket at `path`: a URI, in which bytes that mean something to URIs are escaped."""
    return f"unix:{quote(os.fsencode(path))}"


@cache
def keep_grpc_running() -> None:
    """Hold gRPC's event-loop side for the life of the process; called before the first channel or server is made.

    Else it ends with its last object, and joins its thread on whichever event loop garbage collection then happens
    to run.
    """
    grpc.aio.init_grpc_aio()


async def open_channel(
    address: str,
    *,
    insecure: bool = False,
    ca: bytes | None = None,
    trust_server: bool = False,
    options: ChannelOptions | None = None,
) -> grpc.aio.Channel:
    """A channel to a Unix socket path or to host:port.

    For host:port: TLS with the certificates of `ca` (PEM) or the system's, unless `insecure`. `trust_server`
    fetches the server's
    certificate first and trusts it: the traffic is encrypted but the server could be anyone with that name.
    """
    keep_grpc_running()
    target = tcp_target(address)
    if target is None:
        credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
        return grpc.aio.secure_channel(unix_target(address), credentials, client_options(options))
    if insecure:
        return grpc.aio.insecure_channel(address, client_options(options))
    if trust_server:
        ca = await _fetch_certificate(*target)
    credentials = grpc.ssl_channel_credentials(root_certificates=ca)
    return grpc.aio.secure_channel(address, credentials, client_options(options))


async def _fetch_certificate(host: str, port: int) -> bytes:
    """The server's own certificate as PEM, unverified."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    async with asyncio.timeout(_CERTIFICATE_SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return ssl.DER_cert_to_PEM_cert(certificate).encode()
