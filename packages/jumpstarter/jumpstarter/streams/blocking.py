"""A byte stream for code that blocks, usable from any thread."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Self

import anyio
from anyio.abc import ObjectStream, TaskStatus
from anyio.from_thread import BlockingPortal


class BlockingStream:
    """`stream`, which lives on the event loop behind `portal`. Iterating gives pieces until the other side's end."""

    def __init__(self, stream: ObjectStream[bytes], portal: BlockingPortal) -> None:
        self._stream = stream
        self._portal = portal

    def send(self, data: bytes) -> None:
        """Send all of `data`. anyio.BrokenResourceError, with the cause, when the other side is gone."""
        self._portal.call(self._stream.send, data)

    def receive(self, timeout: float | None = None) -> bytes:
        """The next piece, of any size.

        anyio.EndOfStream after the other side's half close; TimeoutError after `timeout` seconds.
        """
        return self._portal.call(self._receive, timeout)

    def send_eof(self) -> None:
        """Say that no more will be sent; receiving goes on."""
        self._portal.call(self._stream.send_eof)

    def close(self) -> None:
        """Close the stream; what was sent before still arrives. Closing twice is fine."""
        self._portal.call(self._stream.aclose)

    def __iter__(self) -> Iterator[bytes]:
        with suppress(anyio.EndOfStream):
            while True:
                yield self.receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    async def _receive(self, timeout: float | None) -> bytes:
        with anyio.fail_after(timeout):
            return await self._stream.receive()


class OpenStream(BlockingStream):
    """A stream without a with block around it: `close()` or garbage collection ends the context it came from."""

    def __init__(self, opening: AbstractAsyncContextManager[ObjectStream[bytes]], portal: BlockingPortal) -> None:
        self._task, (stream, close) = portal.start_task(_hold, opening)
        super().__init__(stream, portal)
        self._finalizer = weakref.finalize(self, _close_soon, portal, close)

    def close(self) -> None:
        if self._finalizer():
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


def _close_soon(portal: BlockingPortal, close: Callable[[], None]) -> bool:
    """Start closing, from any thread, the loop's own included, as garbage collection has it.

    Whether the loop still runs.
    """
    try:
        portal.start_task_soon(close)
    except RuntimeError:
        return False
    return True
