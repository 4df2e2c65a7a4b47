"""A driver that blocks delays itself only; calls may come from any thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ObjectStream
from jumpstarter.client import DriverClient
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.common.utils import serve, serve_async
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.driver.workers import THREADS_PER_DRIVER
from jumpstarter.streams.common import create_memory_stream

WAIT_SECONDS = 30


class Base(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"


class Sleeper(Base):
    """Its methods last until `go_on`; nobody else lets them end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.go_on = threading.Event()
        self.changed = threading.Condition()
        self.asleep = 0
        self.most = 0

    def _sleep(self) -> None:
        with self.changed:
            self.asleep += 1
            self.most = max(self.most, self.asleep)
            self.changed.notify_all()
        slept = self.go_on.wait(WAIT_SECONDS)
        with self.changed:
            self.asleep -= 1
            self.changed.notify_all()
        assert slept

    def wait_for(self, asleep: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.asleep == asleep, WAIT_SECONDS)

    @export
    def sleep(self, number: int) -> int:
        self._sleep()
        return number

    @export
    def items(self) -> Generator[int]:
        for number in range(3):
            self._sleep()
            yield number

    @export
    async def coroutine(self, number: int) -> int:
        return number


class Sibling(Base):
    @export
    def sync(self, value: Any) -> Any:
        return [threading.current_thread().name, value]

    @export
    async def coroutine(self, value: Any) -> Any:
        return value

    @export
    def items(self, count: int) -> Generator[int]:
        yield from range(count)

    @export
    async def async_items(self, count: int) -> AsyncGenerator[int]:
        for number in range(count):
            yield number

    @export
    def log(self, text: str) -> None:
        self.logger.info(text)

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        near, far = create_memory_stream()

        async def echo() -> None:
            async for data in far:
                await far.send(data)
            await far.send_eof()

        async with near, far, anyio.create_task_group() as group:
            group.start_soon(echo)
            yield near
            group.cancel_scope.cancel()


