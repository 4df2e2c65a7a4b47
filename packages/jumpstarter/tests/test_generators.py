"""Streaming calls: lazy, in order, held back by a slow reader, and always closed on the exporter."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import anyio
import pytest
from jumpstarter.client import DriverClient
from jumpstarter.client.core import DriverError
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export

# After the step under way, everything of a generator that is no longer wanted is gone within this many seconds.
GONE_SECONDS = 2
MIB = 1024 * 1024


class Watched(Driver):
    """Generators that tell what becomes of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.in_step = threading.Event()
        self.go_on = threading.Event()
        self.closed = threading.Event()
        self.produced = 0
        self.open = 0
        self.ended: list[str] = []

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    def close(self) -> None:
        self.ended.append("driver")
        super().close()

    @export
    def echo(self, value: Any) -> Any:
        return value

    @export
    def count(self, stop: int) -> Generator[int]:
        yield from range(stop)

    @export
    def forever(self) -> Generator[int]:
        try:
            while True:
                self.produced += 1
                yield self.produced
        finally:
            self.ended.append("generator")
            self.closed.set()

    @export
    async def forever_async(self) -> AsyncGenerator[int]:
        try:
            while True:
                await anyio.lowlevel.checkpoint()
                self.produced += 1
                yield self.produced
        finally:
            await anyio.lowlevel.checkpoint()
            self.ended.append("generator")
            self.closed.set()

    @export
    def forever_items(self) -> Iterator[int]:
        """Not a generator of its own: an iterator behind one."""
        yield from self.forever()

    @export
    def waiting(self) -> Generator[int]:
        """Its second step lasts until `go_on`."""
        try:
            yield 1
            self.in_step.set()
            self.go_on.wait(20)
            yield 2
        finally:
            self.ended.append("generator")
            self.closed.set()

    @export
    async def waiting_async(self) -> AsyncGenerator[int]:
        """Its second step lasts for ever."""
        try:
            yield 1
            self.in_step.set()
            await anyio.sleep_forever()
        finally:
            await anyio.lowlevel.checkpoint()
            self.closed.set()

    @export
    def large(self, size: int) -> Generator[bytes]:
        try:
            while True:
                self.produced += 1
                yield bytes(size)
        finally:
            self.closed.set()

    @export
    async def large_async(self, size: int) -> AsyncGenerator[bytes]:
        try:
            while True:
                self.produced += 1
                yield bytes(size)
        finally:
            self.closed.set()

    @export
    def fails_to_close(self) -> Generator[int]:
        try:
            yield 1
            yield 2
        finally:
            self.closed.set()
            raise OSError("no way to close")

    @export
    def closes_late(self) -> Generator[int]:
        try:
            while True:
                yield 1
        except GeneratorExit:
            self.closed.set()
            with suppress(GeneratorExit):
                yield 2

    @export
    def many(self) -> Generator[int]:
        self.open += 1
        try:
            yield self.open
            self.go_on.wait(20)
        finally:
            self.open -= 1
            if not self.open:
                self.closed.set()

    @export
    def stops_early(self) -> Generator[int]:
        yield 1
        raise StopIteration("not this way")


@pytest.fixture
def driver() -> Watched:
    return Watched()


@pytest.fixture
def client(driver: Watched) -> Generator[DriverClient]:
    with serve(driver) as client:
        yield client
        driver.go_on.set()


FOREVER = ["forever", "forever_async", "forever_items"]


