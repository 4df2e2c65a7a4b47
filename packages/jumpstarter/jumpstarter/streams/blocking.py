"""A byte stream for code that blocks, usable from any thread."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Self, TypeVar

import anyio
from anyio.abc import ObjectStream, TaskStatus
from anyio.from_thread import BlockingPortal

T = TypeVar("T")


def loop_is_running() -> bool:
    """Whether this thread runs an event loop, which a blocking call would stop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def refuse_running_loop(name: str, use: str) -> None:
    """RuntimeError from a running event loop: `name` blocks, `use` does not."""
    if loop_is_running():
        raise RuntimeError(f"{name}() blocks, and this thread runs an event loop: use {use} there")


class BlockingStream:
    """`stream`, which lives on the event loop behind `portal`. Iterating gives pieces until the other side's end.

    RuntimeError from a running event loop.
    """

    def __init__(self, stream: ObjectStream[bytes], portal: BlockingPortal) -> None:
        self._stream = stream
        self._portal = portal

    def send(self, data: bytes) -> None:
        """Send all of `data`. anyio.BrokenResourceError, with the cause, when the other side is gone."""
        self._call("send", self._stream.send, data)

    def receive(self, timeout: float | None = None) -> bytes:
        """The next piece, of any size.

        anyio.EndOfStream after the other side's half close; TimeoutError after `timeout` seconds.
        """
        return self._call("receive", self._receive, timeout)

    def send_eof(self) -> None:
        """Say that no more will be sent; receiving goes on."""
        self._call("send_eof", self._stream.send_eof)

    def close(self) -> None:
        """Close the stream; what was sent before still arrives. Closing twice is fine."""
        self._call("close", self._stream.aclose)

    def __iter__(self) -> Iterator[bytes]:
        with suppress(anyio.EndOfStream):
            while True:
                yield self.receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def _call(self, name: str, func: Callable[..., Awaitable[T]], *args: Any) -> T:
        refuse_running_loop(name, "the stream of stream_async()")
        return self._portal.call(func, *args)

    async def _receive(self, timeout: float | None) -> bytes:
        with anyio.fail_after(timeout):
            return await self._stream.receive()


class OpenStream(BlockingStream):
    """A stream without a with block around it: `close()` or garbage collection ends the context it came from."""

    def __init__(self, opening: AbstractAsyncContextManager[ObjectStream[bytes]], portal: BlockingPortal) -> None:
        self._task, (stream, close) = portal.start_task(_hold, opening)
        super().__init__(stream, portal)
        self._finalizer = weakref.finalize(self, run_soon, portal, close)

    def close(self) -> None:
        refuse_running_loop("close", "the stream of stream_async()")
        self.end()

    def end(self) -> None:
        """`close` as part of the session's end, which may come from a running event loop: that is not waited for."""
        if self._finalizer() and not loop_is_running():
            self._task.result()


async def _hold(
    opening: AbstractAsyncContextManager[ObjectStream[bytes]],
    *,
    task_status: TaskStatus[tuple[ObjectStream[bytes], Callable[[], None]]],
) -> None:
    """Keep the context of a stream open until told to close it."""
    closing = anyio.Event()
    async with opening as stream:
        task_status.started((stream, closing.set))
        await closing.wait()


def run_soon(portal: BlockingPortal, func: Callable[[], None]) -> bool:
    """Have `func` run on the loop of `portal`, from any thread, as garbage collection has it; whether it still runs."""
    try:
        portal.start_task_soon(func)
    except RuntimeError:
        if not loop_is_running():
            return False
        # This is the loop's own thread, from which a portal takes nothing.
        asyncio.get_running_loop().call_soon(func)
    return True
