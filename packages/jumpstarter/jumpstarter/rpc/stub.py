"""The gRPC side of one exporter, as its clients hold it."""

from __future__ import annotations

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
        exporter: Any = ExporterServiceStub(channel)
        router: Any = RouterServiceStub(channel)
        self.GetReport = _with_metadata(exporter.GetReport, metadata)
        self.DriverCall = _with_metadata(exporter.DriverCall, metadata)
        self.StreamingDriverCall = _with_metadata(exporter.StreamingDriverCall, metadata)
        self.LogStream = _with_metadata(exporter.LogStream, metadata)
        self.Reset = _with_metadata(exporter.Reset, metadata)
        self.GetStatus = _with_metadata(exporter.GetStatus, metadata)
        self.EndSession = _with_metadata(exporter.EndSession, metadata)
        self.Stream = _with_metadata(router.Stream, metadata)

    def announce(self, features: Iterable[str]) -> None:
        """Take over the features of the exporter's report."""
        self.features = frozenset(features)


def features_of(stub: Any) -> frozenset[str]:
    """The features of the exporter behind `stub`; none for a stub that is not ours."""
    return getattr(stub, "features", frozenset())


def _with_metadata(call: Callable[..., Any], metadata: tuple[tuple[str, str], ...]) -> Callable[..., Any]:
    """`call` with `metadata` added to what each caller gives.

    grpc.aio's interceptors would cost streams their read and write.
    """
    if not metadata:
        return call

    def calling(*args: Any, **kwargs: Any) -> Any:
        return call(*args, metadata=(*kwargs.pop("metadata", ()), *metadata), **kwargs)

    return calling