class TestItems:
    def test_many_arrive_in_order(self, client: DriverClient) -> None:
        assert list(client.streamingcall("count", 1000)) == list(range(1000))

    def test_nothing_runs_before_the_first_item_is_wanted(self, client: DriverClient, driver: Watched) -> None:
        items = client.streamingcall("forever")
        assert client.call("echo", 1) == 1
        assert driver.produced == 0
        items.close()

    def test_interleaved(self, client: DriverClient) -> None:
        runs = [client.streamingcall("count", 20) for _ in range(10)]
        assert list(zip(*runs, strict=True)) == [(number,) * 10 for number in range(20)]

    def test_an_item_arrives_while_the_next_is_not_there_yet(self, client: DriverClient, driver: Watched) -> None:
        items = client.streamingcall("waiting")
        assert next(items) == 1
        assert driver.in_step.wait(GONE_SECONDS) or driver.go_on.is_set()
        driver.go_on.set()
        assert list(items) == [2]

    def test_stop_iteration_inside_is_an_error_not_an_end(self, client: DriverClient) -> None:
        items = client.streamingcall("stops_early")
        assert next(items) == 1
        with pytest.raises(DriverError, match="StopIteration"):
            next(items)


def break_out(items: Generator[Any]) -> None:
    for _ in items:
        break
    items.close()


def close(items: Generator[Any]) -> None:
    next(items)
    items.close()


def drop(items: Generator[Any]) -> None:
    next(items)
    del items
    gc.collect()


def fail(items: Generator[Any]) -> None:
    next(items)
    with suppress(ZeroDivisionError):
        items.throw(ZeroDivisionError())


def close_in_another_thread(items: Generator[Any]) -> None:
    next(items)
    thread = threading.Thread(target=items.close)
    thread.start()
    thread.join()


class TestClosing:
    @pytest.mark.parametrize("leave", [break_out, close, drop, fail, close_in_another_thread])
    @pytest.mark.parametrize("method", FOREVER)
    def test_leaving_closes_the_drivers_generator(
        self, client: DriverClient, driver: Watched, method: str, leave: Callable[[Generator[Any]], None]
    ) -> None:
        leave(client.streamingcall(method))
        assert driver.closed.wait(GONE_SECONDS)
        assert client.call("echo", 1) == 1

    @pytest.mark.parametrize("method", FOREVER)
    def test_serving_ends_with_a_generator_open(self, method: str) -> None:
        driver = Watched()
        with serve(driver) as client:
            items = client.streamingcall(method)
            next(items)
        assert driver.closed.wait(GONE_SECONDS)
        assert driver.ended == ["generator", "driver"]
        items.close()

    def test_the_step_under_way_comes_to_its_end_first(self, client: DriverClient, driver: Watched) -> None:
        items = client.streamingcall("waiting")
        assert next(items) == 1
        assert driver.in_step.wait(GONE_SECONDS)
        items.close()
        # The caller is free while the step goes on.
        assert [client.call("echo", number) for number in range(50)] == list(range(50))
        assert not driver.closed.is_set()
        driver.go_on.set()
        assert driver.closed.wait(GONE_SECONDS)

    def test_serving_ends_in_the_middle_of_a_step(self) -> None:
        driver = Watched()
        with serve(driver) as client:
            items = client.streamingcall("waiting")
            next(items)
            assert driver.in_step.wait(GONE_SECONDS)
            threading.Timer(0.3, driver.go_on.set).start()
        assert driver.ended == ["generator", "driver"]
        items.close()

    def test_many_at_once(self, client: DriverClient, driver: Watched) -> None:
        runs = [client.streamingcall("many") for _ in range(50)]
        assert [next(items) for items in runs] == list(range(1, 51))
        for items in runs:
            items.close()
        assert client.call("echo", 1) == 1
        driver.go_on.set()
        assert driver.closed.wait(GONE_SECONDS)

    @pytest.mark.parametrize("method", ["fails_to_close", "closes_late"])
    def test_a_generator_that_does_not_close_well(self, client: DriverClient, driver: Watched, method: str) -> None:
        items = client.streamingcall(method)
        assert next(items) == 1
        items.close()
        assert driver.closed.wait(GONE_SECONDS)
        assert list(client.streamingcall("count", 3)) == [0, 1, 2]

    def test_a_generator_that_fails_at_its_end(self, client: DriverClient) -> None:
        items = client.streamingcall("fails_to_close")
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(OSError, match="no way to close"):
            next(items)


