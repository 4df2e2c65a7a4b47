from __future__ import annotations

import hashlib
import os
import socket
import struct

import pytest
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    connect_tcp,
    create_task_group,
    create_tcp_listener,
    fail_after,
    move_on_after,
    wait_all_tasks_blocked,
)
from anyio.abc import ObjectStream, SocketAttribute, SocketStream
from anyio.streams.stapled import StapledObjectStream
from jumpstarter.streams.common import BUFFERED_ITEMS, background_tasks, create_memory_stream, forward_stream

pytestmark = pytest.mark.anyio


async def receive_all(stream: ObjectStream[bytes]) -> bytes:
    return b"".join([item async for item in stream])


@pytest.fixture(autouse=True)
async def deadline(anyio_backend: str):
    with fail_after(20):
        yield


async def test_memory_stream_carries_items_both_ways_also_empty_ones():
    a, b = create_memory_stream()
    async with a, b:
        for item in (b"one", b"", b"two"):
            await a.send(item)
            await b.send(item.upper())
        assert [await b.receive() for _ in range(3)] == [b"one", b"", b"two"]
        assert [await a.receive() for _ in range(3)] == [b"ONE", b"", b"TWO"]


async def test_memory_stream_holds_a_sender_back_until_its_peer_reads():
    a, b = create_memory_stream()
    async with a, b, create_task_group() as group:
        sent = 0

        async def send_more_than_fits() -> None:
            nonlocal sent
            for _ in range(BUFFERED_ITEMS + 1):
                await a.send(b"x")
                sent += 1

        group.start_soon(send_more_than_fits)
        await wait_all_tasks_blocked()
        assert sent == BUFFERED_ITEMS
        await b.receive()
        await wait_all_tasks_blocked()
        assert sent == BUFFERED_ITEMS + 1


async def test_memory_stream_half_close_leaves_the_other_way_open():
    a, b = create_memory_stream()
    async with a, b:
        await a.send(b"last")
        await a.send_eof()
        assert await b.receive() == b"last"
        with pytest.raises(EndOfStream):
            await b.receive()
        with pytest.raises(ClosedResourceError):
            await a.send(b"more")
        await b.send(b"answer")
        assert await a.receive() == b"answer"


async def test_memory_stream_close_reaches_the_peer():
    a, b = create_memory_stream()
    async with b:
        await a.send(b"last")
        await a.aclose()
        assert await receive_all(b) == b"last"
        with pytest.raises(BrokenResourceError):
            await b.send(b"too late")


async def test_forward_copies_both_ways_and_passes_half_close_on():
    (near, a), (b, far) = create_memory_stream(), create_memory_stream()
    async with near, a, b, far:
        async with forward_stream(a, b):
            await near.send(b"question")
            await near.send(b"")
            await near.send_eof()
            assert [await far.receive(), await far.receive()] == [b"question", b""]
            with pytest.raises(EndOfStream):
                await far.receive()
            await far.send(b"answer")
            await far.send_eof()
            assert await receive_all(near) == b"answer"


async def test_forward_exit_waits_for_both_directions():
    (near, a), (b, far) = create_memory_stream(), create_memory_stream()
    async with near, a, b, far, create_task_group() as group:
        done = Event()

        async def forward() -> None:
            async with forward_stream(a, b):
                pass
            done.set()

        group.start_soon(forward)
        await near.send_eof()
        assert await receive_all(far) == b""
        await wait_all_tasks_blocked()
        assert not done.is_set()
        await far.send(b"late")
        await far.send_eof()
        assert await receive_all(near) == b"late"
        await done.wait()


async def test_forward_leaves_the_streams_open_and_ends_when_the_body_fails():
    (near, a), (b, far) = create_memory_stream(), create_memory_stream()
    async with near, a, b, far:
        with pytest.raises(LookupError, match="from the body"):
            async with forward_stream(a, b):
                raise LookupError("from the body")
        await near.send(b"still open")
        assert await a.receive() == b"still open"


async def test_forward_can_be_cancelled():
    (near, a), (b, far) = create_memory_stream(), create_memory_stream()
    async with near, a, b, far:
        with move_on_after(0.01) as scope:
            async with forward_stream(a, b):
                pass
        assert scope.cancelled_caught


