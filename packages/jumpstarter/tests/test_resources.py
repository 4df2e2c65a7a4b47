"""Files and streams of a client in the hands of a driver, and back."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from anyio import EndOfStream
from anyio.abc import ObjectStream
from jumpstarter.client import DriverClient
from jumpstarter.client.core import DriverError, DriverInvalidArgument, DriverOSError
from jumpstarter.common.utils import serve, serve_async
from jumpstarter.driver import Driver, export
from jumpstarter.drivers.mixins import ResourceMixin
from jumpstarter.rpc.limits import Limits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS = {"gzip": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zstd": zstd.compress}
DECOMPRESS = {"gzip": gzip.decompress, "xz": lzma.decompress, "bz2": bz2.decompress, "zstd": zstd.decompress}


@dataclass(kw_only=True)
class Store(Driver):
    """Reads and writes resources."""

    seen: list[str] = field(default_factory=list)
    reading: bool = False

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    async def digest(self, handle: dict[str, Any]) -> dict[str, Any]:
        total, digest = 0, hashlib.sha256()
        try:
            async with self.resource(handle) as stream:
                self.reading = True
                async for piece in stream:
                    total += len(piece)
                    digest.update(piece)
        except Exception as error:
            self.seen.append(f"{type(error).__name__}: {error}")
            raise
        return {"size": total, "sha256": digest.hexdigest()}

    @export
    async def first_bytes(self, handle: dict[str, Any], count: int) -> bytes:
        async with self.resource(handle) as stream:
            return (await stream.receive())[:count]

    @export
    async def write(self, handle: dict[str, Any], size: int) -> None:
        async with self.resource(handle) as stream:
            for start in range(0, size, 65536):
                await stream.send(b"d" * min(65536, size - start))

    @export
    async def write_half(self, handle: dict[str, Any]) -> None:
        async with self.resource(handle) as stream:
            await stream.send(b"d" * 100_000)
            raise OSError(28, "No space left on device")

    @export
    async def ignore(self, handle: dict[str, Any]) -> int:
        return len(self.resources)

    @export
    def refuse(self, handle: dict[str, Any]) -> None:
        raise ValueError("not that file")


class Source(ObjectStream[bytes]):
    """Gives `data` in pieces, `times` times over; keeps what it gets."""

    def __init__(self, data: bytes = b"", times: int = 1, piece: int = 60_000, fails: Exception | None = None) -> None:
        self._data, self._times, self._piece, self._place = data, times, piece, 0
        self._fails = fails
        self.got = bytearray()
        self.ended = False

    async def receive(self) -> bytes:
        if self._place >= len(self._data):
            self._times -= 1
            self._place = 0
            if self._fails is not None:
                raise self._fails
        if self._times <= 0 or not self._data:
            raise EndOfStream
        piece = self._data[self._place : self._place + self._piece]
        self._place += len(piece)
        return piece

    async def send(self, item: bytes) -> None:
        self.got += item

    async def send_eof(self) -> None:
        self.ended = True

    async def aclose(self) -> None:
        pass


pytestmark = pytest.mark.anyio


@asynccontextmanager
async def served(limits: Limits | None = None) -> AsyncGenerator[tuple[Store, DriverClient]]:
    store = Store()
    async with serve_async(store, limits=limits) as client:
        yield store, client


@pytest.mark.parametrize("encoding", [None, *COMPRESS])
async def test_upload(encoding: str | None) -> None:
    data = os.urandom(700_000) + b"z" * 2_000_000
    async with served() as (store, client):
        sent = data if encoding is None else COMPRESS[encoding](data)
        source = Source(sent)
        async with client.resource_async(source, encoding) as handle:
            result = await client.call_async("digest", handle)
        assert result == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert not source.got
        assert store.resources == {}


@pytest.mark.parametrize("encoding", [None, *COMPRESS])
async def test_download(encoding: str | None) -> None:
    async with served() as (_, client):
        target = Source()
        async with client.resource_async(target, encoding) as handle:
            await client.call_async("write", handle, 3_000_000)
        assert target.ended
        got = bytes(target.got)
        assert (got if encoding is None else DECOMPRESS[encoding](got)) == b"d" * 3_000_000


async def test_a_handle_works_once() -> None:
    async with served() as (_, client), client.resource_async(Source(b"abc")) as handle:
        await client.call_async("digest", handle)
        with pytest.raises(DriverInvalidArgument, match="used before"):
            await client.call_async("digest", handle)


async def test_an_unused_resource_is_gone_with_its_client() -> None:
    async with served() as (store, client):
        async with client.resource_async(Source(b"abc")) as handle:
            assert await client.call_async("ignore", handle) == 1
        with anyio.fail_after(5):
            while store.resources:
                await anyio.sleep(0.01)


async def test_a_refused_file_is_the_callers_error() -> None:
    async with served() as (_, client):
        with pytest.raises(DriverInvalidArgument, match="not that file"):
            async with client.resource_async(Source(b"abc" * 1_000_000)) as handle:
                await client.call_async("refuse", handle)


async def test_a_driver_may_stop_reading_early() -> None:
    async with served() as (_, client), client.resource_async(Source(b"abcdef" * 5_000_000)) as handle:
        assert await client.call_async("first_bytes", handle, 3) == b"abc"


async def something_seen(store: Store) -> None:
    with anyio.fail_after(5):
        while not store.seen:
            await anyio.sleep(0.01)


class FailsOnceRead(Source):
    """A source whose failure waits until the driver reads it."""

    def __init__(self, store: Store, data: bytes, fails: Exception) -> None:
        super().__init__(data, fails=fails)
        self._store = store

    async def receive(self) -> bytes:
        while self._place >= len(self._data) and not self._store.reading:
            await anyio.sleep(0.01)
        return await super().receive()


def test_a_source_that_fails_is_no_short_file() -> None:
    store = Store()
    with serve(store) as client:
        source = FailsOnceRead(store, b"abc" * 100_000, fails=OSError("the disk of the client"))
        offered = client.resource_async(source)
        with pytest.raises(OSError, match="the disk of the client"):
            with client.portal.wrap_async_context_manager(offered) as handle:
                client.call("digest", handle)
        client.portal.call(something_seen, store)
    assert "the client" in store.seen[0]


async def test_a_dump_that_fails_is_an_error() -> None:
    async with served() as (_, client):
        target = Source()
        with pytest.raises(DriverOSError, match="No space left") as caught:
            async with client.resource_async(target) as handle:
                await client.call_async("write_half", handle)
        assert caught.value.errno == 28
        assert not target.ended


class SlowSink(Source):
    async def send(self, item: bytes) -> None:
        await anyio.sleep(1.2)
        await super().send(item)


async def test_a_dump_is_whole_however_slow_its_file_is() -> None:
    async with served() as (_, client):
        target = SlowSink()
        async with client.resource_async(target) as handle:
            await client.call_async("write", handle, 130_000)
        assert target.ended
        assert bytes(target.got) == b"d" * 130_000


async def test_an_error_of_the_body_keeps_its_cause() -> None:
    async with served() as (_, client):
        with pytest.raises(ValueError, match="outer") as caught:
            async with client.resource_async(Source(b"abc")):
                raise ValueError("outer") from KeyError("inner")
        assert isinstance(caught.value.__cause__, KeyError)


async def test_damaged_and_cut_files_are_errors() -> None:
    packed = gzip.compress(os.urandom(300_000))
    async with served() as (_, client):
        for broken in (packed[:-100], packed[:1000] + b"\0\0\0\0" + packed[1004:]):
            with pytest.raises(DriverError, match="gzip"):
                async with client.resource_async(Source(broken), "gzip") as handle:
                    await client.call_async("digest", handle)


async def test_a_small_file_may_not_grow_without_bound() -> None:
    bomb = zstd.compress(b"\0" * 50_000_000)
    async with served(Limits(expansion_free_bytes=1_000_000, expansion_ratio=10)) as (_, client):
        with pytest.raises(DriverError, match="zstd"):
            async with client.resource_async(Source(bomb), "zstd") as handle:
                await client.call_async("digest", handle)


async def test_an_unknown_encoding_is_refused_by_name() -> None:
    async with served() as (_, client):
        with pytest.raises(DriverInvalidArgument, match=r"'rar'.*gzip, xz, bz2, zstd"):
            async with client.resource_async(Source(b"x"), "rar"):
                pytest.fail("opened")


@pytest.mark.parametrize("handle", [{}, {"kind": "client_stream"}, {"kind": "telepathy"}, "text", None])
async def test_malformed_handles_are_refused(handle: Any) -> None:
    async with served() as (_, client):
        with pytest.raises(DriverInvalidArgument, match=r"resource handle|argument 'handle'"):
            await client.call_async("digest", handle)


async def test_resources_of_one_driver_are_bounded() -> None:
    async with served() as (_, client), anyio.create_task_group() as group:

        async def hold(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with client.resource_async(Source(b"x")):
                task_status.started()
                await anyio.sleep_forever()

        for _ in range(256):
            await group.start(hold)
        with pytest.raises(DriverError, match="256 resources"):
            async with client.resource_async(Source(b"x")):
                pytest.fail("opened")
        group.cancel_scope.cancel()


class StoreClient(ResourceMixin):
    """Client of the store with files."""


@dataclass(kw_only=True)
class FileStore(Store):
    @classmethod
    def client(cls) -> str:
        return f"{__name__}.StoreClient"


def test_files_from_blocking_code(tmp_path: Path) -> None:
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(os.urandom(1_000_000))
    with serve(Store()) as plain:
        client = ResourceMixin(
            uuid=plain.uuid, labels=plain.labels, stub=plain.stub, portal=plain.portal, stack=plain.stack
        )
        with client.file(source) as handle:
            assert client.call("digest", handle)["size"] == 1_000_000
        with client.file(target, "wb", "gzip") as handle:
            client.call("write", handle, 200_000)
        assert gzip.decompress(target.read_bytes()) == b"d" * 200_000
        with client.resource(b"in memory") as handle:
            assert client.call("digest", handle)["size"] == 9
        with pytest.raises(FileNotFoundError, match="absent"), client.file(tmp_path / "absent"):
            pytest.fail("opened")


BIG = 256 * 1024 * 1024
EXPORTER = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from {module} import Store
from jumpstarter.common import ExporterStatus
from jumpstarter.exporter import Session

async def main():
    async with Session(root_device=Store()) as session, session.serve_unix_async() as path:
        session.update_status(ExporterStatus.LEASE_READY)
        print(path, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def exporter_process(directory: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    (directory / "store_module.py").write_text(Path(__file__).read_text())
    program = textwrap.dedent(EXPORTER).format(module="store_module")
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(20)


@pytest.mark.parametrize("encoding", [None, "gzip", "zstd"])
async def test_a_quarter_gigabyte_within_bounded_memory(encoding: str | None, tmp_path: Path) -> None:
    """The exporter, a process of its own, grows by less than 64 MiB and gets every byte."""
    import psutil
    from anyio.from_thread import BlockingPortal
    from jumpstarter.client import client_from_path

    block = os.urandom(1024 * 1024)
    times = BIG // len(block)
    digest = hashlib.sha256()
    for _ in range(times):
        digest.update(block)
    with exporter_process(tmp_path) as (process, path):
        from contextlib import ExitStack

        async with BlockingPortal() as portal:
            with ExitStack() as stack:
                async with client_from_path(path, portal, stack, [], True) as client:
                    async with client.resource_async(Source(b"warm up")) as handle:
                        await client.call_async("digest", handle)
                    memory = psutil.Process(process.pid)
                    before = peak = memory.memory_info().rss
                    # Members after one another are one file, for gzip and zstd alike.
                    packed = {None: lambda d: d, "gzip": lambda d: gzip.compress(d, 1), "zstd": zstd.compress}[
                        encoding
                    ](block)
                    async with client.resource_async(Source(packed, times, 256 * 1024), encoding) as handle:
                        async with anyio.create_task_group() as group:

                            async def watch() -> None:
                                nonlocal peak
                                while True:
                                    peak = max(peak, memory.memory_info().rss)
                                    await anyio.sleep(0.02)

                            group.start_soon(watch)
                            result = await client.call_async("digest", handle)
                            group.cancel_scope.cancel()
    assert result == {"size": BIG, "sha256": digest.hexdigest()}
    print(f"{encoding}: exporter grew by {(peak - before) / 1024 / 1024:.1f} MiB")
    assert peak - before < 64 * 1024 * 1024


class Web:
    """A real HTTP server on loopback."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.headers: list[dict[str, str]] = []
        self.base = ""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[str]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self.base
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        path = request.raw_path.partition("?")[0]
        if request.method == "PUT":
            if path == "/full":
                return web.Response(status=507)
            self.bodies[path] = await request.read()
            return web.Response(status=201)
        if path.startswith("/hop"):
            left = int(path[4:])
            return web.Response(status=302, headers={"Location": f"/hop{left - 1}" if left else "/file%2Fname"})
        if path == "/away":
            return web.Response(status=302, headers={"Location": self.base.replace("127.0.0.1", "localhost") + "/file"})
        if path.startswith("/file"):
            return web.Response(body=path.encode() + b"!" * 500_000)
        return web.Response(status=404)