def tasks() -> set[asyncio.Task[Any]]:
    """All but those with which a gRPC server waits for its next call."""
    return {task for task in asyncio.all_tasks() if "AioServer._request" not in task.get_coro().__qualname__}


async def nothing_is_left(before: set[asyncio.Task[Any]]) -> None:
    left = tasks() - before
    if left:
        _, pending = await asyncio.wait(left, timeout=GONE_SECONDS)
        assert not pending, pending


@pytest.mark.anyio
class TestAsync:
    @pytest.mark.parametrize("method", FOREVER)
    async def test_aclosing(self, exporting: Any, driver: Watched, method: str) -> None:
        async with exporting(driver) as exporter:
            await exporter.client.call_async("echo", 1)
            before = tasks()
            async with aclosing(exporter.client.streamingcall_async(method)) as items:
                assert [await anext(items), await anext(items)] == [1, 2]
            await nothing_is_left(before)
            assert await anyio.to_thread.run_sync(driver.closed.wait, GONE_SECONDS)

    @pytest.mark.parametrize("method", ["waiting", "waiting_async"])
    async def test_cancelling(self, exporting: Any, driver: Watched, method: str) -> None:
        async with exporting(driver) as exporter:
            await exporter.client.call_async("echo", 1)
            before = tasks()
            items = exporter.client.streamingcall_async(method)
            await anext(items)
            async with anyio.create_task_group() as group:
                group.start_soon(anext, items)
                await anyio.to_thread.run_sync(driver.in_step.wait, GONE_SECONDS)
                group.cancel_scope.cancel()
            await items.aclose()
            driver.go_on.set()
            await nothing_is_left(before)
            assert await anyio.to_thread.run_sync(driver.closed.wait, GONE_SECONDS)

    async def test_dropping_a_blocking_one_on_the_loop(self, exporting: Any, driver: Watched) -> None:
        """Garbage collection runs in any thread, that of the loop included."""
        async with exporting(driver) as exporter:

            def begin() -> Generator[int]:
                items = exporter.client.streamingcall("forever")
                assert next(items) == 1
                return items

            items = await anyio.to_thread.run_sync(begin)
            del items
            gc.collect()
            assert await anyio.to_thread.run_sync(driver.closed.wait, GONE_SECONDS)

    async def test_the_connection_is_closed(self, exporting: Any, driver: Watched) -> None:
        from jumpstarter.client.client import open_stub

        async with exporting(driver) as exporter:
            await exporter.client.call_async("echo", 1)
            before = tasks()
            async with open_stub(exporter.path, insecure=True) as (stub, _):
                other = DriverClient(
                    uuid=driver.uuid, stub=stub, portal=exporter.client.portal, stack=exporter.client.stack
                )
                items = other.streamingcall_async("forever")
                await anext(items)
            assert await anyio.to_thread.run_sync(driver.closed.wait, GONE_SECONDS)
            await items.aclose()
            await nothing_is_left(before)


class TestSlowReader:
    @pytest.mark.parametrize("method", ["large", "large_async"])
    @pytest.mark.parametrize("size", [8 * 1024, MIB])
    def test_holds_the_generator_back(self, client: DriverClient, driver: Watched, method: str, size: int) -> None:
        items = client.streamingcall(method, size)
        assert len(next(items)) == size
        ahead, calls_since = driver.produced, 0
        while calls_since < 100:
            assert client.call("echo", ahead) == ahead
            if driver.produced > ahead:
                ahead, calls_since = driver.produced, 0
                assert ahead * size <= 32 * MIB
            calls_since += 1
        for _ in range(ahead + 5):
            assert len(next(items)) == size
        assert driver.produced > ahead
        items.close()
        assert driver.closed.wait(GONE_SECONDS)
