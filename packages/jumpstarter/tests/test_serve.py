"""`serve` and `serve_async` as scripts use them: how they start, how they end, and what interrupts them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from anyio.abc import ObjectStream
from anyio.from_thread import BlockingPortal, start_blocking_portal
from jumpstarter.client.core import DriverConnectionError, MessageTooLarge
from jumpstarter.common.utils import serve, serve_async
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.rpc.limits import Limits
from jumpstarter.streams.common import create_memory_stream

MIB = 1024 * 1024
SCRIPT_SECONDS = 30
# From SIGINT to the end of the process; a driver's method that still runs may take 2 s of it.
INTERRUPT_SECONDS = 8

# A script that is also a module, with its driver and its client in it.
EXAMPLE = """
from collections.abc import Generator
from contextlib import asynccontextmanager

from anyio import connect_tcp, sleep
from jumpstarter.client import DriverClient
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export, exportstream


class ExampleDriver(Driver):
    @classmethod
    def client(cls) -> str:
        return f"{MODULE}.ExampleClient"

    @export
    def echo(self, message) -> str:
        return message

    @export
    async def echo_async(self, message) -> str:
        await sleep(5)
        return message

    @export
    def echo_generator(self, message) -> Generator[str, None, None]:
        for _ in range(10):
            yield message

    @exportstream
    @asynccontextmanager
    async def connect_tcp(self):
        async with await connect_tcp(remote_host="example.com", remote_port=80) as stream:
            yield stream


class ExampleClient(DriverClient):
    def echo(self, message) -> str:
        return self.call("echo", message)

    def echo_generator(self, message) -> Generator[str, None, None]:
        yield from self.streamingcall("echo_generator", message)


with serve(ExampleDriver()) as client:
    print(client.echo("hello"))
    assert list(client.echo_generator("hello")) == ["hello"] * 10
    assert type(client) is ExampleClient
"""


class TestAScript:
    """A module that serves while it is still being imported: nothing may wait for the import, or import it again."""

    @pytest.mark.parametrize(
        ("arguments", "directory", "module"),
        [
            (["example.py"], ".", "example"),
            (["-c", "import example"], ".", "example"),
            (["deep/example.py"], "deep", "example"),
            (["-m", "deep.example"], "deep", "deep.example"),
            (["example.py"], ".", "__main__"),
        ],
    )
    def test_says_hello_once(self, tmp_path: Path, arguments: list[str], directory: str, module: str) -> None:
        (tmp_path / directory).mkdir(exist_ok=True)
        (tmp_path / directory / "example.py").write_text(f"MODULE = {module!r}\n{EXAMPLE}")
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=SCRIPT_SECONDS
        )
        assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "", 0)

    def test_serving_at_module_level_in_a_thread_of_an_import(self, tmp_path: Path) -> None:
        """The client class is in another module that is not imported yet."""
        (tmp_path / "clients.py").write_text(
            "from jumpstarter.client import DriverClient\nclass C(DriverClient):\n    pass\n"
        )
        (tmp_path / "main.py").write_text(
            "from jumpstarter.common.utils import serve\n"
            "from jumpstarter.driver import Driver\n"
            "class D(Driver):\n"
            "    @classmethod\n"
            "    def client(cls):\n"
            "        return 'clients.C'\n"
            "with serve(D()) as client:\n"
            "    print(type(client).__name__)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", "import main"], cwd=tmp_path, capture_output=True, text=True, timeout=SCRIPT_SECONDS
        )
        assert (done.stdout, done.stderr, done.returncode) == ("C\n", "", 0)


BUSY = """
    import threading
    from contextlib import asynccontextmanager

    import anyio
    from jumpstarter.common.utils import serve
    from jumpstarter.driver import Driver, export, exportstream
    from jumpstarter.streams.common import create_memory_stream


    class Busy(Driver):
        @classmethod
        def client(cls):
            return "jumpstarter.client.DriverClient"

        def close(self):
            print("closed", flush=True)

        @export
        def echo(self, value):
            return value

        @export
        def hang(self):
            print("hanging", flush=True)
            threading.Event().wait()

        @export
        async def hang_async(self):
            print("hanging", flush=True)
            await anyio.sleep_forever()

        @export
        async def items_async(self):
            yield 1
            print("hanging", flush=True)
            await anyio.sleep_forever()

        @exportstream
        @asynccontextmanager
        async def connect(self):
            near, far = create_memory_stream()
            async with near, far:
                print("hanging", flush=True)
                yield near

        @exportstream
        @asynccontextmanager
        async def slow(self):
            print("hanging", flush=True)
            await anyio.sleep_forever()
            yield


    def receive(client):
        with client.stream() as stream:
            stream.receive()

