"""URLs that the exporter fetches or fills for a client, from real HTTP servers on loopback."""

from __future__ import annotations

import gzip
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from aiohttp import web
from anyio import BrokenResourceError, EndOfStream
from anyio.abc import SocketStream
from jumpstarter.client import DriverClient
from jumpstarter.client.core import DriverInvalidArgument, DriverOSError, DriverTimeout
from jumpstarter.common import TemporaryTcpListener
from jumpstarter.common.utils import serve_async
from jumpstarter.driver import Driver, export
from jumpstarter.rpc.limits import Limits

pytestmark = pytest.mark.anyio

BODY = b"firmware " * 1000
PACKED = gzip.compress(BODY)
LOCAL = Limits(local_urls=True)
# What is awaited comes at once; this is for a slow machine.
SOON = 20


class Web(Driver):
    """Hands URLs to the exporter."""

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    async def fetch(self, handle: dict[str, Any], timeout: float = SOON) -> bytes:
        async with self.resource(handle, timeout=timeout) as stream:
            return b"".join([piece async for piece in stream])

    @export
    async def fill(self, handle: dict[str, Any], pieces: list[bytes], end: str = "") -> None:
        async with self.resource(handle) as stream:
            for piece in pieces:
                await stream.send(piece)
            if end:
                await getattr(stream, end)()

    @export
    async def close_and_fail(self, handle: dict[str, Any]) -> None:
        async with self.resource(handle) as stream, stream:
            for _ in range(10):
                await stream.send(b"half" * 10_000)
            raise ValueError("the rest cannot be read")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def website(handler: Handler) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def exporter(limits: Limits = LOCAL) -> AsyncGenerator[DriverClient]:
    async with serve_async(Web(), limits=limits) as client:
        yield client


def handle(url: str, method: str = "GET", **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"kind": "presigned_request", "headers": named, "url": url, "method": method}


class TestContentEncoding:
    """Drivers get the file, never what it was packed in on the way."""

    @staticmethod
    async def _eager(request: web.Request) -> web.Response:
        if "gzip" in request.headers["Accept-Encoding"]:
            return web.Response(body=PACKED, headers={"Content-Encoding": "gzip"})
        return web.Response(body=BODY)

    async def test_none_is_asked_for(self) -> None:
        async with website(self._eager) as base, exporter() as client:
            assert await client.call_async("fetch", handle(base)) == BODY

    async def test_one_that_the_handle_names_passes_as_it_is(self) -> None:
        async with website(self._eager) as base, exporter() as client:
            assert await client.call_async("fetch", handle(base, accept_encoding="br, gzip;q=1")) == PACKED

    async def test_one_that_nobody_asked_for_is_refused(self) -> None:
        async def stubborn(request: web.Request) -> web.Response:
            return web.Response(body=PACKED, headers={"Content-Encoding": "gzip"})

        async with website(stubborn) as base, exporter() as client:
            with pytest.raises(DriverOSError, match=f"GET {base}/image: the server sent the body encoded as gzip"):
                await client.call_async("fetch", handle(f"{base}/image?signature=s3cret"))


class TestPut:
    @pytest.mark.parametrize("end", ["", "send_eof", "aclose"])
    @pytest.mark.parametrize("headers", [{}, {"Content_Length": "30"}])
    async def test_however_the_driver_ends_it(self, end: str, headers: dict[str, str]) -> None:
        bodies = []

        async def store(request: web.Request) -> web.Response:
            bodies.append(await request.read())
            return web.Response(status=201)

        async with website(store) as base, exporter() as client:
            await client.call_async("fill", handle(base, "PUT", **headers), [b"abc" * 5, b"abc" * 5], end)
        assert bodies == [b"abc" * 10]

    async def test_a_driver_that_fails_leaves_no_whole_file_behind(self) -> None:
        got = bytearray()
        hung_up = anyio.Event()

        async def store(connection: SocketStream) -> None:
            with suppress(EndOfStream, BrokenResourceError):
                while True:
                    got.extend(await connection.receive())
            hung_up.set()

        async with TemporaryTcpListener(store) as (host, port), exporter() as client:
            with pytest.raises(DriverInvalidArgument, match="the rest cannot be read"):
                await client.call_async("close_and_fail", handle(f"http://{host}:{port}/x", "PUT"))
            with anyio.fail_after(SOON):
                await hung_up.wait()
        assert got.startswith(b"PUT /x HTTP/1.1")
        assert not got.endswith(b"\r\n0\r\n\r\n")

    @pytest.mark.parametrize("size", [29, 31])
    async def test_a_body_that_is_not_as_long_as_the_handle_says(self, size: int) -> None:
        async def store(request: web.Request) -> web.Response:
            await request.read()
            return web.Response(status=201)

        async with website(store) as base, exporter() as client:
            with (
                anyio.fail_after(SOON),
                pytest.raises(DriverOSError, match=f"{size} bytes, but Content-Length says 30"),
            ):
                await client.call_async("fill", handle(base, "PUT", Content_Length="30"), [b"d" * size])

    async def test_a_server_that_says_yes_too_early(self) -> None:
        async def hasty(connection: SocketStream) -> None:
            await connection.receive()
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            while True:
                await connection.receive()

        async with TemporaryTcpListener(hasty) as (host, port), exporter() as client:
            with pytest.raises(DriverOSError, match=r"answered before it had the whole body|stopped reading"):
                await client.call_async("fill", handle(f"http://{host}:{port}/x", "PUT"), [b"d" * 60_000] * 200)