@pytest.mark.anyio
class TestABlockedDriver:
    async def test_delays_no_sibling(self, caplog: pytest.LogCaptureFixture) -> None:
        """60 sync calls and two generators are in the middle of blocking; all else goes on meanwhile."""
        sleeper, sibling = Sleeper(), Sibling()
        async with serve_async(Base(children={"sleeper": sleeper, "sibling": sibling})) as client:
            blocked, other = client.children["sleeper"], client.children["sibling"]

            async def drain() -> list[int]:
                return [item async for item in blocked.streamingcall_async("items")]

            calls = [asyncio.ensure_future(blocked.call_async("sleep", number)) for number in range(60)]
            calls += [asyncio.ensure_future(drain()) for _ in range(2)]
            assert await anyio.to_thread.run_sync(sleeper.wait_for, 62)

            for number in range(100):
                assert (await other.call_async("sync", number))[1] == number
                assert await other.call_async("coroutine", number) == number
                assert await blocked.call_async("coroutine", number) == number
            for method in ("items", "async_items"):
                assert [item async for item in other.streamingcall_async(method, 50)] == list(range(50))
            async with other.stream_async() as stream:
                for _ in range(50):
                    await stream.send(b"x" * 1000)
                    assert await stream.receive() == b"x" * 1000
            with caplog.at_level("INFO"):
                async with client.log_stream_async():
                    await other.call_async("log", "heard while others block")
            assert "heard while others block" in caplog.messages
            assert await client.get_status_async() is ExporterStatus.LEASE_READY

            assert sleeper.asleep == 62
            assert not any(call.done() for call in calls)
            sleeper.go_on.set()
            assert await asyncio.gather(*calls) == [*range(60), [0, 1, 2], [0, 1, 2]]

    async def test_has_an_allowance_that_others_do_not_share(self) -> None:
        sleeper, sibling = Sleeper(), Sibling()
        async with serve_async(Base(children={"sleeper": sleeper, "sibling": sibling})) as client:
            blocked, other = client.children["sleeper"], client.children["sibling"]
            count = THREADS_PER_DRIVER + 10
            calls = [asyncio.ensure_future(blocked.call_async("sleep", number)) for number in range(count)]
            assert await anyio.to_thread.run_sync(sleeper.wait_for, THREADS_PER_DRIVER)
            for number in range(50):
                assert (await other.call_async("sync", number))[1] == number
            assert sleeper.most == THREADS_PER_DRIVER
            sleeper.go_on.set()
            assert await asyncio.gather(*calls) == list(range(count))
            assert sleeper.most == THREADS_PER_DRIVER

    async def test_calls_given_up_while_they_wait_cost_nothing(self) -> None:
        sleeper = Sleeper()
        async with serve_async(sleeper) as client:
            first = [asyncio.ensure_future(client.call_async("sleep", 0)) for _ in range(THREADS_PER_DRIVER)]
            assert await anyio.to_thread.run_sync(sleeper.wait_for, THREADS_PER_DRIVER)
            waiting = [asyncio.ensure_future(client.call_async("sleep", 1)) for _ in range(20)]
            await client.call_async("coroutine", 0)
            for call in waiting:
                call.cancel()
            await asyncio.wait(waiting)
            sleeper.go_on.set()
            await asyncio.gather(*first)
            assert await client.call_async("sleep", 5) == 5
            assert sleeper.most <= THREADS_PER_DRIVER

    async def test_a_call_given_up_goes_on_to_its_end(self) -> None:
        sleeper = Sleeper()
        async with serve_async(sleeper) as client:
            call = asyncio.ensure_future(client.call_async("sleep", 0))
            assert await anyio.to_thread.run_sync(sleeper.wait_for, 1)
            call.cancel()
            await asyncio.wait([call])
            assert await client.call_async("coroutine", 1) == 1
            assert sleeper.asleep == 1
            sleeper.go_on.set()
            assert await anyio.to_thread.run_sync(sleeper.wait_for, 0)

    async def test_a_slow_item_can_be_given_up(self) -> None:
        sleeper = Sleeper()
        async with serve_async(sleeper) as client:
            with anyio.move_on_after(0.1) as scope:
                async with aclosing(client.streamingcall_async("items")) as items:
                    await anext(items)
            assert scope.cancelled_caught
            sleeper.go_on.set()
            assert await anyio.to_thread.run_sync(sleeper.wait_for, 0)


class TestThreads:
    def test_calls_from_many_at_once(self) -> None:
        with serve(Sibling()) as client, ThreadPoolExecutor(16) as pool:

            def work(thread: int) -> list[Any]:
                results: list[Any] = []
                for number in range(20):
                    results.append(client.call("coroutine", [thread, number]))
                    results.append(client.call("sync", [thread, number])[1])
                    results += client.streamingcall("items", 3)
                return results

            for thread, results in enumerate(pool.map(work, range(16))):
                pairs = [[thread, number] for number in range(20)]
                assert results == [part for pair in pairs for part in (pair, pair, 0, 1, 2)]

    def test_streams_from_many_at_once(self) -> None:
        with serve(Sibling()) as client, ThreadPoolExecutor(8) as pool:

            def work(thread: int) -> bytes:
                data = bytes([thread]) * 100_000
                with client.stream() as stream:
                    stream.send(data)
                    stream.send_eof()
                    return b"".join(stream)

            assert list(pool.map(work, range(8))) == [bytes([thread]) * 100_000 for thread in range(8)]

    def test_one_generator_passed_from_thread_to_thread(self) -> None:
        with serve(Sibling()) as client:
            items = client.streamingcall("items", 5)
            found = []
            for _ in range(5):
                thread = threading.Thread(target=lambda: found.append(next(items)))
                thread.start()
                thread.join()
            assert found == [0, 1, 2, 3, 4]
            assert list(items) == []

    def test_one_call_after_the_other_uses_few_threads(self) -> None:
        with serve(Sibling()) as client:
            names = {client.call("sync", 0)[0] for _ in range(200)}
            before = threading.active_count()
            for _ in range(200):
                client.call("sync", 0)
            assert threading.active_count() <= before
            assert len(names) == 1
            assert threading.main_thread().name not in names

    @pytest.mark.anyio
    async def test_blocking_methods_in_threads_of_a_loop(self) -> None:
        async with serve_async(Sibling()) as client:
            calls = [asyncio.to_thread(client.call, "coroutine", number) for number in range(40)]
            assert await asyncio.gather(*calls) == list(range(40))
            assert await asyncio.to_thread(lambda: list(client.streamingcall("items", 5))) == [0, 1, 2, 3, 4]

            def stream() -> bytes:
                with client.stream() as opened:
                    opened.send(b"ping")
                    return opened.receive()

            assert await asyncio.to_thread(stream) == b"ping"
            assert await asyncio.to_thread(lambda: client.status) is ExporterStatus.LEASE_READY


