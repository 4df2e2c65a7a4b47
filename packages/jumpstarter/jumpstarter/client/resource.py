"""A client's stream offered to the exporter: copied both ways for as long as the driver wants it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import EndOfStream
from anyio.abc import ObjectStream

from jumpstarter.common.exceptions import DriverError
from jumpstarter.streams.client_frames import ClientFrameStream
from jumpstarter.streams.common import first_error
from jumpstarter.streams.frames import StreamBroken

# After the driver's call, in seconds without a byte: until a resource that never sent one counts as unused, and until
# one that
# did counts as broken.
_UNUSED_SECONDS = 1.0
_STALLED_SECONDS = 30.0


@asynccontextmanager
async def offer_resource(frames: ClientFrameStream, stream: ObjectStream[bytes]) -> AsyncGenerator[dict[str, Any]]:
    """Copy between `stream` and the exporter while the body runs; gives the handle.

    When the body ends, what the driver still sends is taken in first. Errors of `stream` itself are raised as they are.
    """
    text = frames.metadata.get("resource")
    if text is None:
        frames.abort()
        raise DriverError("the exporter answered no resource handle")
    exchange = _Exchange(frames, stream)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(exchange.upload, group.cancel_scope)
            group.start_soon(exchange.download, group.cancel_scope)
            try:
                yield json.loads(text)
                await exchange.finish()
            finally:
                group.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        first = first_error(errors)
        raise first from first.__cause__
    finally:
        frames.abort()


class _Exchange:
    def __init__(self, frames: ClientFrameStream, stream: ObjectStream[bytes]) -> None:
        self._frames = frames
        self._stream = stream
        self._progress = anyio.Event()
        self._done = anyio.Event()
        self._broken: StreamBroken | None = None
        self._received = False
        self._storing = False

    async def upload(self, scope: anyio.CancelScope) -> None:
        try:
            while True:
                try:
                    data = await self._stream.receive()
                except EndOfStream:
                    break
                await self._frames.send(data)
            await self._frames.send_eof()
        except StreamBroken:
            # The driver wants no more of it; whether that is a failure, its call tells.
            return

    async def download(self, scope: anyio.CancelScope) -> None:
        try:
            while True:
                data = await self._frames.receive()
                self._received = True
                self._storing = True
                await self._stream.send(data)
                self._storing = False
                self._progress.set()
        except EndOfStream:
            if self._received:
                await self._stream.send_eof()
        except StreamBroken as error:
            self._broken = error
        finally:
            self._done.set()

    async def finish(self) -> None:
        """After the body: wait for the driver's end of the stream.

        StreamBroken when the driver has begun to send and does not come to an end.
        """
        while not self._done.is_set():
            self._progress = anyio.Event()
            with anyio.move_on_after(_STALLED_SECONDS if self._received else _UNUSED_SECONDS) as scope:
                async with anyio.create_task_group() as group:
                    for event in (self._progress, self._done):
                        group.start_soon(_then_cancel, event, group.cancel_scope)
            if scope.cancelled_caught and not self._storing:
                if not self._received:
                    return
                raise StreamBroken(f"the driver has sent nothing for {_STALLED_SECONDS:g} s, and no end either")
        if self._broken is not None and self._received:
            raise self._broken


async def _then_cancel(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
