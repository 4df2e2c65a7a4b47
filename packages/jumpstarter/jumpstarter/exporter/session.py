"""One serving of a driver tree: a thin gRPC servicer from uuid to driver to dispatch."""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self
from uuid import UUID

import anyio
import grpc
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import (
    DriverCallResponse,
    EndSessionResponse,
    GetReportResponse,
    GetStatusResponse,
    LogStreamResponse,
    ResetResponse,
    StreamingDriverCallResponse,
)
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2_grpc import ExporterServiceServicer
from jumpstarter_protocol.jumpstarter.v1.router_pb2_grpc import RouterServiceServicer

from jumpstarter.common.enums import ACCEPTS_CALLS, ExporterStatus, LogSource
from jumpstarter.common.metadata import Metadata
from jumpstarter.driver.base import Driver
from jumpstarter.driver.dispatch import Dispatcher
from jumpstarter.driver.resources import LIMITS
from jumpstarter.driver.tree import close_tree, nodes, reset_tree
from jumpstarter.driver.workers import Allowance
from jumpstarter.rpc import features
from jumpstarter.rpc.errors import CallRefused, detail_of, status_of
from jumpstarter.rpc.limits import Limits

from . import endpoints
from .callvalues import CallValues
from .logs import LogRing, RingHandler
from .presence import Presence
from .status import SessionStatus
from .streaming import serve_stream

logger = logging.getLogger(__name__)

# How long ending a session waits for sync methods that still run, and for each walk over the drivers.
QUIET_SECONDS = 2.0
WALK_SECONDS = 30.0
# Arguments from this size on are decoded in a worker, so that the loop stays free.
_LARGE_BYTES = 256 * 1024
# A status waiter is answered this long before its own deadline.
_DEADLINE_MARGIN = 0.5
_LONGEST_WAIT = 3600.0


