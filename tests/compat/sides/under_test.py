"""The driver that both sides of an interoperability test know. Runs on 0.9.0 and on ours."""

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from uuid import UUID

import anyio
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.streams.common import create_memory_stream


class Colour(Enum):
    RED = "red"


VALUES = {
    "none": None,
    "true": True,
    "int": 7,
    "zero": 0,
    "negative": -12,
    "edge": 2**53,
    "big": 2**53 + 1,
    "huge": 10**30,
    "float": 2.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "text": "Grüße\n\0",
    "bytes": b"text",
    "binary": b"\xff\x00",
    "list": [1, "a", None, [2.5]],
    "tuple": (1, 2),
    "dict": {"a": {"b": [1]}},
    "int key": {1: 2},
    "uuid": UUID("12345678-1234-5678-1234-567812345678"),
    "naive": datetime(2020, 1, 2, 3, 4, 5, 6),
    "aware": datetime(2020, 1, 2, tzinfo=UTC),
    "delta": timedelta(seconds=90),
    "path": Path("/a/b"),
    "decimal": Decimal("1.50"),
    "enum": Colour.RED,
}
ERRORS = [ValueError, NotImplementedError, TimeoutError, OSError, KeyError, TypeError, RuntimeError, ConnectionError]


@dataclass(kw_only=True)
class UnderTest(Driver):
    @classmethod
    def client(cls):
        return "jumpstarter.client.DriverClient"

    @export
    def echo(self, value):
        return value

    @export
    async def echo_async(self, value):
        return value

    @export
    def give(self, name):
        return VALUES[name]

    @export
    def fail(self, name):
        raise {error.__name__: error for error in ERRORS}[name]("it broke")

    @export
    def count(self, to):
        yield from range(int(to))

    @export
    async def count_then_fail(self, to):
        for number in range(int(to)):
            yield number
        raise ValueError("enough")

    @export
    def say(self, text):
        self.logger.info(text)

    @export
    async def swallow(self, handle):
        total = 0
        async with self.resource(handle) as stream:
            async for piece in stream:
                total += len(piece)
        return total

    @exportstream
    @asynccontextmanager
    async def connect(self):
        near, far = create_memory_stream()

        async def echo():
            async with far:
                async for piece in far:
                    await far.send(piece.upper())
                await far.send(b"bye")
                await far.send_eof()

        async with anyio.create_task_group() as group:
            group.start_soon(echo)
            async with near:
                yield near
            group.cancel_scope.cancel()
