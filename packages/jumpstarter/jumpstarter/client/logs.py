"""The exporter's log records in the client's own logging."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty

from jumpstarter.common.enums import LogSource
from jumpstarter.rpc import features

_LOGGERS = {
    LogSource.DRIVER: logging.getLogger("exporter:driver"),
    LogSource.BEFORE_LEASE_HOOK: logging.getLogger("exporter:beforeLease"),
    LogSource.AFTER_LEASE_HOOK: logging.getLogger("exporter:afterLease"),
    LogSource.SYSTEM: logging.getLogger("exporter:system"),
}
_HOOKS = frozenset({LogSource.BEFORE_LEASE_HOOK, LogSource.AFTER_LEASE_HOOK})
_SYSTEM = _LOGGERS[LogSource.SYSTEM]

_RECONNECTS = 10
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
# How long leaving waits for the next of the records that the exporter had logged before.
_FLUSH_SECONDS = 5.0
_READY_SECONDS = 5.0


class LogReader:
    """Reads one exporter's log; after a lost connection it goes on after the last record it has, and tells of any
    gap.
    """

    def __init__(self, stub: Any, position: Callable[[], Awaitable[int | None]], show_all: bool) -> None:
        self._stub = stub
        self._position = position
        self._show_all = show_all
        self._session = ""
        self._last = 0
        self._ready = asyncio.Event()
        self._advanced = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Read while the body runs; starts when the exporter has set the reader up."""
        numbered = features.LOG_RESUME in getattr(self._stub, "features", ())
        task = asyncio.ensure_future(self._read_always())
        try:
            if numbered:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_READY_SECONDS):
                        await self._ready.wait()
            yield
            if numbered and not task.done():
                await self._flush()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _flush(self) -> None:
        with suppress(TimeoutError, grpc.RpcError):
            newest = await self._position() or 0
            while self._last < newest:
                self._advanced.clear()
                async with asyncio.timeout(_FLUSH_SECONDS):
                    await self._advanced.wait()

    async def _read_always(self) -> None:
        failures = 0
        while True:
            before = self._last
            try:
                await self._read()
                return
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED):
                    self._give_up(error)
                    return
                failures = 1 if self._last > before else failures + 1
                if failures > _RECONNECTS:
                    self._give_up(error)
                    return
            # A delay between attempts at a server that may be restarting, not a wait for anything of ours.
            await asyncio.sleep(min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (failures - 1)))

    async def _read(self) -> None:
        resume = ((features.LOG_AFTER_KEY, f"{self._session}/{self._last}"),) if self._session else ()
        call = self._stub.LogStream(Empty(), metadata=resume)
        try:
            start = features.metadata_value(await call.initial_metadata(), features.LOG_START_KEY)
            if start is not None:
                self._start(start)
            async for response in call:
                self._show(response)
        finally:
            call.cancel()

    def _start(self, text: str) -> None:
        session, _, after = text.partition("/")
        if self._session and session != self._session:
            _SYSTEM.warning("the exporter has started a new session; what it logged in between may be lost")
        if session != self._session:
            self._last = int(after) if after.isdigit() else 0
        self._session = session
        self._ready.set()

    def _show(self, response: Any) -> None:
        try:
            source = LogSource.from_proto(response.source)
        except ValueError:
            source = LogSource.SYSTEM
        if response.lost:
            _SYSTEM.warning("%d log records of the exporter were lost here: this reader was too slow", response.lost)
        if self._show_all or source in _HOOKS:
            level = logging.getLevelNamesMapping().get(response.severity, logging.INFO)
            _LOGGERS.get(source, _SYSTEM).log(level, "%s", response.message)
        if response.sequence:
            self._last = response.sequence
            self._advanced.set()

    def _give_up(self, error: grpc.RpcError) -> None:
        self._ready.set()
        _SYSTEM.warning("the exporter's log cannot be read any more: %s: %s", error.code().name, error.details())
