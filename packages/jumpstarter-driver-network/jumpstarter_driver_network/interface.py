"""What all network drivers have in common."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from contextlib import AbstractAsyncContextManager

from anyio.abc import ObjectStream
from jumpstarter.common.exceptions import ConfigurationError


class NetworkInterface(metaclass=ABCMeta):
    """A driver with one byte stream, `connect`, to something that listens.

    `connect` raises OSError, or a built-in subclass for its cause, when it cannot connect; a stream that breaks later
    raises EndpointLost. Both name the endpoint.
    """

    @classmethod
    def client(cls) -> str:
        return "jumpstarter_driver_network.client.NetworkClient"

    @abstractmethod
    def connect(self) -> AbstractAsyncContextManager[ObjectStream[bytes]]:
        """Open a stream to the endpoint; each call opens a new one. To be decorated with `exportstream`."""


def require_port(driver: object, port: object) -> None:
    """ConfigurationError unless `port` is one that can be connected to."""
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ConfigurationError(f"{type(driver).__name__}: port must be a number from 1 to 65535, not {port!r}")


def require_text(driver: object, name: str, value: object) -> None:
    """ConfigurationError unless `value` is text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{type(driver).__name__}: {name} must be text that is not empty, not {value!r}")


def published(address: str, enabled: bool) -> str:
    """`address`, or ValueError where the exporter's owner keeps it to the exporter."""
    if not enabled:
        raise ValueError("the address is private: enable_address is not true in the exporter configuration")
    return address


def url(scheme: str, host: str, port: int) -> str:
    """`scheme://host:port`, an IPv6 address in brackets."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
