"""HTTP transfers the exporter does for a client: GET as a stream to read, PUT as one to write."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ObjectStream
from yarl import URL

from jumpstarter.common.resources import PresignedRequestResource
from jumpstarter.streams.common import background_tasks

CHUNK_BYTES = 256 * 1024
CONNECT_SECONDS = 30.0
MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CREDENTIALS = ("authorization", "cookie", "proxy-authorization", "x-amz-security-token", "x-goog-", "x-ms-")


class TargetRefused(PermissionError):
    """The URL leads to an address of the exporter itself."""


@asynccontextmanager
async def open_url(
    resource: PresignedRequestResource, *, timeout: float, local: bool
) -> AsyncGenerator[ObjectStream[bytes]]:
    """The body of a GET, or the body to be of a PUT, within `timeout` seconds in all.

    OSError names the URL without its query and what went wrong; TargetRefused for loopback and link-local addresses
    unless `local`.
    """
    connector = aiohttp.TCPConnector(socket_factory=_any_socket if local else _remote_socket)
    limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=limits, auto_decompress=False) as session:
        opened = _get(session, resource) if resource.method == "GET" else _put(session, resource)
        async with opened as stream:
            yield stream


@asynccontextmanager
async def _get(
    session: aiohttp.ClientSession, resource: PresignedRequestResource
) -> AsyncGenerator[ObjectStream[bytes]]:
    url = URL(resource.url, encoded=True)
    headers = dict(resource.headers)
    for _ in range(MAX_REDIRECTS + 1):
        with _NamedErrors("GET", url):
            response = await session.get(url, headers=headers, allow_redirects=False)
        async with response:
            if response.status not in _REDIRECTS or "location" not in response.headers:
                _check_status("GET", url, response)
                yield _Download(url, response)
                return
            target = url.join(URL(response.headers["location"], encoded=True))
        if target.scheme not in ("http", "https"):
            raise OSError(
                f"GET {shown(url)} was redirected to a {target.scheme or 'malformed'} URL; "
                "only http and https are followed"
            )
        if target.origin() != url.origin():
            headers = {k: v for k, v in headers.items() if not k.lower().startswith(_CREDENTIALS)}
        url = target
    raise OSError(f"GET {shown(URL(resource.url, encoded=True))}: more than {MAX_REDIRECTS} redirects")


@asynccontextmanager
async def _put(
    session: aiohttp.ClientSession, resource: PresignedRequestResource
) -> AsyncGenerator[ObjectStream[bytes]]:
    url = URL(resource.url, encoded=True)
    upload = _Upload(url)
    async with upload, background_tasks() as group:
        group.start_soon(upload.run, session, dict(resource.headers))
        yield upload
        await upload.finish()


class _Download(ObjectStream[bytes]):
    def __init__(self, url: URL, response: aiohttp.ClientResponse) -> None:
        self._url = url
        self._response = response

    async def receive(self) -> bytes:
        with _NamedErrors("GET", self._url):
            data = await self._response.content.readany()
        if not data:
            raise EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        raise ClosedResourceError("a GET cannot be written to")

    async def send_eof(self) -> None:
        """Nothing was to be sent."""

    async def aclose(self) -> None:
        self._response.close()


class _Upload(ObjectStream[bytes]):
    def __init__(self, url: URL) -> None:
        self._url = url
        self._sender, self._receiver = anyio.create_memory_object_stream[bytes](4)
        self._done = anyio.Event()
        self._error: Exception | None = None

    async def run(self, session: aiohttp.ClientSession, headers: dict[str, str]) -> None:
        try:
            with _NamedErrors("PUT", self._url):
                async with session.put(
                    self._url, headers=headers, data=self._body(), allow_redirects=False
                ) as response:
                    if response.status in _REDIRECTS:
                        raise OSError(f"PUT {shown(self._url)} was redirected; give the final URL")
                    _check_status("PUT", self._url, response)
        except Exception as error:
            self._error = error
        finally:
            self._receiver.close()
            self._done.set()

    async def _body(self) -> AsyncIterator[bytes]:
        async for chunk in self._receiver:
            yield chunk

    async def finish(self) -> None:
        """Send what is left and wait for the server's answer."""
        self._sender.close()
        await self._done.wait()
        if self._error is not None:
            raise self._error

    async def send(self, item: bytes) -> None:
        try:
            await self._sender.send(item)
        except BrokenResourceError:
            await self.finish()
            raise OSError(f"PUT {shown(self._url)}: the server stopped reading") from None

    async def send_eof(self) -> None:
        await self.finish()

    async def receive(self) -> bytes:
        raise EndOfStream

    async def aclose(self) -> None:
        self._sender.close()
        self._receiver.close()


def shown(url: URL) -> str:
    """`url` without user, password, query and fragment: signatures stay out of messages and logs."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


def _check_status(method: str, url: URL, response: aiohttp.ClientResponse) -> None:
    if not 200 <= response.status < 300:
        raise OSError(f"{method} {shown(url)}: HTTP {response.status} {response.reason or ''}".rstrip())


class _NamedErrors:
    """Turns aiohttp's errors into an OSError that names the URL; time-outs into TimeoutError."""

    def __init__(self, method: str, url: URL) -> None:
        self._subject = f"{method} {shown(url)}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, TimeoutError):
            raise TimeoutError(f"{self._subject}: timed out") from error
        if isinstance(error, aiohttp.ClientError):
            refused = error.__cause__ if isinstance(error.__cause__, TargetRefused) else None
            if refused is not None:
                raise TargetRefused(f"{self._subject}: {refused}") from None
            raise OSError(f"{self._subject}: {error}") from error


def _any_socket(info: Any) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family, kind, protocol)


def _remote_socket(info: Any) -> socket.socket:
    """A socket for an address that is not this machine's own. Called for every address tried, after name resolution."""
    address = ipaddress.ip_address(info[4][0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        raise TargetRefused(
            f"{address} is a loopback or link-local address of the exporter; its owner has not allowed that"
        )
    return _any_socket(info)
