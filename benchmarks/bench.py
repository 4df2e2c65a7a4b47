"""Calls, streams and values through the public API, beside bare gRPC that moves as many bytes, in the same run.

Usage: python benchmarks/bench.py [--rounds N] [--json FILE]

Each side runs in a process of its own, the two in turn, so that neither shares a loop with the other. Compared are the
medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Protocol

import grpc
import grpc.aio
from anyio import create_memory_object_stream, create_task_group
from anyio.abc import ObjectStream
from anyio.from_thread import start_blocking_portal
from anyio.streams.stapled import StapledObjectStream
from jumpstarter.client import DriverClient
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export, exportstream

SECONDS = 0.7
ITEMS = 2000
CHUNK = bytes(65536)
CHUNKS = 512
MEGABYTES = len(CHUNK) * CHUNKS / 1e6
# What a driver that reports a table of readings returns: 100 KB as JSON.
TABLE = {f"channel-{n}": {"volts": n / 7, "label": f"rail {n}", "limits": [n, n + 1], "on": True} for n in range(1180)}


class Stream(Protocol):
    """A byte stream as both sides offer it."""

    def send(self, data: bytes, /) -> None: ...

    def receive(self) -> bytes: ...


@dataclass(frozen=True)
class Side:
    """What is measured; echoing streams give back what they are sent, sources send CHUNKS chunks."""

    call: Callable[[], object]
    call_async: Callable[[], object]
    table: Callable[[], object]
    items: Callable[[int], Iterator[object]]
    echo: Callable[[], AbstractContextManager[Stream]]
    source: Callable[[], AbstractContextManager[Stream]]


class BenchDriver(Driver):
    """A driver that does nothing, in every way that a driver can."""

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def call(self) -> None:
        """Runs in a worker thread."""

    @export
    async def call_async(self) -> None:
        """Runs on the loop."""

    @export
    def value(self, value: Any) -> Any:
        return value

    @export
    def items(self, count: int) -> Generator[int, None, None]:
        yield from range(count)

    @exportstream
    @asynccontextmanager
    async def echo(self) -> AsyncIterator[ObjectStream[bytes]]:
        yield StapledObjectStream(*create_memory_object_stream[bytes](32))

    @exportstream
    @asynccontextmanager
    async def source(self) -> AsyncIterator[ObjectStream[bytes]]:
        chunks, receive = create_memory_object_stream[bytes](32)
        send, _unread = create_memory_object_stream[bytes](1)

        async def pump() -> None:
            for _ in range(CHUNKS):
                await chunks.send(CHUNK)

        async with create_task_group() as group:
            group.start_soon(pump)
            yield StapledObjectStream(send, receive)
            group.cancel_scope.cancel()


@contextmanager
def ours() -> Iterator[Side]:
    with serve(BenchDriver()) as client:
        assert isinstance(client, DriverClient)
        yield Side(
            call=lambda: client.call("call"),
            call_async=lambda: client.call("call_async"),
            table=lambda: client.call("value", TABLE),
            items=lambda count: client.streamingcall("items", count),
            echo=lambda: client.stream("echo"),
            source=lambda: client.stream("source"),
        )


async def bare_unary(request: bytes, context: object) -> bytes:
    return request


async def bare_items(request: bytes, context: object) -> AsyncIterator[bytes]:
    for _ in range(int(request)):
        yield b"1"


async def bare_echo(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def bare_source(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
    for _ in range(CHUNKS):
        yield CHUNK


async def start_bare_server(address: str) -> grpc.aio.Server:
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "unary": grpc.unary_unary_rpc_method_handler(bare_unary),
        "items": grpc.unary_stream_rpc_method_handler(bare_items),
        "echo": grpc.stream_stream_rpc_method_handler(bare_echo),
        "source": grpc.stream_stream_rpc_method_handler(bare_source),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", handlers),))
    server.add_insecure_port(address)
    await server.start()
    return server


class BareStream:
    """A bidirectional gRPC call as a stream, for the calling thread."""

    def __init__(self, method: grpc.StreamStreamMultiCallable[bytes, bytes]) -> None:
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self._call = method(iter(self._requests.get, None))

    def send(self, data: bytes) -> None:
        self._requests.put(data)

    def receive(self) -> bytes:
        return next(self._call)

    def __enter__(self) -> BareStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._call.cancel()


@contextmanager
def bare() -> Iterator[Side]:
    table = json.dumps(TABLE).encode()
    with tempfile.TemporaryDirectory() as directory, start_blocking_portal() as portal:
        address = f"unix:{directory}/socket"
        server = portal.call(start_bare_server, address)
        with grpc.insecure_channel(address) as channel:
            unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/bare/unary")
            items: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/bare/items")
            yield Side(
                call=lambda: unary(b""),
                call_async=lambda: unary(b""),
                table=lambda: unary(table),
                items=lambda count: items(str(count).encode()),
                echo=lambda: BareStream(channel.stream_stream("/bare/echo")),
                source=lambda: BareStream(channel.stream_stream("/bare/source")),
            )
        portal.call(server.stop, None)


def each(action: Callable[[], object]) -> float:
    """Median time of one action, in seconds."""
    for _ in range(20):
        action()
    times: list[float] = []
    end = perf_counter() + SECONDS
    while perf_counter() < end:
        start = perf_counter()
        action()
        times.append(perf_counter() - start)
    return statistics.median(times)


def items(side: Side) -> float:
    return each(lambda: sum(1 for _ in side.items(ITEMS))) / ITEMS


def echo(side: Side) -> float:
    def there_and_back() -> None:
        stream.send(b"x")
        stream.receive()

    with side.echo() as stream:
        return each(there_and_back)


def open_and_close(side: Side) -> None:
    with side.echo() as stream:
        stream.send(b"x")
        stream.receive()


def bulk(side: Side) -> float:
    def read_all() -> None:
        with side.source() as stream:
            left = len(CHUNK) * CHUNKS
            while left:
                left -= len(stream.receive())

    return each(read_all) / MEGABYTES


@dataclass(frozen=True)
class Measure:
    """Seconds that a side takes for one thing, and how to print them."""

    name: str
    seconds: Callable[[Side], float]
    rate: str = ""

    def show(self, seconds: float) -> str:
        return f"{1 / seconds:,.0f} {self.rate}" if self.rate else f"{seconds * 1e6:,.0f} us"


MEASURES = [
    Measure("call, sync export", lambda side: each(side.call)),
    Measure("call, async export", lambda side: each(side.call_async)),
    Measure("call, 100 KB table there and back", lambda side: each(side.table)),
    Measure("streaming call", items, rate="items/s"),
    Measure("stream, 1 byte there and back", echo),
    Measure("stream, open, 1 byte, close", lambda side: each(lambda: open_and_close(side))),
    Measure("stream, bulk in 64 KB chunks", bulk, rate="MB/s"),
]
SIDES = {"ours": ours, "bare": bare}


def run_side(name: str) -> dict[str, float]:
    """All measures of one side, in a process of its own."""
    command = [sys.executable, __file__, "--side", name]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def compare(rounds: int) -> dict[str, dict[str, float]]:
    """Side -> measure -> median seconds over the rounds."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    for number in range(rounds):
        for name in SIDES:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            results[name].append(run_side(name))
    return {
        name: {measure.name: statistics.median(run[measure.name] for run in runs) for measure in MEASURES}
        for name, runs in results.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the public API with bare gRPC.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the medians, in seconds, to this file")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        with SIDES[arguments.side]() as side:
            json.dump({measure.name: measure.seconds(side) for measure in MEASURES}, sys.stdout)
        return
    medians = compare(arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(medians, indent=2))
    print(f"{'':35} {'jumpstarter':>16} {'bare gRPC':>16}   time, ours : bare")
    for measure in MEASURES:
        mine, floor = medians["ours"][measure.name], medians["bare"][measure.name]
        print(f"{measure.name:35} {measure.show(mine):>16} {measure.show(floor):>16}   {mine / floor:.1f}")


if __name__ == "__main__":
    main()
