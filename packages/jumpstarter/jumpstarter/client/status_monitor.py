"""Following an exporter's status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Self

import grpc
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import GetStatusRequest

from jumpstarter.common.enums import ExporterStatus
from jumpstarter.rpc import features
from jumpstarter.rpc.stub import features_of

logger = logging.getLogger(__name__)

# One request waits at the exporter this long for a change; one that polls gets this long to answer.
_WAIT_SECONDS = 30.0
_POLL_SECONDS = 5.0
# Failures in a row after which the connection counts as lost.
_FAILURES = 20
_RETRY_SECONDS = 0.3


class StatusMonitor:
    """The exporter's status as it changes; an async context manager.

    Our exporters answer when something changes; 0.9.0 exporters are asked every `poll_interval` seconds. Each answer
    tells the present status and the one before it, so of changes that come faster than the answers the last two are
    seen and the ones before those are not.
    """

    def __init__(self, stub: Any, poll_interval: float = 0.3) -> None:
        self._stub = stub
        self._poll_interval = poll_interval
        self._waits = features.STATUS_WAIT in features_of(stub)
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._waiters: list[tuple[frozenset[ExporterStatus], asyncio.Future[ExporterStatus | None]]] = []
        self._listeners: list[Callable[[ExporterStatus, ExporterStatus | None], None]] = []
        self.current_status: ExporterStatus | None = None
        self.previous_status: ExporterStatus | None = None
        self.status_message = ""
        self.status_version = 0
        self.connection_lost = False
        self.unsupported = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to follow."""
        self._stopped = False
        self._task = asyncio.ensure_future(self._follow())

    async def stop(self) -> None:
        """Cease to follow; whoever waits for a status learns that it was not reached."""
        self._stopped = True
        self._dismiss()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def on_status_change(self, callback: Callable[[ExporterStatus, ExporterStatus | None], None]) -> None:
        """Have `callback(new, old)` called on the event loop at every answer with news; `old`: what it was before."""
        self._listeners.append(callback)

    async def wait_for_status(self, target: ExporterStatus, timeout: float | None = None) -> bool:
        """Whether `target` was reached; see `wait_for_any_of`."""
        return await self.wait_for_any_of([target], timeout) is not None

    async def wait_for_any_of(
        self, targets: Iterable[ExporterStatus], timeout: float | None = None
    ) -> ExporterStatus | None:
        """The first of `targets` that the exporter is seen in, now or later, if only in passing.

        None after `timeout` seconds, when the connection is lost, when the exporter does not tell its status, and when
        the monitor is stopped.
        """
        wanted = frozenset(targets)
        if self.current_status in wanted:
            return self.current_status
        if self._stopped or self.connection_lost or self.unsupported:
            return None
        reached: asyncio.Future[ExporterStatus | None] = asyncio.get_running_loop().create_future()
        waiter = (wanted, reached)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await reached
        except TimeoutError:
            return None
        finally:
            self._waiters.remove(waiter)

    async def _follow(self) -> None:
        failures = 0
        while failures < _FAILURES:
            try:
                await self._ask()
                failures = 0
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                    self.unsupported = True
                    self._dismiss()
                    return
                failures += 1
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except (grpc.aio.UsageError, asyncio.CancelledError):
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                break  # this side has closed the channel
            if not self._waits:
                await asyncio.sleep(self._poll_interval)
        self.connection_lost = True
        self._dismiss()

    async def _ask(self) -> None:
        request = GetStatusRequest()
        if self._waits and self.current_status is not None:
            request.wait_while_version = self.status_version
        response = await self._stub.GetStatus(request, timeout=_WAIT_SECONDS if self._waits else _POLL_SECONDS)
        status = _known(response.status)
        if status == self.current_status and response.status_version == self.status_version:
            return
        self.connection_lost = self.unsupported = False
        old, self.current_status = self.current_status, status
        self.previous_status = _known(response.previous_status) if response.HasField("previous_status") else old
        self.status_message = response.message
        self.status_version = response.status_version
        for listener in self._listeners:
            try:
                listener(status, old)
            except Exception:
                logger.exception("a listener to the exporter's status failed")
        # At the first answer, the status before belongs to a time when nobody followed yet.
        seen = (status,) if old is None else (self.previous_status, status)
        for wanted, reached in self._waiters:
            found = next((one for one in seen if one in wanted), None)
            if found is not None and not reached.done():
                reached.set_result(found)

    def _dismiss(self) -> None:
        for _, reached in self._waiters:
            if not reached.done():
                reached.set_result(None)


def _known(value: int) -> ExporterStatus:
    try:
        return ExporterStatus.from_proto(value)
    except ValueError:  # of a later version
        return ExporterStatus.UNSPECIFIED
