"""The gRPC side of one exporter, as its clients hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2_grpc import ExporterServiceStub
from jumpstarter_protocol.jumpstarter.v1.router_pb2_grpc import RouterServiceStub

from .features import passphrase_metadata


class ExporterStub:
    """The calls of ExporterService and RouterService over one channel.

    `features`: what the exporter offers beyond 0.9.0, once its report is known.
    """

    def __init__(self, channel: Any, *, passphrase: str | None = None) -> None:
        self.features: frozenset[str] = frozenset()
        metadata = () if passphrase is None else (passphrase_metadata(passphrase),)
        loop = _running_loop()
        exporter: Any = ExporterServiceStub(channel)
        router: Any = RouterServiceStub(channel)
        self.GetReport = _guarded(exporter.GetReport, metadata, loop)
        self.DriverCall = _guarded(exporter.DriverCall, metadata, loop)
        self.StreamingDriverCall = _guarded(exporter.StreamingDriverCall, metadata, loop)
        self.LogStream = _guarded(exporter.LogStream, metadata, loop)
        self.Reset = _guarded(exporter.Reset, metadata, loop)
        self.GetStatus = _guarded(exporter.GetStatus, metadata, loop)
        self.EndSession = _guarded(exporter.EndSession, metadata, loop)
        self.Stream = _guarded(router.Stream, metadata, loop)

    def announce(self, features: Iterable[str]) -> None:
        """Take over the features of the exporter's report."""
        self.features = frozenset(features)


def features_of(stub: Any) -> frozenset[str]:
    """The features of the exporter behind `stub`; none for a stub that is not ours."""
    return getattr(stub, "features", frozenset())


def _guarded(
    call: Callable[..., Any], metadata: tuple[tuple[str, str], ...], loop: asyncio.AbstractEventLoop | None
) -> Callable[..., Any]:
    """`call` with `metadata` added to what each caller gives, and refused on any other event loop than its own.

    grpc.aio's interceptors would cost streams their read and write.
    """

    def calling(*args: Any, **kwargs: Any) -> Any:
        if loop is not None and asyncio.get_running_loop() is not loop:
            raise RuntimeError(
                "this client belongs to another event loop: open one here with `async with serve_async(...)`, "
                "or use its blocking methods in a thread, as with `await asyncio.to_thread(client.call, ...)`"
            )
        return call(*args, metadata=(*kwargs.pop("metadata", ()), *metadata), **kwargs)

    return calling


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
