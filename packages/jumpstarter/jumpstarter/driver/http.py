"""HTTP transfers the exporter does for a client: GET as a stream to read, PUT as one to write."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ObjectStream
from yarl import URL

from jumpstarter.common.resources import PresignedRequestResource
from jumpstarter.streams.common import background_tasks

CONNECT_SECONDS = 30.0
MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Any other header of a handle may be a credential of its origin.
_KEPT_ACROSS_ORIGINS = frozenset({"accept", "accept-encoding", "range", "user-agent"})
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class TargetRefused(PermissionError):
    """The URL leads to a loopback or link-local address."""


@asynccontextmanager
async def open_url(
    resource: PresignedRequestResource, *, timeout: float, local: bool
) -> AsyncGenerator[ObjectStream[bytes]]:
    """The body of a GET, or the body to be of a PUT, within `timeout` seconds in all, redirects included.

    The body comes as it is stored: a content encoding that the handle's headers do not name is refused. OSError and
    TimeoutError name the URL without its query; TargetRefused for loopback and link-local addresses unless `local`.
    """
    budget = _Budget(timeout)
    connector = aiohttp.TCPConnector(socket_factory=_any_socket if local else _outward_socket)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        opened = _get if resource.method == "GET" else _put
        async with opened(session, URL(resource.url, encoded=True), _headers(resource), budget) as stream:
            yield stream


class _Budget:
    """The time of one transfer, over all its requests."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = anyio.current_time() + seconds

    def left(self) -> aiohttp.ClientTimeout:
        """What is left for a request; TimeoutError when nothing is."""
        left = self._end - anyio.current_time()
        if left <= 0:  # which aiohttp would take for no limit
            raise TimeoutError
        return aiohttp.ClientTimeout(total=left, sock_connect=CONNECT_SECONDS)


@asynccontextmanager
async def _get(
    session: aiohttp.ClientSession, url: URL, headers: dict[str, str], budget: _Budget
) -> AsyncGenerator[ObjectStream[bytes]]:
    first = url
    for _ in range(MAX_REDIRECTS + 1):
        with _named_errors("GET", url, budget):
            response = await session.get(url, headers=headers, allow_redirects=False, timeout=budget.left())
        async with response:
            if response.status not in _REDIRECTS or "location" not in response.headers:
                _check_status("GET", url, response)
                _check_encoding(url, response, headers)
                yield _Download(url, response, budget)
                return
            target = _redirect(url, response.headers["location"])
        if target.origin() != url.origin():
            headers = {name: value for name, value in headers.items() if name.lower() in _KEPT_ACROSS_ORIGINS}
        url = target
    raise OSError(f"GET {shown(first)}: more than {MAX_REDIRECTS} redirects")


@asynccontextmanager
async def _put(
    session: aiohttp.ClientSession, url: URL, headers: dict[str, str], budget: _Budget
) -> AsyncGenerator[ObjectStream[bytes]]:
    upload = _Upload(url, headers, budget)
    try:
        async with background_tasks() as group:
            group.start_soon(upload.run, session)
            yield upload
            await upload.finish()
    finally:
        upload.cut()


class _Download(ObjectStream[bytes]):
    def __init__(self, url: URL, response: aiohttp.ClientResponse, budget: _Budget) -> None:
        self._url = url
        self._response = response
        self._budget = budget

    async def receive(self) -> bytes:
        with _named_errors("GET", self._url, self._budget):
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
    """Closing it ends the body; `finish` tells what became of it."""

    def __init__(self, url: URL, headers: dict[str, str], budget: _Budget) -> None:
        self._url = url
        self._headers = headers
        self._budget = budget
        self._told = next((value.strip() for name, value in headers.items() if name.lower() == "content-length"), None)
        self._sender, self._receiver = anyio.create_memory_object_stream[bytes](4)
        self._bytes = 0
        self._sent = self._answered = self._late = False
        self._done = anyio.Event()
        self._error: Exception | None = None

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Do the request with what is sent meanwhile."""
        try:
            with _named_errors("PUT", self._url, self._budget):
                request = session.put(
                    self._url,
                    headers=self._headers,
                    data=self._body(),
                    allow_redirects=False,
                    timeout=self._budget.left(),
                )
                async with request as response:
                    if response.status in _REDIRECTS:
                        raise OSError(f"PUT {shown(self._url)} was redirected; give the final URL")
                    _check_status("PUT", self._url, response)
                    await self._expect_no_more()
        except Exception as error:
            self._error = self._error or error
        finally:
            self._receiver.close()
            self._done.set()

    async def _body(self) -> AsyncIterator[bytes]:
        async for chunk in self._receiver:
            if self._answered:
                self._late = True
                return
            self._bytes += len(chunk)
            yield chunk
        self._sent = True
        self._check_length()

    async def _expect_no_more(self) -> None:
        """A server may answer as soon as it has the promised length, and before the driver says that this was all."""
        self._answered = True
        if not self._sent:
            async for _ in self._receiver:
                self._late = True
                break
        if self._late:
            raise OSError(f"PUT {shown(self._url)}: the server answered before it had the whole body")
        self._check_length()

    def _check_length(self) -> None:
        # Left alone, aiohttp cuts off what is too much, and the server waits for what is missing.
        if self._told is not None and self._told != str(self._bytes):
            self._error = OSError(
                f"PUT {shown(self._url)}: the body has {self._bytes} bytes, but Content-Length says {self._told}"
            )
            raise self._error

    async def finish(self) -> None:
        """Send what is left and wait for the server's answer."""
        self._sender.close()
        await self._done.wait()
        if self._error is not None:
            raise self._error

    def cut(self) -> None:
        """Let go of what nobody takes any more."""
        self._sender.close()
        self._receiver.close()

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


