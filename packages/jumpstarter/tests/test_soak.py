"""Long runs: clients that come, work, break off and are killed, and an exporter that is none the worse for it."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from anyio.abc import ObjectStream
from jumpstarter.common import ExporterStatus
from jumpstarter.common.utils import env, serve
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.drivers.mixins import ResourceMixin
from jumpstarter.exporter import Session
from jumpstarter.streams.common import create_memory_stream

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

SECONDS = 240
CLIENTS = 4


@dataclass(kw_only=True)
class Busy(Driver):
    """Does a little of everything, and counts what is under way."""

    open: dict[str, int] = field(default_factory=dict)

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @contextmanager
    def _counted(self, what: str) -> Generator[None]:
        self.open[what] = self.open.get(what, 0) + 1
        try:
            yield
        finally:
            self.open[what] -= 1

    @export
    def echo(self, value: Any) -> Any:
        return value

    @export
    async def echo_async(self, value: Any) -> Any:
        return value

    @export
    def count(self, to: int) -> Generator[int]:
        with self._counted("generator"):
            for number in range(to):
                self.logger.info("number %d", number)
                yield number

    @export
    async def count_async(self, to: int) -> AsyncGenerator[int]:
        with self._counted("async generator"):
            for number in range(to):
                await asyncio.sleep(0)
                yield number

    @export
    async def swallow(self, handle: dict[str, Any]) -> int:
        total = 0
        with self._counted("resource"):
            async with self.resource(handle) as stream:
                async for piece in stream:
                    total += len(piece)
        return total

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        near, far = create_memory_stream()

        async def echo() -> None:
            async with far:
                with suppress(anyio.BrokenResourceError):
                    async for piece in far:
                        await far.send(piece)
                    await far.send_eof()

        with self._counted("stream"):
            async with anyio.create_task_group() as group:
                group.start_soon(echo)
                try:
                    async with near:
                        yield near
                finally:
                    group.cancel_scope.cancel()

    @export
    async def state(self) -> dict[str, Any]:
        gc.collect()
        process = psutil.Process()
        return {
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "files": process.num_fds(),
            "memory": process.memory_info().rss,
            "open": sum(self.open.values()) + len(self.resources),
        }


async def serve_until_stdin_ends() -> None:
    async with Session(root_device=Busy()) as session, session.serve_unix_async() as path:
        session.update_status(ExporterStatus.LEASE_READY)
        print(path, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def work() -> None:
    """One client, for ever: random work, checked; half of it broken off."""
    chance = random.Random()
    with env() as plain:
        client = ResourceMixin(
            uuid=plain.uuid, labels=plain.labels, stub=plain.stub, portal=plain.portal, stack=plain.stack
        )
        jobs = [calls, generators, streams, resources, logs]
        while True:
            chance.choice(jobs)(client, chance)
            print(".", flush=True)


def calls(client: ResourceMixin, chance: random.Random) -> None:
    for _ in range(20):
        value = {"n": chance.getrandbits(100), "b": chance.randbytes(chance.randrange(10_000)), "l": [1.5, None, "x"]}
        assert client.call(chance.choice(["echo", "echo_async"]), value) == value


def generators(client: ResourceMixin, chance: random.Random) -> None:
    stop = chance.randrange(30)
    for number in client.streamingcall(chance.choice(["count", "count_async"]), 100_000):
        if number >= stop:
            break


def streams(client: ResourceMixin, chance: random.Random) -> None:
    data = chance.randbytes(chance.randrange(1, 300_000))
    with client.stream() as stream:
        stream.send(data)
        got = b""
        while len(got) < len(data):
            got += stream.receive(timeout=30)
            if chance.random() < 0.02:
                return
        assert got == data


def resources(client: ResourceMixin, chance: random.Random) -> None:
    data = chance.randbytes(chance.randrange(1, 2_000_000))
    with client.resource(data) as handle:
        assert client.call("swallow", handle) == len(data)


def logs(client: ResourceMixin, chance: random.Random) -> None:
    with client.log_stream():
        list(client.streamingcall("count", chance.randrange(200)))


@contextmanager
def exporter(directory: Path) -> Generator[str]:
    program = "import asyncio, soak_module; asyncio.run(soak_module.serve_until_stdin_ends())"
    (directory / "soak_module.py").write_text(Path(__file__).read_text())
    environment = {**os.environ, "PYTHONPATH": str(directory)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(30)


def start_client(directory: Path, host: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(directory), "JUMPSTARTER_HOST": host, "JMP_DRIVERS_ALLOW": "UNSAFE"}
    return subprocess.Popen(
        [sys.executable, "-c", "import soak_module; soak_module.work()"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_clients_that_come_and_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    with exporter(tmp_path) as host:
        monkeypatch.setenv("JUMPSTARTER_HOST", host)
        monkeypatch.setenv("JMP_DRIVERS_ALLOW", "UNSAFE")
        with env() as watcher:
            watcher.call("state")
            # The first round fills caches and pools; the state after it is the measure.
            kill_clients_for(SECONDS / 4, tmp_path, host, chance)
            first = settled_state(watcher)
            rounds = kill_clients_for(SECONDS, tmp_path, host, chance)
            last = settled_state(watcher)
    print(f"{rounds} clients killed; at first {first}, at last {last}")
    assert last["open"] == 0
    assert last["tasks"] <= first["tasks"]
    assert last["files"] <= first["files"]
    assert last["threads"] <= first["threads"] + 2
    assert last["memory"] - first["memory"] < 24 * 1024 * 1024


def kill_clients_for(seconds: float, directory: Path, host: str, chance: random.Random) -> int:
    end = time.monotonic() + seconds
    killed = 0
    while time.monotonic() < end:
        clients = [start_client(directory, host) for _ in range(CLIENTS)]
        for client in clients:
            assert client.stdout is not None
            # After a number of jobs, in the middle of one.
            for _ in range(chance.randrange(1, 40)):
                if not client.stdout.readline():
                    break
            assert client.poll() is None, client.communicate()[1]
            client.send_signal(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        for client in clients:
            with client:
                client.communicate(timeout=30)
            killed += 1
    return killed


def settled_state(client: Any) -> dict[str, int]:
    """The exporter's state once nothing of the dead clients is under way any more, at most 20 s from now."""
    end = time.monotonic() + 20
    while (state := client.call("state"))["open"] and time.monotonic() < end:
        pass
    return state  # type: ignore[no-any-return]


def test_memory_of_calls_and_streams() -> None:
    process = psutil.Process()
    with serve(Busy()) as client:

        def grown(action: Any, count: int) -> float:
            """KiB per 1000 of `count`, after a fifth of them as warm-up."""
            for _ in range(count // 5):
                action()
            gc.collect()
            before = process.memory_info().rss
            for _ in range(count):
                action()
            gc.collect()
            return (process.memory_info().rss - before) / 1024 / (count / 1000)

        def stream() -> None:
            with client.stream() as opened:
                opened.send(b"x")
                opened.receive()

        by_call = grown(lambda: client.call("echo", {"a": [1, 2, 3]}), 20_000)
        by_stream = grown(stream, 5000)
    print(f"KiB per 1000 calls: {by_call:.0f}; per 1000 streams: {by_stream:.0f}")
    assert by_call < 64
    assert by_stream < 256