LOCAL = Limits(local_urls=True)


def url(base: str, path: str, method: str = "GET", **headers: str) -> dict[str, Any]:
    return {"kind": "presigned_request", "headers": headers, "url": base + path, "method": method}


async def test_the_exporter_fetches_a_url() -> None:
    server = Web()
    async with server.running() as base, served(LOCAL) as (_, client):
        assert (await client.call_async("digest", url(base, "/file")))["size"] == 500_005
        assert await client.call_async("first_bytes", url(base, "/hop9"), 12) == b"/file%2Fname"
        with pytest.raises(DriverOSError, match="more than 10 redirects"):
            await client.call_async("digest", url(base, "/hop10"))


async def test_credentials_stay_with_their_origin() -> None:
    server = Web()
    async with server.running() as base, served(LOCAL) as (_, client):
        await client.call_async("digest", url(base, "/away", Authorization="Bearer s3cret", Accept="text/plain"))
        assert server.headers[0]["Authorization"] == "Bearer s3cret"
        assert "Authorization" not in server.headers[1]
        assert server.headers[1]["Accept"] == "text/plain"


async def test_the_exporter_fills_a_url() -> None:
    server = Web()
    async with server.running() as base, served(LOCAL) as (_, client):
        await client.call_async("write", url(base, "/new", "PUT"), 300_000)
        assert server.bodies["/new"] == b"d" * 300_000
        with pytest.raises(DriverOSError, match="507"):
            await client.call_async("write", url(base, "/full", "PUT"), 300_000)
        with pytest.raises(DriverOSError, match="No space left"):
            await client.call_async("write_half", url(base, "/half", "PUT"))
        assert "/half" not in server.bodies


