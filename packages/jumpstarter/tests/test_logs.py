"""Every reader gets every record, in order; one that cannot is told how many it lost."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from google.protobuf.empty_pb2 import Empty
from jumpstarter.client.client import client_from_path
from jumpstarter.common.enums import LogSource
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export
from jumpstarter.exporter.logs import HISTORY, MESSAGE_CHARACTERS, Entry, LogRing, RingHandler
from jumpstarter.rpc import features

# What is awaited comes at once; this is for a slow machine.
SOON = 20


class Talker(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def burst(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.logger.info("line %d", number)

    @export
    async def burst_on_the_loop(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.logger.info("line %d", number)

    @export
    def say(self, level: int, text: str) -> None:
        self.logger.log(level, text)

    @export
    def fail(self) -> None:
        try:
            raise OSError("no port")
        except OSError:
            self.logger.exception("cannot open")

    @export
    def misformat(self) -> None:
        self.logger.info("%d of %d", "one")

    @export
    def say_elsewhere(self, name: str, text: str) -> None:
        logging.getLogger(name).warning(text)


def lines(first: int, count: int) -> list[str]:
    return [f"line {number}" for number in range(first, first + count)]


class RawReader:
    """A LogStream read as it comes."""

    def __init__(self, stub: Any, after: str | None = None) -> None:
        self._call = stub.LogStream(Empty(), metadata=((features.LOG_AFTER_KEY, after),) if after else ())

    async def start(self) -> int:
        """Number of the record that the exporter has this reader start after."""
        text = features.metadata_value(await self._call.initial_metadata(), features.LOG_START_KEY)
        assert text is not None
        return int(text.rpartition("/")[2])

    async def first(self) -> Any:
        async with asyncio.timeout(SOON):
            return await anext(aiter(self._call))

    async def read(self, last: str) -> list[Any]:
        """The responses up to the one that says `last`."""
        found = []
        async with asyncio.timeout(SOON):
            async for response in self._call:
                found.append(response)
                if response.message == last:
                    break
        return found

    def close(self) -> None:
        self._call.cancel()


def ours(responses: list[Any]) -> list[str]:
    return [response.message for response in responses if response.message.startswith("line ")]


@pytest.mark.anyio
class TestReaders:
    @pytest.mark.parametrize("method", ["burst", "burst_on_the_loop"])
    async def test_two_get_all_of_a_burst_in_order(
        self, exporting: Any, caplog: pytest.LogCaptureFixture, method: str
    ) -> None:
        async with exporting(Talker()) as exporter:
            raw = [RawReader(exporter.client.stub) for _ in range(2)]
            for reader in raw:
                await reader.start()
            async with exporter.client.log_stream_async():
                await exporter.client.call_async(method, 0, 5000)
            for reader in raw:
                responses = await reader.read("line 4999")
                assert ours(responses) == lines(0, 5000)
                assert not any(response.lost for response in responses)
                numbers = [response.sequence for response in responses]
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
                reader.close()
            assert shown(caplog) == lines(0, 5000)

    async def test_a_new_one_gets_recent_history_first(self, exporting: Any) -> None:
        async with exporting(Talker()) as exporter:
            await exporter.client.call_async("burst", 0, 1000)
            reader = RawReader(exporter.client.stub)
            await reader.start()
            await exporter.client.call_async("burst", 1000, 10)
            responses = await reader.read("line 1009")
            assert ours(responses) == lines(1000 - HISTORY, HISTORY + 10)
            assert not any(response.lost for response in responses)
            reader.close()

    async def test_nothing_is_missed_between_being_set_up_and_reading(self, exporting: Any) -> None:
        """Records go on coming while readers are set up."""
        async with exporting(Talker()) as exporter:
            stop = threading.Event()

            def talk() -> None:
                number = 0
                while not stop.is_set():
                    exporter.session.log.append(0.0, "INFO", f"line {number}", LogSource.DRIVER, "driver.Talker")
                    number += 1

            thread = threading.Thread(target=talk)
            thread.start()
            try:
                for _ in range(20):
                    reader = RawReader(exporter.client.stub)
                    start = await reader.start()
                    first = await reader.first()
                    assert first.sequence == start + 1
                    reader.close()
            finally:
                stop.set()
                await anyio.to_thread.run_sync(thread.join)

    async def test_leaving_does_not_wait_for_a_history_that_is_for_others(self, exporting: Any) -> None:
        async with exporting(Talker()) as exporter:
            exporter.session.log.append(0.0, "INFO", "of the lease before", LogSource.DRIVER, "driver.Talker")
            exporter.session.log.start_afresh()
            async with asyncio.timeout(2):
                async with exporter.client.log_stream_async():
                    pass

    async def test_from_many_threads_each_in_its_order(self, exporting: Any) -> None:
        async with exporting(Talker()) as exporter:
            reader = RawReader(exporter.client.stub)
            await reader.start()
            await asyncio.gather(*(exporter.client.call_async("burst", 1000 * n, 300) for n in range(8)))
            await exporter.client.call_async("say", logging.INFO, "the end")
            responses = await reader.read("the end")
            numbers = [response.sequence for response in responses]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            found = ours(responses)
            assert len(found) == 8 * 300
            for n in range(8):
                assert [line for line in found if int(line.split()[1]) // 1000 == n] == lines(1000 * n, 300)
            reader.close()

    async def test_a_slow_one_is_told_how_many_it_lost(self, exporting: Any) -> None:
        async with exporting(Talker()) as exporter:
            ring = exporter.session.log = LogRing(capacity=500)
            reader = RawReader(exporter.client.stub)
            assert await reader.start() == 0
            for number in range(60_000):
                ring.append(0.0, "INFO", f"line {number}" + " " * 200, LogSource.DRIVER, "driver.Talker")
                if number % 2000 == 0:
                    await anyio.lowlevel.checkpoint()
            ring.append(0.0, "INFO", "the end", LogSource.DRIVER, "driver.Talker")
            responses = await reader.read("the end")
            expected = 1
            for response in responses:
                expected += response.lost
                assert response.sequence == expected
                expected += 1
            assert expected == 60_002
            assert sum(response.lost for response in responses) == 60_001 - len(responses) > 0
            reader.close()

    async def test_readers_that_leave_leave_nothing(self, exporting: Any) -> None:
        async with exporting(Talker()) as exporter:
            await exporter.client.call_async("burst", 0, 10)
            before = tasks()
            for _ in range(10):
                async with exporter.client.log_stream_async():
                    pass
            left = tasks() - before
            if left:
                _, pending = await asyncio.wait(left, timeout=2)
                assert not pending


def tasks() -> set[asyncio.Task[Any]]:
    """All but those with which a gRPC server waits for its next call."""
    return {task for task in asyncio.all_tasks() if "AioServer._request" not in task.get_coro().__qualname__}


def shown(caplog: pytest.LogCaptureFixture, name: str = "exporter:driver") -> list[str]:
    """What the client has shown of the exporter's log."""
    return [record.getMessage() for record in caplog.records if record.name == name]