class FailingStream(StapledObjectStream[bytes]):
    """Raises the given error where the wrapped stream would end."""

    def __init__(self, stream: ObjectStream[bytes], error: Exception) -> None:
        super().__init__(stream, stream)
        self._error = error

    async def receive(self) -> bytes:
        try:
            return await super().receive()
        except EndOfStream:
            raise self._error from None


async def test_forward_raises_the_error_of_a_stream_bare_and_wakes_the_body():
    (near, a), (b, far) = create_memory_stream(), create_memory_stream()
    async with near, a, b, far:

        async def forward() -> None:
            async with forward_stream(a, FailingStream(b, ConnectionError("cable cut"))):
                await far.send(b"before")
                await far.send_eof()
                await Event().wait()

        with pytest.raises(ConnectionError, match="cable cut"):
            await forward()
        assert await near.receive() == b"before"


async def test_forward_ends_quietly_when_a_stream_is_closed_on_this_side():
    (near, a), (b, far) = create_memory_stream(), create_memory_stream()
    async with near, b, far:
        async with forward_stream(a, b):
            await a.aclose()
            await far.send(b"nobody is there")


async def test_forward_delivers_what_was_sent_before_a_hang_up():
    (near, a), (b, far) = create_memory_stream(), create_memory_stream()
    async with near, a, b:
        async with forward_stream(a, b):
            await far.send(b"413 too large")
            await far.aclose()
            await near.send(b"upload")
            await near.send(b"upload")
            assert await receive_all(near) == b"413 too large"
            await near.send_eof()


async def test_forward_reports_data_sent_to_a_stream_that_hung_up_after_its_end():
    (near, a), (b, far) = create_memory_stream(), create_memory_stream()
    async with near, a, b:

        async def forward() -> None:
            async with forward_stream(a, b):
                await far.aclose()
                assert await receive_all(near) == b""
                await near.send(b"lost")

        with pytest.raises(BrokenResourceError):
            await forward()


async def tcp_pair() -> tuple[SocketStream, SocketStream]:
    listener = await create_tcp_listener(local_host="127.0.0.1")
    async with listener:
        client = await connect_tcp(*listener.extra(SocketAttribute.local_address))
        return client, await listener.listeners[0].accept()  # type: ignore[attr-defined]


async def test_forward_carries_10_mb_each_way_over_sockets():
    near, a = await tcp_pair()
    b, far = await tcp_pair()
    upload, download = os.urandom(10_000_000), os.urandom(10_000_000)
    digests: dict[str, bytes] = {}

    async def send(stream: SocketStream, data: bytes) -> None:
        await stream.send(data)
        await stream.send_eof()

    async def digest(stream: SocketStream, name: str) -> None:
        total = hashlib.sha256()
        async for item in stream:
            total.update(item)
        digests[name] = total.digest()

    async with near, a, b, far, forward_stream(a, b), create_task_group() as group:
        group.start_soon(send, near, upload)
        group.start_soon(send, far, download)
        group.start_soon(digest, far, "upload")
        group.start_soon(digest, near, "download")
    assert digests == {"upload": hashlib.sha256(upload).digest(), "download": hashlib.sha256(download).digest()}


async def test_forward_tells_why_a_socket_broke():
    near, a = await tcp_pair()
    b, far = await tcp_pair()
    async with near, a, b:

        async def forward() -> None:
            async with forward_stream(a, b):
                await far.send(b"some")
                assert await near.receive() == b"some"
                raw = far.extra(SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await far.aclose()
                await Event().wait()

        with pytest.raises(BrokenResourceError) as caught:
            await forward()
        assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_background_tasks_end_with_the_body():
    cancelled = Event()

    async def wait_for_ever() -> None:
        try:
            await Event().wait()
        finally:
            cancelled.set()

    async with background_tasks() as group:
        group.start_soon(wait_for_ever)
        await wait_all_tasks_blocked()
    assert cancelled.is_set()


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
async def test_background_tasks_let_the_body_error_out_as_it_is(error: BaseException):
    async def fail() -> None:
        async with background_tasks() as group:
            group.start_soon(Event().wait)
            raise error

    with pytest.raises(type(error)) as caught:
        await fail()
    assert caught.value is error
