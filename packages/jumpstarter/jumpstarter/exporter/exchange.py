"""One driver stream and one client, copied into each other."""

from __future__ import annotations

from contextlib import suppress

import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ObjectStream

from jumpstarter.driver.dispatch import contained
from jumpstarter.streams.frames import StreamBroken
from jumpstarter.streams.server_frames import ServerFrameStream

# How long a device that takes no more may go on sending.
_LAST_WORDS_SECONDS = 5.0


class Untaken(Exception):
    """The device did not take what the client sent; `__cause__` says why."""


class Exchange:
    """Copies both ways until both directions have ended, or the client closes for good, or the device fails."""

    def __init__(self, client: ServerFrameStream, device: ObjectStream[bytes], ours: bool) -> None:
        self._client = client
        self._device = device
        self._ours = ours
        self._open_directions = 2
        self._device_ended = anyio.Event()

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._to_device, group.cancel_scope)
            group.start_soon(self._to_client, group.cancel_scope)

    async def _to_device(self, scope: anyio.CancelScope) -> None:
        while True:
            try:
                data = await self._client.receive()
            except EndOfStream:
                break
            except StreamBroken:
                scope.cancel()
                return
            try:
                with contained():
                    await self._device.send(data)
            except (BrokenResourceError, ClosedResourceError, ConnectionError) as error:
                # A device that hangs up may have answered before: that reaches the client first.
                with anyio.move_on_after(_LAST_WORDS_SECONDS):
                    await self._device_ended.wait()
                raise Untaken from error
            except Exception as error:
                raise Untaken from error
        with contained():
            await self._device.send_eof()
        self._ended(scope)
        if self._ours:
            await self._client.wait_reset()
            scope.cancel()

    async def _to_client(self, scope: anyio.CancelScope) -> None:
        while True:
            try:
                with contained():
                    data = await self._device.receive()
            except EndOfStream:
                break
            try:
                await self._client.send(data)
            except StreamBroken:
                scope.cancel()
                return
        with suppress(StreamBroken):
            await self._client.send_eof()
        self._device_ended.set()
        self._ended(scope)

    def _ended(self, scope: anyio.CancelScope) -> None:
        self._open_directions -= 1
        if not self._open_directions:
            scope.cancel()