"""
USES = {
    "call": "client.call('hang')",
    "call of a coroutine": "client.call('hang_async')",
    "streaming call of an async generator": "list(client.streamingcall('items_async'))",
    "stream": "receive(client)",
    "open stream": "client.open_stream('slow')",
}


class TestAnInterrupt:
    """Ctrl-C in a script, while it waits for a driver."""

    @pytest.mark.parametrize("use", ["call", "streaming call of an async generator", "stream"])
    def test_ends_the_script(self, scripts: Any, use: str) -> None:
        process = scripts.start(f"{BUSY}\n    with serve(Busy()) as client:\n        {USES[use]}\n")
        assert process.stdout.readline() == "hanging\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=INTERRUPT_SECONDS)
        assert time.monotonic() - began < INTERRUPT_SECONDS
        assert output == "closed\n"
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert "Exception ignored" not in errors
        assert process.returncode == -signal.SIGINT

    @pytest.mark.parametrize("use", [use for use in USES if use != "call"])
    def test_can_be_caught(self, scripts: Any, use: str) -> None:
        process = scripts.start(
            f"""{BUSY}
    with serve(Busy()) as client:
        try:
            {USES[use]}
        except KeyboardInterrupt:
            print("caught", flush=True)
        print(client.call("echo", "goes on"), flush=True)
    """
        )
        assert process.stdout.readline() == "hanging\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=INTERRUPT_SECONDS)
        assert output == "caught\ngoes on\nclosed\n"
        assert "Traceback" not in errors
        assert process.returncode == 0


class Board(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def echo(self, value: Any) -> Any:
        return value

    @export
    def size(self, value: bytes) -> int:
        return len(value)

    @export
    def make(self, size: int) -> bytes:
        return bytes(size)

    @export
    def make_items(self, *sizes: int) -> Generator[bytes]:
        for size in sizes:
            yield bytes(size)

    @export
    async def make_items_async(self, *sizes: int) -> AsyncGenerator[bytes]:
        for size in sizes:
            yield bytes(size)

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        near, far = create_memory_stream()
        async with near, far:
            yield near


class TestManyOfThem:
    def test_inside_each_other(self) -> None:
        with serve(Board()) as one, serve(Board()) as other:
            assert one.uuid != other.uuid
            assert one.call("echo", 1) == 1
            assert other.call("echo", 2) == 2

    def test_in_threads(self) -> None:
        def work(number: int) -> list[Any]:
            with serve(Board()) as client:
                return [client.call("echo", number) for _ in range(10)]

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(24))) == [[number] * 10 for number in range(24)]

    @pytest.mark.anyio
    async def test_on_one_loop(self) -> None:
        async with serve_async(Board()) as one, serve_async(Board()) as other:
            assert await asyncio.gather(*(client.call_async("echo", 1) for client in (one, other) * 20)) == [1] * 40

    @pytest.mark.anyio
    async def test_with_a_portal_and_a_stack_of_the_callers(self) -> None:
        async with BlockingPortal() as portal:
            with ExitStack() as stack:
                async with serve_async(Board(), portal, stack) as client:
                    assert client.portal is portal
                    assert client.stack is stack
                    assert await asyncio.to_thread(client.call, "echo", 1) == 1

    def test_on_a_loop_behind_a_portal(self) -> None:
        with start_blocking_portal() as portal:
            with portal.wrap_async_context_manager(serve_async(Board(), portal)) as client:
                assert client.call("echo", 1) == 1


class TestTheEnd:
    def test_a_client_says_so_afterwards(self) -> None:
        with serve(Board(children={"inner": Board()})) as client:
            items = client.streamingcall("make_items", 1, 1, 1)
            next(items)
        for late in (client, client.children["inner"]):
            with pytest.raises(DriverConnectionError, match=r"call: the connection to the exporter \w+ closed"):
                late.call("echo", 1)
            with pytest.raises(DriverConnectionError, match=r"the connection to the exporter \w+ closed"):
                next(late.streamingcall("make_items", 1))
            with pytest.raises(DriverConnectionError, match=r"the connection to the exporter \w+ closed"):
                _ = late.status
        with pytest.raises(DriverConnectionError, match=r"the connection to the exporter \w+ closed"):
            next(items)

    def test_streams_that_were_left_open(self) -> None:
        with serve(Board()) as client:
            kept = client.open_stream()
            kept.send(b"x")
            client.open_stream()
        kept.close()
        kept.close()

    @pytest.mark.anyio
    async def test_streams_that_were_left_open_on_a_loop(self) -> None:
        async with serve_async(Board()) as client:
            kept = await asyncio.to_thread(client.open_stream)
            await asyncio.to_thread(client.open_stream)
        await asyncio.to_thread(kept.close)

    def test_by_an_error_that_ends_generators(self) -> None:
        """StopIteration and GeneratorExit pass through like any other error."""
        for error in (StopIteration("x"), GeneratorExit("x"), asyncio.CancelledError("x")):
            with pytest.raises(type(error)) as caught, serve(Board()):
                raise error
            assert caught.value is error

    def test_within_a_generator_that_is_dropped(self) -> None:
        def clients() -> Generator[Any]:
            with serve(Board()) as client:
                yield client

        generator = clients()
        client = next(generator)
        assert client.call("echo", 1) == 1
        generator.close()
        with pytest.raises(DriverConnectionError):
            client.call("echo", 1)


class TestLargeValues:
    @pytest.mark.parametrize("size", [5 * MIB, 40 * MIB])
    def test_pass(self, size: int) -> None:
        with serve(Board()) as client:
            assert client.call("size", bytes(size)) == size
            assert len(client.call("make", size)) == size
            for method in ("make_items", "make_items_async"):
                assert [len(item) for item in client.streamingcall(method, 1, size, 2)] == [1, size, 2]

    def test_too_large_ones_fail_by_name_of_the_limit_and_break_nothing(self) -> None:
        size = 70 * MIB
        with serve(Board()) as client:
            with pytest.raises(MessageTooLarge, match=rf"size.*{64 * MIB}"):
                client.call("size", bytes(size))
            assert client.call("echo", 1) == 1
            with pytest.raises(MessageTooLarge, match=rf"make.*{64 * MIB}"):
                client.call("make", size)
            assert client.call("echo", 2) == 2
            for method in ("make_items", "make_items_async"):
                items = client.streamingcall(method, 1, size, 2)
                assert len(next(items)) == 1
                with pytest.raises(MessageTooLarge, match=rf"{method}.*{64 * MIB}"):
                    next(items)
                assert client.call("echo", 3) == 3
            with pytest.raises(MessageTooLarge, match=rf"size.*{64 * MIB}"):
                next(client.streamingcall("size", bytes(size)))
            assert client.call("size", bytes(5 * MIB)) == 5 * MIB

    @pytest.mark.parametrize("limit", [MIB, 66 * MIB])
    def test_the_limit_can_be_set(self, limit: int) -> None:
        with serve(Board(), limits=Limits(message_bytes=limit)) as client:
            fits, exceeds = limit - 1024, limit + 1
            assert client.call("size", bytes(fits)) == fits
            assert len(client.call("make", fits)) == fits
            with pytest.raises(MessageTooLarge, match=str(limit)):
                client.call("size", bytes(exceeds))
            with pytest.raises(MessageTooLarge, match=str(limit)):
                client.call("make", exceeds)
            assert client.call("echo", 1) == 1

    @pytest.mark.anyio
    async def test_the_limit_can_be_set_on_a_loop(self) -> None:
        async with serve_async(Board(), limits=Limits(message_bytes=MIB)) as client:
            with suppress(MessageTooLarge):
                await client.call_async("make", 2 * MIB)
                pytest.fail("passed")
            assert await client.call_async("echo", 1) == 1
