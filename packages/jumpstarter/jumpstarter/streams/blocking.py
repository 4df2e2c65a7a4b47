"""A byte stream for code that blocks, usable from any thread."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Self, TypeVar

import anyio
from anyio.abc import ObjectStream
from anyio.from_thread import BlockingPortal

from .portal import Entered, refuse_running_loop, run

T = TypeVar("T")


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
        return run(self._portal, name, func, *args)

    async def _receive(self, timeout: float | None) -> bytes:
        with anyio.fail_after(timeout):
            return await self._stream.receive()


class OpenStream(BlockingStream):
    """A stream without a with block around it: `close()` or garbage collection ends the context it came from."""

    def __init__(self, opening: AbstractAsyncContextManager[ObjectStream[bytes]], portal: BlockingPortal) -> None:
        self._entered = Entered(portal, "open_stream", opening)
        super().__init__(self._entered.__enter__(), portal)
        self._finalizer = weakref.finalize(self, self._entered.leave_soon)

    def close(self) -> None:
        refuse_running_loop("close", "the stream of stream_async()")
        self.end()

    def end(self) -> None:
        """`close` as part of the session's end, which may come from a running event loop: that is not waited for."""
        if self._finalizer.detach() is not None:
            self._entered.__exit__(None, None, None)
