"""Exporters and clients that are killed: the other side notices, says so, and keeps nothing of theirs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ObjectStream
from jumpstarter.client.core import DriverConnectionError
from jumpstarter.common.utils import env
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.streams.common import create_memory_stream

# A client has its error within this many seconds of the exporter's death.
ERROR_SECONDS = 5
# An exporter has got rid of a dead client within this many seconds of the step under way.
GONE_SECONDS = 2
START_SECONDS = 30

EXPORTER = """
    import signal
    import sys
    import threading
    from contextlib import asynccontextmanager

    import anyio
    from jumpstarter.common.enums import ExporterStatus
    from jumpstarter.driver import Driver, export, exportstream
    from jumpstarter.exporter import Session
    from jumpstarter.streams.common import create_memory_stream


    class Slow(Driver):
        @classmethod
        def client(cls):
            return "jumpstarter.client.DriverClient"

        @export
        def echo(self, value):
            return value

        @export
        def hang(self):
            print("hanging\\n", end="", flush=True)  # in one write: others print at the same time
            threading.Event().wait()

        @export
        async def hang_async(self):
            print("hanging\\n", end="", flush=True)  # in one write: others print at the same time
            await anyio.sleep_forever()

        @export
        def items(self):
            yield 1
            yield 2
            print("hanging\\n", end="", flush=True)  # in one write: others print at the same time
            threading.Event().wait()

        @export
        def forever(self):
            while True:
                yield 1

        @exportstream
        @asynccontextmanager
        async def connect(self):
            near, far = create_memory_stream()
            async with near, far:
                await far.send(b"hello")
                yield near


    with Session(root_device=Slow()) as session, session.serve_unix() as path:
        session.update_status(ExporterStatus.LEASE_READY)
        print(path, flush=True)
        signal.pause()
"""


class Victim:
    """An exporter in a process of its own, and a client of it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self._output = process.stdout
        self.client: Any = None
        self.path = self._output.readline().strip()
        self._killed_at = 0.0

    def wait_until_hanging(self) -> None:
        assert self._output.readline() == "hanging\n"

    def kill(self) -> None:
        self._killed_at = time.monotonic()
        self._process.kill()
        self._process.wait()

    def in_time(self) -> bool:
        return time.monotonic() - self._killed_at < ERROR_SECONDS


@pytest.fixture
def victim(scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Victim]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("JMP_DRIVERS_ALLOW", "UNSAFE")
    victim = Victim(scripts.start(EXPORTER, name="exporter"))
    monkeypatch.setenv("JUMPSTARTER_HOST", victim.path)
    with env() as client:
        assert client.call("echo", 1) == 1
        victim.client = client
        yield victim


@pytest.fixture
def pool() -> Generator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(5)
    yield pool
    # What is stuck ends with the exporter.
    pool.shutdown(wait=False, cancel_futures=True)


def fails(future: Future[Any]) -> None:
    """`future` fails in time, saying that the exporter is gone."""
    with pytest.raises(DriverConnectionError, match="the exporter is gone") as caught:
        future.result(ERROR_SECONDS)
    assert isinstance(caught.value, ConnectionError)


class TestAKilledExporter:
    @pytest.mark.parametrize("method", ["hang", "hang_async"])
    def test_during_a_call(self, victim: Victim, pool: ThreadPoolExecutor, method: str) -> None:
        call = pool.submit(victim.client.call, method)
        victim.wait_until_hanging()
        victim.kill()
        fails(call)
        assert victim.in_time()

    def test_during_a_streaming_call(self, victim: Victim, pool: ThreadPoolExecutor) -> None:
        items = victim.client.streamingcall("items")
        assert [next(items), next(items)] == [1, 2]
        third = pool.submit(next, items)
        victim.wait_until_hanging()
        victim.kill()
        fails(third)
        assert victim.in_time()

    def test_between_the_items_of_a_streaming_call(self, victim: Victim, pool: ThreadPoolExecutor) -> None:
        items = victim.client.streamingcall("forever")
        assert next(items) == 1
        victim.kill()
        fails(pool.submit(list, items))
        assert victim.in_time()

    def test_during_a_stream(self, victim: Victim, pool: ThreadPoolExecutor) -> None:
        with victim.client.stream() as stream:
            assert stream.receive() == b"hello"
            reading = pool.submit(stream.receive)
            victim.kill()
            self.breaks(reading)
            self.breaks(pool.submit(stream.receive))
            self.breaks(pool.submit(stream.send, b"x"))
            assert victim.in_time()

    def test_while_a_stream_is_full(self, victim: Victim, pool: ThreadPoolExecutor) -> None:
        def send() -> None:
            while True:
                stream.send(bytes(1024 * 1024))

        with victim.client.stream() as stream:
            sending = pool.submit(send)
            assert stream.receive() == b"hello"
            victim.kill()
            self.breaks(sending)
            assert victim.in_time()

    def breaks(self, future: Future[Any]) -> None:
        with pytest.raises(anyio.BrokenResourceError, match="the exporter is gone") as caught:
            future.result(ERROR_SECONDS)
        assert isinstance(caught.value.__cause__, DriverConnectionError)

    def test_all_at_once(self, victim: Victim, pool: ThreadPoolExecutor) -> None:
        with victim.client.log_stream():
            calls = [pool.submit(victim.client.call, "hang") for _ in range(4)]
            for _ in calls:
                victim.wait_until_hanging()
            stream = victim.client.open_stream()
            items = victim.client.streamingcall("forever")
            next(items)
            victim.kill()
            for call in calls:
                fails(call)
            fails(pool.submit(list, items))
            with suppress(anyio.BrokenResourceError):
                pool.submit(stream.close).result(ERROR_SECONDS)
        assert victim.in_time()

    def test_before(self, victim: Victim, pool: ThreadPoolExecutor) -> None:
        client = victim.client
        victim.kill()
        fails(pool.submit(client.call, "echo", 1))
        fails(pool.submit(lambda: next(client.streamingcall("forever"))))
        fails(pool.submit(client.open_stream))
        fails(pool.submit(lambda: client.status))
        assert victim.in_time()


