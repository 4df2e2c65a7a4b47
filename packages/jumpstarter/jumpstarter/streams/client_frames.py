"""The client's end of a stream: it learns why the exporter ended it, and closing loses nothing that was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from anyio import BrokenResourceError, EndOfStream, move_on_after
from jumpstarter_protocol.jumpstarter.v1.router_pb2 import (
    FRAME_TYPE_GOAWAY,
    FRAME_TYPE_RST_STREAM,
    FrameType,
    StreamRequest,
)

from .frames import FrameStream, StreamBroken
from .metadata import MetadataStreamAttributes

# How long closing waits for the driver to take what was sent before.
CLOSE_SECONDS = 30.0
# The same towards a peer without RST_STREAM, in the background: its end of the stream may never end by itself.
CLOSE_SECONDS_PLAIN = 5.0
# How long a writer whose write failed waits to be told why.
STATUS_SECONDS = 1.0

# The event loop holds tasks weakly.
_PARTING: set[asyncio.Future[None]] = set()


class ClientFrameStream(FrameStream):
    """The client's end. `broken` turns a gRPC error or an error frame into the exception to raise."""

    def __init__(self, call: Any, *, graceful: bool, broken: Callable[[Any], Exception]) -> None:
        super().__init__(StreamRequest)
        self._call = call
        self._graceful = graceful
        self._explain = broken
        # Whether the driver has said that it did not take what was sent.
        self._untaken = False
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
        self._untaken = frame.error.untaken
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
        if isinstance(self._end, StreamBroken) and self._untaken and not self._told:
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
