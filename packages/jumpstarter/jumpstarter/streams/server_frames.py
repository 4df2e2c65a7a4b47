"""The exporter's end of a stream, over a servicer context."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from jumpstarter_protocol.jumpstarter.v1.error_pb2 import ErrorDetail
from jumpstarter_protocol.jumpstarter.v1.router_pb2 import FRAME_TYPE_RST_STREAM, StreamResponse

from .frames import FrameStream, StreamBroken


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