class TestTexts:
    """Errors name the URL and the reason in words, not the HTTP library's objects."""

    @pytest.mark.parametrize("method", ["GET", "PUT"])
    async def test_a_port_that_nobody_listens_on(self, method: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
            await self._fails(handle(f"{url}?signature=s3cret", method), f"{url}: cannot connect: Connection refused")

    @pytest.mark.parametrize(
        ("method", "answer", "reason"),
        [
            ("GET", b"SSH-2.0-OpenSSH\r\n\r\n", "what the server answered is not HTTP"),
            ("GET", b"", "the server closed the connection without an answer"),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "the connection ended before the whole body"),
            ("PUT", b"SSH-2.0-OpenSSH\r\n\r\n", "what the server answered is not HTTP"),
            ("PUT", b"", "the server closed the connection without an answer"),
        ],
    )
    async def test_a_server_that_is_none(self, method: str, answer: bytes, reason: str) -> None:
        async def answers(connection: SocketStream) -> None:
            read = b""
            while b"body" not in read and not (method == "GET" and read.endswith(b"\r\n\r\n")):
                read += await connection.receive()
            if answer:
                await connection.send(answer)
            await connection.send_eof()

        async with TemporaryTcpListener(answers) as (host, port):
            await self._fails(handle(f"http://{host}:{port}/x", method), f"{method} http://{host}:{port}/x: {reason}")

    @pytest.mark.parametrize(
        "url", ["http://no-such-host.invalid/x", "http:///x", "http://[::1/x", "ftp://example.com/x"]
    )
    async def test_urls_that_lead_nowhere(self, url: str) -> None:
        text = await self._fails(handle(url), "")
        assert "Errno" not in text

    @staticmethod
    async def _fails(resource: dict[str, Any], expected: str) -> str:
        async with exporter() as client:
            call = ("fetch", resource) if resource["method"] == "GET" else ("fill", resource, [b"body"])
            with pytest.raises((DriverOSError, DriverInvalidArgument)) as caught:
                await client.call_async(*call)
        text = str(caught.value).partition("Traceback")[0]
        assert expected in text
        for internal in ("Connection<", "ConnectionKey", "ssl:", "Client", "s3cret"):
            assert internal not in text
        return text


class TestRedirects:
    async def test_only_harmless_headers_cross_origins(self) -> None:
        seen: list[dict[str, str]] = []

        async def there(request: web.Request) -> web.Response:
            seen.append({name.lower(): value for name, value in request.headers.items()})
            return web.Response(body=BODY)

        async with website(there) as elsewhere:

            async def here(request: web.Request) -> web.Response:
                seen.append({name.lower(): value for name, value in request.headers.items()})
                raise web.HTTPFound(f"{elsewhere}/y" if request.path == "/x" else "/x")

            kept = {"accept": "text/plain", "range": "bytes=0-", "user-agent": "me/1", "accept-encoding": "br"}
            dropped = {
                "x-api-key": "s3cret",
                "private-token": "s3cret",
                "authorization": "s3cret",
                "x-amz-meta": "s3cret",
            }
            async with website(here) as base, exporter() as client:
                assert await client.call_async("fetch", handle(f"{base}/first", **kept, **dropped)) == BODY
        first, second, third = seen
        assert {**kept, **dropped}.items() <= first.items()
        assert {**kept, **dropped}.items() <= second.items()
        assert kept.items() <= third.items()
        assert not dropped.keys() & third.keys()

    @pytest.mark.parametrize("target", ["ftp://example.com/x", "http://[::1/x", "file:///etc/passwd"])
    async def test_elsewhere_than_http(self, target: str) -> None:
        async def away(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": target})

        async with website(away) as base, exporter() as client:
            with pytest.raises(DriverOSError, match=f"GET {base}/x was redirected to a .* URL; only http and https"):
                await client.call_async("fetch", handle(f"{base}/x"))

    async def test_the_time_is_for_all_hops(self) -> None:
        """Each hop is quicker than the limit; together they are not."""
        hops = 0

        async def slow(request: web.Request) -> web.Response:
            nonlocal hops
            hops += 1
            await anyio.sleep(0.3)
            raise web.HTTPFound("/again")

        async with website(slow) as base, exporter() as client:
            with pytest.raises(DriverTimeout, match=f"GET {base}/again: not done within the 1 s"):
                await client.call_async("fetch", handle(f"{base}/first"), 1.0)
        assert 1 < hops <= 4

    async def test_and_for_the_body(self) -> None:
        async def trickle(connection: SocketStream) -> None:
            await connection.receive()
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            with suppress(EndOfStream, BrokenResourceError):
                await connection.receive()

        async with TemporaryTcpListener(trickle) as (host, port), exporter() as client:
            url = f"http://{host}:{port}/x"
            with pytest.raises(DriverTimeout, match=f"GET {url}: not done within the 0.3 s"):
                await client.call_async("fetch", handle(url), 0.3)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    ],
)
async def test_roads_to_the_exporter_itself_are_refused(address: str) -> None:
    async with exporter(Limits()) as client:
        with pytest.raises(DriverOSError, match="loopback or link-local address of the exporter") as caught:
            await client.call_async("fetch", handle(f"http://{address}:9/x"))
        assert isinstance(caught.value, OSError)
