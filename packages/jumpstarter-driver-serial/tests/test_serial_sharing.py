"""Several connections to one port, and what becomes of those who do not read, on the exporter's side."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.abc import ObjectStream
from jumpstarter.common.utils import serve
from jumpstarter_driver_serial.driver import Serial

pytestmark = pytest.mark.anyio


async def receive(stream: ObjectStream[bytes], count: int) -> bytes:
    got = bytearray()
    with anyio.fail_after(30):
        while len(got) < count:
            got += await stream.receive()
    return bytes(got)


async def serial(**config: Any) -> Serial:
    return await to_thread.run_sync(partial(Serial, **config))


async def closed(driver: Serial) -> None:
    await to_thread.run_sync(driver.close)


async def test_all_readers_get_every_byte_and_one_writes(board: Any) -> None:
    data = os.urandom(1_000_000)
    driver = await serial(url=board.url)
    async with driver.connect() as first, driver.connect() as second:
        await first.send(b"mine")
        with pytest.raises(OSError, match=f"another connection writes to serial port {board.url}"):
            await second.send(b"not mine")
        board.say_in_background(data)
        results: dict[str, bytes] = {}

        async def read(name: str, stream: ObjectStream[bytes]) -> None:
            results[name] = await receive(stream, len(data))

        async with anyio.create_task_group() as group:
            group.start_soon(read, "first", first)
            group.start_soon(read, "second", second)
        assert results == {"first": data, "second": data}
    assert board.hear(4) == b"mine"
    assert board.is_silent()
    await closed(driver)


@pytest.mark.parametrize("how", ["send_eof", "aclose"])
async def test_the_writing_role_is_free_again(board: Any, how: str) -> None:
    driver = await serial(url=board.url)
    async with driver.connect() as first, driver.connect() as second:
        await first.send(b"one")
        await getattr(first, how)()
        await second.send(b"two")
        assert board.hear(6) == b"onetwo"
    await closed(driver)


async def test_a_later_reader_gets_what_arrives_from_then_on(board: Any) -> None:
    driver = await serial(url=board.url)
    async with driver.connect() as first:
        board.say(b"before")
        assert await receive(first, 6) == b"before"
        async with driver.connect() as second:
            board.say(b"after")
            assert await receive(first, 5) == b"after"
            assert await receive(second, 5) == b"after"
    await closed(driver)


async def test_a_sole_slow_reader_holds_the_board_back_and_loses_nothing(board: Any) -> None:
    data = os.urandom(2_000_000)
    driver = await serial(url=board.url, stall_timeout=0.05)
    async with driver.connect() as stream:
        feeder = board.say_in_background(data)
        await to_thread.run_sync(feeder.join, 0.5)
        assert feeder.is_alive()
        assert await receive(stream, len(data)) == data
    await closed(driver)


async def test_a_stalled_reader_is_disconnected_for_the_others(board: Any) -> None:
    data = os.urandom(2_000_000)
    driver = await serial(url=board.url, stall_timeout=0.5)
    async with driver.connect() as stalled, driver.connect() as eager:
        began = time.monotonic()
        board.say_in_background(data)
        assert await receive(eager, len(data)) == data
        assert time.monotonic() - began >= 0.5
        with pytest.raises(TimeoutError, match=f"serial port {board.url}: this reader took nothing for 0.5 s"):
            await stalled.receive()
        async with driver.connect() as later:
            board.say(b"more")
            assert await receive(eager, 4) == b"more"
            assert await receive(later, 4) == b"more"
    await closed(driver)


async def test_characters_per_second(board: Any) -> None:
    driver = await serial(url=board.url, cps=50)
    async with driver.connect() as stream:
        began = time.monotonic()
        await stream.send(b"slowly")
        assert time.monotonic() - began >= 6 / 50
        assert board.hear(6) == b"slowly"
    await closed(driver)


async def test_throttled_characters_leave_one_at_a_time(board: Any) -> None:
    driver = await serial(url=board.url, cps=2)
    async with driver.connect() as stream, anyio.create_task_group() as group:
        began = time.monotonic()
        group.start_soon(stream.send, b"abc")
        for number, character in enumerate((b"a", b"b", b"c")):
            assert await to_thread.run_sync(board.hear, 1) == character
            assert time.monotonic() - began >= number / 2
    await closed(driver)


async def send_cancelled(driver: Serial, board: Any, data: bytes) -> bytes:
    """Cancel a send while the board takes no more, and close the connection; what the board heard until then."""
    async with driver.connect() as stream, anyio.create_task_group() as group:
        group.start_soon(stream.send, data)
        heard: bytes = await to_thread.run_sync(board.hear, 1)
        group.cancel_scope.cancel()
    return heard


async def test_a_cancelled_send_and_close_still_deliver(board: Any) -> None:
    data = os.urandom(1_000_000)
    driver = await serial(url=board.url)
    heard = [await send_cancelled(driver, board, data)]
    listener = threading.Thread(target=lambda: heard.append(board.hear(len(data) - 1)), daemon=True)
    closer = threading.Thread(target=driver.close, daemon=True)
    closer.start()
    listener.start()
    for thread in (closer, listener):
        await to_thread.run_sync(thread.join, 30)
    assert b"".join(heard) == data


async def test_the_next_writer_comes_after_what_is_still_going_out(board: Any) -> None:
    data = os.urandom(1_000_000)
    driver = await serial(url=board.url)
    heard = await send_cancelled(driver, board, data)
    async with driver.connect() as stream, anyio.create_task_group() as group:
        group.start_soon(stream.send, b"next")
        heard += await to_thread.run_sync(board.hear, len(data) + 3)
    assert heard == data + b"next"
    await closed(driver)


async def test_closing_gives_up_on_a_board_that_takes_nothing(board: Any, caplog: pytest.LogCaptureFixture) -> None:
    data = bytes(6_000_000)
    driver = await serial(url=board.url, baudrate=2_000_000_000)
    await send_cancelled(driver, board, data)
    async with driver.connect() as stream:
        with pytest.raises(OSError, match=f"serial port {board.url} takes no more: .* bytes of earlier connections"):
            await stream.send(b"next")
    with anyio.fail_after(20):
        await closed(driver)
    assert f"serial port {board.url} took no more: " in caplog.text


async def test_receiving_ends_when_the_stream_is_closed(board: Any) -> None:
    driver = await serial(url=board.url)
    async with driver.connect() as stream:
        async with anyio.create_task_group() as group:

            async def read() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await stream.receive()

            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
    await closed(driver)


async def test_reset_forgets_what_was_kept(board: Any) -> None:
    driver = await serial(url=board.url)
    async with driver.connect() as unread:
        async with driver.connect() as stream:
            board.say(b"kept")
            assert await receive(stream, 4) == b"kept"
        await unread.aclose()
    await to_thread.run_sync(driver.reset)
    async with driver.connect() as stream:
        board.say(b"new")
        assert await receive(stream, 3) == b"new"
    await closed(driver)


def test_a_refused_writer_learns_why_over_the_wire(board: Any) -> None:
    with serve(Serial(url=board.url)) as client, client.stream() as first, client.stream() as second:
        first.send(b"x")
        assert board.hear(1) == b"x"
        second.send(b"y")
        with pytest.raises(anyio.BrokenResourceError, match=f"another connection writes to serial port {board.url}"):
            second.receive(timeout=30)
        board.say(b"still here")
        got = b""
        while len(got) < 10:
            got += first.receive(timeout=30)
        assert got == b"still here"
