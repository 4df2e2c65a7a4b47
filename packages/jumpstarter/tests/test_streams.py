"""Raw byte streams between a client and a driver."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import signal
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from anyio import BrokenResourceError, BusyResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ObjectStream
from jumpstarter.client.core import (
    DriverConnectionError,
    DriverError,
    DriverInvalidArgument,
    DriverMethodNotImplemented,
    DriverOSError,
)
from jumpstarter.common import TemporaryUnixListener
from jumpstarter.common.utils import serve, serve_async
from jumpstarter.driver import Driver, exportstream
from jumpstarter.streams.common import create_memory_stream
from jumpstarter.streams.metadata import MetadataStream, MetadataStreamAttributes


@dataclass(kw_only=True)
class Device(Driver):
    """Keeps the far end of each stream it hands out, for the test to play the device."""

    ends: list[ObjectStream[bytes]] = field(default_factory=list)
    made: list[ObjectStream[bytes]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        near, far = create_memory_stream()
        self.ends.append(far)
        self.made.append(far)
        try:
            async with near:
                yield near
        finally:
            self.closed.append("connect")

    @exportstream
    @asynccontextmanager
    async def refuses(self) -> AsyncGenerator[ObjectStream[bytes]]:
        raise ConnectionRefusedError(111, "nobody listens on the board")
        yield

    @exportstream
    @asynccontextmanager
    async def tells(self) -> AsyncGenerator[ObjectStream[bytes]]:
        async with self.connect() as stream:
            yield MetadataStream(stream=stream, metadata={"model": "virt"})

    @exportstream
    @asynccontextmanager
    async def breaks(self) -> AsyncGenerator[ObjectStream[bytes]]:
        async with self.connect() as stream:
            yield _Breaking(stream)

    @exportstream
    @asynccontextmanager
    async def exits_on_send(self) -> AsyncGenerator[ObjectStream[bytes]]:
        yield _Exiting()

    @exportstream
    @asynccontextmanager
    async def exits_at_the_end(self) -> AsyncGenerator[ObjectStream[bytes]]:
        async with self.connect() as stream:
            yield stream
            raise SystemExit("the driver has had enough")


@dataclass(kw_only=True)
class Telling(Device):
    """Its stream tells `metadata`."""

    metadata: Any

    @exportstream
    @asynccontextmanager
    async def tells_all(self) -> AsyncGenerator[ObjectStream[bytes]]:
        near, far = create_memory_stream()
        async with near, far:
            yield MetadataStream(stream=near, metadata=self.metadata)


@dataclass(kw_only=True)
class Unix(Device):
    """A device behind a Unix socket."""

    path: str

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        async with await anyio.connect_unix(self.path) as stream:
            yield stream


class _Exiting(ObjectStream[bytes]):
    """Calls sys.exit where a driver may: on the event loop."""

    async def send(self, item: bytes) -> None:
        raise SystemExit("the driver has had enough")

    async def receive(self) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class _Breaking(ObjectStream[bytes]):
    """Passes bytes until it sees `!`."""

    def __init__(self, inner: ObjectStream[bytes]) -> None:
        self._inner = inner

    async def send(self, item: bytes) -> None:
        if b"!" in item:
            raise OSError(5, "the cable was pulled")
        await self._inner.send(item)

    async def receive(self) -> bytes:
        return await self._inner.receive()

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def served(device: Device | None = None) -> AsyncGenerator[tuple[Device, Any]]:
    device = device or Device()
    async with serve_async(device) as client:
        yield device, client
    for end in device.made:
        await end.aclose()


async def eventually_closed(device: Device, count: int = 1) -> None:
    with anyio.fail_after(5):
        while len(device.closed) < count:
            await asyncio.sleep(0.01)


async def send_one(client: Any, method: str) -> None:
    async with client.stream_async(method) as stream:
        await stream.send(b"x")


async def send_for_ever(stream: ObjectStream[bytes]) -> None:
    while True:
        await stream.send(b"more")


pytestmark = pytest.mark.anyio


async def test_both_ways_at_once() -> None:
    async with served() as (device, client), client.stream_async("connect") as stream:
        far = device.ends[0]
        sent, back = os.urandom(3_000_000), os.urandom(2_000_000)

        async def send(to: ObjectStream[bytes], data: bytes) -> None:
            for start in range(0, len(data), 70_000):
                await to.send(data[start : start + 70_000])
            await to.send_eof()

        async def read(source: ObjectStream[bytes], into: list[bytes]) -> None:
            async for piece in source:
                into.append(piece)

        there: list[bytes] = []
        here: list[bytes] = []
        async with anyio.create_task_group() as group:
            group.start_soon(send, stream, sent)
            group.start_soon(send, far, back)
            group.start_soon(read, far, there)
            group.start_soon(read, stream, here)
        assert b"".join(there) == sent
        assert b"".join(here) == back


async def test_half_close_leaves_the_other_way_open() -> None:
    async with served() as (device, client), client.stream_async("connect") as stream:
        await stream.send(b"question")
        await stream.send_eof()
        far = device.ends[0]
        assert await far.receive() == b"question"
        with pytest.raises(EndOfStream):
            await far.receive()
        await far.send(b"answer")
        assert await stream.receive() == b"answer"
        await far.send_eof()
        for _ in range(2):
            with pytest.raises(EndOfStream):
                await stream.receive()
        with pytest.raises(ClosedResourceError):
            await stream.send(b"too late")


async def test_device_half_closes_first() -> None:
    async with served() as (device, client), client.stream_async("connect") as stream:
        far = device.ends[0]
        await far.send_eof()
        with pytest.raises(EndOfStream):
            await stream.receive()
        await stream.send(b"still heard")
        assert await far.receive() == b"still heard"


async def test_closing_loses_nothing_that_was_sent() -> None:
    data = os.urandom(1_500_000)
    async with served() as (device, client):
        got = hashlib.sha256()

        async def slowly(far: ObjectStream[bytes]) -> None:
            async for piece in far:
                got.update(piece)
                await asyncio.sleep(0)

        async with anyio.create_task_group() as group:
            async with client.stream_async("connect") as stream:
                group.start_soon(slowly, device.ends[0])
                await stream.send(data)
        await eventually_closed(device)
    assert got.hexdigest() == hashlib.sha256(data).hexdigest()


async def test_empty_pieces_stay_pieces() -> None:
    async with served() as (device, client), client.stream_async("connect") as stream:
        await stream.send(b"")
        assert await device.ends[0].receive() == b""
        await device.ends[0].send(b"")
        assert await stream.receive() == b""


async def test_a_slow_reader_holds_the_writer_back() -> None:
    async with served() as (device, client), client.stream_async("connect") as stream:
        taken = 0
        with anyio.move_on_after(1.0):
            while taken < 1000:
                await stream.send(b"x" * 1_000_000)
                taken += 1
        assert taken < 200, "nobody reads, yet 200 MB were taken"
        # The stream is usable after the cancelled send, and nothing is missing.
        total = 0
        far = device.ends[0]
        while total < taken * 1_000_000:
            total += len(await far.receive())


async def test_cancelling_a_receive_leaves_the_stream_usable() -> None:
    async with served() as (device, client), client.stream_async("connect") as stream:
        for _ in range(3):
            with anyio.move_on_after(0.02):
                await stream.receive()
        await device.ends[0].send(b"late but whole")
        assert await stream.receive() == b"late but whole"


async def test_a_constructor_that_fails_raises_its_cause_at_the_opening() -> None:
    async with served() as (_, client):
        with pytest.raises(DriverConnectionError, match="nobody listens on the board") as caught:
            async with client.stream_async("refuses"):
                pytest.fail("opened")
        assert caught.value.remote_type == "ConnectionRefusedError"
        with pytest.raises(DriverMethodNotImplemented, match="absent"):
            async with client.stream_async("absent"):
                pytest.fail("opened")


async def test_two_receivers_at_once_are_refused() -> None:
    async with served() as (device, client), client.stream_async("connect") as stream:
        async with anyio.create_task_group() as group:
            group.start_soon(stream.receive)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(BusyResourceError):
                await stream.receive()
            await device.ends[0].send(b"for the first")


async def test_many_senders_take_turns_item_by_item() -> None:
    async with served() as (device, client), client.stream_async("connect") as stream:
        got = bytearray()

        async def send(letter: bytes) -> None:
            for _ in range(20):
                await stream.send(letter * 1_500_000)

        async def read() -> None:
            while len(got) < 6 * 20 * 1_500_000:
                got.extend(await device.ends[0].receive())

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            for letter in (b"a", b"b", b"c", b"d", b"e", b"f"):
                group.start_soon(send, letter)
        pieces = {bytes(got[start : start + 1_500_000]) for start in range(0, len(got), 1_500_000)}
        assert all(len(set(piece)) == 1 for piece in pieces)


async def test_nothing_follows_an_item_that_was_cut_off() -> None:
    async with served() as (device, client), client.stream_async("connect") as stream:
        with anyio.move_on_after(0.5):
            await stream.send(b"x" * 200_000_000)
        with pytest.raises(BrokenResourceError, match="interrupted half way"):
            await stream.send(b"after")
        async with device.ends[0] as far:
            assert await far.receive()


@pytest.mark.parametrize("method", ["exits_on_send", "exits_at_the_end"])
async def test_a_device_that_exits_does_not_take_the_exporter_along(method: str) -> None:
    async with served() as (_, client):
        with pytest.raises(BrokenResourceError, match="SystemExit"):
            await send_one(client, method)
        async with client.stream_async("connect"):
            pass


async def test_a_failing_device_tells_both_directions_why() -> None:
    async with served() as (_, client), client.stream_async("breaks") as stream:
        await stream.send(b"good")
        await stream.send(b"bad!")
        with pytest.raises(BrokenResourceError, match="the cable was pulled") as caught:
            await stream.receive()
        assert isinstance(caught.value.__cause__, DriverOSError)
        assert caught.value.__cause__.errno == 5
        with pytest.raises(BrokenResourceError, match="the cable was pulled"):
            await send_for_ever(stream)


async def test_the_exporter_closes_the_device_when_the_client_is_cancelled() -> None:
    async with served() as (device, client):
        with anyio.move_on_after(0.2):
            async with client.stream_async("connect") as stream:
                await stream.receive()
        await eventually_closed(device)


async def test_the_last_words_of_a_device_that_hangs_up_arrive(tmp_path: Path) -> None:
    async def answer_and_hang_up(peer: ObjectStream[bytes]) -> None:
        await peer.receive()
        await peer.send(b"answer" * 4000)

    async with (
        TemporaryUnixListener(answer_and_hang_up, tmp_path / "device") as path,
        served(Unix(path=str(path))) as (_, client),
        client.stream_async("connect") as stream,
    ):
        failed = None
        with anyio.fail_after(10):
            try:
                for _ in range(200):
                    await stream.send(b"x" * 10_000)
            except BrokenResourceError as error:
                failed = error
            got = b""
            with suppress(EndOfStream, BrokenResourceError):
                while True:
                    got += await stream.receive()
        assert got == b"answer" * 4000
        assert failed is None or "Internal error" not in str(failed)


async def test_metadata_arrives_before_the_first_byte() -> None:
    async with served() as (_, client), client.stream_async("tells") as stream:
        assert stream.extra(MetadataStreamAttributes.metadata)["model"] == "virt"


async def test_a_thousand_streams_leave_no_task_behind() -> None:
    async with served() as (device, client):

        async def use(count: int) -> None:
            for _ in range(count):
                async with client.stream_async("connect") as stream:
                    await stream.send(b"x")
                    await device.ends.pop().receive()

        await use(50)
        await eventually_closed(device, 50)
        before = len(asyncio.all_tasks())
        await use(1000)
        await eventually_closed(device, 1050)
        gc.collect()
        assert len(asyncio.all_tasks()) <= before


async def test_memory_of_five_thousand_streams() -> None:
    """Exporter and client in one process grow by less than 256 KiB for each 1000 streams opened, used and closed."""
    process = psutil.Process()
    async with served() as (device, client):

        async def use(count: int) -> None:
            for _ in range(count):
                async with client.stream_async("connect") as stream:
                    await stream.send(b"x")
                    async with device.ends.pop() as far:
                        await far.receive()
                device.closed.clear()
                device.made.clear()

        await use(1000)
        gc.collect()
        before = process.memory_info().rss
        await use(4000)
        gc.collect()
        slope = (process.memory_info().rss - before) / 4
        print(f"RSS slope: {slope / 1024:.0f} KiB per 1000 streams")
        assert slope < 256 * 1024


@contextmanager
def served_blocking(device: Device) -> Generator[Any]:
    with serve(device) as client:
        yield client
        for end in device.made:
            client.portal.call(end.aclose)


class TestBlocking:
    """The same from code that blocks."""

    def test_send_and_receive(self) -> None:
        with served_blocking(Device()) as client, client.stream("connect") as stream:
            with pytest.raises(TimeoutError):
                stream.receive(timeout=0.05)
            stream.send(b"x")
            stream.send_eof()

    def test_open_stream_lives_without_a_with_block(self) -> None:
        device = Device()
        with served_blocking(device) as client:
            stream = client.open_stream()
            stream.send(b"hello")
            assert client.portal.call(device.ends[0].receive) == b"hello"
            stream.close()
            stream.close()
            with pytest.raises(ClosedResourceError):
                stream.send(b"more")
            client.portal.call(eventually_closed, device)

    def test_garbage_collection_closes_an_open_stream(self) -> None:
        device = Device()
        with served_blocking(device) as client:
            stream = client.open_stream()
            stream.send(b"hello")
            del stream
            gc.collect()
            client.portal.call(eventually_closed, device)

    def test_a_stream_that_is_never_left_does_not_hold_up_the_end(self) -> None:
        with served_blocking(Device()) as client:
            client.stream().__enter__()

    def test_an_interrupt_loses_no_piece(self) -> None:
        """A signal handler that raises, as Ctrl-C does, ends the wait; the next receive gets the next piece."""
        device = Device()

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGUSR1, interrupt)
        try:
            with served_blocking(device) as client, client.stream() as stream:
                timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
                timer.start()
                with pytest.raises(KeyboardInterrupt):
                    stream.receive()
                timer.join()
                client.portal.call(device.ends[0].send, b"first")
                assert stream.receive() == b"first"
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_iteration_ends_with_the_stream(self) -> None:
        device = Device()
        with served_blocking(device) as client, client.stream() as stream:

            async def play() -> None:
                await device.ends[0].send(b"one")
                await device.ends[0].send(b"two")
                await device.ends[0].send_eof()

            client.portal.call(play)
            assert b"".join(stream) == b"onetwo"

    def test_errors_name_the_driver(self) -> None:
        with served_blocking(Device(children={"uart": Device()})) as client:
            with pytest.raises(DriverError, match=r"uart\.refuses"), client.children["uart"].stream("refuses"):
                pytest.fail("opened")


async def test_metadata_goes_out_as_it_is() -> None:
    metadata = {"model": "virt", "a.b-c_9": "~ printable text!", "empty": "", "long": "x" * 5000}
    async with serve_async(Telling(metadata=metadata)) as client, client.stream_async("tells_all") as stream:
        told = stream.extra(MetadataStreamAttributes.metadata)
        assert metadata.items() <= told.items()


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ({"Model": "virt"}, "'Model'"),
        ({"": "virt"}, "''"),
        ({"a b": "virt"}, "'a b'"),
        ({"ä": "virt"}, "'ä'"),
        ({7: "virt"}, "7"),
        ({"key-bin": "virt"}, "'key-bin'"),
        ({"grpc-status": "0"}, "'grpc-status'.*reserved"),
        ({"x-jumpstarter-features": "all"}, "'x-jumpstarter-features'.*reserved"),
        ({"model": "gerät"}, "'model'.*printable ASCII"),
        ({"model": "two\nlines"}, "'model'.*printable ASCII"),
        ({"model": " padded "}, "'model'.*without spaces around"),
        ({"model": 7}, "'model'.*got 7"),
        ({"short": "x", "model": "x" * 7000}, "more than 6143; the longest value is that of 'model'"),
        ({f"key{number}": "" for number in range(200)}, "more than 6143"),
    ],
)
async def test_metadata_that_cannot_travel_is_refused_by_name(metadata: Any, named: str) -> None:
    async with serve_async(Telling(metadata=metadata)) as client:
        with pytest.raises(DriverInvalidArgument, match=f"stream metadata .*{named}"):
            async with client.stream_async("tells_all"):
                pytest.fail("opened")
