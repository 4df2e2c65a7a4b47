"""Client mix-ins: streams as sockets and files, files and bytes as resources."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio.abc import ObjectStream
from jumpstarter.common.utils import serve, serve_async
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.drivers.mixins import ResourceMixin, StreamMixin
from jumpstarter.streams.common import background_tasks, create_memory_stream


async def echo(stream: ObjectStream[bytes]) -> None:
    async for piece in stream:
        await stream.send(piece)
    await stream.send_eof()


DATA = Random(2).randbytes(2_500_000)


class BoardClient(StreamMixin, ResourceMixin):
    def checksum(self, path: Path, **options: Any) -> int:
        with self.file(path, **options) as handle:
            return int(self.call("checksum", handle))


@dataclass(kw_only=True)
class Board(Driver):
    @classmethod
    def client(cls) -> str:
        return f"{__name__}.BoardClient"

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        """An echo."""
        ours, theirs = create_memory_stream()
        async with ours, theirs, background_tasks() as group:
            group.start_soon(echo, ours)
            yield theirs

    @exportstream
    @asynccontextmanager
    async def closed_port(self) -> AsyncGenerator[ObjectStream[bytes]]:
        if self.children == {}:
            raise ConnectionRefusedError("port 5 is closed")
        yield create_memory_stream()[0]

    @export
    async def checksum(self, handle: Any) -> int:
        async with self.resource(handle) as stream:
            return zlib.crc32(b"".join([piece async for piece in stream]))

    @export
    async def fill(self, handle: Any) -> None:
        async with self.resource(handle) as stream:
            await stream.send(DATA)


@pytest.fixture
def client() -> Iterator[BoardClient]:
    with serve(Board()) as client:
        yield client


def test_a_stream_as_a_socket(client: BoardClient) -> None:
    with client.connect() as sock:
        sock.sendall(b"hello")
        assert sock.recv(2) + sock.recv(100) == b"hello"
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(None)
        sock.sendall(DATA)
        sock.send_eof()
        received = b"".join(iter(lambda: sock.recv(10_000), b""))
        assert received == DATA
        assert sock.recv(1) == b""


def test_a_stream_as_a_file(client: BoardClient) -> None:
    with client.open() as file:
        file.write(b"line 1\nline 2\n")
        file.flush()
        assert file.readline() == b"line 1\n"
        assert file.readline() == b"line 2\n"
        file.write(b"x" * 100_000)
        file.flush()
        assert file.read(100_000) == b"x" * 100_000


def test_a_stream_that_cannot_be_opened(client: BoardClient) -> None:
    with pytest.raises(ConnectionError, match="port 5 is closed"), client.connect("closed_port"):
        pytest.fail("opened")


def test_files_and_bytes_as_resources(client: BoardClient, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    assert client.checksum(path) == zlib.crc32(DATA)
    with client.resource(DATA) as handle:
        assert client.call("checksum", handle) == zlib.crc32(DATA)
    with client.resource(b"") as handle:
        assert client.call("checksum", handle) == zlib.crc32(b"")
    with client.resource(zlib.compress(DATA, wbits=31), "gzip") as handle:
        assert client.call("checksum", handle) == zlib.crc32(DATA)
    with client.file(tmp_path / "out", "wb") as handle:
        client.call("fill", handle)
    assert (tmp_path / "out").read_bytes() == DATA


def test_urls_are_left_to_the_exporter(client: BoardClient) -> None:
    with client.file("https://example.com/image?sig=a%2Fb") as handle:
        assert handle == {
            "kind": "presigned_request",
            "headers": {},
            "url": "https://example.com/image?sig=a%2Fb",
            "method": "GET",
        }
    with client.file("http://example.com/up", "wb") as handle:
        assert handle["method"] == "PUT"


def test_a_driver_that_uses_a_resource_the_wrong_way_round(client: BoardClient, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with pytest.raises(OSError, match="open for reading"), client.file(path) as handle:
        client.call("fill", handle)
    assert path.read_bytes() == DATA


@pytest.mark.anyio
async def test_on_an_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    async with serve_async(Board()) as client:
        async with client.file_async(path) as handle:
            assert await client.call_async("checksum", handle) == zlib.crc32(DATA)
        for use in (lambda: client.file(path), lambda: client.resource(b""), client.connect, client.open):
            with pytest.raises(RuntimeError, match="_async"), use():
                pytest.fail("opened")
