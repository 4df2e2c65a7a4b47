"""The frames of RouterService.Stream as a byte stream, from either end.

DATA carries bytes. GOAWAY is half close. Between peers that both speak `stream-close`, RST_STREAM is full close, sent
after all
data, so that the other side can finish the call by itself: cancelling a gRPC call loses what is in flight and leaks in
grpcio.
A call that ends without GOAWAY was cut off, and its reader gets an error, not an end.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, ResourceGuard, move_on_after
from anyio.abc import ObjectStream
from jumpstarter_protocol.jumpstarter.v1.error_pb2 import ErrorDetail
from jumpstarter_protocol.jumpstarter.v1.router_pb2 import (
    FRAME_TYPE_DATA,
    FRAME_TYPE_GOAWAY,
    FRAME_TYPE_RST_STREAM,
    FrameType,
    StreamRequest,
    StreamResponse,
)

from jumpstarter.common.exceptions import DriverError

from .metadata import MetadataStreamAttributes

FRAME_BYTES = 1024 * 1024
# How long closing waits for the driver to take what was sent before.
CLOSE_SECONDS = 30.0
# The same towards a peer without RST_STREAM, in the background: its end of the stream may never end by itself.
CLOSE_SECONDS_PLAIN = 5.0
# How long a writer whose write failed waits to be told why.
STATUS_SECONDS = 1.0


# The event loop holds tasks weakly.
_PARTING: set[asyncio.Future[None]] = set()


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


class ClientFrameStream(FrameStream):
    """The client's end. `broken` turns a gRPC error or an error frame into the exception to raise."""

    def __init__(self, call: Any, *, graceful: bool, broken: Callable[[Any], Exception]) -> None:
        super().__init__(StreamRequest)
        self._call = call
        self._graceful = graceful
        self._explain = broken
        # Whether the user knows that the stream is over.
        self._told = False
        self._parting: asyncio.Future[None] | None = None
        # Text from the exporter's initial metadata.
        self.metadata: dict[str, str] = {}

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {MetadataStreamAttributes.metadata: lambda: self.metadata}

    async def failure(self) -> Exception:
        """Why the exporter ended the stream."""
        while not isinstance(self._end, StreamBroken):
            frame = await self._next_frame()
            if frame is not None and frame.frame_type == FRAME_TYPE_RST_STREAM:
                self._end = self._reset(frame)
        cause = self._end.__cause__
        return cause if isinstance(cause, Exception) else self._end

    def abort(self) -> None:
        """Give the stream up at once; what is in flight may be lost."""
        self._closed = True
        self._cancel()

    def _read(self) -> Awaitable[Any]:
        return self._call.read()  # type: ignore[no-any-return]

    def _write(self, frame: Any) -> Awaitable[Any]:
        return self._call.write(frame)  # type: ignore[no-any-return]

    async def _send_failure(self, error: Exception) -> StreamBroken:
        # gRPC says of a write no more than that the call is over; its status knows why, but comes after all
        # that is unread.
        if isinstance(self._end, StreamBroken):
            return self._end
        with move_on_after(STATUS_SECONDS):
            code, details = await self._call.code(), await self._call.details()
            if code is not grpc.StatusCode.OK:
                metadata = grpc.aio.Metadata()
                return self._broken(grpc.aio.AioRpcError(code, metadata, metadata, details))
        return self._broken(None)

    def _refuse_if_failed(self) -> None:
        # A client that only sends learns of a failure all the same: one frame is always asked for.
        if not isinstance(self._end, StreamBroken):
            reading = self._start_reading()
            if not reading.done() or reading.cancelled():
                return
            error = reading.exception()
            frame: Any = grpc.aio.EOF if error is not None else reading.result()
            if error is not None:
                self._end = self._broken(error)
            elif frame is not grpc.aio.EOF and frame.frame_type == FRAME_TYPE_RST_STREAM:
                self._end = self._reset(frame)
            else:
                return
        raise self._end

    async def receive(self) -> bytes:
        with self._telling():
            return await super().receive()

    async def send(self, item: bytes) -> None:
        with self._telling():
            await super().send(item)

    @contextmanager
    def _telling(self) -> Generator[None]:
        """Note whether the user is told that the stream is over, by a failure or by its end."""
        try:
            yield
        except (StreamBroken, EndOfStream):
            self._told = True
            raise

    def _reset(self, frame: Any) -> Exception:
        return self._wrap(self._explain(frame.error)) if frame.HasField("error") else self._broken(None)

    def _broken(self, error: BaseException | None) -> StreamBroken:
        if isinstance(self._end, StreamBroken):
            return self._end
        if isinstance(error, grpc.RpcError):
            return self._wrap(self._explain(error))
        return StreamBroken("the exporter ended the stream" if error is None else str(error))

    @staticmethod
    def _wrap(error: Exception) -> StreamBroken:
        broken = StreamBroken(str(error))
        broken.__cause__ = error
        return broken

    async def aclose(self) -> None:
        """Close for good. What was sent before still arrives; what comes in is dropped.

        StreamBroken when the stream has failed and nothing has said so before, or when the driver has not taken
        what was sent.
        """
        if self._closed:
            return
        self._closed = True
        if not self._graceful:
            await self._part()
            return
        try:
            with move_on_after(CLOSE_SECONDS) as scope:
                await self._say_goodbye(FRAME_TYPE_RST_STREAM)
                await self.failure()
        finally:
            self._cancel()
        if scope.cancelled_caught:
            raise StreamBroken(f"closed, but the driver had not taken all that was sent after {CLOSE_SECONDS:g} s")
        if isinstance(self._end, StreamBroken) and isinstance(self._end.__cause__, DriverError) and not self._told:
            self._told = True
            raise self._end

    async def _part(self) -> None:
        """Close towards a peer without RST_STREAM: half close, and leave it some time to take what is under way."""
        try:
            with move_on_after(CLOSE_SECONDS_PLAIN):
                await self._say_goodbye(FRAME_TYPE_GOAWAY)
        except BaseException:
            self._cancel()
            raise
        self._parting = asyncio.ensure_future(self._drain())
        _PARTING.add(self._parting)
        self._parting.add_done_callback(_PARTING.discard)

    async def _drain(self) -> None:
        try:
            with move_on_after(CLOSE_SECONDS_PLAIN):
                await self.failure()
        finally:
            self._cancel()

    def part_now(self) -> None:
        """End what `aclose` may have left in the background."""
        if self._parting is not None:
            self._parting.cancel()

    def _cancel(self) -> None:
        if not self._call.done():
            self._call.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            await self.aclose()
        except StreamBroken:
            if error is None:
                raise

    async def _say_goodbye(self, frame_type: FrameType.ValueType) -> None:
        with suppress(BrokenResourceError, asyncio.InvalidStateError, grpc.RpcError):
            async with self._sending:
                if frame_type != FRAME_TYPE_GOAWAY or not self._eof_sent:
                    await self._put(StreamRequest(frame_type=frame_type))
                await self._call.done_writing()


