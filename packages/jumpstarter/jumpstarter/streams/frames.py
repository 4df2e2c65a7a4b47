"""The frames of RouterService.Stream as a byte stream: what both ends have in common.

DATA carries bytes. GOAWAY is half close. Between peers that both speak `stream-close`, RST_STREAM is full close, sent
after all data, so that the other side can finish the call by itself: cancelling a gRPC call loses what is in flight and
leaks in grpcio. A call that ends without GOAWAY was cut off, and its reader gets an error, not an end.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable
from typing import Any

import grpc
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, ResourceGuard
from anyio.abc import ObjectStream
from jumpstarter_protocol.jumpstarter.v1.router_pb2 import (
    FRAME_TYPE_DATA,
    FRAME_TYPE_GOAWAY,
    FRAME_TYPE_RST_STREAM,
    StreamRequest,
    StreamResponse,
)

# The most bytes in one frame: a 0.9.0 peer with gRPC's 4 MiB takes them too.
FRAME_BYTES = 1024 * 1024


class StreamBroken(BrokenResourceError):
    """A stream failed; `str()` and `__cause__` tell why."""


class FrameStream(ObjectStream[bytes]):
    """Bytes over frames.

    Cancelling `receive` or `send` leaves the stream usable: grpc.aio alone would cancel the call.
    """

    def __init__(self, frame: type[StreamRequest] | type[StreamResponse]) -> None:
        self._frame = frame
        self._reading: asyncio.Future[Any] | None = None
        self._writing: asyncio.Future[Any] | None = None
        self._end: Exception | None = None
        self._eof_sent = False
        self._closed = False
        # An item was cut off after some of its frames: what followed it would not be what the sender meant.
        self._torn = False
        self._receiving = ResourceGuard("receiving from")
        self._sending = asyncio.Lock()

    @abstractmethod
    def _read(self) -> Awaitable[Any]: ...

    @abstractmethod
    def _write(self, frame: Any) -> Awaitable[Any]: ...

    @abstractmethod
    def _broken(self, error: BaseException | None) -> StreamBroken:
        """What to raise for a failed or cut off call."""

    async def _send_failure(self, error: Exception) -> StreamBroken:
        """What to raise for a frame that could not be written."""
        return self._broken(error)

    async def receive(self) -> bytes:
        """The next piece as it was sent.

        EndOfStream after the other side's half close, StreamBroken after a failure.
        """
        if self._closed:
            raise ClosedResourceError
        with self._receiving:
            while self._end is None:
                frame = await self._next_frame()
                if frame is None:
                    continue
                if frame.frame_type == FRAME_TYPE_DATA:
                    payload: bytes = frame.payload
                    return payload
                if frame.frame_type == FRAME_TYPE_GOAWAY:
                    self._end = EndOfStream()
                elif frame.frame_type == FRAME_TYPE_RST_STREAM:
                    self._end = self._reset(frame)
        raise self._end

    async def send(self, item: bytes) -> None:
        """Send `item`, returning when the transport has taken it; several senders take turns, item by item.

        StreamBroken when the other side is gone, or when sending an earlier item was interrupted half way.
        """
        async with self._sending:
            if self._closed or self._eof_sent:
                raise ClosedResourceError
            if self._torn:
                raise StreamBroken("sending an earlier item was interrupted half way")
            self._refuse_if_failed()
            for start in range(0, len(item), FRAME_BYTES) or (0,):
                self._torn = start > 0
                await self._put(self._frame(payload=bytes(item[start : start + FRAME_BYTES])))
                self._torn = start + FRAME_BYTES < len(item)

    async def send_eof(self) -> None:
        async with self._sending:
            if not self._eof_sent and not self._closed:
                self._eof_sent = True
                await self._put(self._frame(frame_type=FRAME_TYPE_GOAWAY))

    def _reset(self, frame: Any) -> Exception:
        """What a RST_STREAM frame means to the reader."""
        return self._broken(None)

    def _refuse_if_failed(self) -> None:
        """Raise what the other side has said against sending, if it has."""

    def _start_reading(self) -> asyncio.Future[Any]:
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
            self._reading.add_done_callback(_retrieve)
        return self._reading

    async def _next_frame(self) -> Any:
        """The next frame, or None when `_end` was set instead."""
        reading = self._start_reading()
        try:
            frame = await asyncio.shield(reading)
        except asyncio.CancelledError:
            if reading.cancelled():
                self._end = self._broken(None)
                return None
            raise
        except Exception as error:
            self._end = self._broken(error)
            return None
        self._reading = None
        if frame is grpc.aio.EOF:
            self._end = self._broken(None)
            return None
        return frame

    async def _put(self, frame: Any) -> None:
        if self._writing is not None:
            await self._settle(self._writing)
        self._writing = asyncio.ensure_future(self._write(frame))
        self._writing.add_done_callback(_retrieve)
        await self._settle(self._writing)
        self._writing = None

    async def _settle(self, writing: asyncio.Future[Any]) -> None:
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            if writing.cancelled():
                raise self._broken(None) from None
            raise
        except Exception as error:
            broken = await self._send_failure(error)
            raise broken from broken.__cause__


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Mark an exception as seen: a read that a cancelled receive left behind fails with the call, and nobody asks."""
    if not future.cancelled():
        future.exception()