@pytest.fixture(autouse=True)
def everything_is_captured(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, logger="exporter:driver"), caplog.at_level(logging.DEBUG, "exporter:system"):
        yield


class TestShown:
    def test_all_that_was_logged_before_the_block_ends(self, caplog: pytest.LogCaptureFixture) -> None:
        with serve(Talker()) as client:
            for number in range(20):
                with client.log_stream():
                    client.call("say", logging.INFO, f"line {number}")
                assert shown(caplog)[-1] == f"line {number}"

    def test_severities(self, caplog: pytest.LogCaptureFixture) -> None:
        levels = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL]
        with serve(Talker(log_level="DEBUG")) as client, client.log_stream():
            for level in levels:
                client.call("say", level, "at this level")
        assert [record.levelno for record in caplog.records if record.name == "exporter:driver"] == levels

    def test_the_drivers_log_level(self, caplog: pytest.LogCaptureFixture) -> None:
        with serve(Talker(log_level="ERROR")) as client, client.log_stream():
            client.call("say", logging.WARNING, "below")
            client.call("say", logging.ERROR, "above")
        assert shown(caplog) == ["above"]

    def test_exceptions(self, caplog: pytest.LogCaptureFixture) -> None:
        with serve(Talker()) as client, client.log_stream():
            client.call("fail")
        (message,) = shown(caplog)
        assert message.startswith("cannot open\nTraceback")
        assert message.endswith("OSError: no port")

    def test_long_messages_are_cut_with_a_mark(self, caplog: pytest.LogCaptureFixture) -> None:
        with serve(Talker()) as client, client.log_stream():
            client.call("say", logging.INFO, "x" * (MESSAGE_CHARACTERS + 7))
        assert shown(caplog) == ["x" * MESSAGE_CHARACTERS + " ... (7 more characters)"]

    @pytest.mark.parametrize(
        "text",
        ["", "%s %d", "\N{SNOWMAN} \0 \x1b[31m", "two\nlines"],
        ids=["empty", "format", "control", "lines"],
    )
    def test_odd_texts(self, caplog: pytest.LogCaptureFixture, text: str) -> None:
        with serve(Talker()) as client, client.log_stream():
            client.call("say", logging.INFO, text)
            client.call("say", logging.INFO, "after")
        assert shown(caplog) == [text, "after"]

    def test_a_record_that_cannot_be_rendered(
        self, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        raising, logging.raiseExceptions = logging.raiseExceptions, False
        try:
            with caplog.filtering(lambda record: record.msg != "%d of %d"), serve(Talker()) as client:
                with client.log_stream():
                    with suppress(TypeError):
                        client.call("misformat")
                    client.call("say", logging.INFO, "after")
        finally:
            logging.raiseExceptions = raising
        assert shown(caplog)[-1] == "after"

    def test_sources(self, caplog: pytest.LogCaptureFixture) -> None:
        with serve(Talker()) as client, client.log_stream():
            client.call("say_elsewhere", "driver.Other", "of a driver")
            client.call("say_elsewhere", "somewhere", "of the system")
            client.call("say_elsewhere", "drivers", "no driver")
        assert shown(caplog) == ["of a driver"]
        assert shown(caplog, "exporter:system") == ["of the system", "no driver"]

    def test_what_is_shown_of_one_exporter_is_not_logged_by_another(self, caplog: pytest.LogCaptureFixture) -> None:
        with serve(Talker()) as one, serve(Talker()) as other, one.log_stream(), other.log_stream():
            one.call("say", logging.INFO, "once for each session of this process")
        assert len(shown(caplog)) == 2


@pytest.mark.anyio
async def test_a_message_that_is_no_utf_8(exporting: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with exporting(Talker()) as exporter, exporter.client.log_stream_async():
        for message in ("\udcff", "after"):
            exporter.session.log.append(0.0, "INFO", message, LogSource.DRIVER, "driver.Talker")
    assert shown(caplog) == ["\\udcff", "after"]


@pytest.mark.anyio
async def test_hooks_have_sources_of_their_own(exporting: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with exporting(Talker()) as exporter:
        session, client = exporter.session, exporter.client
        async with client.log_stream_async():
            with session.context_log_source("hook", LogSource.BEFORE_LEASE_HOOK):
                await client.call_async("say_elsewhere", "hook", "before")
                await client.call_async("say_elsewhere", "hook.part", "before too")
                await client.call_async("say_elsewhere", "hooked", "something else")
            session.add_logger_source("hook", LogSource.AFTER_LEASE_HOOK)
            await client.call_async("say_elsewhere", "hook", "after")
        assert shown(caplog, "exporter:beforeLease") == ["before", "before too"]
        assert shown(caplog, "exporter:system") == ["something else"]
        assert shown(caplog, "exporter:afterLease") == ["after"]
        caplog.clear()
        async with client.log_stream_async(show_all_logs=False):
            await client.call_async("say_elsewhere", "hook", "after again")
            await client.call_async("say", logging.INFO, "not shown")
        assert shown(caplog, "exporter:beforeLease") == ["before", "before too"]
        assert shown(caplog, "exporter:afterLease") == ["after", "after again"]
        assert shown(caplog, "exporter:system") == shown(caplog) == []


class Proxy:
    """Copies bytes between clients and an exporter until it is cut."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._copying: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            self.cut()
            if self._copying:
                await asyncio.wait(self._copying)

    def cut(self) -> None:
        """Drop every connection without a word."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.ensure_future(self._copy(source, sink))
            self._copying.add(task)
            task.add_done_callback(self._copying.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self._open.add(sink)
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        self._open.discard(sink)
        sink.transport.abort()


@pytest.mark.anyio
class TestALostConnection:
    @asynccontextmanager
    async def through_proxy(self, exporter: Any) -> AsyncGenerator[tuple[Proxy, Any]]:
        """The proxy, and a client behind it."""
        proxy = Proxy(exporter.path)
        async with proxy.running():
            opened = client_from_path(
                f"127.0.0.1:{proxy.port}",
                exporter.client.portal,
                exporter.client.stack,
                [],
                unsafe=True,
                insecure=True,
                grpc_options={"grpc.initial_reconnect_backoff_ms": 100, "grpc.min_reconnect_backoff_ms": 100},
            )
            async with opened as client:
                yield proxy, client

    async def test_is_resumed_without_doubles_or_gaps(
        self, exporting: Any, caplog: pytest.LogCaptureFixture, heard: Heard
    ) -> None:
        async with exporting(Talker()) as exporter, self.through_proxy(exporter) as (proxy, client):
            async with client.log_stream_async():
                for part in range(4):
                    await exporter.client.call_async("burst", 500 * part, 250)
                    proxy.cut()
                    await exporter.client.call_async("burst", 500 * part + 250, 250)
                    await heard.wait_for(f"line {500 * part + 499}")
            assert shown(caplog) == lines(0, 2000)
            assert not [text for text in shown(caplog, "exporter:system") if "lost" in text]

    async def test_is_resumed_in_the_middle_of_a_burst(
        self, exporting: Any, caplog: pytest.LogCaptureFixture, heard: Heard
    ) -> None:
        async with exporting(Talker()) as exporter, self.through_proxy(exporter) as (proxy, client):
            async with client.log_stream_async():
                burst = asyncio.ensure_future(exporter.client.call_async("burst", 0, 5000))
                for number in (500, 1500, 3000):
                    await heard.wait_for(f"line {number}")
                    proxy.cut()
                await burst
                await heard.wait_for("line 4999")
            assert shown(caplog) == lines(0, 5000)

    async def test_what_is_gone_meanwhile_is_told(
        self, exporting: Any, caplog: pytest.LogCaptureFixture, heard: Heard
    ) -> None:
        async with exporting(Talker()) as exporter, self.through_proxy(exporter) as (proxy, client):
            ring = exporter.session.log = LogRing(capacity=100)

            def log(first: int, count: int) -> None:
                for number in range(first, first + count):
                    ring.append(0.0, "INFO", f"line {number}", LogSource.DRIVER, "driver.Talker")

            async with client.log_stream_async():
                log(0, 50)
                await heard.wait_for("line 49")
                proxy.cut()
                log(50, 1000)
                await heard.wait_for("line 1049")
            assert shown(caplog) == lines(0, 50) + lines(950, 100)
            assert shown(caplog, "exporter:system") == [
                "900 log records of the exporter were lost here: this reader was too slow"
            ]

    async def test_another_session_is_told(
        self, exporting: Any, caplog: pytest.LogCaptureFixture, heard: Heard
    ) -> None:
        async with exporting(Talker()) as exporter, exporting(Talker()) as second:
            first_ring = exporter.session.log = LogRing()
            second_ring = second.session.log = LogRing()
            for number in range(5):
                second_ring.append(0.0, "INFO", f"line {100 + number}", LogSource.DRIVER, "driver.Talker")
            async with self.through_proxy(exporter) as (proxy, client):
                async with client.log_stream_async():
                    for number in range(10):
                        first_ring.append(0.0, "INFO", f"line {number}", LogSource.DRIVER, "driver.Talker")
                    await heard.wait_for("line 9")
                    proxy.target = second.path
                    proxy.cut()
                    await heard.wait_for("line 104")
            assert shown(caplog) == lines(0, 10) + lines(100, 5)
            assert any("new session" in text for text in shown(caplog, "exporter:system"))


class Heard(logging.Handler):
    """Lets a test wait until the client has shown a line."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()
        self._wanted = ""
        self._arrived = asyncio.Event()

    async def wait_for(self, text: str) -> None:
        self._wanted = text
        if text not in self._seen:
            self._arrived.clear()
            async with asyncio.timeout(SOON):
                await self._arrived.wait()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self._seen.add(message)
        if message == self._wanted:
            self._arrived.set()


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    logger = logging.getLogger("exporter:driver")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


class TestBounds:
    @pytest.mark.anyio
    @pytest.mark.parametrize("letter", ["x", "ä", "€"])
    async def test_the_ring_is_bounded_in_bytes(self, exporting: Any, letter: str) -> None:
        size = 100 * len(letter.encode())
        async with exporting(Talker()) as exporter:
            ring = exporter.session.log = LogRing(capacity_bytes=10 * size + 7)
            for _ in range(250):
                ring.append(0.0, "INFO", letter * 100, LogSource.DRIVER, "driver.Talker")
            ring.append(0.0, "INFO", "the end", LogSource.DRIVER, "driver.Talker")
            reader = RawReader(exporter.client.stub, after=f"{exporter.session.uuid}/0")
            responses = await reader.read("the end")
            assert [response.message for response in responses] == [letter * 100] * 10 + ["the end"]
            assert [response.lost for response in responses] == [240] + [0] * 10
            assert [response.sequence for response in responses] == list(range(241, 252))
            reader.close()

    def test_a_record_larger_than_the_ring(self) -> None:
        ring = LogRing(capacity_bytes=100)
        for size in (90, 101, 90, 90):
            ring.append(0.0, "INFO", "x" * size, LogSource.DRIVER, "driver.Talker")
        entries, lost = asyncio.run(self._first(ring))
        assert [(one.sequence, len(one.message)) for one in entries] == [(4, 90)]
        assert lost == 3

    @staticmethod
    async def _first(ring: LogRing) -> tuple[list[Entry], int]:
        async with aclosing(ring.read(0)) as records:
            entry, lost = await anext(records)
        return [entry], lost

    def test_sources_may_change_while_others_log(self) -> None:
        """A thread that logs must never fail because another one runs a hook."""
        ring = LogRing()
        handler = RingHandler(ring)
        logger = logging.Logger("driver.busy")
        logger.addHandler(handler)
        over = threading.Event()

        def change() -> None:
            number = 0
            while not over.is_set():
                handler.set_source(f"a{number % 50}", LogSource.SYSTEM)
                handler.set_source(f"a{(number + 25) % 50}", None)
                number += 1

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        changing = threading.Thread(target=change)
        changing.start()
        try:
            for _ in range(3000):
                logger.info("line")
        finally:
            over.set()
            changing.join()
            sys.setswitchinterval(interval)
        assert ring.newest == 3000