class Watched(Driver):
    """Tells what becomes of what a client has opened."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.go_on = threading.Event()
        self.ended: list[str] = []
        self.news = threading.Condition()

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    def end(self, name: str) -> None:
        with self.news:
            self.ended.append(name)
            self.news.notify_all()

    def wait_for(self, *names: str) -> bool:
        """Whether each of `names` has ended as often as it is given."""
        with self.news:
            return self.news.wait_for(lambda: Counter(names) <= Counter(self.ended), GONE_SECONDS)

    @export
    def echo(self, value: Any) -> Any:
        return value

    @export
    def call(self) -> None:
        self.go_on.wait(30)
        self.end("call")

    @export
    async def coroutine(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self.end("coroutine")

    @export
    def items(self) -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            self.end("items")

    @export
    def blocked_items(self) -> Generator[int]:
        try:
            yield 1
            self.go_on.wait(30)
            yield 2
        finally:
            self.end("blocked_items")

    @export
    async def async_items(self) -> AsyncGenerator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            self.end("async_items")

    @export
    async def large_items(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                yield bytes(1024 * 1024)
        finally:
            self.end("large_items")

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        near, far = create_memory_stream()
        async with near, far:
            await far.send(b"hello")
            try:
                yield near
            finally:
                self.end("stream")

    @exportstream
    @asynccontextmanager
    async def flood(self) -> AsyncGenerator[ObjectStream[bytes]]:
        near, far = create_memory_stream()

        async def pour() -> None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                while True:
                    await far.send(bytes(100_000))

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(pour)
                async with near, far:
                    yield near
                group.cancel_scope.cancel()
        finally:
            self.end("flood")


CLIENT = """
    import sys
    import threading

    from jumpstarter.common.utils import env

    with env() as client:
        for method in ("call", "coroutine"):
            threading.Thread(target=client.call, args=(method,), daemon=True).start()
        generators = [
            client.streamingcall(method) for method in ("items", "blocked_items", "async_items", "large_items")
        ]
        for items in generators:
            next(items)
        streams = [client.open_stream(), client.open_stream("flood")]
        for stream in streams:
            stream.receive()
        with client.log_stream():
            monitor = client.portal.wrap_async_context_manager(client.status_monitor_async())
            with monitor:
                client.call("echo", 1)
                print("ready", flush=True)
                sys.stdin.read()
"""


def tasks() -> set[asyncio.Task[Any]]:
    """All but those with which a gRPC server waits for its next call."""
    return {task for task in asyncio.all_tasks() if "AioServer._request" not in task.get_coro().__qualname__}


@pytest.mark.anyio
class TestAKilledClient:
    async def test_leaves_nothing_in_the_exporter(self, exporting: Any, scripts: Any) -> None:
        clients = 2
        driver = Watched()
        async with exporting(driver) as exporter, exporter.session.serve_unix_async() as path:
            await exporter.client.call_async("echo", 1)
            before = tasks()
            processes = [
                scripts.start(CLIENT, name=f"client{n}", JUMPSTARTER_HOST=path, JMP_DRIVERS_ALLOW="UNSAFE")
                for n in range(clients)
            ]
            for process in processes:
                assert await anyio.to_thread.run_sync(process.stdout.readline) == "ready\n", process.stderr.read()
            assert driver.ended == []
            for process in processes:
                process.kill()
            at_rest = ["coroutine", "items", "async_items", "large_items", "stream", "flood"] * clients
            assert await anyio.to_thread.run_sync(driver.wait_for, *at_rest)
            await self.nothing_is_left(before)
            assert not {"call", "blocked_items"} & set(driver.ended)

            # What was in the middle of a step is gone when that has come to its end.
            driver.go_on.set()
            in_a_step = ["call", "blocked_items"] * clients
            assert await anyio.to_thread.run_sync(driver.wait_for, *in_a_step)
            assert sorted(driver.ended) == sorted([*at_rest, *in_a_step])
            assert driver.resources == {}
            assert await exporter.client.call_async("echo", 2) == 2
            await self.nothing_is_left(before)

    async def nothing_is_left(self, before: set[asyncio.Task[Any]]) -> None:
        left = tasks() - before
        if left:
            _, pending = await asyncio.wait(left, timeout=GONE_SECONDS)
            assert not pending, pending

    async def test_one_that_hangs_holds_nobody_up(self, exporting: Any, scripts: Any) -> None:
        driver = Watched()
        async with exporting(driver) as exporter, exporter.session.serve_unix_async() as path:
            process = scripts.start(CLIENT, JUMPSTARTER_HOST=path, JMP_DRIVERS_ALLOW="UNSAFE")
            assert await anyio.to_thread.run_sync(process.stdout.readline) == "ready\n", process.stderr.read()
            os.kill(process.pid, signal.SIGSTOP)
            for number in range(100):
                assert await exporter.client.call_async("echo", number) == number
            async with exporter.client.log_stream_async(), exporter.client.stream_async() as stream:
                assert await stream.receive() == b"hello"
            process.kill()
            driver.go_on.set()
            assert await anyio.to_thread.run_sync(driver.wait_for, "call", "large_items", "flood")