@pytest.mark.anyio
class TestARunningLoop:
    """Blocking methods raise at once where they would stop an event loop, and name the async one."""

    @pytest.mark.parametrize("served", ["by this loop", "by another"])
    async def test_is_refused(self, served: str) -> None:
        if served == "by this loop":
            async with serve_async(Sibling()) as client:
                await self.check(client)
        else:
            serving = serve(Sibling())
            client = await asyncio.to_thread(serving.__enter__)
            await self.check(client)
            await asyncio.to_thread(serving.__exit__, None, None, None)

    async def check(self, client: DriverClient) -> None:
        for name, use in [
            ("call", lambda: client.call("sync", 1)),
            ("streamingcall", lambda: client.streamingcall("items", 1)),
            ("stream", lambda: client.stream().__enter__()),
            ("open_stream", lambda: client.open_stream()),
            ("log_stream", lambda: client.log_stream().__enter__()),
            ("status", lambda: client.status),
        ]:
            with pytest.raises(RuntimeError, match=rf"^{name}\(\) blocks.*event loop: use \w+_async\(\)") as caught:
                use()
            asynchronous = str(caught.value).rpartition("use ")[2].partition("(")[0]
            assert callable(getattr(client, asynchronous))

    @pytest.mark.parametrize("served", ["by this loop", "by another"])
    async def test_is_refused_on_an_open_stream_too(self, served: str) -> None:
        if served == "by this loop":
            async with serve_async(Sibling()) as client:
                stream = await asyncio.to_thread(client.open_stream)
                await self.check_stream(stream)
                await asyncio.to_thread(stream.close)
        else:
            serving = serve(Sibling())
            client = await asyncio.to_thread(serving.__enter__)
            stream = await asyncio.to_thread(client.open_stream)
            await self.check_stream(stream)
            await asyncio.to_thread(stream.close)
            await asyncio.to_thread(serving.__exit__, None, None, None)

    async def check_stream(self, stream: Any) -> None:
        for use in (lambda: stream.send(b"x"), stream.receive, stream.send_eof, stream.close, lambda: list(stream)):
            with pytest.raises(RuntimeError, match="event loop"):
                use()

    async def test_a_client_of_another_loop_says_so(self) -> None:
        serving = serve(Sibling())
        client = await asyncio.to_thread(serving.__enter__)
        near, far = create_memory_stream()
        for use in (
            lambda: client.call_async("coroutine", 1),
            lambda: anext(client.streamingcall_async("items", 1)),
            lambda: client.stream_async().__aenter__(),
            lambda: client.resource_async(near).__aenter__(),
            lambda: client.get_status_async(),
            lambda: client.end_session_async(),
        ):
            with pytest.raises(RuntimeError, match=r"another event loop: .*serve_async.*asyncio\.to_thread"):
                await use()
        assert await asyncio.to_thread(client.call, "coroutine", 1) == 1
        await asyncio.to_thread(serving.__exit__, None, None, None)
        await near.aclose()
        await far.aclose()

    async def test_serve_is_refused(self) -> None:
        with pytest.raises(RuntimeError, match=r"serve\(\) blocks.*use serve_async\(\)"), serve(Sibling()):
            pass
