"""RouterService.Stream on the exporter: a driver's stream, or a resource that a client offers."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import anyio
import grpc
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ObjectStream
from jumpstarter_protocol.jumpstarter.v1.error_pb2 import ErrorDetail

from jumpstarter.driver.dispatch import Dispatcher, contained
from jumpstarter.rpc import features
from jumpstarter.rpc.errors import CallRefused, status_of
from jumpstarter.rpc.limits import Limits
from jumpstarter.streams.encoding import Compression, ExpansionLimit, compress_stream
from jumpstarter.streams.frames import ServerFrameStream, StreamBroken
from jumpstarter.streams.metadata import MetadataStreamAttributes

Find = Callable[[str], Dispatcher]

# Resources that clients hold open for one driver at a time; each is a call and a handle, not a buffer.
RESOURCES_PER_DRIVER = 256
# How long a client that was told of a failure may take to close the stream.
_LINGER_SECONDS = 30.0
# How long a device that takes no more may go on sending.
_LAST_WORDS_SECONDS = 5.0


async def serve_stream(
    context: Any, find: Find, limits: Limits, detail: Callable[[BaseException], ErrorDetail]
) -> None:
    """Serve one call of RouterService.Stream; `find` gives the dispatcher of a driver past the gate."""
    offered = features.metadata_value(context.invocation_metadata(), features.FEATURES_KEY) or ""
    ours = features.STREAM_CLOSE in offered.split(",")
    stream = ServerFrameStream(context)
    try:
        request = _parse_request(context)
        dispatcher = find(str(request.get("uuid")))
        if request["kind"] == "driver":
            await _serve_driver_stream(context, stream, dispatcher, str(request.get("method")), ours)
        else:
            await _serve_resource(context, stream, dispatcher, request.get("x_jmp_content_encoding"), limits)
    except Exception as error:
        cause = _first_of(error)
        if ours:
            with suppress(StreamBroken), anyio.move_on_after(_LINGER_SECONDS):
                await stream.fail(detail(cause))
                # The end of the call would make a client that still sends lose what it has not read yet.
                await stream.wait_reset()
        await context.abort(*status_of(cause))


async def _serve_driver_stream(
    context: Any, stream: ServerFrameStream, dispatcher: Dispatcher, method: str, ours: bool
) -> None:
    async with dispatcher.stream(method) as device:
        told = device.extra(MetadataStreamAttributes.metadata, {})
        announcement = ((features.FEATURES_KEY, features.STREAM_CLOSE),) if ours else ()
        await context.send_initial_metadata((*told.items(), *announcement))
        await _Exchange(stream, device, ours).run()


class _Exchange:
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
            except (BrokenResourceError, ClosedResourceError, ConnectionError):
                # A device that hangs up may have answered before: that reaches the client first.
                with anyio.move_on_after(_LAST_WORDS_SECONDS):
                    await self._device_ended.wait()
                raise
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


async def _serve_resource(
    context: Any, stream: ServerFrameStream, dispatcher: Dispatcher, encoding: str | None, limits: Limits
) -> None:
    resources = dispatcher.driver.resources
    if len(resources) >= RESOURCES_PER_DRIVER:
        raise CallRefused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"{len(resources)} resources of this driver are open and unused; close some first",
        )
    uuid = uuid4()
    cap = ExpansionLimit(free_bytes=limits.expansion_free_bytes, ratio=limits.expansion_ratio)
    resources[uuid] = compress_stream(stream, _compression(encoding), limit=cap)
    try:
        await context.send_initial_metadata(_handle(uuid, encoding))
        await stream.closed.wait()
    finally:
        resources.pop(uuid, None)
        stream.cut()
    if not stream.eof_sent:
        raise ConnectionError("the driver gave the resource up before its end")


def _handle(uuid: UUID, encoding: str | None) -> tuple[tuple[str, str], ...]:
    resource = {"kind": "client_stream", "uuid": str(uuid), "x_jmp_content_encoding": encoding}
    return (
        ("resource", json.dumps(resource)),
        ("x_jmp_accept_encoding", encoding or ""),
        (features.FEATURES_KEY, features.STREAM_CLOSE),
    )


def _compression(encoding: str | None) -> Compression | None:
    if encoding is None:
        return None
    try:
        return Compression(encoding)
    except ValueError:
        known = ", ".join(Compression)
        raise ValueError(f"unknown content encoding {encoding!r}; this exporter knows {known}") from None


def _parse_request(context: Any) -> dict[str, Any]:
    """The JSON object in the metadata key `request`."""
    text = features.metadata_value(context.invocation_metadata(), "request")
    if text is None:
        raise ValueError("a stream needs the metadata key 'request' with a JSON object")
    try:
        request = json.loads(text)
    except ValueError as error:
        raise ValueError(f"metadata 'request' is not JSON: {error}") from None
    if not isinstance(request, dict) or request.get("kind") not in ("driver", "resource"):
        raise ValueError(f"metadata 'request' needs a kind, driver or resource; got {text}")
    return request


def _first_of(error: BaseException) -> BaseException:
    """The one error that matters of what a task group raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
