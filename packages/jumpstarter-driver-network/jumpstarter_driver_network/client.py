"""The clients of the network drivers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyio import ContextManagerMixin
from jumpstarter.client import DriverClient

from .bus import KIND_LABEL

if TYPE_CHECKING:
    import click


class NetworkClient(DriverClient):
    """Streams to one endpoint: `stream()`, `stream_async()`, and the adapters of this package."""

    def address(self) -> str:
        """Where the endpoint is, as a URL; ValueError where the exporter's owner keeps it private."""
        address: str = self.call("address")
        return address

    def cli(self) -> click.Group:
        from .cli import network_group

        return network_group(self)


class DbusNetworkClient(NetworkClient, ContextManagerMixin):
    """As a context manager: the exporter's bus is that of this process (see `DbusAdapter`)."""

    @property
    def kind(self) -> str:
        """`system` or `session`."""
        return self.labels[KIND_LABEL]

    @contextmanager
    def __contextmanager__(self) -> Generator[None]:
        from .adapters import DbusAdapter

        with DbusAdapter(client=self):
            yield
