"""Channels to an exporter: a Unix socket or host:port, plain or TLS."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import grpc

from .limits import message_size_options

if TYPE_CHECKING:
    from .tls import ClientTls

logger = logging.getLogger(__name__)

ChannelOptions = Mapping[str, str | int]

_CLIENT_DEFAULTS: dict[str, str | int] = {
    "grpc.lb_policy_name": "round_robin",
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 180_000,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.keepalive_permit_without_calls": 1,
}
# A host that is gone sends no end: without an answer to a ping for this long the connection counts as lost.
_TCP_DEFAULTS: dict[str, str | int] = {
    **_CLIENT_DEFAULTS,
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.http2.ping_timeout_ms": 20_000,
}
_CERTIFICATE_SECONDS = 10.0


def client_options(options: ChannelOptions | None = None, *, tcp: bool = False) -> list[tuple[str, Any]]:
    """Options of a client channel; `options` override the defaults one by one."""
    defaults = _TCP_DEFAULTS if tcp else _CLIENT_DEFAULTS
    return list({**defaults, **dict(message_size_options()), **(options or {})}.items())


def tcp_target(address: str) -> tuple[str, int] | None:
    """(host, port) when `address` ends in a port, None when it is a path."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        return None
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether what goes to `host`, a name or an address, stays on this machine."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def warn_of_open_passphrase(address: str, *, insecure: bool, passphrase: str | None) -> None:
    """Log a warning where a connection to `address` shows the passphrase to everyone on the way."""
    target = tcp_target(address)
    if insecure and passphrase and target and not is_loopback(target[0]):
        logger.warning("the passphrase goes to %s in plain text, for anyone on the way to read", address)


def unix_target(path: str) -> str:
    """What gRPC calls the Unix socket at `path`: a URI, in which bytes that mean something to URIs are escaped."""
    # Without urllib, whose import takes longer than the call that a command makes.
    escaped = re.sub(rb"[^A-Za-z0-9_.~/-]", lambda found: b"%%%02X" % found[0][0], os.fsencode(path))
    return f"unix:{escaped.decode()}"


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
    tls: ClientTls | None = None,
    options: ChannelOptions | None = None,
) -> grpc.aio.Channel:
    """A channel to a Unix socket path or to host:port; for the latter with TLS unless `insecure`.

    OSError or TimeoutError where a server that is to be trusted unseen cannot be reached.
    """
    keep_grpc_running()
    target = tcp_target(address)
    if target is None:
        credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
        return grpc.aio.secure_channel(unix_target(address), credentials, client_options(options))
    settings = client_options(options, tcp=True)
    if insecure:
        return grpc.aio.insecure_channel(address, settings)
    from .tls import ClientTls

    tls = tls or ClientTls()
    if tls.trust_server:
        tls = replace(tls, ca=await fetch_certificate(tls, *target))
    return grpc.aio.secure_channel(address, await asyncio.to_thread(tls.credentials), settings)


async def fetch_certificate(tls: ClientTls, host: str, port: int) -> bytes:
    """The server's own certificate as PEM, unverified."""
    import ssl

    context = await asyncio.to_thread(tls.context, verify=False)
    async with asyncio.timeout(_CERTIFICATE_SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return ssl.DER_cert_to_PEM_cert(certificate).encode()
