"""The gate on calls and streams, and those who wait for the status to change."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import anyio
import grpc
import pytest
from anyio.abc import ObjectStream
from jumpstarter.client.core import ExporterNotReady
from jumpstarter.client.status_monitor import StatusMonitor
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.exporter import Session
from jumpstarter.streams.common import create_memory_stream
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import (
    DriverCallRequest,
    GetStatusRequest,
    GetStatusResponse,
    StreamingDriverCallRequest,
)

pytestmark = pytest.mark.anyio

OPEN = {ExporterStatus.BEFORE_LEASE_HOOK, ExporterStatus.LEASE_READY, ExporterStatus.AFTER_LEASE_HOOK}
SHUT = set(ExporterStatus) - OPEN
# A change arrives at once; this is for a slow machine.
SOON = 10


class Counting(Driver):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.ran: list[str] = []

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def sync(self) -> int:
        self.ran.append("sync")
        return 1

    @export
    async def coroutine(self) -> int:
        self.ran.append("coroutine")
        return 1

    @export
    def items(self) -> Generator[int]:
        self.ran.append("items")
        yield 1

    @export
    async def async_items(self) -> AsyncGenerator[int]:
        self.ran.append("async_items")
        yield 1

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        self.ran.append("connect")
        near, far = create_memory_stream()
        async with near, far:
            await far.send(b"hello")
            yield near


async def call(client: Any, method: str) -> Any:
    return await client.call_async(method)


async def streamingcall(client: Any, method: str) -> Any:
    (item,) = [item async for item in client.streamingcall_async(method)]
    return item


async def stream(client: Any, method: str) -> Any:
    async with client.stream_async(method) as opened:
        return await opened.receive()


class Offered(Exception):
    pass


async def resource(client: Any, method: str) -> Any:
    near, far = create_memory_stream()
    async with near, far:
        try:
            async with client.resource_async(near) as handle:
                raise Offered  # nobody is going to take it
        except Offered:
            return handle["kind"]


WAYS = [
    (call, "sync", 1),
    (call, "coroutine", 1),
    (streamingcall, "items", 1),
    (streamingcall, "async_items", 1),
    (streamingcall, "sync", 1),
    (stream, "connect", b"hello"),
    (resource, "", "client_stream"),
]
Way = Callable[[Any, str], Awaitable[Any]]


class TestTheGate:
    @pytest.mark.parametrize(("way", "method", "result"), WAYS)
    @pytest.mark.parametrize("status", sorted(OPEN))
    async def test_open(self, exporting: Any, status: ExporterStatus, way: Way, method: str, result: Any) -> None:
        driver = Counting()
        async with exporting(driver, status) as exporter:
            assert await way(exporter.client, method) == result
            assert driver.ran == ([method] if method else [])

    @pytest.mark.parametrize(("way", "method", "result"), WAYS)
    @pytest.mark.parametrize("status", sorted(SHUT))
    async def test_shut(self, exporting: Any, status: ExporterStatus, way: Way, method: str, result: Any) -> None:
        driver = Counting()
        async with exporting(driver, status) as exporter:
            with pytest.raises(ExporterNotReady, match=status.name):
                await way(exporter.client, method)
            assert driver.ran == []
            assert driver.resources == {}

    async def test_is_shut_when_a_session_begins(self, exporting: Any) -> None:
        driver = Counting()
        async with Session(root_device=driver) as session:
            assert session.status.status is ExporterStatus.AVAILABLE
            assert session.status.status not in session.gate

    async def test_comes_before_the_look_up(self, exporting: Any) -> None:
        async with exporting(Counting(), ExporterStatus.OFFLINE) as exporter:
            with pytest.raises(ExporterNotReady):
                await exporter.client.call_async("nothing")
            for uuid in ("", "x", "00000000-0000-0000-0000-000000000000"):
                with pytest.raises(grpc.RpcError) as caught:
                    await exporter.client.stub.DriverCall(DriverCallRequest(uuid=uuid, method="nothing"))
                assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    @pytest.mark.parametrize("status", sorted(SHUT))
    async def test_a_plain_client_gets_failed_precondition(self, exporting: Any, status: ExporterStatus) -> None:
        driver = Counting()
        async with exporting(driver, status) as exporter:
            stub, uuid = exporter.client.stub, str(exporter.client.uuid)
            refused = []
            for attempt in (
                lambda: stub.DriverCall(DriverCallRequest(uuid=uuid, method="sync")),
                lambda: anext(aiter(stub.StreamingDriverCall(StreamingDriverCallRequest(uuid=uuid, method="items")))),
                lambda: plain_stream(stub, f'{{"kind": "driver", "uuid": "{uuid}", "method": "connect"}}'),
                lambda: plain_stream(stub, f'{{"kind": "resource", "uuid": "{uuid}"}}'),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    await attempt()
                refused.append(caught.value.code())
            assert refused == [grpc.StatusCode.FAILED_PRECONDITION] * 4
            assert driver.ran == []

    async def test_tells_the_message(self, exporting: Any) -> None:
        async with exporting(Counting()) as exporter:
            exporter.session.update_status(ExporterStatus.BEFORE_LEASE_HOOK_FAILED, "flash.sh failed with 3")
            with pytest.raises(ExporterNotReady, match=r"BEFORE_LEASE_HOOK_FAILED \(flash\.sh failed with 3\)"):
                await exporter.client.call_async("sync")

    async def test_opens_and_shuts_with_the_status(self, exporting: Any) -> None:
        async with exporting(Counting(), ExporterStatus.OFFLINE) as exporter:
            for status in [*ExporterStatus, *reversed(ExporterStatus)]:
                exporter.session.update_status(status)
                if status in OPEN:
                    assert await exporter.client.call_async("sync") == 1
                else:
                    with pytest.raises(ExporterNotReady):
                        await exporter.client.call_async("sync")

    @pytest.mark.parametrize("status", list(ExporterStatus))
    async def test_leaves_the_rest_alone(self, exporting: Any, status: ExporterStatus) -> None:
        async with exporting(Counting(), status) as exporter:
            assert await exporter.client.get_status_async() is status
            assert await exporter.client.end_session_async() is False
            async with exporter.client.log_stream_async():
                pass


async def plain_stream(stub: Any, request: str) -> Any:
    opened = stub.Stream(metadata=(("request", request),))
    try:
        return await opened.read()
    finally:
        opened.cancel()


class Requests(grpc.aio.ServerInterceptor):
    """Counts what reaches the exporter; can have GetStatus unknown to it, or answer one and the same `status`."""

    def __init__(self, *, without_status: bool = False, status: int | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._without_status = without_status
        self._status = status

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        self.counts[name] += 1
        if name == "GetStatus" and self._without_status:
            return None
        if name == "GetStatus" and self._status is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._answer,
                request_deserializer=GetStatusRequest.FromString,
                response_serializer=GetStatusResponse.SerializeToString,
            )
        return await continuation(details)

    async def _answer(self, request: Any, context: Any) -> GetStatusResponse:
        if request.wait_while_version:
            await anyio.sleep_forever()
        return GetStatusResponse(status=self._status, status_version=1)  # type: ignore[arg-type]


class TestFollowing:
    async def test_a_waiter_is_woken_and_asks_once_per_change(self, exporting: Any) -> None:
        requests = Requests()
        async with exporting(Counting(), interceptors=[requests]) as exporter, monitored(exporter) as monitor:
            assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, SOON)
            asked = requests.counts["GetStatus"]
            # Longer than any polling interval would leave it alone.
            with pytest.raises(TimeoutError), anyio.fail_after(1.2):
                await monitor.wait_for_status(ExporterStatus.OFFLINE)
            assert requests.counts["GetStatus"] - asked <= 1
            for number in range(20):
                for status in (ExporterStatus.AFTER_LEASE_HOOK, ExporterStatus.AVAILABLE):
                    exporter.session.update_status(status, str(number))
                    assert await monitor.wait_for_status(status, SOON)
                    assert monitor.status_message == str(number)
            assert requests.counts["GetStatus"] - asked <= 42

    async def test_one_change_wakes_every_waiter(self, exporting: Any) -> None:
        async with exporting(Counting()) as exporter, monitored(exporter) as first, monitored(exporter) as second:
            waiting = [
                asyncio.ensure_future(monitor.wait_for_any_of([ExporterStatus.OFFLINE, target], SOON))
                for monitor in (first, second)
                for target in (ExporterStatus.AVAILABLE, ExporterStatus.BEFORE_LEASE_HOOK)
            ]
            await exporter.client.call_async("sync")
            assert not any(task.done() for task in waiting)
            exporter.session.update_status(ExporterStatus.OFFLINE)
            assert await asyncio.gather(*waiting) == [ExporterStatus.OFFLINE] * 4

    async def test_what_it_tells(self, exporting: Any) -> None:
        async with exporting(Counting(), ExporterStatus.BEFORE_LEASE_HOOK) as exporter:
            told: list[Any] = []
            monitor = StatusMonitor(exporter.client.stub)
            monitor.on_status_change(lambda new, old: told.append((new, old)))
            async with monitor:
                assert await monitor.wait_for_status(ExporterStatus.BEFORE_LEASE_HOOK, SOON)
                assert monitor.previous_status is ExporterStatus.AVAILABLE
                exporter.session.update_status(ExporterStatus.LEASE_READY, "Ready \N{SNOWMAN}")
                assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, SOON)
            assert told == [
                (ExporterStatus.BEFORE_LEASE_HOOK, None),
                (ExporterStatus.LEASE_READY, ExporterStatus.BEFORE_LEASE_HOOK),
            ]
            assert monitor.current_status is ExporterStatus.LEASE_READY
            assert monitor.previous_status is ExporterStatus.BEFORE_LEASE_HOOK
            assert monitor.status_message == "Ready \N{SNOWMAN}"
            assert monitor.status_version == 2
            assert not monitor.connection_lost
            assert not monitor.unsupported

    async def test_a_wait_has_an_end(self, exporting: Any) -> None:
        async with exporting(Counting()) as exporter, monitored(exporter) as monitor:
            assert await monitor.wait_for_status(ExporterStatus.OFFLINE, 0.05) is False
            assert await monitor.wait_for_any_of([], 0.05) is None

    async def test_a_burst_of_changes_ends_with_the_last(self, exporting: Any) -> None:
        async with exporting(Counting()) as exporter, monitored(exporter) as monitor:
            assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, SOON)

            def burst() -> None:
                for number in range(500):
                    exporter.session.update_status(ExporterStatus.AVAILABLE, str(number))
                exporter.session.update_status(ExporterStatus.OFFLINE, "last")

            await anyio.to_thread.run_sync(burst)
            assert await monitor.wait_for_status(ExporterStatus.OFFLINE, SOON)
            assert monitor.status_message == "last"
            assert monitor.status_version == 502

    async def test_no_update_from_any_thread_is_lost(self, exporting: Any, quick_switching: None) -> None:
        async with exporting(Counting()) as exporter:
            before = exporter.session.status.version

            def update(_: int) -> None:
                for _ in range(500):
                    exporter.session.update_status(ExporterStatus.LEASE_READY)

            def all_at_once() -> None:
                with ThreadPoolExecutor(8) as pool:
                    list(pool.map(update, range(8)))

            await anyio.to_thread.run_sync(all_at_once)
            assert exporter.session.status.version == before + 8 * 500

    async def test_a_lost_exporter_is_noticed(self, exporting: Any) -> None:
        async with exporting(Counting()) as exporter:
            monitor = StatusMonitor(exporter.client.stub)
            await monitor.start()
            assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, SOON)
            waiting = asyncio.ensure_future(monitor.wait_for_status(ExporterStatus.OFFLINE))
        assert await asyncio.wait_for(waiting, SOON) is False
        assert monitor.connection_lost
        await monitor.stop()

    async def test_an_exporter_that_does_not_know_it(self, exporting: Any) -> None:
        async with exporting(Counting(), interceptors=[Requests(without_status=True)]) as exporter:
            assert await exporter.client.get_status_async() is None
            async with monitored(exporter) as monitor:
                assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, SOON) is False
                assert monitor.unsupported

    async def test_a_listener_that_fails_harms_nobody(self, exporting: Any, caplog: pytest.LogCaptureFixture) -> None:
        async with exporting(Counting()) as exporter:
            monitor = StatusMonitor(exporter.client.stub)
            monitor.on_status_change(lambda new, old: 1 / 0)
            async with monitor:
                assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, SOON)
                exporter.session.update_status(ExporterStatus.OFFLINE)
                assert await monitor.wait_for_status(ExporterStatus.OFFLINE, SOON)
        assert "a listener to the exporter's status failed" in caplog.messages

    async def test_a_status_of_a_later_version(self, exporting: Any) -> None:
        async with exporting(Counting(), interceptors=[Requests(status=99)]) as exporter:
            async with monitored(exporter) as monitor:
                assert await monitor.wait_for_status(ExporterStatus.UNSPECIFIED, SOON)

    async def test_an_exporter_that_does_not_wait_is_polled(self, exporting: Any) -> None:
        requests = Requests()
        async with exporting(Counting(), interceptors=[requests]) as exporter:
            exporter.client.stub.announce(())
            async with exporter.client.status_monitor_async(0.01) as monitor:
                assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, SOON)
                exporter.session.update_status(ExporterStatus.OFFLINE)
                assert await monitor.wait_for_status(ExporterStatus.OFFLINE, SOON)
            assert requests.counts["GetStatus"] >= 2

    async def test_a_monitor_that_stops_leaves_nothing_at_the_exporter(self, exporting: Any) -> None:
        async with exporting(Counting()) as exporter:
            before = asyncio.all_tasks()
            async with monitored(exporter) as monitor:
                assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, SOON)
            left = {
                task
                for task in asyncio.all_tasks() - before
                if "AioServer._request" not in task.get_coro().__qualname__
            }
            if left:
                _, pending = await asyncio.wait(left, timeout=2)
                assert not pending


class TestTheRequest:
    async def test_a_waiter_is_answered_before_its_deadline(self, exporting: Any) -> None:
        async with exporting(Counting()) as exporter:
            version = exporter.session.status.version
            request = GetStatusRequest(wait_while_version=version)
            response = await exporter.client.stub.GetStatus(request, timeout=0.8)
            assert response.status_version == version

    @pytest.mark.parametrize("version", [0, 2**40])
    async def test_another_version_is_answered_at_once(self, exporting: Any, version: int) -> None:
        async with exporting(Counting()) as exporter:
            response = await exporter.client.stub.GetStatus(GetStatusRequest(wait_while_version=version), timeout=SOON)
            assert response.status_version == exporter.session.status.version

    async def test_ending_the_session(self, exporting: Any) -> None:
        ended = []
        async with exporting(Counting(), on_end_session=lambda: ended.append(1)) as exporter:
            assert await exporter.client.end_session_async() is True
            assert ended == [1]


@asynccontextmanager
async def monitored(exporter: Any) -> AsyncGenerator[StatusMonitor]:
    async with exporter.client.status_monitor_async() as monitor:
        yield monitor


@pytest.fixture
def quick_switching() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class TestWaiting:
    async def test_a_status_in_passing_is_seen(self, exporting: Any) -> None:
        async with exporting(Counting(), ExporterStatus.AVAILABLE) as exporter, monitored(exporter) as monitor:
            async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
                passing = group.create_task(monitor.wait_for_status(ExporterStatus.BEFORE_LEASE_HOOK))
                either = group.create_task(
                    monitor.wait_for_any_of([ExporterStatus.LEASE_READY, ExporterStatus.BEFORE_LEASE_HOOK])
                )
                await anyio.wait_all_tasks_blocked()
                exporter.session.update_status(ExporterStatus.BEFORE_LEASE_HOOK)
                exporter.session.update_status(ExporterStatus.LEASE_READY)
            assert passing.result() is True
            assert either.result() == ExporterStatus.BEFORE_LEASE_HOOK

    async def test_a_status_of_the_past_is_not_waited_for(self, exporting: Any) -> None:
        async with exporting(Counting(), ExporterStatus.BEFORE_LEASE_HOOK) as exporter:
            exporter.session.update_status(ExporterStatus.LEASE_READY)
            async with StatusMonitor(exporter.client.stub) as monitor:
                assert not await monitor.wait_for_status(ExporterStatus.BEFORE_LEASE_HOOK, timeout=0.3)
                assert monitor.current_status == ExporterStatus.LEASE_READY
                assert not await monitor.wait_for_status(ExporterStatus.BEFORE_LEASE_HOOK, timeout=0.1)

    async def test_stopping_dismisses_whoever_waits(self, exporting: Any) -> None:
        async with exporting(Counting()) as exporter, monitored(exporter) as monitor:
            async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
                one = group.create_task(monitor.wait_for_status(ExporterStatus.OFFLINE))
                any_of = group.create_task(monitor.wait_for_any_of([ExporterStatus.OFFLINE, ExporterStatus.AVAILABLE]))
                await anyio.wait_all_tasks_blocked()
                await monitor.stop()
            assert one.result() is False
            assert any_of.result() is None
            async with asyncio.timeout(SOON):
                assert not await monitor.wait_for_status(ExporterStatus.OFFLINE)
