"""A byte stream for code that blocks, usable from any thread."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Self

import anyio
from anyio.abc import ObjectStream
from anyio.from_thread import BlockingPortal


class BlockingStream:
    """`stream`, which lives on the event loop behind `portal`. Iterating gives pieces until the other side's end.

    With a `stack`, closing closes that, and so does garbage collection.
    """

    def __init__(self, stream: ObjectStream[bytes], portal: BlockingPortal, stack: ExitStack | None = None) -> None:
        self._stream = stream
        self._portal = portal
        self._stack = stack
        self._finalizer = None if stack is None else weakref.finalize(self, _close_in_background, portal, stream)

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
        if self._stack is None:
            self._portal.call(self._stream.aclose)
            return
        if self._finalizer is not None:
            self._finalizer.detach()
        self._stack.close()

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


def _close_in_background(portal: BlockingPortal, stream: ObjectStream[Any]) -> None:
    """From a finalizer, which may run in any thread, the loop's own included: start closing and do not wait."""
    with suppress(RuntimeError):
        portal.start_task_soon(stream.aclose)