class ServerFrameStream(FrameStream):
    """The exporter's end, over a servicer context."""

    def __init__(self, context: Any) -> None:
        super().__init__(StreamResponse)
        self._context = context
        self.closed = asyncio.Event()

    def _read(self) -> Awaitable[Any]:
        return self._context.read()  # type: ignore[no-any-return]

    def _write(self, frame: Any) -> Awaitable[Any]:
        return self._context.write(frame)  # type: ignore[no-any-return]

    def _broken(self, error: BaseException | None) -> StreamBroken:
        return StreamBroken("the client closed the stream" if error is None else f"the client is gone: {error}")

    async def wait_reset(self) -> None:
        """After the client's half close: wait until it closes for good or its call ends."""
        while not isinstance(self._end, StreamBroken):
            frame = await self._next_frame()
            if frame is not None and frame.frame_type == FRAME_TYPE_RST_STREAM:
                self._end = self._reset(frame)

    @property
    def eof_sent(self) -> bool:
        """Whether this side has said that it sends no more."""
        return self._eof_sent

    async def finish(self) -> None:
        """The driver is done and all went well."""
        if not self._closed:
            await self.send_eof()

    async def fail(self, detail: ErrorDetail) -> None:
        """Tell the client, as the last frame, why the stream ends."""
        await self._put(StreamResponse(frame_type=FRAME_TYPE_RST_STREAM, error=detail))

    def cut(self) -> None:
        """The call is over: whoever still reads gets StreamBroken, not an end."""
        if self._end is None:
            self._end = self._broken(None)

    async def aclose(self) -> None:
        """End this side: the servicer's handler finishes the call."""
        self._closed = True
        self.closed.set()


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Mark an exception as seen: a read that a cancelled receive left behind fails with the call, and nobody asks."""
    if not future.cancelled():
        future.exception()
