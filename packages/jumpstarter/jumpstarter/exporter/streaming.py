"""RouterService.Stream on the exporter: a driver's stream, or a resource that a client offers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import anyio
import grpc
from jumpstarter_protocol.jumpstarter.v1.error_pb2 import ErrorDetail

from jumpstarter.config.env import environment
from jumpstarter.driver.dispatch import Dispatcher
from jumpstarter.rpc import features
from jumpstarter.rpc.errors import CallRefused, status_of
from jumpstarter.rpc.limits import Limits
from jumpstarter.streams.common import first_error
from jumpstarter.streams.frames import StreamBroken
from jumpstarter.streams.metadata import MetadataStreamAttributes
from jumpstarter.streams.server_frames import ServerFrameStream

from .exchange import Exchange, Untaken

if TYPE_CHECKING:
    from anyio.abc import ObjectStream

Find = Callable[[str], Dispatcher]

# Resources that clients hold open for one driver at a time; each is a call and a handle, not a buffer.
RESOURCES_PER_DRIVER = 256
# How long a client that was told of a failure may take to close the stream.
_LINGER_SECONDS = 10.0
# What every gRPC peer takes in the metadata of one call.
_METADATA_BYTES = 6 * 1024 - 1
# What HTTP/2 counts for an entry beside its texts.
_ENTRY_BYTES = 32
_KEY = re.compile("[a-z0-9._-]+")
_VALUE = re.compile("([!-~]([ -~]*[!-~])?)?")
_RESERVED = ("grpc-", "x-jumpstarter-")


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
        cause = first_error(error)
        untaken = isinstance(cause, Untaken)
        cause = cause.__cause__ or cause if untaken else cause
        if ours:
            told = detail(cause)
            told.untaken = untaken
            with suppress(StreamBroken), anyio.move_on_after(_LINGER_SECONDS):
                await stream.fail(told)
                # The end of the call would make a client that still sends lose what it has not read yet.
                await stream.wait_reset()
        await context.abort(*status_of(cause))


async def _serve_driver_stream(
    context: Any, stream: ServerFrameStream, dispatcher: Dispatcher, method: str, ours: bool
) -> None:
    copied = False
    try:
        async with dispatcher.stream(method) as device:
            told = _checked(device.extra(MetadataStreamAttributes.metadata, {}))
            announcement = ((features.FEATURES_KEY, features.STREAM_CLOSE),) if ours else ()
            await context.send_initial_metadata((*told.items(), *announcement))
            await Exchange(stream, device, ours).run()
            copied = True
    except Exception as error:
        if copied:
            # What fails after the last byte is the driver's own work on what it took.
            raise Untaken from error
        raise


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
    resources[uuid] = _decompressed(stream, encoding, limits)
    try:
        await context.send_initial_metadata(_handle(uuid, encoding))
        await stream.closed.wait()
    finally:
        resources.pop(uuid, None)
        stream.cut()
    if not stream.eof_sent:
        raise ConnectionError("the driver gave the resource up before its end")


def _checked(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """`metadata` of a driver's stream; a ValueError that names the key where gRPC would drop or refuse it."""
    for key, value in metadata.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key) or key.endswith("-bin"):
            raise ValueError(f"stream metadata {key!r}: a key holds a-z, 0-9, '.', '_', '-' and does not end in -bin")
        if key.startswith(_RESERVED):
            raise ValueError(f"stream metadata {key!r}: keys that begin with {' or '.join(_RESERVED)} are reserved")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ValueError(
                f"stream metadata {key!r}: a value is printable ASCII text without spaces around it, got {value!r:.80}"
            )
    size = sum(len(key) + len(value) + _ENTRY_BYTES for key, value in metadata.items())
    if size > _METADATA_BYTES:
        longest = max(metadata, key=lambda key: len(metadata[key]))
        raise ValueError(
            f"stream metadata has {size} bytes, more than {_METADATA_BYTES}; the longest value is that of {longest!r}"
        )
    return metadata


def _handle(uuid: UUID, encoding: str | None) -> tuple[tuple[str, str], ...]:
    resource = {"kind": "client_stream", "uuid": str(uuid), "x_jmp_content_encoding": encoding}
    return (
        ("resource", json.dumps(resource)),
        ("x_jmp_accept_encoding", (encoding or "") if environment().compression else ""),
        (features.FEATURES_KEY, features.STREAM_CLOSE),
    )


def _decompressed(stream: ServerFrameStream, encoding: str | None, limits: Limits) -> ObjectStream[bytes]:
    # Most exporters never see a resource, and all wait for what they import at their start.
    from jumpstarter.streams.encoding import Compression, ExpansionLimit, compress_stream

    try:
        compression = None if encoding is None else Compression(encoding)
    except ValueError:
        known = ", ".join(Compression)
        raise ValueError(f"unknown content encoding {encoding!r}; this exporter knows {known}") from None
    cap = ExpansionLimit(free_bytes=limits.expansion_free_bytes, ratio=limits.expansion_ratio)
    return compress_stream(stream, compression, limit=cap)


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
