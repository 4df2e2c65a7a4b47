"""Why a connection to an exporter did not come about, and what to do about it.

gRPC says UNAVAILABLE for nearly everything, and of several addresses it tells of the last only. So after a failure, and
only then, the same way is gone once more by plain sockets.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import grpc

from jumpstarter.common.exceptions import ConfigurationError

from .channel import fetch_certificate, tcp_target
from .tls import ClientTls, check_pair

# For each step of the probe, in seconds.
_STEP_SECONDS = 2.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_SETTINGS_FRAME = 4
_FRAME_HEADER_BYTES = 9
# OpenSSL's numbers for what a certificate lacks.
_DATES = {10: "has expired", 9: "is not valid yet; is the clock right on both machines?"}
_OTHER_NAME = (62, 64)
_SELF_SIGNED = 18

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def explain(
    error: grpc.RpcError | OSError, address: str, *, insecure: bool, tls: ClientTls | None, passphrase: str | None
) -> str:
    """What to tell the user of `error`, the end of connecting to `address` or of the first call to it."""
    if isinstance(error, OSError):
        return await why_unreachable(address, insecure, tls) or f"cannot reach the exporter at {address}: {error}"
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAUTHENTICATED:
        if not passphrase:
            return f"the exporter at {address} wants a passphrase: give --passphrase-file or JMP_GRPC_PASSPHRASE"
        return f"the exporter at {address} refuses the passphrase: {details}"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"what answers at {address} is no Jumpstarter exporter, though it speaks HTTP/2: {details}"
    if code is grpc.StatusCode.UNAVAILABLE:
        return await why_unreachable(address, insecure, tls) or f"cannot reach the exporter at {address}: {details}"
    return f"no report from the exporter at {address}: {code.name}: {details}"


async def why_unreachable(address: str, insecure: bool, tls: ClientTls | None) -> str | None:
    """What keeps gRPC from a connection to `address`; None where this finds nothing."""
    target = tcp_target(address)
    if target is None:
        return await asyncio.to_thread(_why_no_socket, Path(address))
    host, port = target
    proxy = _proxy(host)
    if proxy:
        return (
            f"cannot reach the exporter at {address} by way of the proxy {proxy}, which the environment asks for; "
            f"to connect without it, add {host} to no_proxy"
        )
    probe = _Probe(address, host, port)
    try:
        return await (probe.after_plain() if insecure else probe.after_tls(tls or ClientTls()))
    except _Silent:
        return f"{address} accepts connections and then says nothing: it hangs, or is no exporter"
    except OSError as error:
        return probe.why_not_connected(error)
    finally:
        probe.close()


class _Silent(Exception):
    """The other side accepts a connection and does not answer."""


class _Probe:
    """Goes the way to one host:port by plain sockets. Its methods raise OSError where no connection comes about."""

    def __init__(self, address: str, host: str, port: int) -> None:
        self._address = address
        self._host = host
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    def close(self) -> None:
        """Leave nothing open."""
        for writer in self._writers:
            writer.transport.abort()

    async def after_plain(self) -> str | None:
        """Why gRPC without TLS failed."""
        if await self._speaks_http2():
            return None
        if await self._speaks_tls():
            return (
                f"the exporter at {self._address} serves with TLS: leave out --tls-grpc-insecure or JMP_GRPC_INSECURE"
            )
        return self._no_exporter()

    async def after_tls(self, tls: ClientTls) -> str | None:
        """Why gRPC with TLS failed."""
        try:
            if tls.trust_server:
                tls = replace(tls, ca=await fetch_certificate(tls, self._host, self._port))
            reader, writer = await self._secured(tls)
        except ssl.SSLCertVerificationError as error:
            return await self._why_not_trusted(error, tls)
        except (ssl.SSLError, ConnectionError) as error:
            return await self._why_hung_up(tls) if _is_alert(error) else await self._why_no_tls()
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            return self._no_exporter()
        return None if await _answers_http2(reader, writer) else await self._why_hung_up(tls)

    def why_not_connected(self, error: OSError) -> str:
        """The sentence for an error of connecting."""
        if isinstance(error, socket.gaierror):
            return f"cannot reach the exporter at {self._address}: no host {self._host!r} is known here"
        if isinstance(error, TimeoutError):
            return (
                f"no answer from {self._address}: is the machine on, and does every firewall on the way let port "
                f"{self._port} through?"
            )
        if isinstance(error, ConnectionRefusedError):
            return f"no exporter listens at {self._address}: is it running, and on this port?"
        return f"cannot reach the exporter at {self._address}: {error.strerror or error}"

    async def _why_no_tls(self) -> str:
        if await self._speaks_http2():
            return (
                f"the exporter at {self._address} serves without TLS: to connect in plain text, give "
                "--tls-grpc-insecure or JMP_GRPC_INSECURE=1"
            )
        return self._no_exporter()

    async def _why_not_trusted(self, error: ssl.SSLCertVerificationError, tls: ClientTls) -> str:
        its = f"the certificate of the exporter at {self._address}"
        if error.verify_code in _DATES:
            return f"{its} {_DATES[error.verify_code]}"
        if error.verify_code in _OTHER_NAME:
            names = ", ".join(await self._names(tls))
            return f"{its} is not for {self._host}" + (f": connect by the name it is for, {names}" if names else "")
        if tls.ca is not None:
            return f"{its} is not signed by the authority given with --tls-ca or JMP_GRPC_CA: {error.verify_message}"
        if error.verify_code == _SELF_SIGNED:
            return f"{its} is signed by itself: where it is the right one, give it with --tls-ca or JMP_GRPC_CA"
        return f"{its} is signed by an authority unknown here: give that one's certificate with --tls-ca or JMP_GRPC_CA"

    async def _names(self, tls: ClientTls) -> list[str]:
        """The names in the certificate of a server that is trusted but for its name."""
        with suppress(OSError):
            _, writer = await self._secured(tls, check_name=False)
            certificate = writer.get_extra_info("ssl_object").getpeercert()
            return [name for _, name in certificate.get("subjectAltName", ())]
        return []

    async def _why_hung_up(self, tls: ClientTls) -> str:
        """The sentence for a server that ends the connection because of what the client shows."""
        if tls.certificate is None:
            return (
                f"the exporter at {self._address} wants a client certificate: give one with --tls-cert and --tls-key, "
                "or JMP_GRPC_CERT and JMP_GRPC_KEY"
            )
        refuses = f"the exporter at {self._address} refuses the client certificate"
        try:
            await asyncio.to_thread(check_pair, tls.certificate, tls.key)
        except ConfigurationError as error:
            return f"{refuses}: {error}"
        return f"{refuses} {tls.certificate}: is it signed by an authority that the exporter trusts?"

    def _no_exporter(self) -> str:
        return f"what answers at {self._address} is no Jumpstarter exporter: check host and port"

    async def _speaks_http2(self) -> bool:
        return await _answers_http2(*await self._connected())

    async def _speaks_tls(self) -> bool:
        try:
            await self._secured(ClientTls(), verify=False)
        except (OSError, _Silent) as error:
            return _is_alert(error)
        return True

    async def _secured(self, tls: ClientTls, *, verify: bool = True, check_name: bool = True) -> Streams:
        context = await asyncio.to_thread(tls.context, verify=verify)
        context.check_hostname = verify and check_name
        reader, writer = await self._connected()
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                await writer.start_tls(context, server_hostname=self._host)
        except TimeoutError:
            raise _Silent from None
        return reader, writer

    async def _connected(self) -> Streams:
        """By the first of the host's addresses that lets us; OSError of the first where none does."""
        async with asyncio.timeout(_STEP_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        failures: list[OSError] = []
        for family, _, _, _, address in found:
            try:
                async with asyncio.timeout(_STEP_SECONDS):
                    reader, writer = await asyncio.open_connection(str(address[0]), self._port, family=family)
            except OSError as error:
                failures.append(error)
            else:
                self._writers.append(writer)
                return reader, writer
        raise failures[0]


async def _answers_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the first frame of the other side is that of an HTTP/2 server."""
    try:
        writer.write(_PREFACE)
        async with asyncio.timeout(_STEP_SECONDS):
            header = await reader.readexactly(_FRAME_HEADER_BYTES)
    except TimeoutError:
        raise _Silent from None
    except (OSError, asyncio.IncompleteReadError):
        return False
    return header[3] == _SETTINGS_FRAME


def _is_alert(error: Exception) -> bool:
    """Whether the other side refuses in the words of TLS."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def _why_no_socket(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"there is no socket {path}: has the shell or the exporter that made it ended?"
    except OSError as error:
        return f"cannot reach an exporter at {path}: {error.strerror}"
    if not stat.S_ISSOCK(mode):
        return f"{path} is neither a socket nor host:port"
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return f"nobody listens on the socket {path} any more: the exporter that made it has ended"
        except OSError as error:
            return f"cannot reach the exporter at {path}: {error.strerror or error}"
    return None


def _proxy(host: str) -> str | None:
    """host:port of the proxy by which gRPC goes to `host`."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

    proxies = getproxies_environment()
    url = next((proxies[name] for name in ("grpc", "https", "http") if proxies.get(name)), None)
    if url is None or proxy_bypass_environment(host, proxies):
        return None
    # Without the user and password that may stand in it.
    return urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")[2]