def shown(url: URL) -> str:
    """`url` without user, password, query and fragment: signatures stay out of messages and logs."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


def _headers(resource: PresignedRequestResource) -> dict[str, str]:
    # aiohttp would ask for compressed bodies by itself.
    asked = any(name.lower() == "accept-encoding" for name in resource.headers)
    return dict(resource.headers) if asked else {**resource.headers, "Accept-Encoding": "identity"}


def _redirect(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location, encoded=True))
        if target.scheme in ("http", "https") and target.origin():
            return target
        scheme = target.scheme
    except ValueError:
        scheme = ""
    raise OSError(f"GET {shown(url)} was redirected to a {scheme or 'malformed'} URL; only http and https are followed")


def _check_status(method: str, url: URL, response: aiohttp.ClientResponse) -> None:
    if not 200 <= response.status < 300:
        raise OSError(f"{method} {shown(url)}: HTTP {response.status} {response.reason or ''}".rstrip())


def _check_encoding(url: URL, response: aiohttp.ClientResponse, headers: Mapping[str, str]) -> None:
    asked = ",".join(value for name, value in headers.items() if name.lower() == "accept-encoding")
    taken = {"", "identity", *(word.partition(";")[0].strip().lower() for word in asked.split(","))}
    encodings = [word.strip().lower() for word in response.headers.get("content-encoding", "").split(",")]
    if not taken.issuperset(encodings) and "*" not in taken:
        raise OSError(
            f"GET {shown(url)}: the server sent the body encoded as {', '.join(encodings)}, which was not asked for; "
            "to take it as it is, name that in an Accept-Encoding header of the handle"
        )


@contextmanager
def _named_errors(method: str, url: URL, budget: _Budget) -> Iterator[None]:
    """Turns aiohttp's errors into an OSError that names the URL; time-outs into TimeoutError."""
    subject = f"{method} {shown(url)}"
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise TimeoutError(f"{subject}: no connection within {CONNECT_SECONDS:g} s") from error
    except TimeoutError as error:
        raise TimeoutError(f"{subject}: not done within the {budget.seconds:g} s it may take in all") from error
    except aiohttp.ClientError as error:
        if isinstance(error.__cause__, TargetRefused):
            raise TargetRefused(f"{subject}: {error.__cause__}") from None
        raise OSError(f"{subject}: {_reason(error)}") from error


def _reason(error: aiohttp.ClientError) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"cannot resolve the name {error.host}"
        case aiohttp.ClientConnectorCertificateError():
            return f"the server's certificate was refused: {error.certificate_error}"
        case aiohttp.ClientConnectorSSLError():
            return "TLS cannot be set up with the server"
        case aiohttp.ClientConnectorError():
            return f"cannot connect: {_system_reason(error.os_error)}"
        case aiohttp.ClientOSError():
            return _system_reason(error)
        case aiohttp.ClientPayloadError():
            return "the connection ended before the whole body had come"
        case aiohttp.ServerDisconnectedError():
            return "the server closed the connection without an answer"
        case aiohttp.InvalidURL():
            return "this is no URL that can be fetched"
        case aiohttp.ClientResponseError():
            return "what the server answered is not HTTP"
        case _:
            return "the connection failed"


def _system_reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else "the connection failed"


def _any_socket(info: Any) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family, kind, protocol)


def _outward_socket(info: Any) -> socket.socket:
    """A socket for an address that is neither loopback nor link-local, nor leads to one through a gateway.

    Called for every address tried, after name resolution.
    """
    address = ipaddress.ip_address(info[4][0].partition("%")[0])
    if any(one.is_loopback or one.is_link_local or one.is_unspecified for one in (address, *_embedded(address))):
        raise TargetRefused(
            f"{address} is a loopback or link-local address of the exporter; its owner has not allowed that"
        )
    return _any_socket(info)


def _embedded(address: IPAddress) -> Iterator[IPAddress]:
    """The IPv4 addresses that packets to `address` may end up at: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or address in _V4_COMPATIBLE:
        found.append(ipaddress.IPv4Address(address.packed[-4:]))
    yield from (one for one in found if one is not None)
