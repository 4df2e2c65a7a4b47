"""A driver, its client and a script that uses both, in one file: `python example.py` prints hello."""

from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager

from anyio import connect_tcp, sleep
from anyio.abc import ObjectStream, SocketStream
from jumpstarter.client import DriverClient
from jumpstarter.common import TemporaryTcpListener
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export, exportstream


class ExampleDriver(Driver):
    """Says back what it is told, in each way a driver can."""

    @classmethod
    def client(cls) -> str:
        return "example.ExampleClient"

    @export
    def echo(self, message: str) -> str:
        """A plain method runs in a worker thread, so it may block."""
        return message

    @export
    async def echo_later(self, message: str, seconds: float) -> str:
        """A coroutine runs on the exporter's event loop."""
        await sleep(seconds)
        return message

    @export
    def echo_generator(self, message: str) -> Generator[str, None, None]:
        """A generator sends its items as they come."""
        for _ in range(10):
            yield message

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ObjectStream[bytes]]:
        """A raw byte stream, here to a TCP server that echoes."""
        async with TemporaryTcpListener(echo) as address, await connect_tcp(*address) as stream:
            yield stream


async def echo(stream: SocketStream) -> None:
    async for chunk in stream:
        await stream.send(chunk)


class ExampleClient(DriverClient):
    """Plain methods over the driver's; use them from any thread."""

    def echo(self, message: str) -> str:
        return self.call("echo", message)

    def echo_later(self, message: str, seconds: float) -> str:
        return self.call("echo_later", message, seconds)

    def echo_generator(self, message: str) -> Generator[str, None, None]:
        yield from self.streamingcall("echo_generator", message)


with serve(ExampleDriver()) as client:
    print(client.echo("hello"))
    assert client.echo_later("hello", 0.01) == "hello"
    assert list(client.echo_generator("hello")) == ["hello"] * 10
    with client.stream() as stream:
        stream.send(b"hello")
        assert stream.receive() == b"hello"