@dataclass(kw_only=True, eq=False)
class Session(Metadata, ExporterServiceServicer, RouterServiceServicer):
    """Serves `root_device` and all below it; a context manager that resets the drivers at its start and closes them
    at its end.

    `limits`: what this exporter accepts.
    `show_tracebacks`: whether our clients get the tracebacks of failing drivers; they hold paths, and may hold secrets.
    """

    root_device: Driver
    limits: Limits = field(default_factory=Limits)
    show_tracebacks: bool = False
    motd: str = ""
    # Called by EndSession; None means that there is no lease to end.
    on_end_session: Callable[[], None] | None = None
    # The statuses in which calls and streams are let in.
    gate: frozenset[ExporterStatus] = ACCEPTS_CALLS

    def __post_init__(self) -> None:
        self.status = SessionStatus()
        self.presence = Presence()
        self.log = LogRing()
        self._handler = RingHandler(self.log)
        self._nodes = nodes(self.root_device)
        self._drivers = {uuid: driver for uuid, _, _, driver in self._nodes}
        self._dispatchers: dict[UUID, Dispatcher] = {}
        self._workers = Allowance()

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._handler)
        try:
            _raise_all(reset_tree(self.root_device), "resetting")
            for _, parent, name, driver in self._nodes:
                driver.report(parent=parent, name=name)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            errors = close_tree(self.root_device)
            self._report_close_errors(errors, failure[1])
        finally:
            logging.getLogger().removeHandler(self._handler)

    async def __aenter__(self) -> Self:
        # Taken by whichever comes first: the end of the walk, or the end of the waiting for it.
        first = threading.Lock()

        def enter() -> None:
            self.__enter__()
            if not first.acquire(blocking=False):
                self.__exit__(TimeoutError, TimeoutError("nobody waits for this session any more"), None)

        try:
            await self._walk(enter, "resetting")
        except BaseException as error:
            logging.getLogger().removeHandler(self._handler)
            if not first.acquire(blocking=False):
                self._workers.spawn(partial(self.__exit__, type(error), error, None))
            raise
        return self

    async def __aexit__(self, *failure: object) -> None:
        # A cancelled exporter must leave its devices closed all the same; each step has its own deadline.
        with anyio.CancelScope(shield=True):
            await self._wait_until_quiet()
            try:
                await self._walk(lambda: self.__exit__(*failure), "closing")
            finally:
                logging.getLogger().removeHandler(self._handler)

    def for_clients(self) -> Session:
        """The same session behind a gate that hooks pass and clients do not: these wait until the lease is ready."""
        door = copy.copy(self)
        door.gate = frozenset({ExporterStatus.LEASE_READY})
        return door

    def update_status(self, status: int | ExporterStatus, message: str = "") -> None:
        """Change the status that clients see and that opens or shuts the gate on calls; from any thread."""
        self.status.update(ExporterStatus(status), message)

    def add_logger_source(self, logger_name: str, source: LogSource) -> None:
        """Have records of `logger_name` and below carry `source`."""
        self._handler.set_source(logger_name, source)

    @contextmanager
    def context_log_source(self, logger_name: str, source: LogSource) -> Generator[None]:
        """`add_logger_source` for the length of a with block."""
        self._handler.set_source(logger_name, source)
        try:
            yield
        finally:
            self._handler.set_source(logger_name, None)

    def serve_unix(self) -> Any:
        """Context manager: serve on a private Unix socket from a background event loop; gives the socket's path."""
        return endpoints.serve_unix_in_background(self)

    def serve_unix_async(self) -> AbstractAsyncContextManager[str]:
        """Async context manager: serve on a private Unix socket; gives its path."""
        return endpoints.serve_unix(self, self.limits)

    def serve_tcp_async(
        self,
        host: str,
        port: int,
        *,
        tls_credentials: grpc.ServerCredentials | None = None,
        interceptors: list[Any] | None = None,
    ) -> AbstractAsyncContextManager[int]:
        """Async context manager: serve on TCP, plain without `tls_credentials`; gives the port."""
        return endpoints.serve_tcp(
            self, self.limits, host, port, tls_credentials=tls_credentials, interceptors=interceptors or ()
        )

    # The servicer.

    async def GetReport(self, request: Any, context: Any) -> GetReportResponse:  # noqa: N802
        return GetReportResponse(
            uuid=str(self.uuid),
            labels=self.labels,
            reports=[driver.report(parent=parent, name=name) for _, parent, name, driver in self._nodes],
            motd=self.motd,
            features=features.ALL,
        )

    async def DriverCall(self, request: Any, context: Any) -> DriverCallResponse:  # noqa: N802
        LIMITS.set(self.limits)
        values = CallValues(request, DriverCallResponse)
        try:
            dispatcher = self._dispatcher(request.uuid)
            return await dispatcher.call(request.method, await self._args(values), values.respond)
        except Exception as error:
            if values.native:
                return values.fail(self._detail(error))
            return await context.abort(*status_of(error))  # type: ignore[no-any-return]

    # It writes by itself: grpc.aio would leave a generator that it no longer wants to garbage collection.
    async def StreamingDriverCall(self, request: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        LIMITS.set(self.limits)
        values = CallValues(request, StreamingDriverCallResponse)
        try:
            dispatcher = self._dispatcher(request.uuid)
            async with aclosing(
                dispatcher.streamingcall(request.method, await self._args(values), values.respond)
            ) as responses:
                async for response in responses:
                    await context.write(response)
        except Exception as error:
            if values.native:
                await context.write(values.fail(self._detail(error)))
            await context.abort(*status_of(error))

    async def Stream(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        LIMITS.set(self.limits)
        await serve_stream(context, self._dispatcher, self.limits, self._detail)

    # A writer as well: its end must not wait for garbage collection, since it tells that a client is gone.
    async def LogStream(self, request: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        own = str(self.uuid)
        resumed = features.metadata_value(context.invocation_metadata(), features.LOG_AFTER_KEY)
        session, _, number = (resumed or "").partition("/")
        # Settled before the client is told that it has its place: what is logged from then on is for it.
        after = int(number) if session == own and number.isdigit() else self.log.recent
        records = self.log.read(after)
        await context.send_initial_metadata(((features.LOG_START_KEY, f"{own}/{after}"),))
        with self.presence.reading(context.peer()):
            async with aclosing(records):
                async for entry, lost in records:
                    response = LogStreamResponse(
                        uuid=own,
                        severity=entry.severity,
                        message=entry.message,
                        source=entry.source.value,  # type: ignore[arg-type]
                        sequence=entry.sequence,
                        lost=lost or None,
                    )
                    response.timestamp.FromNanoseconds(int(entry.created * 1e9))
                    await context.write(response)

    async def GetStatus(self, request: Any, context: Any) -> GetStatusResponse:  # noqa: N802
        if request.HasField("wait_while_version"):
            remaining = context.time_remaining()
            seconds = _LONGEST_WAIT if remaining is None else max(0.0, remaining - _DEADLINE_MARGIN)
            await self.status.changed(request.wait_while_version, seconds)
        status = self.status
        return GetStatusResponse(
            status=status.status.value,  # type: ignore[arg-type]
            message=status.message,
            status_version=status.version,
            previous_status=None if status.previous is None else status.previous.value,  # type: ignore[arg-type]
            log_sequence=self.log.newest,
        )

    async def EndSession(self, request: Any, context: Any) -> EndSessionResponse:  # noqa: N802
        if self.on_end_session is None:
            return EndSessionResponse(success=False, message="No active lease context")
        if self.presence.others(context.peer()):
            return EndSessionResponse(success=False, message="Other clients still use this exporter")
        self.on_end_session()
        return EndSessionResponse(success=True, message="Session end requested")

    async def Reset(self, request: Any, context: Any) -> ResetResponse:  # noqa: N802
        return await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Reset is not implemented")  # type: ignore[no-any-return]

    # Helpers.

    def _dispatcher(self, uuid: str) -> Dispatcher:
        """The dispatcher of a driver, past the gate."""
        if self.status.status not in self.gate:
            raise CallRefused(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"exporter is not ready for calls: its status is {self.status.status}"
                + (f" ({self.status.message})" if self.status.message else ""),
            )
        try:
            key = UUID(uuid)
        except ValueError:
            raise CallRefused(grpc.StatusCode.UNKNOWN, f"badly formed driver uuid {uuid!r}") from None
        dispatcher = self._dispatchers.get(key)
        if dispatcher is None:
            driver = self._drivers.get(key)
            if driver is None:
                raise CallRefused(grpc.StatusCode.UNKNOWN, f"this exporter has no driver with uuid {uuid}")
            dispatcher = self._dispatchers[key] = Dispatcher(driver)
        return dispatcher

    def _detail(self, error: BaseException) -> Any:
        return detail_of(error, with_traceback=self.show_tracebacks)

    async def _args(self, values: CallValues[Any]) -> list[Any]:
        return values.args() if values.size < _LARGE_BYTES else await self._workers.run(values.args)

    async def _wait_until_quiet(self) -> None:
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                for dispatcher in self._dispatchers.values():
                    await dispatcher.quiet()
        except TimeoutError:
            names = sorted({type(d.driver).__name__ for d in self._dispatchers.values() if d.busy})
            logger.warning("closing although methods still run in: %s", ", ".join(names))

    async def _walk(self, walk: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(WALK_SECONDS):
                await self._workers.run(walk)
        except TimeoutError:
            raise TimeoutError(f"{what} the drivers took more than {WALK_SECONDS:g} s; giving up on it") from None

    def _report_close_errors(self, errors: list[Exception], failure: object) -> None:
        for error in errors:
            logger.error("%s: %s: %s", ", ".join(error.__notes__), type(error).__name__, error)
        if failure is None:
            _raise_all(errors, "closing")


def _raise_all(errors: list[Exception], what: str) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup(f"{what} failed for {len(errors)} drivers", errors)
