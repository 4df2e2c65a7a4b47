"""The commands of a network driver."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
from jumpstarter.client.decorators import driver_click_group

from .adapters import TcpPortforwardAdapter, UnixPortforwardAdapter

if TYPE_CHECKING:
    from .client import NetworkClient


Address = dict[str, str | int]


def network_group(client: NetworkClient) -> click.Group:
    """The command group for one client."""
    group = _empty_group(client)

    @group.command(text=_host_port)
    @click.option("--address", default="localhost", show_default=True, help="Local address to listen on.")
    @click.argument("port", type=click.IntRange(0, 65535), default=0)
    def forward_tcp(address: str, port: int) -> Iterator[Address]:
        """Forward a local TCP port to the endpoint until Ctrl-C

        PORT is the local port to listen on, by default a free one. The address is printed.
        """
        adapter = TcpPortforwardAdapter(client=client, local_host=address, local_port=port)
        with _until_interrupt(), adapter as (host, listening):
            yield {"host": host, "port": listening}
            threading.Event().wait()

    @group.command()
    @click.argument("path", type=click.Path(), required=False)
    def forward_unix(path: str | None) -> Iterator[str]:
        """Forward a local Unix socket to the endpoint until Ctrl-C

        PATH is the socket to listen on, by default one in a new private directory. The path is printed.
        """
        adapter = UnixPortforwardAdapter(client=client, path=path)
        with _until_interrupt(), adapter as listening:
            yield str(listening)
            threading.Event().wait()

    @group.command()
    @click.option("--host", is_flag=True, help="Print the host alone.")
    @click.option("--port", is_flag=True, help="Print the port alone.")
    def address(host: bool, port: bool) -> str | int | None:
        """Print where the endpoint is, to connect to it without the exporter"""
        where = urlsplit(client.address())
        if host == port:
            return where.netloc
        return where.hostname if host else where.port

    return group


def _empty_group(client: NetworkClient) -> click.Group:
    @driver_click_group(client)
    def base() -> None:
        """Generic network connection"""

    return base


def _host_port(address: Address) -> str:
    host = address["host"]
    return f"[{host}]:{address['port']}" if ":" in str(host) else f"{host}:{address['port']}"


@contextmanager
def _until_interrupt() -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from error
