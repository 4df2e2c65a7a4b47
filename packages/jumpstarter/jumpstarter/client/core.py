"""The async core of every client: calls, streams, resources, logs and status over one exporter's stub."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from jumpstarter_protocol.jumpstarter.v1.error_pb2 import ErrorDetail
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import (
    DriverCallRequest,
    DriverCallResponse,
    EndSessionRequest,
    GetStatusRequest,
    StreamingDriverCallRequest,
    StreamingDriverCallResponse,
)

from jumpstarter.common.enums import ExporterStatus
from jumpstarter.common.exceptions import (
    DriverConnectionError,
    DriverError,
    DriverInvalidArgument,
    DriverMethodNotImplemented,
    DriverOSError,
    DriverTimeout,
    ExporterNotReady,
    MessageTooLarge,
)
from jumpstarter.common.metadata import Metadata
from jumpstarter.rpc import features
from jumpstarter.rpc.errors import error_from_detail, error_from_status
from jumpstarter.rpc.failures import rpc_failures
from jumpstarter.rpc.stub import ExporterStub, features_of
from jumpstarter.values import native

# What a plain call does not need is imported where it is used.
if TYPE_CHECKING:
    from anyio.abc import ObjectStream

    from jumpstarter.streams.client_frames import ClientFrameStream

    from .status_monitor import StatusMonitor

__all__ = [
    "AsyncDriverClient",
    "DriverConnectionError",
    "DriverError",
    "DriverInvalidArgument",
    "DriverMethodNotImplemented",
    "DriverOSError",
    "DriverTimeout",
    "ExporterNotReady",
    "MessageTooLarge",
]

_STATUS_SECONDS = 5.0

R = TypeVar("R", DriverCallRequest, StreamingDriverCallRequest)


@dataclass(kw_only=True, eq=False)
class AsyncDriverClient(Metadata):
    """One driver's client, for code that runs on the event loop the stub belongs to.

    `stub`: the gRPC side, or give `channel` in its place.
    Failing calls raise a subclass of DriverError that is the matching built-in exception too.
    """

    stub: Any = field(default=None, repr=False)
    channel: Any = field(default=None, repr=False)
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        """Subclasses that define their own call this one first."""
        if self.stub is None:
            if self.channel is None:
                raise TypeError(f"{type(self).__name__} needs a stub or a channel")
            self.stub = ExporterStub(self.channel)

    @cached_property
    def logger(self) -> logging.Logger:
        """A logger named after the class."""
        logger = logging.getLogger(type(self).__name__)
        logger.setLevel(self.log_level)
        return logger

    async def call_async(self, method: str, *args: Any) -> Any:
        """Invoke a driver call."""
        return self._result(method, await self._send_call(method, self._request(DriverCallRequest, method, args)))

    async def streamingcall_async(self, method: str, *args: Any) -> AsyncGenerator[Any]:
        """Invoke a streaming driver call. Close the generator (`aclosing`) to stop the driver's before its end."""
        call = StreamingCall(self, method, self._request(StreamingDriverCallRequest, method, args))
        try:
            while (response := await call.next()) is not None:
                yield self._result(method, response)
        finally:
            call.close()

    @asynccontextmanager
    async def stream_async(self, method: str = "connect") -> AsyncGenerator[ObjectStream[bytes]]:
        """A raw byte stream to the driver. A driver that cannot open it raises here, with its cause."""
        request = {"kind": "driver", "uuid": str(self.uuid), "method": method}
        async with await self._open_frames(request, f"stream {self._subject(method)}") as stream:
            yield stream

    @asynccontextmanager
    async def resource_async(
        self, stream: ObjectStream[bytes], content_encoding: str | None = None
    ) -> AsyncGenerator[dict[str, Any]]:
        """Offer `stream` to the driver; gives the handle to pass to a call.

        With `content_encoding` (gzip, xz, bz2, zstd) the bytes of `stream` are compressed: the exporter (de)compresses.
        """
        from .resource import offer_resource

        request = {"kind": "resource", "uuid": str(self.uuid), "x_jmp_content_encoding": content_encoding}
        frames = await self._open_frames(request, f"resource of {self._subject('')}")
        async with offer_resource(frames, stream) as handle:
            yield handle

    @asynccontextmanager
    async def log_stream_async(self, show_all_logs: bool = True) -> AsyncGenerator[None]:
        """Show the exporter's log records through the loggers `exporter:<source>` while open.

        Leaving waits until what the exporter had logged by then is shown. Without `show_all_logs` only records
        of hooks are shown.
        """
        from .logs import LogReader

        async with LogReader(self.stub, self._log_position, show_all_logs).running():
            yield

    async def get_status_async(self) -> ExporterStatus | None:
        """The exporter's status; None from an exporter too old to tell, which accepts calls always."""
        with rpc_failures("GetStatus"):
            try:
                response = await self.stub.GetStatus(GetStatusRequest(), timeout=_STATUS_SECONDS)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                    return None
                raise
        return ExporterStatus.from_proto(response.status)

    async def end_session_async(self) -> bool:
        """Ask the exporter to end the lease's session; False when it has none or does not know how."""
        gone = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
        with rpc_failures("EndSession"):
            try:
                response = await self.stub.EndSession(EndSessionRequest(), timeout=_STATUS_SECONDS)
            except grpc.RpcError as error:
                if error.code() in gone:
                    return True
                if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                    return False
                raise
        return bool(response.success)

    @asynccontextmanager
    async def status_monitor_async(self, poll_interval: float = 0.3) -> AsyncGenerator[StatusMonitor]:
        """Follow the exporter's status: woken by our exporters, polled every `poll_interval` seconds from 0.9.0
        ones.
        """
        from .status_monitor import StatusMonitor

        async with StatusMonitor(self.stub, poll_interval) as monitor:
            yield monitor

    async def _open_frames(self, request: dict[str, Any], subject: str) -> ClientFrameStream:
        """Start a RouterService.Stream; raises what the exporter has against it."""
        import json

        from jumpstarter.streams.client_frames import ClientFrameStream

        graceful = self._speaks(features.STREAM_CLOSE)
        announcement = ((features.FEATURES_KEY, features.STREAM_CLOSE),) if graceful else ()
        text = json.dumps(request)
        explain = _explainer(subject)
        if not graceful:
            # A stream of a 0.9.0 exporter that is still parting would take bytes from its successor.
            last = self._last_streams.pop(text, None)
            if last is not None:
                last.part_now()
        with rpc_failures(subject, explain):
            call = self.stub.Stream(metadata=(("request", text), *announcement))
            stream = ClientFrameStream(call, graceful=graceful, broken=explain)
            try:
                initial = await call.initial_metadata()
            except BaseException:
                call.cancel()
                raise
        stream.metadata = {key: value for key, value in initial or () if isinstance(value, str)}
        if not graceful:
            self._last_streams[text] = stream
        elif features.FEATURES_KEY not in stream.metadata:
            try:
                raise await stream.failure()
            finally:
                call.cancel()
        return stream

    @cached_property
    def _last_streams(self) -> dict[str, ClientFrameStream]:
        """The newest stream of each kind to an exporter whose streams do not end by themselves."""
        return {}

    def _request(self, request_type: type[R], method: str, args: tuple[Any, ...]) -> R:
        """The request of a call, its arguments in the best encoding that the exporter knows."""
        request = request_type(uuid=str(self.uuid), method=method)
        if self._speaks(features.VALUES_MSGPACK):
            request.encoded_args = native.encode_args(args, method)
        else:
            from jumpstarter.values import compat

            request.args.extend(compat.encode_args(args, method))
        return request

    async def _send_call(self, method: str, request: DriverCallRequest) -> DriverCallResponse:
        with rpc_failures(f"DriverCall {method!r}"):
            response: DriverCallResponse = await self.stub.DriverCall(request)
        return response

    def _result(self, method: str, response: DriverCallResponse | StreamingDriverCallResponse) -> Any:
        """The value in a response, or the failure in it raised."""
        if response.HasField("error"):
            raise error_from_detail(response.error, self._subject(method))
        if response.HasField("encoded_result"):
            return native.decode(response.encoded_result)
        from jumpstarter.values import compat

        return compat.decode_value(response.result)

    def _speaks(self, feature: str) -> bool:
        return feature in features_of(self.stub)

    def _subject(self, method: str) -> str:
        name = "" if self.name == "unknown" else f"{self.name}."
        return f"{name}{method}" if method else self.name

    async def _log_position(self) -> int | None:
        """Number of the exporter's newest log record; None where it does not number them."""
        if not self._speaks(features.LOG_RESUME):
            return None
        response = await self.stub.GetStatus(GetStatusRequest(), timeout=_STATUS_SECONDS)
        return int(response.log_sequence)


class StreamingCall:
    """One streaming call, response by response. Unlike a generator it can be closed while it waits."""

    def __init__(self, client: AsyncDriverClient, method: str, request: StreamingDriverCallRequest) -> None:
        self._client = client
        self._method = method
        self._request = request
        self._call: Any = None

    async def next(self) -> StreamingDriverCallResponse | None:
        """The next response, None after the last."""
        with rpc_failures(f"StreamingDriverCall {self._method!r}"):
            if self._call is None:
                self._call = self._client.stub.StreamingDriverCall(self._request)
            response = await self._call.read()
        return None if response is grpc.aio.EOF else response

    def close(self) -> None:
        """End the call, and with it the driver's generator."""
        if self._call is not None:
            self._call.cancel()


def _explainer(subject: str) -> Callable[[Any], Exception]:
    def explain(error: grpc.RpcError | ErrorDetail) -> Exception:
        return (
            error_from_detail(error, subject) if isinstance(error, ErrorDetail) else error_from_status(error, subject)
        )

    return explain