async def test_failing_urls_are_named_without_their_secrets() -> None:
    server = Web()
    async with server.running() as base, served(LOCAL) as (_, client):
        with pytest.raises(DriverOSError, match="404") as caught:
            await client.call_async("digest", url(base, "/absent?signature=s3cret"))
        assert "/absent" in str(caught.value)
        assert "s3cret" not in str(caught.value).partition("Traceback")[0]
    async with served(LOCAL) as (_, client):
        with pytest.raises(DriverOSError, match="/gone"):
            await client.call_async("digest", url(base, "/gone"))


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}", "http://localhost:{port}", "http://[::1]:{port}", "http://169.254.1.1:{port}",
               "http://0.0.0.0:{port}", "http://[::ffff:127.0.0.1]:{port}", "http://2130706433:{port}"],
)  # fmt: skip
async def test_the_exporters_own_addresses_are_refused_unless_its_owner_allows_them(target: str) -> None:
    server = Web()
    async with server.running() as base, served() as (_, client):
        port = base.rpartition(":")[2]
        with pytest.raises(DriverOSError, match=r"loopback or link-local|Cannot connect|InvalidUrl"):
            await client.call_async("digest", url(target.format(port=port), "/file"))
        assert server.headers == []


@pytest.mark.parametrize(("disabled", "offered"), [("", "gzip"), ("1", "")])
async def test_what_the_exporter_says_of_decompression(
    monkeypatch: pytest.MonkeyPatch, disabled: str, offered: str
) -> None:
    monkeypatch.setenv("JMP_DISABLE_COMPRESSION", disabled)
    async with served() as (store, client):
        request = {"kind": "resource", "uuid": str(store.uuid), "x_jmp_content_encoding": "gzip"}
        call = client.stub.Stream(metadata=(("request", json.dumps(request)),))
        told = dict(await call.initial_metadata())
        call.cancel()
        assert told["x_jmp_accept_encoding"] == offered
        assert json.loads(told["resource"])["x_jmp_content_encoding"] == "gzip"
        async with client.resource_async(Source(gzip.compress(b"data")), "gzip") as handle:
            assert (await client.call_async("digest", handle))["size"] == 4
